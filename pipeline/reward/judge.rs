//! A language model as judge of coverage and specificity: the rubrics of the paper's appendix A, in our words, as three questions.
//!
//! What a reader's themes are is asked once a reader, so that all lists of theirs are judged by the same ones. Which of these a list covers is
//! asked once a list, and whether a query is specific once a query, wherever it stands. Shares are computed here, from the single verdicts. A
//! verdict that cannot be had is null, never 0.

mod questions;

use chat::{Answers, Reply, Server, ServerSettings, kept_at};
use clap::{Args, ValueEnum};
use dataset::{Result, Store, Style};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use self::questions::VERSION;
use self::questions::{
    LISTS, QUERIES, READERS, of_list, of_query, of_reader, read_covered, read_specific, read_themes,
};
pub use self::questions::{QueryVerdict, ThemeVerdict};
use crate::{Calibration, Component, UserInterests};

/// What a judge can judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judged {
    /// Whether the list covers the user's themes.
    Coverage,
    /// Whether queries say something in particular.
    Specificity,
}

impl Judged {
    /// The component that it is instead of the one that is computed here.
    pub fn component(self) -> Component {
        match self {
            Judged::Coverage => Component::Coverage,
            Judged::Specificity => Component::Specificity,
        }
    }
}

/// A language model that judges coverage and specificity, if one is named.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeSettings {
    /// An OpenAI-compatible server, such as http://localhost:8000/v1, whose model judges coverage and specificity; its key is taken from the
    /// environment: QUERENT_API_KEY [default: none; both are computed here]
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    #[serde(skip_serializing)]
    pub judge_endpoint: String,
    /// The model, as the server names it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    #[serde(skip_serializing)]
    pub judge_model: String,
    /// What it judges, with commas between; the other is computed here. Specificity alone is one short question a query
    #[arg(long, value_name = "COMPONENTS", value_enum, value_delimiter = ',', default_values_t = [Judged::Coverage, Judged::Specificity])]
    #[serde(skip_serializing)]
    pub judge_components: Vec<Judged>,
    /// Behaviours that the judge is shown, at most: the most recent
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub judge_behaviours: usize,
    /// Requests to the judge at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[serde(skip_serializing)]
    pub judge_concurrency: usize,
    /// Seconds until a request to the judge is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    #[serde(skip_serializing)]
    pub judge_timeout_s: f64,
    /// How often a request that the judge's server refuses (429, 5xx) or that times out is sent in all
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[serde(skip_serializing)]
    pub judge_attempts: u32,
    /// Let people's texts leave this machine
    #[arg(long)]
    #[serde(skip_serializing)]
    pub allow_remote_text: bool,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl JudgeSettings {
    /// The server, if one is named.
    pub(crate) fn server(&self) -> Result<Option<Server>> {
        if self.judge_endpoint.is_empty() {
            return Ok(None);
        }
        let settings = ServerSettings {
            prefix: "judge_",
            endpoint: &self.judge_endpoint,
            model: &self.judge_model,
            concurrency: self.judge_concurrency,
            timeout_s: self.judge_timeout_s,
            attempts: self.judge_attempts,
            allow_remote_text: self.allow_remote_text,
        };
        Server::new(&settings).map(Some)
    }
}

/// What the judge says of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The reader's themes, and whether the list covers them; `None` if that could not be had, or was not asked.
    pub themes: Option<Vec<ThemeVerdict>>,
    /// Of each query, in the order of their texts, whether it is specific; `None` if that could not be had, or was not asked.
    pub queries: Vec<Option<QueryVerdict>>,
}

impl Verdict {
    /// Share of the themes that are covered, or of the queries that are specific, where each has a verdict.
    pub fn share(&self, of: Judged) -> Option<f32> {
        match of {
            Judged::Coverage => self.themes.as_ref().map(|themes| share(themes, |theme| theme.covered)),
            Judged::Specificity => {
                let queries: Option<Vec<&QueryVerdict>> = self.queries.iter().map(Option::as_ref).collect();
                queries.map(|queries| share(&queries, |query| query.specific == 1))
            }
        }
    }
}

fn share<T>(of: &[T], is: impl Fn(&T) -> bool) -> f32 {
    of.iter().filter(|one| is(one)).count() as f32 / of.len() as f32
}

