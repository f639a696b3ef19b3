//! What methods reach, on the page: users' clicks, what lists are like, and what impressions showed.

use dataset::account::grouped;
use maud::{Markup, html};
use schemas::{method_and_step, of_seed};

use crate::chart::bars;
use crate::chosen::without_single_seeds;
use crate::experiment::p_value;
use crate::gather::Content;
use crate::tables::{ListMeasures, Measure, slices};

/// What users read next, by method.
pub(crate) fn results(content: &Content) -> Markup {
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
pub(crate) fn impressions(content: &Content) -> Markup {
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
                td.name {
                    (method)
                    @if let Some(shown) = steps.iter().filter_map(|step| find(method, *step, names.first()?)).map(|m| m.fallback).max().filter(|shown| *shown > 0) {
                        br; span.soft { (grouped(shown)) " shown popular articles" }
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
        assert!(row.contains("3 shown popular articles"), "{row}");
        assert_eq!(table.matches("shown popular").count(), 1, "{table}");
        assert_eq!(table.matches("<tr>").count(), 5, "two lines of headings, three methods: {table}");
    }
}
