//! Two arms' values of a metric, and what they tell: lift, intervals, p-values, power.
//!
//! The user is the unit and the cluster: a variance is one over users, of all that a user did. A ratio of sums has the variance of its
//! linearisation (delta method). CUPED (Deng et al. 2013) subtracts what the time before the experiment explains, with one coefficient for
//! both arms, and for ratios too.

use super::Moments;
use super::distributions::{StudentT, normal_quantile, normal_tail};

/// One minus the confidence of all intervals.
pub const ALPHA: f64 = 0.05;
/// The probability with which the minimal detectable effect is found.
pub const DETECTS: f64 = 0.8;

/// A metric of one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arm {
    /// Number of users.
    pub users: f64,
    /// The metric.
    pub value: f64,
    /// Its variance times `users`.
    pub variance: f64,
}

/// An estimate and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A metric of two arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// What is compared with.
    pub control: Arm,
    /// What is compared.
    pub treatment: Arm,
    /// Both arms together, for questions of power.
    pub pooled: Arm,
}

impl Pair {
    /// The arms as they are. Values are multiplied by `scale`.
    pub fn plain(control: &Moments, treatment: &Moments, scale: f64) -> Self {
        Self::adjusted(control, treatment, scale, 0.0)
    }

    /// The arms, adjusted by the past; none where the past tells nothing, for it is unknown or the same for all users.
    pub fn cuped(control: &Moments, treatment: &Moments, scale: f64) -> Option<Self> {
        let both = control.plus(treatment);
        let coefficient = both.ratio_covariance(false, true) / both.ratio_covariance(true, true);
        let known = control.ratio(true).is_finite() && treatment.ratio(true).is_finite();
        (coefficient.is_finite() && known).then(|| Self::adjusted(control, treatment, scale, coefficient))
    }

    fn adjusted(control: &Moments, treatment: &Moments, scale: f64, coefficient: f64) -> Self {
        let both = control.plus(treatment);
        let arm = |arm: &Moments| {
            let (mut value, mut variance) = (arm.ratio(false), arm.ratio_covariance(false, false));
            if coefficient != 0.0 {
                value -= coefficient * (arm.ratio(true) - both.ratio(true));
                variance += coefficient * coefficient * arm.ratio_covariance(true, true)
                    - 2.0 * coefficient * arm.ratio_covariance(false, true);
            }
            Arm { users: arm.users, value: scale * value, variance: scale * scale * variance.max(0.0) }
        };
        Pair { control: arm(control), treatment: arm(treatment), pooled: arm(&both) }
    }

    /// The variances of the two values.
    fn variances(&self) -> (f64, f64) {
        (self.control.variance / self.control.users, self.treatment.variance / self.treatment.users)
    }

    fn error(&self) -> f64 {
        let (control, treatment) = self.variances();
        (control + treatment).sqrt()
    }

    /// Welch's degrees of freedom for two variances of means.
    fn freedom(&self, control: f64, treatment: f64) -> f64 {
        let sum = control + treatment;
        sum * sum
            / (control * control / (self.control.users - 1.0) + treatment * treatment / (self.treatment.users - 1.0))
    }

    /// Treatment minus control, with its 95% interval (Welch's t).
    pub fn difference(&self) -> Interval {
        let value = self.treatment.value - self.control.value;
        let (control, treatment) = self.variances();
        let half = half_width(self.error(), self.freedom(control, treatment));
        Interval { value, low: value - half, high: value + half }
    }

    /// Whether there is a lift: both values are positive.
    pub fn has_lift(&self) -> bool {
        self.control.value > 0.0 && self.treatment.value > 0.0
    }

    /// The difference, relative to the control, with its 95% interval: the delta method for the logarithm of the ratio.
    pub fn lift(&self) -> Interval {
        let ratio = self.treatment.value / self.control.value;
        let (control, treatment) = self.variances();
        let control = control / self.control.value / self.control.value;
        let treatment = treatment / self.treatment.value / self.treatment.value;
        let factor = half_width((control + treatment).sqrt(), self.freedom(control, treatment)).exp();
        Interval { value: ratio - 1.0, low: ratio / factor - 1.0, high: ratio * factor - 1.0 }
    }