/// The judge, and the verdicts that it gave before.
#[derive(Debug)]
pub(crate) struct Judge {
    store: Store,
    /// Its server's host, and the model.
    name: [String; 2],
    readers: Answers,
    lists: Answers,
    queries: Answers,
    asks: Vec<Judged>,
    behaviours: usize,
}

impl Judge {
    /// A judge of so much, of readers with so many behaviours at most. Sends nothing yet. Answers are kept under `_cache/judge` in the store.
    pub(crate) fn open(
        server: &Server,
        store: &Store,
        asks: Vec<Judged>,
        behaviours: usize,
        progress: Style,
    ) -> Result<Self> {
        // What has no verdict has no reward, and takes no other's place: few of them end no run.
        let open = |form| Answers::open(server, store, form, usize::MAX, progress);
        let (store, name) = (store.clone(), [server.name().to_owned(), server.model.clone()]);
        let (readers, lists, queries) = (open(READERS)?, open(LISTS)?, open(QUERIES)?);
        Ok(Judge { store, name, readers, lists, queries, asks, behaviours })
    }

    /// The verdicts on lists, each with its user and of at least one query.
    pub(crate) fn judge(&self, lists: &[(&UserInterests, Vec<&str>)]) -> Result<Vec<Verdict>> {
        let mut covered = self.covered(lists)?.into_iter();
        let mut specific = self.specific(lists)?.into_iter();
        let verdict = |(_, queries): &(&UserInterests, Vec<&str>)| Verdict {
            themes: covered.next().flatten(),
            queries: queries.iter().map(|_| specific.next().flatten()).collect(),
        };
        Ok(lists.iter().map(verdict).collect())
    }

    /// The scale that was the first for what it follows from, which is this one if there was none.
    pub(crate) fn first_scale(&self, follows_from: &Value, scale: Calibration) -> Result<Calibration> {
        let path = kept_at("judge/scale", &json!([self.name, VERSION, follows_from]));
        if self.store.create(&path, json!(scale).to_string().into())? {
            return Ok(scale);
        }
        Ok(self.store.get(&path)?.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or(scale))
    }

    /// Of each list, which themes of its user it covers.
    fn covered(&self, lists: &[(&UserInterests, Vec<&str>)]) -> Result<Vec<Option<Vec<ThemeVerdict>>>> {
        if !self.asks.contains(&Judged::Coverage) {
            return Ok(Vec::new());
        }
        let readers: Vec<_> = lists.iter().map(|(user, _)| of_reader(user, self.behaviours)).collect();
        let themes = said(self.readers.ask_all(&readers, &|_, content| read_themes(content))?);
        let with_themes: Vec<(&[String], &[&str])> = themes
            .iter()
            .zip(lists)
            .filter_map(|(themes, (_, queries))| Some((themes.as_deref()?, queries.as_slice())))
            .collect();
        let questions: Vec<_> = with_themes.iter().map(|(themes, queries)| of_list(themes, queries)).collect();
        let covered = self.lists.ask_all(&questions, &|at, content| read_covered(content, with_themes[at].0))?;
        let mut covered = said(covered).into_iter();
        Ok(themes.iter().map(|themes| themes.as_ref().and_then(|_| covered.next().flatten())).collect())
    }

    /// Of each query of each list, whether it is specific.
    fn specific(&self, lists: &[(&UserInterests, Vec<&str>)]) -> Result<Vec<Option<QueryVerdict>>> {
        if !self.asks.contains(&Judged::Specificity) {
            return Ok(Vec::new());
        }
        let queries: Vec<_> = lists.iter().flat_map(|(_, queries)| queries).map(|query| of_query(query)).collect();
        Ok(said(self.queries.ask_all(&queries, &|_, content| read_specific(content))?))
    }
}

