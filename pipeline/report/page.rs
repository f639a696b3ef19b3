//! The page.

use dataset::account::grouped;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chosen::tables;
use crate::curves::training;
use crate::experiment::section;
use crate::gather::Content;
use crate::results::{impressions, results};
use crate::samples::Sample;
use crate::throughput;

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
                (throughput::section(&content.throughput, &content.throughput_words))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chosen::{ChosenRow, ChosenTable};
    use crate::experiment::{Arm, DailyLift, Experiment, Lift};
    use crate::gather::DatasetLine;
    use crate::runs::TrainingRun;
    use crate::samples::News;
    use crate::tables::{Comparison, Measure};
    use crate::throughput::{PolicyThroughput, ThroughputWords};
    use ::training::{History, Ranked, Rolled};

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
            throughput: vec![PolicyThroughput {
                policy: evil.clone(),
                parameters: 1,
                users_per_s: 1.0,
                slowest_users_per_s: 1.0,
                fastest_users_per_s: 1.0,
                tokens_per_s: 1.0,
                times_first: 1.0,
            }],
            throughput_words: ThroughputWords { title: evil.clone(), text: evil.clone() },
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
