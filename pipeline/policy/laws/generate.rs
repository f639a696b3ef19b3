//! The stage: what it writes follows from model, template, settings, profile and seed alone.

use std::path::Path;

use arrow::array::{Int32Array, StringArray, TimestampMicrosecondArray};
use dataset::bucket::{bucket, digest_128, hex};
use dataset::{Dataset, Done, Inputs, Outcome, Resources, Rows, Runner, Stage};
use schemas::{Behaviours, Interests, Lists, Profiles, ProfilesColumns};
use serde::Serialize;

use super::files::{folder, runner};
use super::*;
use crate::{Generate, ListRule, Prompt, PromptSettings};

/// Users with two searches each, the last with none.
#[derive(Debug, Serialize, Deserialize)]
struct People {
    users: usize,
    buckets: u32,
}

impl Stage for People {
    const NAME: &'static str = "cap";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = ();
    type Shared = ();
    type Outputs = Rows<Profiles>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> dataset::Result<()> {
        declare.partitions(self.buckets)
    }

    fn open(&self, (): &(), _: &Resources) -> dataset::Result<()> {
        Ok(())
    }

    fn run(&self, (): &(), (): &(), partition: u32) -> dataset::Result<Done<Self::Outputs>> {
        let mut users: Vec<([u8; 16], usize)> =
            (0..self.users).map(|user| (digest_128(&[&user.to_le_bytes()]), user)).collect();
        users.retain(|(id, _)| bucket(id, self.buckets) == partition);
        users.sort_unstable();
        let lengths: Vec<usize> = users.iter().map(|(_, user)| if user + 1 == self.users { 0 } else { 2 }).collect();
        let of = || users.iter().zip(&lengths).flat_map(|((_, user), count)| (0..*count).map(move |at| (user, at)));
        let searches: usize = lengths.iter().sum();
        let texts = |text: &str, count: usize| StringArray::from(vec![text; count]);
        let behaviours = Behaviours {
            domain: texts("search", searches),
            occurred_at: TimestampMicrosecondArray::from(vec![0; searches]),
            text: of().map(|(user, at)| Some(format!("topic {user} {at}"))).collect(),
            news_id: StringArray::new_null(searches),
        };
        let numbers = || Int32Array::from(vec![0; users.len()]);
        Ok(Done {
            outputs: Rows::of(ProfilesColumns {
                user_id: users.iter().map(|(id, _)| Some(hex(id))).collect(),
                split: texts("train", users.len()),
                behaviours: Lists::from_lengths(lengths, behaviours),
                browse_events: numbers(),
                browse_clean: numbers(),
                browse_kept: numbers(),
                news_events: numbers(),
                news_clean: numbers(),
                news_kept: numbers(),
                search_events: numbers(),
                search_clean: numbers(),
                search_kept: numbers(),
                news_clicks: numbers(),
            })?,
            accounts: Vec::new(),
        })
    }
}

/// A template that fits a model of 512 positions whose tokens are bytes.
const SHORT: &str = r#"
system = "List {n}."
brief = ""
example = [{ domain = "search", text = "a b" }]
example_reasoning = "x"
example_queries = ["c d", "e f", "g h"]
request = "Go."
[headings]
search = "S"
browse = "B"
news = "N"
"#;

fn settings(root: &Path, model: &Path) -> Generate {
    let template = root.join("short.toml");
    std::fs::write(&template, SHORT).expect("writable");
    Generate {
        policy: model.into(),
        prompts: PromptSettings {
            prompt: Some(template),
            queries: Some(3),
            budget_tokens: Some(60),
            behaviour_tokens: Some(20),
            max_new_tokens: Some(60),
            ..PromptSettings::default()
        },
        rule: ListRule { min_words: 1, ..ListRule::default() },
        ..Generate::default()
    }
}

/// User, candidate and queries of every row, by user.
fn rows(runner: &Runner) -> Result<Vec<(String, i32, Vec<String>)>> {
    let mut rows = Vec::new();
    for part in dataset::Whole::<Interests>::open(runner.store(), "interests")?.parts() {
        for columns in part?.columns() {
            let columns = columns?;
            for row in 0..columns.candidate.len() {
                let queries = columns.queries.row(row).map(str::to_owned).collect();
                rows.push((columns.user_id.value(row).to_owned(), columns.candidate.value(row), queries));
            }
        }
    }
    rows.sort();
    Ok(rows)
}

