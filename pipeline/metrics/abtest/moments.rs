//! Moments: the sums over users from which a metric's value, its variance and its covariance with the past follow.

/// n, d, p, q: the numerator and the denominator of a metric, and the same of the time before the experiment.
const COLUMNS: usize = 4;

/// Sums over users of their n, d, p, q, and of the products of every two. They are exact for as long as they are less than 2^53.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// Number of users.
    pub users: f64,
    /// Σ n, Σ d, Σ p, Σ q.
    pub sums: [f64; COLUMNS],
    /// Σ nn, Σ nd, Σ np, Σ nq, Σ dd, Σ dp, Σ dq, Σ pp, Σ pq, Σ qq.
    pub products: [f64; COLUMNS * (COLUMNS + 1) / 2],
}

impl Moments {
    /// Adds a user.
    pub fn add(&mut self, user: [f64; COLUMNS]) {
        self.users += 1.0;
        let mut product = self.products.iter_mut();
        for (left, value) in user.iter().enumerate() {
            self.sums[left] += value;
            user[left..].iter().zip(&mut product).for_each(|(other, sum)| *sum += value * other);
        }
    }

    /// Of the users of both.
    pub fn plus(&self, other: &Moments) -> Moments {
        self.each(other, |a, b| a + b)
    }

    /// Of the users of this who are not of the other, all of whom are of this.
    pub fn minus(&self, other: &Moments) -> Moments {
        self.each(other, |a, b| a - b)
    }

    fn each(&self, other: &Moments, of: impl Fn(f64, f64) -> f64) -> Moments {
        Moments {
            users: of(self.users, other.users),
            sums: std::array::from_fn(|at| of(self.sums[at], other.sums[at])),
            products: std::array::from_fn(|at| of(self.products[at], other.products[at])),
        }
    }

    fn mean(&self, column: usize) -> f64 {
        self.sums[column] / self.users
    }

    /// The sample covariance of two columns.
    fn covariance(&self, a: usize, b: usize) -> f64 {
        let (low, high) = (a.min(b), a.max(b));
        let product = self.products[low * COLUMNS - low * (low + 1) / 2 + high];
        (product - self.sums[a] * self.sums[b] / self.users) / (self.users - 1.0)
    }

    /// The ratio of means of a metric or, with `past`, of its covariate.
    pub(super) fn ratio(&self, past: bool) -> f64 {
        let at = column(past);
        self.mean(at) / self.mean(at + 1)
    }

    /// The sample covariance of two ratios by the delta method: that of (n − R d) / E d, user by user.
    pub(super) fn ratio_covariance(&self, a: bool, b: bool) -> f64 {
        let (ratio_a, ratio_b, a, b) = (self.ratio(a), self.ratio(b), column(a), column(b));
        let linear = self.covariance(a, b) - self.covariance(a, b + 1) * ratio_b - self.covariance(a + 1, b) * ratio_a
            + self.covariance(a + 1, b + 1) * ratio_a * ratio_b;
        linear / self.mean(a + 1) / self.mean(b + 1)
    }
}

fn column(past: bool) -> usize {
    if past { 2 } else { 0 }
}