    /// Two-sided p-value of the difference (Welch's t).
    pub fn p_value(&self) -> f64 {
        let difference = (self.treatment.value - self.control.value).abs();
        let (control, treatment) = self.variances();
        match self.error() {
            error if error > 0.0 => 2.0 * StudentT::new(self.freedom(control, treatment)).tail(difference / error),
            _ if difference == 0.0 => 1.0,
            _ => 0.0,
        }
    }

    /// The always-valid interval of the lift, and its p-value: a confidence sequence that holds at all looks at once.
    ///
    /// The normal mixture of Waudby-Smith et al. (2021, arXiv 2103.06476, equations 9 and 155). `tuning` is the number of users at which it
    /// is about the tightest.
    pub fn always_valid(&self, tuning: f64) -> (Interval, f64) {
        let value = self.treatment.value / self.control.value - 1.0;
        let (control, treatment) = self.variances();
        let base = self.control.value * self.control.value;
        let variance = treatment / base + control * self.treatment.value * self.treatment.value / (base * base);
        let users = self.control.users + self.treatment.users;
        let sides = -2.0 * ALPHA.ln();
        let rho2 = (sides + (sides + 1.0).ln()) / tuning;
        let spread = users * rho2 + 1.0;
        let half = (variance * 2.0 * spread * (spread.sqrt() / ALPHA).ln() / (users * rho2)).sqrt();
        let p_value = match variance > 0.0 {
            true => (spread.sqrt() / (rho2 * value * value * users / variance / (2.0 * spread)).exp()).min(1.0),
            false if value == 0.0 => 1.0,
            false => 0.0,
        };
        (Interval { value, low: value - half, high: value + half }, p_value)
    }

    /// The probability of p < 0.05 (noncentral t), if the lift is this.
    pub fn power(&self, lift: f64) -> f64 {
        let (t, error) = self.alternative();
        self.reaches(t, t.quantile(1.0 - ALPHA / 2.0), lift * self.pooled.value / error)
    }

    fn reaches(&self, t: StudentT, critical: f64, shift: f64) -> f64 {
        t.noncentral_below(-critical, shift) + 1.0 - t.noncentral_below(critical, shift)
    }

    /// The distribution of the difference's statistic, and the difference's standard error, if both arms vary as both together do.
    fn alternative(&self) -> (StudentT, f64) {
        let (control, treatment) =
            (self.pooled.variance / self.control.users, self.pooled.variance / self.treatment.users);
        (StudentT::new(self.freedom(control, treatment)), (control + treatment).sqrt())
    }

    /// The lift that is found with a probability of 80%; none where the metric is not positive or does not vary.
    pub fn detectable(&self) -> Option<f64> {
        if self.pooled.value <= 0.0 || self.pooled.variance <= 0.0 {
            return None;
        }
        let (t, error) = self.alternative();
        let critical = t.quantile(1.0 - ALPHA / 2.0);
        let (mut low, mut high) = (0.0, 1.0);
        while self.reaches(t, critical, high) < DETECTS {
            high *= 2.0;
        }
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.reaches(t, critical, middle) < DETECTS { low = middle } else { high = middle }
        }
        Some(high * error / self.pooled.value)
    }

    /// Whether the treatment loses less than a share `margin` of the control: the lower end of the difference's one-sided 95% interval, and the
    /// p-value of a loss of that share (normal).
    pub fn non_inferiority(&self, margin: f64) -> (f64, f64) {
        let (difference, error) = (self.treatment.value - self.control.value, self.error());
        let above = difference + margin * self.control.value;
        let p_value = match error > 0.0 {
            true => normal_tail(above / error),
            false if above > 0.0 => 0.0,
            false => 1.0,
        };
        (difference - normal_quantile(1.0 - ALPHA) * error, p_value)
    }
}

/// Half the width of a 95% interval by Student's t.
fn half_width(error: f64, freedom: f64) -> f64 {
    if error > 0.0 { StudentT::new(freedom).quantile(1.0 - ALPHA / 2.0) * error } else { 0.0 }
}
