//! Advantages: how much better a list is than the others for the same user.

use clap::ValueEnum;
use reward::Components;
use serde::{Deserialize, Serialize};

/// How advantages follow from rewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Advantage {
    /// `A = r − mean(r)` (Dr.GRPO, equation 7): not divided by the deviation, which would make hard and easy users count alike.
    #[default]
    Mean,
    /// Each component is brought to mean 0 and deviation 1 within its group before it is weighted, so that a coarse one cannot drown a fine one
    /// (GDPO).
    Gdpo,
}

/// Rewards closer to each other than this are the same.
const TOLERANCE: f32 = 1e-5;

/// Advantages of a group's lists; none where a reward is null, and none at all where the rewards do not differ: such a group teaches nothing.
/// `weighted`: each list's components as they enter the reward, by these weights.
pub(crate) fn advantages(how: Advantage, weighted: &[Components], weights: [f32; 5]) -> Vec<Option<f32>> {
    let rewards: Vec<Option<f32>> = weighted.iter().map(Components::sum).collect();
    let known: Vec<usize> = (0..rewards.len()).filter(|&list| rewards[list].is_some()).collect();
    let spread = |values: &[f32]| {
        let (least, most) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
        most - least > TOLERANCE
    };
    let mean = |values: &[f32]| (values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64) as f32;
    let values: Vec<f32> = known.iter().filter_map(|&list| rewards[list]).collect();
    let mut out = vec![None; rewards.len()];
    match how {
        Advantage::Mean if spread(&values) => {
            let mean = mean(&values);
            known.iter().zip(&values).for_each(|(&list, value)| out[list] = Some(value - mean));
        }
        Advantage::Mean => {}
        Advantage::Gdpo => {
            let mut sums = vec![0.0; known.len()];
            let mut any = false;
            for (component, weight) in weights.into_iter().enumerate() {
                let values: Vec<f32> = known.iter().filter_map(|&list| weighted[list].0[component]).collect();
                if values.len() == known.len() && spread(&values) {
                    let mean = mean(&values);
                    let square = values.iter().map(|x| f64::from(x - mean).powi(2)).sum::<f64>() / values.len() as f64;
                    let deviation = square.sqrt() as f32;
                    sums.iter_mut().zip(&values).for_each(|(sum, x)| *sum += weight * (x - mean) / deviation);
                    any = true;
                }
            }
            if any {
                known.iter().zip(sums).for_each(|(&list, sum)| out[list] = Some(sum));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: [f32; 5]) -> Components {
        Components(values.map(Some))
    }

    #[test]
    fn what_does_not_differ_teaches_nothing_and_null_is_left_out() {
        let same = vec![of([0.2, 0.3, 0.0, 1.0, 1.0]); 4];
        for how in [Advantage::Mean, Advantage::Gdpo] {
            assert_eq!(advantages(how, &same, [1.0; 5]), [None; 4]);
            assert_eq!(advantages(how, &[], [1.0; 5]), []);
        }
        let mut some = same.clone();
        some[1] = of([0.6, 0.3, 0.0, 1.0, 1.0]);
        some[2].0[1] = None;
        let got = advantages(Advantage::Mean, &some, [1.0; 5]);
        assert_eq!(got[2], None);
        // Mean of 2.5, 2.9 and 2.5.
        assert!((got[0].expect("known") + 0.4 / 3.0).abs() < 1e-6 && (got[1].expect("known") - 0.8 / 3.0).abs() < 1e-6);
        // One of three: mean 0, deviation 1.
        let got = advantages(Advantage::Gdpo, &some, [1.0; 5]);
        assert!((got[1].expect("known") - 2f32.sqrt()).abs() < 1e-4, "{got:?}");
    }

    #[test]
    fn a_component_counts_by_its_weight_however_advantages_are_made() {
        // The first list is better by align, the second by coverage, which counts five times as much.
        let weights = [1.0, 5.0, 1.0, 1.0, 1.0];
        let lists = [of([0.9, 5.0 * 0.2, 0.0, 0.0, 0.0]), of([0.1, 5.0 * 0.4, 0.0, 0.0, 0.0])];
        for (how, second) in [(Advantage::Mean, 0.1), (Advantage::Gdpo, 5.0 - 1.0)] {
            let got = advantages(how, &lists, weights);
            assert!((got[1].expect("known") - second).abs() < 1e-4, "{how:?}: {got:?}");
        }
    }

    proptest! {
        #[test]
        fn advantages_of_a_group_sum_to_nothing_and_keep_the_order(
            values in proptest::collection::vec(proptest::array::uniform5(0.0_f32..1.0), 2..9),
        ) {
            let lists: Vec<Components> = values.iter().map(|values| of(*values)).collect();
            for how in [Advantage::Mean, Advantage::Gdpo] {
                let got: Vec<f32> = advantages(how, &lists, [1.0; 5]).into_iter().flatten().collect();
                prop_assert!(got.len() == lists.len() || got.is_empty());
                prop_assert!(got.iter().sum::<f32>().abs() < 1e-3);
            }
            let got: Vec<Option<f32>> = advantages(Advantage::Mean, &lists, [1.0; 5]);
            for (a, x) in lists.iter().zip(&got) {
                for (b, y) in lists.iter().zip(&got) {
                    let sum = |c: &Components| c.0.into_iter().flatten().sum::<f32>();
                    if sum(a) > sum(b) + 1e-4 {
                        prop_assert!(x > y);
                    }
                }
            }
        }
    }
}
