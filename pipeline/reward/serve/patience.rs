//! How often a request is refused because its lists are undecided.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How often each undecided list was refused.
#[derive(Debug)]
pub(super) struct Patience {
    attempts: u32,
    refused: Mutex<HashMap<blake3::Hash, u32>>,
}

impl Patience {
    /// Each list is refused so often.
    pub(super) fn new(attempts: u32) -> Self {
        Patience { attempts, refused: Mutex::default() }
    }

    /// Whether a request with these lists is refused once more: some of them are undecided, and not refused often enough yet. All of its
    /// undecided lists count at once. `lists`: their names, and whether they are undecided.
    pub(super) fn refuses(&self, lists: &HashMap<blake3::Hash, bool>) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let mut again = false;
        for (name, undecided) in lists {
            if *undecided {
                let times = refused.entry(*name).or_default();
                *times += 1;
                again |= *times <= self.attempts;
            } else {
                refused.remove(name);
            }
        }
        if !again {
            refused.retain(|name, _| !lists.contains_key(name));
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_refused_as_often_as_one_list_however_many_are_undecided() {
        let lists = |undecided: &[bool]| -> HashMap<blake3::Hash, bool> {
            (0..).zip(undecided).map(|(at, undecided): (u8, _)| (blake3::hash(&[at]), *undecided)).collect()
        };
        let patience = Patience::new(3);
        for undecided in [&[true][..], &[true, true], &[false, true, true, true]] {
            for round in 0..2 {
                let answers = [0, 1, 2, 3].map(|_| patience.refuses(&lists(undecided)));
                assert_eq!(answers, [true, true, true, false], "{undecided:?}, {round}");
            }
        }
        assert!(!Patience::new(0).refuses(&lists(&[true])));
        assert!(!patience.refuses(&lists(&[false])));
        // What was decided in the end is a new list when it comes again.
        assert!(patience.refuses(&lists(&[true])));
        assert!(!patience.refuses(&lists(&[false])));
        assert!(patience.refused.lock().expect("sound").is_empty());
    }
}