/// What is said, and `None` where nothing was to be had.
fn said<V>(replies: Vec<Reply<V>>) -> Vec<Option<V>> {
    let verdict = |reply| match reply {
        Reply::Verdict(verdict, _) => Some(verdict),
        Reply::None(_) => None,
    };
    replies.into_iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::{Arc, Mutex};

    use super::questions::{COVERED, SPECIFIC, THEMES};
    use super::*;

    #[test]
    fn a_share_is_of_all_or_not_known() {
        let theme = |covered| ThemeVerdict { theme: "t".into(), nearest: "a".into(), covered };
        let query = |specific| Some(QueryVerdict { reason: "r".into(), specific });
        let shares = |themes, queries| {
            let verdict = Verdict { themes, queries };
            [Judged::Coverage, Judged::Specificity].map(|of| verdict.share(of))
        };
        let some = shares(Some(vec![theme(true), theme(false)]), vec![query(1), query(0), query(0), query(0)]);
        assert_eq!(some, [Some(0.5), Some(0.25)]);
        assert_eq!(shares(None, vec![query(1), None]), [None, None], "one is missing");
    }

    /// What was asked: which question, and of what kind.
    type Times = Arc<Mutex<HashMap<String, u32>>>;

    /// A judge's server that fails as what it is asked about says: `kind specific busy` is busy when it is asked whether that is specific. It counts
    /// how often it was asked what.
    fn server(times: Times) -> String {
        let http = tiny_http::Server::http("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/v1", http.server_addr());
        std::thread::spawn(move || {
            while let Ok(mut request) = http.recv() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).expect("a body");
                let body: Value = serde_json::from_str(&body).expect("JSON");
                let [system, asked] =
                    [0, 1].map(|at| body["messages"][at]["content"].as_str().expect("a text").to_owned());
                let (question, good) = match system.as_str() {
                    THEMES => ("themes", json!({"themes": ["t", "T", "u", "v", "w"]})),
                    COVERED => {
                        let bit = |covered: u8| json!({"nearest": "b", "covered": covered});
                        ("covered", json!({"t": bit(1), "u": bit(0), "v": bit(0), "w": bit(0)}))
                    }
                    SPECIFIC => ("specific", json!({"reason": "r", "specific": u8::from(asked != "\"b\"")})),
                    other => panic!("an unknown question: {other}"),
                };
                let kind = asked.split("kind ").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or(&asked);
                let n = {
                    let mut times = times.lock().expect("sound");
                    let n = times.entry(format!("{question}: {kind}")).or_default();
                    *n += 1;
                    *n
                };
                let choice = |content: &str, finish: &str| {
                    json!({"choices": [{"message": {"content": content}, "finish_reason": finish}]}).to_string()
                };
                let good = good.to_string();
                let (status, text) = match (kind.strip_prefix(question).unwrap_or_default().trim(), n) {
                    ("busy", 1) => (429, String::new()),
                    ("broken", 1) => (500, "planted".to_owned()),
                    ("noise", 1) | ("nonsense", _) => (200, choice("planted words", "stop")),
                    ("cut", _) => (200, choice(&good, "length")),
                    ("bare", _) => (200, "planted".to_owned()),
                    ("down", _) => (503, String::new()),
                    ("refused", _) => (400, String::new()),
                    _ => (200, choice(&good, "stop")),
                };
                let retry = tiny_http::Header::from_bytes("retry-after", "0.01").expect("a header");
                let answer = tiny_http::Response::from_string(text).with_status_code(status).with_header(retry);
                // Whoever asked may have gone.
                let _ = request.respond(answer);
            }
        });
        address
    }

    fn reader(text: &str) -> UserInterests {
        UserInterests {
            user_id: "u".into(),
            texts: vec![text.into()],
            domains: vec!["search".into()],
            vectors: news::Vectors::new(1, vec![1.0]),
            themes: Vec::new(),
            own: HashSet::new(),
        }
    }

    #[test]
    fn a_verdict_that_cannot_be_had_is_null_and_what_was_said_is_kept() -> Result<()> {
        let times = Times::default();
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().to_string_lossy())?;
        let judge_of = |asks: &[Judged]| -> Result<Judge> {
            let settings = JudgeSettings {
                judge_endpoint: server(times.clone()),
                judge_model: "m".into(),
                judge_attempts: 2,
                judge_concurrency: 1,
                ..JudgeSettings::default()
            };
            Judge::open(&settings.server()?.expect("named"), &store, asks.to_vec(), 60, Style::Silent)
        };
        let judge = || judge_of(&JudgeSettings::default().judge_components);
        let both = |of: &Verdict| (of.share(Judged::Coverage), of.share(Judged::Specificity));
        let asked = |question: &str| times.lock().expect("sound").get(question).copied().unwrap_or(0);
        let fails = ["fine", "busy", "broken", "noise", "nonsense", "cut", "refused"];
        for question in ["themes", "covered", "specific"] {
            let kinds = fails.map(|fail| format!("kind {question} {fail}"));
            let readers = match question {
                "themes" => kinds.clone().map(|kind| reader(&kind)),
                _ => fails.map(|_| reader("trains")),
            };
            // The last list is the first once more.
            let lists: Vec<_> = (0..7)
                .chain([0])
                .map(|at| (&readers[at], vec!["b", if question == "themes" { "a" } else { kinds[at].as_str() }]))
                .collect();
            let verdicts = judge()?.judge(&lists)?;
            let shares: Vec<_> = verdicts.iter().map(both).collect();
            let said = (Some(0.25), Some(0.5));
            let none = if question == "specific" { (Some(0.25), None) } else { (None, Some(0.5)) };
            assert_eq!(shares, [said, said, said, said, none, none, none, said], "{question}");
            let times_of = |fail| asked(&format!("{question}: {question} {fail}"));
            assert_eq!(fails.map(times_of), [1, 2, 2, 2, 2, 2, 1], "{question}");

            // Another run asks about what is not decided, and about nothing else.
            assert_eq!(judge()?.judge(&lists)?, verdicts);
            assert_eq!(fails.map(times_of), [1, 2, 2, 2, 4, 4, 2], "{question}, again");
        }
        assert_eq!(asked("specific: \"b\""), 1, "in whichever list a query stands, it is asked about once");
        assert_eq!(asked("themes: {\"did\":\"search\",\"text\":\"trains\"}"), 1, "and a reader's themes, too");

        // A judge of one thing asks nothing of the other.
        let questions = || {
            let times = times.lock().expect("sound");
            let of =
                |question| times.iter().filter(|(asked, _)| asked.starts_with(question)).map(|(_, n)| n).sum::<u32>();
            ["themes", "covered", "specific"].map(of)
        };
        for (asks, shares, more) in
            [(Judged::Coverage, (Some(0.25), None), [1, 1, 0]), (Judged::Specificity, (None, Some(0.5)), [0, 0, 1])]
        {
            let before = questions();
            let name = format!("only {asks:?}");
            let user = reader(&name);
            let verdicts = judge_of(&[asks])?.judge(&[(&user, vec!["b", &name])])?;
            assert_eq!(verdicts.iter().map(both).collect::<Vec<_>>(), [shares]);
            assert_eq!(questions(), [0, 1, 2].map(|at| before[at] + more[at]), "{name}");
        }

        // What the server fails to answer is no verdict of null: it is an error, once the others have been asked.
        let user = reader("trains");
        let texts = ["kind specific bare", "kind specific later", "kind specific last"];
        let lists: Vec<_> = texts.iter().map(|text| (&user, vec![*text, "b"])).collect();
        let error = judge()?.judge(&lists).expect_err("one failed");
        let expected = "judge_endpoint: no answer to 1 of 4 queries (the last: an answer that is no chat completion)";
        assert!(error.exit_code() == 1 && error.to_string().contains(expected), "{error}");
        let of = ["specific: specific bare", "specific: specific later", "specific: specific last"];
        assert_eq!(of.map(asked), [2, 1, 1]);
        assert!(judge()?.judge(&lists).is_err());
        assert_eq!(of.map(asked), [4, 1, 1]);

        // A scale is the first one, whatever verdicts there are later.
        let scale = |low: f32| Calibration { low: [low; 5], ..Calibration::raw() };
        for (name, given, first) in [("a", 0.25, 0.25), ("a", 0.5, 0.25), ("b", 0.5, 0.5)] {
            assert_eq!(judge()?.first_scale(&json!(name), scale(given))?, scale(first));
        }

        // A server that answers nothing at all ends the run, without a word of what was asked.
        let texts: Vec<String> = (0..9).map(|n| format!("planted {n} kind specific down")).collect();
        let lists: Vec<_> = texts.iter().map(|text| (&user, vec![text.as_str()])).collect();
        let error = judge()?.judge(&lists).expect_err("down");
        let expected = "judge_endpoint: no answer to 5 queries in a row";
        assert!(error.exit_code() == 1 && error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("planted"), "{error}");
        Ok(())
    }
}
