//! Every user's values side by side, for tests that compare methods user by user.

use arrow::array::Array;
use dataset::{Error, Result, Rows};
use schemas::{SLICES, UserMetrics};

/// A user's values are one row: `[methods · metrics]`, and all methods have the same users. They lie in the order of their ids: which users a
/// resample draws follows from that, however they are cut into buckets.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) methods: Vec<String>,
    pub(crate) metrics: Vec<(String, Option<i32>)>,
    users: Vec<String>,
    /// For each user, whether they are of each slice.
    slices: Vec<[bool; SLICES.len()]>,
    /// `[users · methods · metrics]`.
    values: Vec<f64>,
}

impl Values {
    pub(crate) fn read(buckets: impl Iterator<Item = Result<Rows<UserMetrics>>>) -> Result<Self> {
        let mut all = Values::default();
        for bucket in buckets {
            all.add(&bucket?)?;
        }
        Ok(all.by_user())
    }

    fn by_user(self) -> Self {
        let width = self.width().max(1);
        let mut order: Vec<usize> = (0..self.users.len()).collect();
        order.sort_unstable_by(|a, b| self.users[*a].cmp(&self.users[*b]));
        let row = |user: &usize| &self.values[user * width..(user + 1) * width];
        let values = order.iter().flat_map(row).copied().collect();
        let slices = order.iter().map(|user| self.slices[*user]).collect();
        Values { users: Vec::new(), slices, values, ..self }
    }

    /// Adds a bucket. Its rows lie by method, user, metric and cut.
    fn add(&mut self, rows: &Rows<UserMetrics>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let uneven = || Error::unreadable("user_metrics", "methods with different users", "run evaluate again");
        let mut methods: Vec<String> = Vec::new();
        let mut metrics: Vec<(String, Option<i32>)> = Vec::new();
        let mut slices = Vec::new();
        let mut by_method: Vec<Vec<f64>> = Vec::new();
        let mut users: Vec<String> = Vec::new();
        for row in rows.columns() {
            let row = row?;
            for at in 0..row.value.len() {
                if methods.last().is_none_or(|last| last != row.method.value(at)) {
                    methods.push(row.method.value(at).to_owned());
                    by_method.push(Vec::new());
                }
                if methods.len() == 1 {
                    if users.last().is_none_or(|last| last != row.user_id.value(at)) {
                        users.push(row.user_id.value(at).to_owned());
                        let cold = row.cold.value(at);
                        slices.push([true, row.split.value(at) == "test", cold, !cold, !row.history.value(at)]);
                    }
                    if users.len() == 1 {
                        metrics.push((row.metric.value(at).to_owned(), row.k.is_valid(at).then(|| row.k.value(at))));
                    }
                }
                let values = by_method.last_mut().expect("a method was pushed");
                let user = users.get(values.len() / metrics.len());
                if user.is_none_or(|user| user != row.user_id.value(at)) {
                    return Err(uneven());
                }
                values.push(row.value.value(at));
            }
        }
        if self.methods.is_empty() {
            (self.methods, self.metrics) = (methods.clone(), metrics.clone());
        }
        let each = metrics.len();
        let same = self.methods == methods && self.metrics == metrics;
        if !same || by_method.iter().any(|values| values.len() != slices.len() * each) {
            return Err(uneven());
        }
        for user in 0..slices.len() {
            for values in &by_method {
                self.values.extend_from_slice(&values[user * each..(user + 1) * each]);
            }
        }
        self.slices.extend(slices);
        self.users.extend(users);
        Ok(())
    }

    /// Values of one user.
    pub(crate) fn width(&self) -> usize {
        self.methods.len() * self.metrics.len()
    }

    /// The rows of a slice's users of whom any value is not 0.
    pub(crate) fn nonzero(&self, slice: usize) -> Vec<f64> {
        let rows = self.values.chunks_exact(self.width().max(1)).zip(&self.slices);
        let rows = rows.filter(|(row, slices)| slices[slice] && row.iter().any(|x| *x != 0.0));
        rows.flat_map(|(row, _)| row.iter().copied()).collect()
    }
}
