//! How fast policies write lists: medians over turns (the paper's Table 6).

use std::collections::BTreeMap;

use dataset::account::grouped;
use dataset::{Result, Store};
use maud::{Markup, html};
use schemas::Throughput;

use crate::found::Found;

/// A policy's pace.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// What the policy is called.
    pub policy: String,
    /// Its weights.
    pub parameters: u64,
    /// Users who got a list per second: the median over turns.
    pub users: f64,
    /// In the slowest turn.
    pub slowest: f64,
    /// In the fastest turn.
    pub fastest: f64,
    /// Tokens that were read and written per second, the median over turns; what all prompts begin with is not among them.
    pub tokens: f64,
    /// How many times as fast as the first policy, in users.
    pub ratio: f64,
}

/// The paces there are, in the order in which policies were asked.
pub fn paces(store: &Store) -> Result<Vec<Pace>> {
    Found::open(store, &["throughput"])?.paces()
}

impl Found {
    pub(crate) fn paces(&self) -> Result<Vec<Pace>> {
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
        let mut paces: Vec<Pace> = Vec::new();
        for (policy, parameters, [mut users, mut tokens]) in turns.into_values() {
            let (median, tokens) = (median(&mut users), median(&mut tokens));
            let ratio = median / paces.first().map_or(median, |first| first.users);
            let (slowest, fastest) = (users[0], users[users.len() - 1]);
            paces.push(Pace { policy, parameters, users: median, slowest, fastest, tokens, ratio });
        }
        Ok(paces)
    }
}

/// The middle one, or the mean of the two in the middle. Leaves the values in order.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// The paces as a section of the page.
pub(crate) fn throughput(paces: &[Pace]) -> Markup {
    html! {
        @if !paces.is_empty() {
            h2 { "Table 6: how fast lists are written" }
            p.soft {
                "A list for each of the same users, on one machine, in turns: medians, and the slowest and the fastest turn. In the paper a teacher "
                "of 32 billion parameters serves 2 users per second on an A100, a student of 0.5 billion 67."
            }
            div.scroll { table {
                thead { tr {
                    th { "policy" } th.number { "parameters" } th.number { "users/s" } th.number { "tokens/s" } th.number { "times the first" }
                } }
                @for pace in paces { tr {
                    td.name { (pace.policy) } td.number { (grouped(pace.parameters)) }
                    td.number { (format!("{:.1}", pace.users)) br; span.soft { (format!("{:.1} to {:.1}", pace.slowest, pace.fastest)) } }
                    td.number { (grouped(pace.tokens.round() as u64)) } td.number { (format!("{:.2}", pace.ratio)) }
                } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use dataset::{Done, Inputs, KeySource, Resources, Rows, Runner, Stage, Style};
    use schemas::ThroughputColumns;
    use serde::{Deserialize, Serialize};
    use tempfile::TempDir;

    use super::*;

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
    fn a_pace_is_the_median_over_turns() {
        let folder = TempDir::new().unwrap();
        let resources = Resources {
            store: Store::open(folder.path().to_str().unwrap()).unwrap(),
            threads: 1,
            memory_limit: 1 << 30,
            progress: Style::Silent,
            max_bad_ratio: 0.0,
            user_key: KeySource::default(),
        };
        let runner = Runner { resources, shard: None, dry_run: false, keep_versions: 0, git_revision: String::new() };
        assert!(paces(&runner.resources.store).unwrap().is_empty());
        runner.run(&Toy {}, &["throughput"]).unwrap();
        let paces = paces(&runner.resources.store).unwrap();
        let [teacher, student] = paces.as_slice() else { panic!("{paces:?}") };
        assert_eq!((teacher.users, teacher.slowest, teacher.fastest, teacher.ratio), (10.0, 5.0, 20.0, 1.0));
        assert!((student.users - 50.0).abs() < 1e-9 && (student.ratio - 5.0).abs() < 1e-9, "{student:?}");
        assert!((teacher.tokens - 100.0).abs() < 1e-9 && student.parameters == 100);
        let page = throughput(&paces).into_string();
        assert!(page.contains("&lt;teacher&gt;") && page.contains("5.0 to 20.0") && page.contains("5.00"), "{page}");
    }
}
