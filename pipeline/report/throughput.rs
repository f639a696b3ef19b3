//! How fast policies write lists: medians over turns. Settings may say what a paper has beside:
//!
//! ```toml
//! [report.throughput]
//! title = "Table 6: how fast lists are written"
//! text = "In the paper …"
//! ```

use std::collections::BTreeMap;

use dataset::account::grouped;
use dataset::{Result, Store};
use maud::{Markup, html};
use schemas::Throughput;
use serde::{Deserialize, Serialize};

use crate::found::Found;

/// The words above the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThroughputWords {
    /// Its heading.
    pub title: String,
    /// What a reader should know.
    pub text: String,
}

impl Default for ThroughputWords {
    fn default() -> Self {
        ThroughputWords { title: "How fast lists are written".into(), text: String::new() }
    }
}

/// What a policy can do.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyThroughput {
    /// What the policy is called.
    pub policy: String,
    /// Its weights.
    pub parameters: u64,
    /// Users who get a list per second: the median over turns.
    pub users_per_s: f64,
    /// In the slowest turn.
    pub slowest_users_per_s: f64,
    /// In the fastest turn.
    pub fastest_users_per_s: f64,
    /// Tokens that are read and written per second, the median over turns; what all prompts begin with is not among them.
    pub tokens_per_s: f64,
    /// Its users per second over the first policy's.
    pub times_first: f64,
}

/// What there is, in the order in which policies were asked.
pub fn throughput(store: &Store) -> Result<Vec<PolicyThroughput>> {
    Found::open(store, &["throughput"])?.throughput()
}

impl Found {
    pub(crate) fn throughput(&self) -> Result<Vec<PolicyThroughput>> {
        let mut turns: BTreeMap<i32, (String, u64, [Vec<f64>; 2])> = BTreeMap::new();
        for columns in self.all::<Throughput>("throughput")? {
            for row in 0..columns.seconds.len() {
                let entry = turns.entry(columns.position.value(row)).or_insert_with(|| {
                    (columns.policy.value(row).into(), columns.parameters.value(row) as u64, Default::default())
                });
                let tokens = columns.prompt_tokens.value(row) + columns.sampled_tokens.value(row);
                let done = [columns.users.value(row), tokens];
                for (rates, done) in entry.2.iter_mut().zip(done) {
                    rates.push(done as f64 / columns.seconds.value(row));
                }
            }
        }
        let mut all: Vec<PolicyThroughput> = Vec::new();
        for (policy, parameters, [mut users, mut tokens]) in turns.into_values() {
            let (users_per_s, tokens_per_s) = (median(&mut users), median(&mut tokens));
            all.push(PolicyThroughput {
                policy,
                parameters,
                users_per_s,
                slowest_users_per_s: users[0],
                fastest_users_per_s: users[users.len() - 1],
                tokens_per_s,
                times_first: users_per_s / all.first().map_or(users_per_s, |first| first.users_per_s),
            });
        }
        Ok(all)
    }
}

/// The middle one, or the mean of the two in the middle. Leaves the values in order.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// The section of the page.
pub(crate) fn section(all: &[PolicyThroughput], words: &ThroughputWords) -> Markup {
    html! {
        @if !all.is_empty() {
            h2 { (words.title) }
            p.soft {
                "A list for each of the same users, on one machine, in turns: medians over turns, and the slowest and the fastest one. " (words.text)
            }
            div.scroll { table {
                thead { tr {
                    th { "policy" } th.number { "parameters" } th.number { "users/s" } th.number { "tokens/s" } th.number { "times the first" }
                } }
                @for of in all { tr {
                    td.name { (of.policy) } td.number { (grouped(of.parameters)) }
                    td.number {
                        (format!("{:.1}", of.users_per_s))
                        br; span.soft { (format!("{:.1} to {:.1}", of.slowest_users_per_s, of.fastest_users_per_s)) }
                    }
                    td.number { (grouped(of.tokens_per_s.round() as u64)) } td.number { (format!("{:.2}", of.times_first)) }
                } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use dataset::{Done, Inputs, Resources, Rows, Stage};
    use schemas::ThroughputColumns;
    use tempfile::TempDir;

    use super::*;
    use crate::report::tests::runner;

    #[derive(Serialize, Deserialize)]
    struct Toy {}

    impl Stage for Toy {
        const NAME: &'static str = "toy";
        const VERSION: u32 = 1;
        const UNIT: &'static str = "turns";
        type Inputs = ();
        type Shared = ();
        type Outputs = Rows<Throughput>;

        fn inputs(&self, _: &mut Inputs<'_>) -> Result<()> {
            Ok(())
        }

        fn open(&self, _: &(), _: &Resources) -> Result<()> {
            Ok(())
        }

        fn run(&self, _: &(), _: &(), _: u32) -> Result<Done<Rows<Throughput>>> {
            // A teacher of 10, 20 and 5 users per second, a student of 40 and 60.
            let outputs = Rows::of(ThroughputColumns {
                position: vec![1, 1, 1, 2, 2].into(),
                policy: vec!["<teacher>", "<teacher>", "<teacher>", "student", "student"].into(),
                parameters: vec![1000, 1000, 1000, 100, 100].into(),
                threads: vec![1; 5].into(),
                turn: vec![1, 2, 3, 1, 2].into(),
                users: vec![100; 5].into(),
                prompt_tokens: vec![300; 5].into(),
                sampled_tokens: vec![700; 5].into(),
                seconds: vec![10.0, 5.0, 20.0, 2.5, 100.0 / 60.0].into(),
            })?;
            Ok(Done { outputs, accounts: Vec::new() })
        }
    }

    #[test]
    fn a_rate_is_the_median_over_turns() {
        let folder = TempDir::new().unwrap();
        let runner = runner(folder.path());
        assert!(throughput(&runner.resources.store).unwrap().is_empty());
        runner.run(&Toy {}, &["throughput"]).unwrap();
        let all = throughput(&runner.resources.store).unwrap();
        let [teacher, student] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((teacher.users_per_s, teacher.times_first), (10.0, 1.0));
        assert_eq!((teacher.slowest_users_per_s, teacher.fastest_users_per_s), (5.0, 20.0));
        assert!((student.users_per_s - 50.0).abs() < 1e-9 && (student.times_first - 5.0).abs() < 1e-9, "{student:?}");
        assert!((teacher.tokens_per_s - 100.0).abs() < 1e-9 && student.parameters == 100);
        let page = section(&all, &ThroughputWords::default()).into_string();
        assert!(page.contains("&lt;teacher&gt;") && page.contains("5.0 to 20.0") && page.contains("5.00"), "{page}");
        assert!(section(&[], &ThroughputWords::default()).into_string().is_empty());
    }
}
