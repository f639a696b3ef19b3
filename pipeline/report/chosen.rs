//! Tables of chosen methods, in an order and with words of their own: such as a paper's. A pipeline's settings say what they hold:
//!
//! ```toml
//! [[report.tables]]
//! title = "Table 3: how a student learns"
//! rows = [
//!     { name = "teacher", method = "grpo", elsewhere = [0.271, 0.241] },
//!     { name = "on-policy", method = "student" },
//! ]
//! ```

use std::collections::BTreeSet;

use maud::{Markup, html};
use schemas::{method_and_step, of_mean, of_seed};
use serde::{Deserialize, Serialize};

use crate::experiment::p_value;
use crate::gather::Content;
use crate::points::{Point, points};
use crate::tables::Measure;

/// The measures that a table has: those that papers give.
const MEASURES: [(&str, &str); 2] = [("recall@10", "Recall@10"), ("ndcg@10", "NDCG@10")];

/// A table of methods. All but the first row are compared with the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChosenTable {
    /// Its heading.
    pub title: String,
    /// What a reader should know.
    #[serde(default)]
    pub text: String,
    /// What the numbers of `x` are; with it, the rows are drawn over them.
    #[serde(default)]
    pub over: Option<String>,
    /// Its rows.
    pub rows: Vec<ChosenRow>,
}

/// A method, as a table has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChosenRow {
    /// What the table calls it.
    pub name: String,
    /// The method, one of several seeds without `-sN`; with a step of retrieve where that has a name, as in `sampled.best4`.
    pub method: String,
    /// Where it lies among the rows, such as how many lists were sampled.
    #[serde(default)]
    pub x: Option<f64>,
    /// Recall@10 and NDCG@10 in another world, such as the paper's.
    #[serde(default)]
    pub elsewhere: Option<[f64; 2]>,
}

/// The tables as sections of the page.
pub(crate) fn tables(content: &Content) -> Markup {
    html! {
        @for table in &content.tables {
            h2 { (table.title) }
            @if !table.text.is_empty() { p.soft { (table.text) } }
            @if let Some(over) = &table.over { (drawn(content, table, over)) }
            (rows(content, table))
            p.soft {
                "Averages over all users and seeds, 95% intervals below them, then the least and the most that a seed has. The difference is of "
                "Recall@10, with its p-value; elsewhere: Recall@10, and NDCG@10 below it, in another world, such as the paper's."
            }
        }
    }
}

fn rows(content: &Content, table: &ChosenTable) -> Markup {
    let steps = steps(content, table);
    let elsewhere = table.rows.iter().any(|row| row.elsewhere.is_some());
    let first = table.rows.first();
    html! {
        div.scroll { table {
            thead {
                tr {
                    th {}
                    @for (_, heading) in MEASURES { th.number colspan=(steps.len()) { (heading) } }
                    @if table.rows.len() > 1 { th.number { "less the first row" } }
                    @if elsewhere { th.number { "elsewhere" } }
                }
                @if steps.len() > 1 { tr {
                    th {}
                    @for _ in MEASURES { @for step in &steps { th.number { (step.unwrap_or(&content.retriever)) } } }
                    @if table.rows.len() > 1 { th {} }
                    @if elsewhere { th {} }
                } }
            }
            @for row in &table.rows { tr {
                td.name { (row.name) }
                @for (metric, _) in MEASURES { @for step in &steps { td.number { (cell(content, row, metric, *step)) } } }
                @if table.rows.len() > 1 { td.number { (against(content, row, first)) } }
                @if elsewhere { td.number.soft {
                    @if let Some([recall, ndcg]) = row.elsewhere { (format!("{recall:.3}")) br; (format!("{ndcg:.3}")) }
                } }
            } }
        } }
    }
}

/// A value with its interval, and the seeds' own.
fn cell(content: &Content, row: &ChosenRow, metric: &str, step: Option<&str>) -> Markup {
    let Some(measure) = measure(content, &row.method, metric, step) else { return html! { span.soft { "not made" } } };
    let seeds = seeds(content, &row.method, metric, step);
    html! {
        (format!("{:.4}", measure.value))
        br; span.soft { (format!("{:.4} to {:.4}", measure.low, measure.high)) }
        @if let (Some(least), Some(most)) = (seeds.iter().copied().reduce(f64::min), seeds.iter().copied().reduce(f64::max)) {
            br; span.soft { "seeds " (format!("{least:.4} to {most:.4}")) }
        }
    }
}

/// How far a row is from the first, and whether that could be chance.
fn against(content: &Content, row: &ChosenRow, first: Option<&ChosenRow>) -> Markup {
    let name = |row: &ChosenRow| measure(content, &row.method, MEASURES[0].0, None).map(|found| found.method.as_str());
    let (Some(own), Some(other)) = (name(row), first.and_then(name)) else { return html! {} };
    let found = content.comparisons.iter().find_map(|c| {
        let sign = match (c.a.as_str(), c.b.as_str()) {
            (a, b) if (a, b) == (own, other) => 1.0,
            (a, b) if (b, a) == (own, other) => -1.0,
            _ => return None,
        };
        (c.metric == MEASURES[0].0).then_some((sign * c.difference, c.p_adjusted))
    });
    html! { @if let Some((difference, p)) = found { (format!("{difference:+.4}")) br; span.soft { "p " (p_value(p)) " (Holm)" } } }
}

