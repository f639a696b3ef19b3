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

#[cfg(test)]
mod tests {
    use super::*;

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
