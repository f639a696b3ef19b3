//! Themes: what a user's behaviours are about, as clusters of their vectors.
//!
//! Average linkage (UPGMA) on the cosine distance `1 - cos`, cut at a height: two groups are one theme while their members' mean
//! cosine is at least `1 - theme_cut`. So the mean cosine of all pairs of a theme's members is at least that, too, and the
//! theme's medoid is at least as near to its centre as its square root.

use clap::Args;
use dataset::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Vectors;
use crate::exact::dot;

const DAY_US: f64 = 86_400e6;

/// How behaviours become themes.
#[derive(Debug, Clone, Copy, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ThemeSettings {
    /// Behaviours are one theme up to this mean cosine distance
    #[arg(long, value_name = "DISTANCE", default_value_t = 0.55)]
    pub theme_cut: f32,
    /// Themes of a user, at most: the heaviest
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub themes: usize,
    /// A behaviour counts half as much as one so many days later; 0: all count the same
    #[arg(long, value_name = "DAYS", default_value_t = 30.0)]
    pub half_life_days: f32,
}

impl Default for ThemeSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// Some behaviours that are about one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    /// Places of its behaviours, ascending.
    pub members: Vec<usize>,
    /// Its share of the user's interest: the square root of its behaviours' summed weights, all themes' together 1.
    pub weight: f32,
    /// Place of the behaviour that is nearest to the centre; of equally near ones the first.
    pub medoid: usize,
    /// The mean of its behaviours' vectors, at unit length: `[dimensions]`.
    pub centre: Vec<f32>,
}

impl ThemeSettings {
    /// Checks that the settings make sense. `job`: whose they are.
    pub fn check(&self, job: &str) -> Result<()> {
        let ThemeSettings { theme_cut, themes, half_life_days } = *self;
        for (setting, ok, expected, got) in [
            ("theme_cut", (0.0..1.0).contains(&theme_cut), "a distance from 0 up to below 1", theme_cut.to_string()),
            ("themes", themes >= 1, "at least 1", themes.to_string()),
            ("half_life_days", half_life_days >= 0.0, "days, 0 or more", half_life_days.to_string()),
        ] {
            if !ok {
                return Err(Error::setting(
                    &format!("{job}.{setting}"),
                    expected,
                    got,
                    format!("see `querent {job} --help`"),
                ));
            }
        }
        Ok(())
    }

    /// How much behaviours count by their times in microseconds: 1 for the latest, half of it for each half-life before it.
    pub fn recency(&self, occurred_at_us: &[i64]) -> Vec<f32> {
        let latest = occurred_at_us.iter().copied().max().unwrap_or_default();
        let weight = |at: &i64| match self.half_life_days {
            0.0 => 1.0,
            days => (-((latest - at) as f64 / DAY_US) / f64::from(days)).exp2() as f32,
        };
        occurred_at_us.iter().map(weight).collect()
    }

    /// The themes of behaviours with these vectors of unit length and weights, heaviest first; of equally heavy ones the one
    /// whose first behaviour comes first.
    pub fn of(&self, vectors: &Vectors, weights: &[f32]) -> Vec<Theme> {
        let theme = |members: Vec<usize>| {
            let mass: f64 = members.iter().map(|&member| f64::from(weights[member])).sum();
            let centre = centre(vectors, &members);
            let near = |member: &usize| dot(vectors.get(*member), &centre);
            // The last of equals would be chosen otherwise.
            let medoid = members.iter().rev().max_by(|a, b| near(a).total_cmp(&near(b))).copied();
            Theme { medoid: medoid.unwrap_or_default(), members, weight: mass.sqrt() as f32, centre }
        };
        let clusters = average_linkage(distances(vectors), vectors.len(), f64::from(self.theme_cut));
        let mut themes: Vec<Theme> = clusters.into_iter().map(theme).collect();
        themes.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.members.cmp(&b.members)));
        themes.truncate(self.themes);
        let sum: f32 = themes.iter().map(|theme| theme.weight).sum();
        themes.iter_mut().for_each(|theme| theme.weight /= sum);
        themes
    }
}