#[test]
fn lists_follow_from_what_is_declared_and_from_nothing_else() -> Result<()> {
    let root = tempfile::tempdir().expect("a folder");
    let model = folder(root.path());
    let runner = runner(root.path())?;
    let people = |buckets| runner.run(&People { users: 9, buckets }, &["profiles"]);
    let run = |settings: &Generate| runner.run(settings, &["interests"]);
    people(3)?;
    let settings = settings(root.path(), &model);
    let made = run(&settings)?;
    assert_eq!((made.outcome, made.account.output, made.account.dropped["no behaviours"]), (Outcome::Committed, 8, 1));
    assert_eq!(made.account.notes["valid lists"], 8, "only lists can come out");
    let first = rows(&runner)?;
    assert!(first.iter().all(|(_, candidate, queries)| *candidate == 0 && queries.len() == 3), "{first:?}");

    // Where things lie decides nothing, and an up-to-date job opens no model.
    let moved = root.path().join("elsewhere/model");
    std::fs::create_dir(root.path().join("elsewhere")).expect("writable");
    std::fs::rename(&model, &moved).expect("writable");
    let settings = Generate { policy: moved.clone(), ..settings };
    assert_eq!(run(&settings)?.outcome, Outcome::UpToDate);

    // Another cut gives the same lists; what decides is seen.
    people(1)?;
    assert_eq!(run(&settings)?.outcome, Outcome::Committed);
    assert_eq!(rows(&runner)?, first);
    let other = |settings: &Generate| -> Result<bool> {
        assert_eq!(run(settings)?.outcome, Outcome::Committed);
        Ok(rows(&runner)? != first)
    };
    assert!(other(&Generate { seed: 2, ..settings.clone() })?);
    assert!(other(&Generate { samples: 2, ..settings.clone() })?);
    let kept = rows(&runner)?;
    assert!(
        kept.len() == 16 && first.iter().all(|row| kept.contains(row)),
        "all are there, and the first is what it was alone"
    );
    let template = root.path().join("other.toml");
    std::fs::write(&template, SHORT.replace("Go.", "Now.")).expect("writable");
    let asked = |prompt: PathBuf| Generate {
        prompts: PromptSettings { prompt: Some(prompt), ..settings.prompts.clone() },
        ..settings.clone()
    };
    assert!(other(&asked(template))?);
    let weights = moved.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("readable");
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&0.25f32.to_le_bytes());
    std::fs::write(&weights, bytes).expect("writable");
    assert_eq!(run(&settings)?.outcome, Outcome::Committed, "another model");

    // What cannot work is refused before anything is written.
    let long = PromptSettings { max_new_tokens: Some(600), ..settings.prompts.clone() };
    let long = Generate { prompts: long, ..settings.clone() };
    let version = Dataset::new(runner.store(), "interests").current()?.map(|m| m.version);
    for (wrong, code) in [
        (Generate { samples: 0, ..settings.clone() }, 2),
        (Generate { share: f64::NAN, ..settings.clone() }, 2),
        (Generate { temperature: f32::INFINITY, ..settings.clone() }, 2),
        (long, 2),
        (asked(root.path().into()), 3),
        (Generate { policy: root.path().join("none"), ..settings.clone() }, 3),
    ] {
        let error = run(&wrong).expect_err("refused");
        assert!(error.exit_code() == code && error.to_string().contains("hint: "), "{error}");
    }
    assert_eq!(Dataset::new(runner.store(), "interests").current()?.map(|m| m.version), version);
    Ok(())
}

#[test]
fn a_policy_is_asked_as_it_was_in_training() -> Result<()> {
    let root = tempfile::tempdir().expect("a folder");
    let runner = runner(root.path())?;
    runner.run(&People { users: 9, buckets: 1 }, &["profiles"])?;
    let lists = |settings: &Generate| -> Result<_> {
        runner.run(settings, &["interests"])?;
        rows(&runner)
    };
    let named = settings(root.path(), &folder(root.path()));
    let expected = lists(&named)?;
    let mut model = Model::open(&named.policy)?;
    model.policy.train_all()?;
    let as_in_training = named.prompts.of(Some(&named.policy))?;
    let shorter = Prompt { budget_tokens: 21, ..as_in_training.clone() };
    for (step, prompt, same) in [(1, Some(as_in_training), true), (2, Some(shorter), false), (3, None, false)] {
        let state = State { step, prompt, ..State::default() };
        checkpoint::save(runner.store(), "trained", &model, &state, &Moments::new())?;
        let policy = runner.store().local_root().expect("a disk").join(checkpoint::folder("trained", step));
        // Without a template of its own it has the built-in one, which does not fit the small model's context.
        let got = lists(&Generate { policy, prompts: PromptSettings::default(), ..named.clone() });
        assert_eq!((got.is_ok(), got.is_ok_and(|got| got == expected)), (step < 3, same), "{step}");
    }
    Ok(())
}

#[test]
fn settings_survive_being_written_down() {
    let settings = Generate { samples: 4, temperature: 0.3, ..Generate::default() };
    let json = serde_json::to_value(&settings).expect("JSON");
    let back: Generate = serde_json::from_value(json.clone()).expect("settings");
    assert_eq!((back.temperature.to_bits(), back.samples), (0.3_f32.to_bits(), 4));
    assert_eq!(serde_json::to_value(back).expect("JSON"), json);
    assert!(json.get("policy").is_none() && json["constrained"] == true, "one regime, whichever model writes");
}
