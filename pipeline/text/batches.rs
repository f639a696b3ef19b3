//! Batches of texts of one length.

use std::ops::Range;

/// Cuts texts, given by their lengths in tokens, into batches of equal length: the order to take them in, and the batches
/// as ranges of it. No batch holds more than `budget_tokens` tokens, but each holds at least one text.
///
/// The cut depends on the lengths alone; texts of one length keep their order.
pub fn batches(lengths: &[usize], budget_tokens: usize) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&text| lengths[text]);
    let mut cuts = Vec::new();
    let mut start = 0;
    for end in 1..=order.len() {
        let length = lengths[order[start]];
        let full = (end - start + 1) * length.max(1) > budget_tokens;
        if end == order.len() || lengths[order[end]] != length || full {
            cuts.push(start..end);
            start = end;
        }
    }
    (order, cuts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_is_in_one_batch_of_its_length(lengths in prop::collection::vec(1_usize..20, 0..200), budget in 1_usize..100) {
            let (order, cuts) = batches(&lengths, budget);
            let mut seen: Vec<usize> = cuts.iter().flat_map(|cut| order[cut.clone()].to_vec()).collect();
            for cut in cuts {
                let length = lengths[order[cut.start]];
                prop_assert!(order[cut.clone()].iter().all(|&text| lengths[text] == length));
                prop_assert!(cut.len() == 1 || cut.len() * length <= budget);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
