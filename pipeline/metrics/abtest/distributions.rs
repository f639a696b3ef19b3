//! Tails and quantiles: normal, Student's t with any degrees of freedom, noncentral t, chi-squared.
//!
//! Experiments have millions of degrees of freedom, where expansions of the incomplete beta function lose digits. So Student's t is
//! integrated numerically, and every normalising constant is an integral by the same rule.

use std::f64::consts::{FRAC_PI_2, PI, SQRT_2};

/// P(Z > x) of the standard normal distribution.
pub fn normal_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x / SQRT_2)
}

/// The point below which a standard normal variable lies with probability `p`, from 0 to 1.
pub fn normal_quantile(p: f64) -> f64 {
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
    quantile(p, normal_tail, density)
}

/// The point x with P(X ≤ x) = `p` of a distribution that is symmetric around 0: Newton's method for the logarithm of its tail, within a
/// bracket that every step narrows.
fn quantile(p: f64, tail: impl Fn(f64) -> f64, density: impl Fn(f64) -> f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p, tail, density);
    }
    let (mut low, mut high, mut x) = (0.0, f64::INFINITY, 0.0);
    for _ in 0..200 {
        let at = tail(x);
        if at > p {
            low = x
        } else {
            high = x
        }
        let step = at / density(x) * (at / p).ln();
        if step.abs() <= 1e-14 * x.abs() {
            break;
        }
        x = match (low..=high).contains(&(x + step)) {
            true => x + step,
            false if high.is_finite() => 0.5 * (low + high),
            false => 2.0 * x + 1.0,
        };
    }
    -x
}

/// Student's t distribution.
#[derive(Debug, Clone, Copy)]
pub struct StudentT {
    freedom: f64,
    /// ∫ f(y) / f(0) dy from 0.
    half: f64,
}

impl StudentT {
    /// With so many degrees of freedom, more than 0.
    pub fn new(freedom: f64) -> Self {
        let half = Self { freedom, half: 1.0 }.above(0.0);
        StudentT { freedom, half }
    }

    /// f(x) / f(0).
    fn relative_density(self, x: f64) -> f64 {
        (-0.5 * (self.freedom + 1.0) * (x * x / self.freedom).ln_1p()).exp()
    }

    /// ∫ f(y) / f(x) dy from x ≥ 0, by the double exponential rule: y = x + s · exp(π/2 sinh u).
    fn above(self, x: f64) -> f64 {
        let square = self.freedom + x * x;
        let falls = (self.freedom + 1.0) * x / square;
        let scale = 1.0 / (falls + ((self.freedom + 1.0) / square).sqrt());
        const STEP: f64 = 1.0 / 16.0;
        let nodes = (-70..=80).map(|node| {
            let u = f64::from(node) * STEP;
            let reach = scale * (FRAC_PI_2 * u.sinh()).exp();
            // y² − x², without cancellation.
            let more = reach * (reach + 2.0 * x);
            let ratio = (-0.5 * (self.freedom + 1.0) * (more / square).ln_1p()).exp();
            if ratio > 0.0 { ratio * reach * FRAC_PI_2 * u.cosh() } else { 0.0 }
        });
        nodes.sum::<f64>() * STEP
    }

    /// P(T > x).
    pub fn tail(self, x: f64) -> f64 {
        match x >= 0.0 {
            true => 0.5 * self.relative_density(x) * self.above(x) / self.half,
            false => 1.0 - self.tail(-x),
        }
    }

    /// The point below which T lies with probability `p`, from 0 to 1.
    pub fn quantile(self, p: f64) -> f64 {
        quantile(p, |x| self.tail(x), |x| 0.5 * self.relative_density(x) / self.half)
    }

    /// P(T' ≤ x) of the noncentral distribution: of (Z + `shift`) / √(χ² / ν).
    ///
    /// The trapezoidal rule over s = √(χ² / ν), whose density is proportional to s^(ν−1) exp(−ν s² / 2).
    pub fn noncentral_below(self, x: f64, shift: f64) -> f64 {
        const NODES: i32 = 1000;
        const DEVIATIONS: f64 = 14.0;
        let peak = ((self.freedom - 1.0).max(0.0) / self.freedom).sqrt();
        let width = DEVIATIONS / (2.0 * self.freedom).sqrt();
        let low = (peak - width).max(0.0);
        let step = (peak + width - low) / f64::from(NODES);
        let log_density = |s: f64| (self.freedom - 1.0) * s.ln() - 0.5 * self.freedom * s * s;
        let most = log_density(peak.max(step));
        let (mut sum, mut total) = (0.0, 0.0);
        for node in 1..NODES {
            let s = low + step * f64::from(node);
            let weight = (log_density(s) - most).exp();
            total += weight;
            sum += weight * normal_tail(shift - x * s);
        }
        sum / total
    }
}

/// P(X > x) of the chi-squared distribution with so many degrees of freedom, by its finite series.
pub fn chi_squared_tail(x: f64, freedom: u32) -> f64 {
    let half = x / 2.0;
    let even = freedom.is_multiple_of(2);
    let mut term = if even { (-half).exp() } else { (-half).exp() * (half / (PI / 4.0)).sqrt() };
    let mut sum = if even { 0.0 } else { libm::erfc(half.sqrt()) };
    for k in 0..freedom / 2 {
        sum += term;
        term *= half / (f64::from(k) + if even { 1.0 } else { 1.5 });
    }
    sum
}