/// The mean of some vectors, at unit length.
fn centre(vectors: &Vectors, members: &[usize]) -> Vec<f32> {
    let mut sum = vec![0.0_f32; vectors.dimensions()];
    for &member in members {
        sum.iter_mut().zip(vectors.get(member)).for_each(|(sum, x)| *sum += x);
    }
    let length = dot(&sum, &sum).sqrt();
    sum.iter_mut().for_each(|x| *x /= length);
    sum
}

/// Cosine distances `[n · n]`.
fn distances(vectors: &Vectors) -> Vec<f64> {
    let n = vectors.len();
    let mut distances = vec![0.0; n * n];
    for a in 0..n {
        for b in 0..a {
            let distance = 1.0 - f64::from(dot(vectors.get(a), vectors.get(b)));
            (distances[a * n + b], distances[b * n + a]) = (distance, distance);
        }
    }
    distances
}

/// Clusters by average linkage, as far as they are at most `cut` apart: each in ascending order.
///
/// A chain of nearest neighbours: who are nearest to each other are merged, which gives the same clusters as always merging the
/// nearest of all, for a merged cluster is never nearer to others than the nearer of its two was (Murtagh 1983). For the same reason a chain
/// whose last link is longer than the cut is done: its earlier links are longer still.
fn average_linkage(mut distances: Vec<f64>, n: usize, cut: f64) -> Vec<Vec<usize>> {
    let mut members: Vec<Vec<usize>> = (0..n).map(|place| vec![place]).collect();
    let mut open: Vec<usize> = (0..n).collect();
    let mut chain: Vec<usize> = Vec::new();
    let mut done = Vec::new();
    while let Some(&first) = open.first() {
        let top = *chain.last().unwrap_or(&first);
        if chain.is_empty() {
            chain.push(top);
        }
        let before = chain.len().checked_sub(2).map(|at| chain[at]);
        // Of equally near ones the one before in the chain, or there would be no end.
        let others = open.iter().copied().filter(|&other| other != top);
        let nearest =
            before.into_iter().chain(others).min_by(|a, b| distances[top * n + a].total_cmp(&distances[top * n + b]));
        match nearest.filter(|nearest| distances[top * n + nearest] <= cut) {
            None => {
                open.retain(|cluster| !chain.contains(cluster));
                done.append(&mut chain);
            }
            Some(nearest) if Some(nearest) == before => {
                chain.truncate(chain.len() - 2);
                let (kept, gone) = (top.min(nearest), top.max(nearest));
                let sizes = [kept, gone].map(|cluster| members[cluster].len() as f64);
                open.retain(|&cluster| cluster != gone);
                for &other in open.iter().filter(|&&other| other != kept) {
                    let [a, b] = [kept, gone].map(|cluster| distances[cluster * n + other]);
                    let mean = (sizes[0] * a + sizes[1] * b) / (sizes[0] + sizes[1]);
                    // Rounding must not bring a merged cluster nearer, either.
                    let mean = mean.clamp(a.min(b), a.max(b));
                    (distances[kept * n + other], distances[other * n + kept]) = (mean, mean);
                }
                let gone = std::mem::take(&mut members[gone]);
                members[kept].extend(gone);
            }
            Some(nearest) => chain.push(nearest),
        }
    }
    let cluster = |cluster: usize| {
        let mut members = std::mem::take(&mut members[cluster]);
        members.sort_unstable();
        members
    };
    done.into_iter().map(cluster).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Vectors in the plane, by their angles in degrees.
    fn plane(degrees: &[f32]) -> Vectors {
        Vectors::new(2, degrees.iter().flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect())
    }

    #[test]
    fn themes_are_what_lies_together() {
        let settings = ThemeSettings { half_life_days: 0.0, ..ThemeSettings::default() };
        let vectors = plane(&[0.0, 90.0, 10.0, 100.0, 20.0]);
        let themes = settings.of(&vectors, &[1.0; 5]);
        let members: Vec<_> = themes.iter().map(|theme| theme.members.as_slice()).collect();
        assert_eq!(members, [&[0, 2, 4][..], &[1, 3]]);
        assert_eq!((themes[0].medoid, themes[1].medoid), (2, 1));
        let share = 3.0_f32.sqrt() / (3.0_f32.sqrt() + 2.0_f32.sqrt());
        assert!((themes[0].weight - share).abs() < 1e-6);
        assert!((themes[0].centre[0] - 10.0_f32.to_radians().cos()).abs() < 1e-6);
        // The second is recent, the first is old.
        let weighted = settings.of(&vectors, &[0.1, 1.0, 0.1, 1.0, 0.1]);
        assert_eq!(weighted[0].members, [1, 3]);
        let one = ThemeSettings { themes: 1, ..settings }.of(&vectors, &[1.0; 5]);
        assert_eq!((one.len(), one[0].weight), (1, 1.0));
        assert!(settings.of(&Vectors::new(2, Vec::new()), &[]).is_empty());
    }

    #[test]
    fn a_half_life_halves() {
        let day = 86_400_000_000;
        let settings = ThemeSettings { half_life_days: 2.0, ..ThemeSettings::default() };
        assert_eq!(settings.recency(&[10 * day, 8 * day, 6 * day]), [1.0, 0.5, 0.25]);
        assert_eq!(ThemeSettings { half_life_days: 0.0, ..settings }.recency(&[day, 0]), [1.0, 1.0]);
    }

    /// Average linkage as it is defined: the nearest two of all are merged until none are near enough.
    fn by_definition(distances: &[f64], n: usize, cut: f64) -> Vec<Vec<usize>> {
        let mut clusters: Vec<Vec<usize>> = (0..n).map(|place| vec![place]).collect();
        loop {
            let apart = |a: &[usize], b: &[usize]| {
                let sum: f64 = a.iter().flat_map(|a| b.iter().map(move |b| distances[a * n + b])).sum();
                sum / (a.len() * b.len()) as f64
            };
            let pairs = (0..clusters.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
            let nearest =
                pairs.map(|(a, b)| (apart(&clusters[a], &clusters[b]), a, b)).min_by(|a, b| a.0.total_cmp(&b.0));
            match nearest {
                Some((distance, a, b)) if distance <= cut => {
                    let gone = clusters.remove(b);
                    clusters[a].extend(gone);
                }
                _ => break,
            }
        }
        clusters.iter_mut().for_each(|cluster| cluster.sort_unstable());
        clusters.sort_unstable();
        clusters
    }

    proptest! {
        #[test]
        fn the_chain_finds_what_the_definition_says(
            values in proptest::collection::vec(-1.0_f32..1.0, 3 * 30), n in 0..30_usize, cut in 0.0..0.99_f32
        ) {
            let mut values = values[..3 * n].to_vec();
            for vector in values.chunks_exact_mut(3) {
                let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-3);
                vector.iter_mut().for_each(|x| *x /= length);
            }
            let vectors = Vectors::new(3, values);
            let mut clusters = average_linkage(distances(&vectors), n, f64::from(cut));
            clusters.sort_unstable();
            prop_assert_eq!(clusters, by_definition(&distances(&vectors), n, f64::from(cut)));

            let settings = ThemeSettings { theme_cut: cut, themes: 5, half_life_days: 0.0 };
            let themes = settings.of(&vectors, &vec![1.0; n]);
            prop_assert_eq!(themes.len().min(1), n.min(1));
            for theme in &themes {
                let near = dot(vectors.get(theme.medoid), &theme.centre);
                prop_assert!(near >= (1.0 - cut).sqrt() - 1e-3, "{} of {:?}", near, theme);
            }
            let sum: f32 = themes.iter().map(|theme| theme.weight).sum();
            prop_assert!(n == 0 || (sum - 1.0).abs() < 1e-5);
        }
    }
}
