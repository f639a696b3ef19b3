//! PinnerSage (Pal et al. 2020): a user is the medoids of the clusters of what they read, each with an importance. It is not trained.
//!
//! Clusters are Ward's, of the articles' vectors, merged until a merge would cost more than α. A cluster's medoid is the article with the
//! least sum of squared distances to the others. Its importance is `Σ e^{−λ(now − t)}` over its clicks, in days, `now` being the cut-off.
//! The authors draw three medoids by importance; here the most important ones ask, so that a list follows from the user alone.

use clap::Args;
use dataset::{Error, Result};
use news::Vectors;
use serde::{Deserialize, Serialize};

use crate::Clicks;
use crate::ward::{cut, distances, ward};

const DAY_US: f64 = 86_400e6;

/// Settings of PinnerSage.
#[derive(Debug, Clone, Copy, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct PinnerSage {
    /// pinnersage: clusters are merged while that costs at most so much; two articles cost the distance of their vectors of unit length
    #[arg(long, value_name = "COST", default_value_t = 1.0)]
    pub alpha: f64,
    /// pinnersage: medoids that fetch articles, the most important ones (the authors: 3)
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub medoids: usize,
    /// pinnersage: a click counts e^(-lambda) as much as one a day later
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    pub lambda: f64,
    /// pinnersage: clicks of so many days before the cut-off
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    pub history_days: u32,
}

impl Default for PinnerSage {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// A cluster of what a user read.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its clicks, by their places, ascending.
    pub members: Vec<usize>,
    /// The place of the click in its middle; of equals the latest.
    pub medoid: usize,
    /// How much the user cares.
    pub importance: f64,
}

impl PinnerSage {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        for (setting, ok, expected, got) in [
            ("alpha", self.alpha >= 0.0, "a cost of 0 or more", self.alpha.to_string()),
            ("medoids", self.medoids >= 1, "at least 1", self.medoids.to_string()),
            ("lambda", self.lambda >= 0.0 && self.lambda.is_finite(), "a rate of 0 or more", self.lambda.to_string()),
            ("history_days", self.history_days >= 1, "at least 1", self.history_days.to_string()),
        ] {
            if !ok {
                let setting = format!("baseline.{setting}");
                return Err(Error::setting(&setting, expected, got, "see `querent baseline --help`"));
            }
        }
        Ok(())
    }

    /// The clusters of a user's clicks, the most important first; of equals the one with the earliest click. `vectors`: of all articles.
    pub fn clusters(&self, clicks: &Clicks, vectors: &Vectors, now_us: i64) -> Vec<Cluster> {
        let days = |at_us: i64| (now_us - at_us) as f64 / DAY_US;
        let recent = |place: &usize| days(clicks.at_us[*place]) <= f64::from(self.history_days);
        let places: Vec<usize> = (0..clicks.len()).filter(recent).collect();
        let points = vectors.gather(&places.iter().map(|&place| clicks.articles[place]).collect::<Vec<_>>());
        let cluster = |points_of: Vec<usize>| {
            let mut sum = vec![0.0_f64; points.dimensions()];
            for &point in &points_of {
                sum.iter_mut().zip(points.get(point)).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            // Vectors are of unit length, so the least sum of squared distances is the largest product with the sum.
            let near =
                |point: &usize| -> f64 { points.get(*point).iter().zip(&sum).map(|(x, y)| f64::from(*x) * y).sum() };
            let medoid = points_of.iter().max_by(|a, b| near(a).total_cmp(&near(b))).copied().unwrap_or_default();
            let members: Vec<usize> = points_of.iter().map(|&point| places[point]).collect();
            let importance = members.iter().map(|&place| (-self.lambda * days(clicks.at_us[place])).exp()).sum();
            Cluster { medoid: places[medoid], members, importance }
        };
        let n = places.len();
        let merges = ward(distances(points.values(), points.dimensions()), n);
        let mut clusters: Vec<Cluster> = cut(&merges, n, self.alpha).into_iter().map(cluster).collect();
        clusters.sort_by(|a, b| b.importance.total_cmp(&a.importance));
        clusters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Articles in the plane, by their angles in degrees.
    fn plane(degrees: &[f32]) -> Vectors {
        Vectors::new(2, degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect())
    }

    #[test]
    fn users_are_medoids_with_importance() {
        let day = DAY_US as i64;
        let vectors = plane(&[0.0, 90.0, 10.0, 100.0, 20.0]);
        let at_us = [10, 19, 11, 20, 12].map(|at| at * day).to_vec();
        let clicks = Clicks { places: vec![4, 3, 2, 1, 0], ..Clicks::new(vec![0, 1, 2, 3, 4], at_us) };
        let settings = PinnerSage { alpha: 0.5, lambda: 0.0, ..PinnerSage::default() };
        let clusters = settings.clusters(&clicks, &vectors, 20 * day);
        let members: Vec<_> = clusters.iter().map(|cluster| (cluster.members.clone(), cluster.importance)).collect();
        assert_eq!(members, [(vec![0, 2, 4], 3.0), (vec![1, 3], 2.0)]);
        assert_eq!(clusters[0].medoid, 2);
        // Two clicks of yesterday and today against three of last week.
        let decayed = PinnerSage { lambda: 0.5, ..settings }.clusters(&clicks, &vectors, 20 * day);
        assert_eq!(decayed[0].members, [1, 3]);
        assert!((decayed[0].importance - (1.0 + (-0.5_f64).exp())).abs() < 1e-12);
        let recent = PinnerSage { history_days: 1, ..settings }.clusters(&clicks, &vectors, 20 * day);
        assert_eq!(recent.len(), 1);
        let apart = PinnerSage { alpha: 0.0, ..settings }.clusters(&clicks, &vectors, 20 * day);
        assert_eq!(apart.len(), 5);
        assert!(settings.clusters(&Clicks::default(), &vectors, 0).is_empty());
        assert!(PinnerSage { alpha: f64::NAN, ..settings }.check().is_err());
    }
}
