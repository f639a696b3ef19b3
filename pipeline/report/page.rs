//! The page.

use dataset::account::grouped;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use schemas::{method_and_step, of_seed};

use crate::chart::bars;
use crate::chosen::{tables, without_single_seeds};
use crate::curves::training;
use crate::experiment::{p_value, section};
use crate::gather::Content;
use crate::samples::Sample;
use crate::tables::{ListMeasures, Measure, slices};

/// The page as HTML: one file, no scripts, nothing from the network.
pub fn page(content: &Content) -> String {
    let title = "querent: report";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                h1 { "News that interests fetch" }
                p.soft { "querent, from the datasets in " (content.root) }
                (tables(content))
                (results(content))
                (impressions(content))
                (section(&content.experiment))
                (statistics(content))
                (training(&content.runs))
                (samples(content))
                (datasets(content))
            }
        }
    }
    .into_string();
    page.chars().map(shown).collect()
}

/// A character as the page has it. Texts come from outside, and a browser or a terminal may take control characters for commands.
fn shown(c: char) -> char {
    match c {
        '\n' => '\n',
        '\t' | '\r' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

fn results(content: &Content) -> Markup {
    let metrics = &without_single_seeds(&content.metrics);
    html! {
        h2 { "What users read next" }
        @if metrics.is_empty() {
            p { "Nothing was evaluated yet: run retrieve and evaluate." }
        } @else {
            p.soft {
                "Articles that users clicked in the week after the cut-off, against the lists that were made of what they did before it. "
                "Averages over users with a click; 95% intervals."
                @if content.among_interests {
                    " Only users who were asked for lists of queries count, for every method alike."
                }
            }
            @match &pools(content)[..] {
                [(candidates, _)] => p.soft { "All methods choose " (candidates) "." },
                pools => @for (candidates, methods) in pools {
                    p.soft { (methods.join(", ")) ": " (candidates) "." }
                },
            }
            @if let Some(not_compared) = &content.not_compared {
                p { "Methods were " (not_compared) "." }
            }
            @for metric in charted(metrics) {
                figure {
                    figcaption { (heading(metric)) ", all users" }
                    (bars(metrics, "all", metric))
                }
            }
            @for (slice, users) in slices(metrics) {
                details open[slice == "all"] {
                    summary { (slice_name(slice)) ", " (grouped(users)) " users" }
                    (metrics_table(content, metrics, slice))
                }
            }
            (lists_table(&content.lists))
            @if !content.comparisons.is_empty() {
                details {
                    summary { "Methods against each other, by retriever, all users" }
                    div.scroll { table {
                        thead { tr {
                            th { "methods" } th { "metric" } th.number { "difference" } th.number { "relative" } th.number { "p (Holm)" }
                        } }
                        @for c in &content.comparisons { tr {
                            td { (c.a) " − " (c.b) } td { (heading(&c.metric)) }
                            td.number { (format!("{:+.4}", c.difference)) }
                            td.number { @match c.relative { Some(r) => (format!("{:+.0}%", 100.0 * r)), None => "–" } }
                            td.number { (p_value(c.p_adjusted)) }
                        } }
                    } }
                }
            }
        }
    }
}

/// What lists are like, beside being right: a row per method.
fn lists_table(lists: &[ListMeasures]) -> Markup {
    let Some((_, first)) = lists.first() else { return html! {} };
    html! {
        details open {
            summary { "What the lists are like" }
            p.soft {
                "Coverage: share of the candidates that is in any user's list. Diversity: mean cosine distance of two articles of a list. "
                "Novelty: −log2 of an article's share of past clicks. Unread: share of articles that nobody had clicked before."
            }
            div.scroll { table {
                thead { tr { th { "method" } @for (metric, _) in first { th.number { (heading(metric)) } } } }
                @for (method, measures) in lists { tr {
                    td { (method) }
                    @for (_, value) in measures {
                        td.number { @if value.is_nan() { "–" } @else { (format!("{value:.4}")) } }
                    }
                } }
            } }
        }
    }
}

/// How methods rank what impressions showed.
fn impressions(content: &Content) -> Markup {
    let metrics = &content.impressions;
    html! {
        @if !metrics.is_empty() {
            h2 { "What was clicked of what was shown" }
            p.soft {
                "The articles that each impression of the window showed, in the order of methods' scores, by the measures of MIND's scorer. "
                "Averages over impressions of which some articles were clicked and some not; 95% intervals, users being drawn."
            }
            @for (slice, count) in slices(metrics) {
                details open[slice == "all"] {
                    summary { (slice_name(slice)) ", " (grouped(count)) " impressions" }
                    (metrics_table(content, metrics, slice))
                }
            }
        }
    }
}

/// Candidates, and the methods that chose from them; seeds by the name that they share.
fn pools(content: &Content) -> Vec<(&str, Vec<&str>)> {
    let mut pools: Vec<(&str, Vec<&str>)> = Vec::new();
    for (method, candidates) in content.candidates.iter().filter(|(_, candidates)| !candidates.is_empty()) {
        let method = of_seed(method).unwrap_or(method);
        match pools.iter_mut().find(|(pool, _)| pool == candidates) {
            Some((_, methods)) if methods.contains(&method) => {}
            Some((_, methods)) => methods.push(method),
            None => pools.push((candidates, vec![method])),
        }
    }
    pools
}

/// Recall and NDCG at the deepest cut.
fn charted(metrics: &[Measure]) -> Vec<&str> {
    ["recall@", "ndcg@"]
        .into_iter()
        .filter_map(|prefix| {
            let cut = |m: &&Measure| m.metric.strip_prefix(prefix).and_then(|k| k.parse::<u32>().ok());
            metrics.iter().filter(|m| cut(m).is_some()).max_by_key(cut).map(|m| m.metric.as_str())
        })
        .collect()
}

/// A row per method; for each metric a column per retriever.
fn metrics_table(content: &Content, metrics: &[Measure], slice: &str) -> Markup {
    let rows: Vec<&Measure> = metrics.iter().filter(|m| m.slice == slice).collect();
    let names = each_once(rows.iter().map(|m| m.metric.as_str()));
    let methods = each_once(rows.iter().map(|m| method_and_step(&m.method).0));
    let steps = each_once(rows.iter().map(|m| method_and_step(&m.method).1));
    let find = |method: &str, step: Option<&str>, name: &str| {
        rows.iter().copied().find(|m| method_and_step(&m.method) == (method, step) && m.metric == name)
    };
    html! {
        div.scroll { table {
            thead {
                tr { th { "method" } @for name in &names { th.number colspan=(steps.len()) { (heading(name)) } } }
                @if steps.len() > 1 { tr {
                    th {}
                    @for _ in &names { @for step in &steps { th.number { (step.unwrap_or(&content.retriever)) } } }
                } }
            }
            @for method in &methods { tr {
                td {
                    (method)
                    @if let Some(shown) = steps.iter().filter_map(|step| find(method, *step, names.first()?)).map(|m| m.fallback).max().filter(|shown| *shown > 0) {
                        br; span.soft { (grouped(shown)) " without a list, shown popular articles" }
                    }
                }
                @for name in &names { @for step in &steps { td.number {
                    @if let Some(m) = find(method, *step, name) {
                        (format!("{:.4}", m.value)) br;
                        @if !m.low.is_nan() { span.soft { (format!("{:.4} to {:.4}", m.low, m.high)) } }
                        @if let Some(share) = find(ATTAINABLE, *step, name).and_then(|most| share(m, most)) {
                            br; span.soft { (share) }
                        }
                    }
                } } }
            } }
        } }
    }
}

/// What a simulated user's own latent interests fetch, as a method.
const ATTAINABLE: &str = "attainable";

/// How much of what can be reached a method reaches.
fn share(measure: &Measure, most: &Measure) -> Option<String> {
    let other = measure.method != most.method && most.value > 0.0;
    other.then(|| format!("{:.0}% of {ATTAINABLE}", 100.0 * measure.value / most.value))
}

/// Values in the order in which they come first.
fn each_once<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for value in values {
        if !once.contains(&value) {
            once.push(value);
        }
    }
    once
}

fn statistics(content: &Content) -> Markup {
    html! {
        @if !content.statistics.is_empty() {
            h2 { "The data" }
            div.scroll { table {
                @for (name, value) in &content.statistics { tr {
                    td { (name) }
                    td.number { @if name.starts_with('#') { (grouped(*value as u64)) } @else { (format!("{value:.2}")) } }
                } }
            } }
        }
    }
}

fn samples(content: &Content) -> Markup {
    html! {
        @if !content.samples.is_empty() {
            h2 { "From behaviours to news: " (content.method) }
            p.soft {
                "The first " (content.samples.len()) " users who have a list and clicked something in the window. "
                span.hit { "✓" } " marks what they clicked."
            }
            @for sample in &content.samples { (user(sample)) }
        }
    }
}

fn user(sample: &Sample) -> Markup {
    html! {
        section.user {
            h3 { "User " (sample.user_id) " " span.tag { (sample.split) } }
            div.columns {
                div {
                    h4 { "Most recent behaviours" }
                    ul { @for (domain, text) in &sample.behaviours { li { span.tag { (domain) } (text) } } }
                }
                @if !sample.queries.is_empty() { div {
                    h4 { "Queries" }
                    ul { @for query in &sample.queries { li { (query) } } }
                } }
                div {
                    h4 { "News, best first (" (sample.clicked) " clicked in the window)" }
                    ol { @for article in &sample.news { li {
                        @if article.hit { span.hit { "✓ " } }
                        (article.title)
                        @if let Some(query) = &article.query {
                            br; span.soft { "for: " (query) " (" (format!("{:.2}", article.score)) ")" }
                        }
                    } } }
                }
            }
        }
    }
}

fn datasets(content: &Content) -> Markup {
    html! {
        h2 { "The run" }
        div.scroll { table {
            thead { tr {
                th { "dataset" } th { "job" } th.number { "version" } th.number { "rows" } th.number { "MB" } th { "account" } th { "made" }
            } }
            @for line in &content.datasets { tr {
                td { (line.name) } td { (line.job) }
                td.number { (line.version) } td.number { (grouped(line.rows)) }
                td.number { (format!("{:.1}", line.bytes as f64 / 1e6)) }
                td { (line.account) } td { (line.created_at) }
            } }
        } }
    }
}

fn slice_name(slice: &str) -> String {
    match slice {
        "all" => "All users".into(),
        "test" => "Test: held-out users".into(),
        "cold" => "Cold: fewer than 5 news clicks before the cut-off".into(),
        "warm" => "Warm: 5 and more".into(),
        "without-history" => "Without a history: nothing is known of them before the cut-off".into(),
        other => other.into(),
    }
}

/// `recall@10` → `Recall@10`, `ndcg@10` → `NDCG@10`.
fn heading(metric: &str) -> String {
    let (name, cut) = metric.split_once('@').map_or((metric, String::new()), |(name, k)| (name, format!("@{k}")));
    let name = match name {
        "recall" => "Recall",
        "recall_capped" => "Capped recall",
        "ndcg" => "NDCG",
        "mrr" => "MRR",
        "mrr_mind" => "MRR (MIND's)",
        "auc" => "AUC",
        "coverage" => "Coverage",
        "diversity" => "Diversity",
        "novelty" => "Novelty",
        "unread" => "Unread",
        other => other,
    };
    format!("{name}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chosen::{ChosenRow, ChosenTable};
    use crate::experiment::{Arm, DailyLift, Experiment, Lift};
    use crate::gather::DatasetLine;
    use crate::runs::TrainingRun;
    use crate::samples::News;
    use crate::tables::Comparison;
    use ::training::{History, Ranked, Rolled};

    #[test]
    fn retrievers_stand_side_by_side() {
        let measure = |method: &str, value: f64| Measure {
            method: method.into(),
            slice: "all".into(),
            metric: "recall@10".into(),
            value,
            low: 0.0,
            high: 1.0,
            users: 7,
            fallback: u64::from(method == "interests.bm25") * 3,
        };
        let both = vec![
            measure("attainable", 0.4),
            measure("attainable.bm25", 0.5),
            measure("interests", 0.1),
            measure("interests.bm25", 0.3),
            measure("random", 0.01),
        ];
        let content = Content { retriever: "dense".into(), metrics: both, ..Content::default() };
        let table = metrics_table(&content, &content.metrics, "all").into_string();
        assert!(table.contains("colspan=\"2\">Recall@10</th>"), "{table}");
        assert!(table.contains("dense</th><th class=\"number\">bm25</th>"), "{table}");
        let row = table.split("<tr>").find(|row| row.contains("interests")).expect("a row");
        assert!(row.contains("0.1000") && row.contains("25% of attainable"), "{row}");
        assert!(
            row.contains("0.3000") && row.contains("60% of attainable") && !row.contains("attainable.bm25"),
            "{row}"
        );
        assert!(row.contains("3 without a list, shown popular articles"), "{row}");
        assert_eq!(table.matches("without a list").count(), 1, "{table}");
        assert_eq!(table.matches("<tr>").count(), 5, "two lines of headings, three methods: {table}");
    }

    #[test]
    fn every_text_is_escaped() {
        let evil = "<script>alert(\"1\")</script><img src=x onerror=alert(1)>&'\u{1b}]0;x\u{7}\0\u{9b}".to_owned();
        let rolled = Rolled {
            user_id: evil.clone(),
            completion: evil.clone(),
            queries: vec![evil.clone()],
            ..Rolled::default()
        };
        let content = Content {
            among_interests: true,
            root: evil.clone(),
            method: evil.clone(),
            retriever: evil.clone(),
            statistics: vec![(evil.clone(), 1.0)],
            candidates: [(evil.clone(), evil.clone())].into(),
            not_compared: Some(evil.clone()),
            comparisons: vec![Comparison {
                a: evil.clone(),
                b: evil.clone(),
                metric: evil.clone(),
                difference: 0.0,
                relative: None,
                p_adjusted: 1.0,
            }],
            lists: vec![(evil.clone(), vec![(evil.clone(), f64::NAN)])],
            impressions: vec![Measure {
                method: evil.clone(),
                slice: evil.clone(),
                metric: evil.clone(),
                value: 0.5,
                low: f64::NAN,
                high: f64::NAN,
                users: 1,
                fallback: 0,
            }],
            metrics: vec![Measure {
                method: evil.clone(),
                slice: "all".into(),
                metric: "recall@10".into(),
                value: 0.5,
                low: 0.4,
                high: 0.6,
                users: 7,
                fallback: 1,
            }],
            datasets: vec![DatasetLine {
                name: evil.clone(),
                version: 1,
                job: evil.clone(),
                created_at: evil.clone(),
                rows: 1,
                bytes: 1,
                account: evil.clone(),
            }],
            samples: vec![Sample {
                user_id: evil.clone(),
                split: evil.clone(),
                behaviours: vec![(evil.clone(), evil.clone())],
                queries: vec![evil.clone()],
                news: vec![News { title: evil.clone(), query: Some(evil.clone()), ..News::default() }],
                clicked: 1,
            }],
            runs: vec![TrainingRun {
                name: evil.clone(),
                job: evil.clone(),
                planned: Some(1),
                history: History {
                    figures: [("loss".to_owned(), vec![(1, 0.5)]), (format!("seconds.{evil}"), vec![(1, 0.5)])].into(),
                    ..History::default()
                },
                lists: Some(Ranked { step: 1, best: vec![rolled.clone()], worst: vec![rolled] }),
                unreadable: None,
            }],
            tables: vec![ChosenTable {
                title: evil.clone(),
                text: evil.clone(),
                over: Some(evil.clone()),
                rows: vec![ChosenRow { name: evil.clone(), method: evil.clone(), x: Some(1.0), elsewhere: None }],
            }],
            experiment: Experiment {
                arms: vec![Arm { variant: evil.clone(), ..Arm::default() }],
                lifts: vec![Lift {
                    treatment: evil.clone(),
                    metric: evil.clone(),
                    segment: evil.clone(),
                    lift: Some([0.5, 0.4, 0.6, 0.3, 0.7]),
                    ..Lift::default()
                }],
                days: vec![DailyLift {
                    treatment: evil.clone(),
                    metric: evil.clone(),
                    segment: evil.clone(),
                    day: evil.clone(),
                    ..DailyLift::default()
                }],
            },
        };
        let page = page(&content);
        assert!(!page.contains("<script") && !page.contains("<img") && page.contains("&lt;script&gt;"));
        assert!(!page.contains(|c: char| c.is_control() && c != '\n'));
        assert_eq!(
            page.matches("alert(").count(),
            page.matches("&lt;script&gt;alert(").count() + page.matches("onerror=alert(").count()
        );
        for outside in ["http://", "https://", "src=\"", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
