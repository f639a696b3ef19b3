//! The order in which users come: shuffled anew in each epoch, a function of seed and cursor alone.

use dataset::bucket::stream;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Users number 0 to `users`, endlessly.
#[derive(Debug)]
pub struct Order {
    users: usize,
    seed: u64,
    /// The epoch whose order is known.
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Order {
    /// The order of so many users.
    pub fn new(users: usize, seed: u64) -> Self {
        Order { users, seed, epoch: None, order: Vec::new() }
    }

    /// The user at a place of the endless order, and the epoch.
    pub fn at(&mut self, cursor: u64) -> (usize, u64) {
        let epoch = cursor / self.users as u64;
        if self.epoch != Some(epoch) {
            self.order = (0..self.users).collect();
            let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(self.seed, "order", epoch.to_le_bytes()));
            self.order.shuffle(&mut random);
            self.epoch = Some(epoch);
        }
        (self.order[(cursor % self.users as u64) as usize], epoch)
    }
}

impl Order {
    /// So many users for one step, and the cursor after them. Nobody comes twice in a step: where an epoch has too few left, the next one begins.
    pub fn step(&mut self, cursor: u64, count: usize) -> (Vec<usize>, u64) {
        let (users, count) = (self.users as u64, count as u64);
        assert!(count <= users, "{count} users a step, of {users}");
        let left = users - cursor % users;
        let first = if left < count { cursor + left } else { cursor };
        ((first..first + count).map(|at| self.at(at).0).collect(), first + count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nobody_comes_twice_in_a_step_and_hardly_anyone_is_left_out(users in 1_usize..40, count in 1_usize..40, seed: u64) {
            prop_assume!(count <= users);
            let mut order = Order::new(users, seed);
            let (mut cursor, steps) = (0, users / count);
            for _ in 0..3 {
                let mut epoch = Vec::new();
                for _ in 0..steps {
                    let (step, after) = order.step(cursor, count);
                    prop_assert_eq!(Order::new(users, seed).step(cursor, count), (step.clone(), after), "jumps change nothing");
                    epoch.extend(step);
                    cursor = after;
                }
                epoch.sort_unstable();
                epoch.dedup();
                prop_assert_eq!(epoch.len(), steps * count);
            }
        }
    }

    #[test]
    fn everyone_comes_once_an_epoch_and_jumps_change_nothing() {
        let mut order = Order::new(7, 3);
        let first: Vec<_> = (0..21).map(|cursor| order.at(cursor)).collect();
        for epoch in first.chunks(7) {
            let mut users: Vec<usize> = epoch.iter().map(|(user, _)| *user).collect();
            users.sort_unstable();
            assert_eq!(users, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(
            first[..7].iter().map(|x| x.0).collect::<Vec<_>>(),
            first[7..14].iter().map(|x| x.0).collect::<Vec<_>>()
        );
        for cursor in [20, 3, 11, 0] {
            assert_eq!(Order::new(7, 3).at(cursor), first[cursor as usize]);
        }
    }
}