/// The rows over their numbers.
fn drawn(content: &Content, table: &ChosenTable, over: &str) -> Markup {
    html! {
        div.columns {
            @for (metric, heading) in MEASURES {
                @let found: Vec<Point> = table.rows.iter().filter_map(|row| {
                    let measure = measure(content, &row.method, metric, None)?;
                    Some(Point { x: row.x?, value: measure.value, low: measure.low, high: measure.high })
                }).collect();
                @if !found.is_empty() { figure { figcaption { (heading) " by " (over) } (points(&found, heading)) } }
            }
        }
    }
}

/// The steps of `retrieve` that have lists of any of the methods. A table whose rows name steps of their own has one column.
fn steps<'a>(content: &'a Content, table: &ChosenTable) -> Vec<Option<&'a str>> {
    if table.rows.iter().any(|row| method_and_step(&row.method).1.is_some()) {
        return vec![None];
    }
    let chosen = |name: &str| table.rows.iter().any(|row| row.method == of_mean(name).unwrap_or(name));
    let mut steps: Vec<Option<&str>> = content
        .metrics
        .iter()
        .map(|measure| method_and_step(&measure.method))
        .filter(|(method, _)| chosen(method))
        .map(|(_, step)| step)
        .collect();
    steps.sort_unstable();
    steps.dedup();
    if steps.is_empty() { vec![None] } else { steps }
}

/// All users' average of a method, or of its seeds together. What a row names with a step of its own is of that step.
fn measure<'a>(content: &'a Content, method: &str, metric: &str, step: Option<&str>) -> Option<&'a Measure> {
    let (method, own) = method_and_step(method);
    let of = |m: &&Measure| m.slice == "all" && m.metric == metric && method_and_step(&m.method).1 == own.or(step);
    let named = |m: &&Measure| {
        let (name, _) = method_and_step(&m.method);
        name == method || of_mean(name) == Some(method)
    };
    content.metrics.iter().filter(of).find(named)
}

/// The averages without those of single seeds of which there is a mean.
pub(crate) fn without_single_seeds(metrics: &[Measure]) -> Vec<Measure> {
    let means: BTreeSet<(&str, Option<&str>)> = metrics
        .iter()
        .map(|m| method_and_step(&m.method))
        .filter_map(|(name, step)| Some((of_mean(name)?, step)))
        .collect();
    let has_mean = |m: &&Measure| {
        let (name, step) = method_and_step(&m.method);
        of_seed(name).is_some_and(|base| means.contains(&(base, step)))
    };
    metrics.iter().filter(|m| !has_mean(m)).cloned().collect()
}

/// What the seeds of a method have.
fn seeds(content: &Content, method: &str, metric: &str, step: Option<&str>) -> Vec<f64> {
    let (method, own) = method_and_step(method);
    let step = own.or(step);
    let rows = content.metrics.iter().filter(|m| m.slice == "all" && m.metric == metric);
    let of = |m: &&Measure| {
        let (name, own) = method_and_step(&m.method);
        own == step && of_seed(name) == Some(method)
    };
    rows.filter(of).map(|m| m.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Comparison;

    fn measure(method: &str, metric: &str, value: f64) -> Measure {
        let slice = "all".to_owned();
        Measure {
            method: method.into(),
            slice,
            metric: metric.into(),
            value,
            low: value - 0.01,
            high: value + 0.01,
            users: 7,
            fallback: 0,
        }
    }

    #[test]
    fn seeds_stand_in_one_row_beside_the_first() {
        let mut metrics = Vec::new();
        for metric in ["recall@10", "ndcg@10"] {
            metrics.push(measure("grpo (2 seeds)", metric, 0.2));
            metrics.push(measure("grpo (2 seeds).bm25", metric, 0.15));
            metrics.push(measure("grpo-s1", metric, 0.19));
            metrics.push(measure("grpo-s2", metric, 0.21));
            metrics.push(measure("themes", metric, 0.3));
        }
        let (a, b, metric) = ("grpo (2 seeds)".into(), "themes".into(), "recall@10".into());
        let comparisons = vec![Comparison { a, b, metric, difference: -0.1, relative: None, p_adjusted: 0.03 }];
        let row =
            |method: &str, x| ChosenRow { name: format!("<{method}>"), method: method.into(), x, elsewhere: None };
        assert_eq!(without_single_seeds(&metrics).len(), 6);
        let rows = vec![
            row("themes", Some(1.0)),
            ChosenRow { elsewhere: Some([0.271, 0.241]), ..row("grpo", Some(2.0)) },
            row("student", None),
        ];
        let table = ChosenTable { title: "Table 3".into(), text: String::new(), over: Some("lists".into()), rows };
        let page = tables(&Content { metrics, comparisons, tables: vec![table], ..Content::default() }).into_string();
        let of = |name: &str| {
            page.split("<tr>").find(|row| row.contains(&format!("&lt;{name}&gt;"))).expect("a row").to_owned()
        };
        assert!(of("grpo").contains("0.2000") && of("grpo").contains("seeds 0.1900 to 0.2100"), "{page}");
        assert!(
            of("grpo").contains("0.1500") && of("grpo").contains("-0.1000") && of("grpo").contains("0.271<br>0.241"),
            "{page}"
        );
        assert!(
            of("themes").contains("0.3000") && of("themes").contains("not made"),
            "no list of themes by words: {page}"
        );
        assert_eq!(of("student").matches("not made").count(), 4, "{page}");
        assert_eq!(page.matches("<svg").count(), 2, "{page}");
    }
}
