//! Ward's clustering (1963): of all clusters the two are merged whose union adds least to the squared distances from the means.
//!
//! Distances to a merged cluster follow from those to its parts (Lance and Williams 1967), in a chain of nearest neighbours (Murtagh 1983):
//! `n²` time and memory. Steps and ties are those of scipy's `linkage(method="ward")`, so that its numbers are equal: a chain begins at the
//! open cluster of the smallest number, of equally near ones the one before in the chain is taken, else the one of the smallest number,
//! and a merged cluster has the larger number of its two.

/// Two clusters made one, as scipy's linkage has it: the points are clusters `0..n`, and the union that step `i` makes is cluster `n + i`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Merge {
    /// The clusters, the smaller number first.
    pub clusters: [usize; 2],
    /// What the merge costs: `√(2·|a|·|b| / (|a| + |b|)) · ‖mean(a) − mean(b)‖`, which for two points is their distance.
    pub cost: f64,
    /// Points in the union.
    pub size: usize,
}

/// All merges of `n` points, cheapest first. `distances`: Euclidean, `[n · n]`.
pub fn ward(mut distances: Vec<f64>, n: usize) -> Vec<Merge> {
    let mut sizes = vec![1_usize; n];
    let mut chain: Vec<usize> = Vec::with_capacity(n);
    // Clusters by the place of one of their points, until all is merged.
    let mut merges: Vec<Merge> = Vec::with_capacity(n.saturating_sub(1));
    while merges.len() + 1 < n {
        if chain.is_empty() {
            chain.extend(sizes.iter().position(|&size| size > 0));
        }
        let (a, b, cost) = loop {
            let top = chain[chain.len() - 1];
            let before = chain.len().checked_sub(2).map(|at| chain[at]);
            let mut nearest = before;
            let mut least = before.map_or(f64::INFINITY, |before| distances[top * n + before]);
            for other in (0..n).filter(|&other| other != top && sizes[other] > 0) {
                if distances[top * n + other] < least {
                    (nearest, least) = (Some(other), distances[top * n + other]);
                }
            }
            match nearest {
                Some(nearest) if Some(nearest) != before => chain.push(nearest),
                nearest => break (top, nearest.unwrap_or(top), least),
            }
        };
        chain.truncate(chain.len() - 2);
        let (gone, kept) = (a.min(b), a.max(b));
        let [of_gone, of_kept] = [sizes[gone], sizes[kept]];
        merges.push(Merge { clusters: [gone, kept], cost, size: of_gone + of_kept });
        (sizes[gone], sizes[kept]) = (0, of_gone + of_kept);
        for other in (0..n).filter(|&other| other != kept && sizes[other] > 0) {
            let [from_gone, from_kept] = [gone, kept].map(|part| distances[part * n + other]);
            let share = 1.0 / (of_gone + of_kept + sizes[other]) as f64;
            let weighted = |part: usize, from: f64| (sizes[other] + part) as f64 * share * from * from;
            let squared =
                weighted(of_gone, from_gone) + weighted(of_kept, from_kept) - sizes[other] as f64 * share * cost * cost;
            let distance = squared.max(0.0).sqrt();
            (distances[kept * n + other], distances[other * n + kept]) = (distance, distance);
        }
    }
    merges.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    named(merges, n)
}

/// Merges in order, with the numbers that unions get by it instead of the places of points.
fn named(mut merges: Vec<Merge>, n: usize) -> Vec<Merge> {
    // The union in which each cluster has gone up, if it has.
    let mut above: Vec<usize> = (0..2 * n).collect();
    for (step, merge) in merges.iter_mut().enumerate() {
        let mut clusters = merge.clusters.map(|mut cluster| {
            while above[cluster] != cluster {
                above[cluster] = above[above[cluster]];
                cluster = above[cluster];
            }
            cluster
        });
        clusters.sort_unstable();
        clusters.iter().for_each(|&cluster| above[cluster] = n + step);
        merge.clusters = clusters;
    }
    merges
}

/// The clusters that are left when merges cost at most `most`: each in ascending order, by their first points.
pub fn cut(merges: &[Merge], n: usize, most: f64) -> Vec<Vec<usize>> {
    let mut clusters: Vec<Vec<usize>> = (0..n).map(|point| vec![point]).collect();
    for merge in merges.iter().take_while(|merge| merge.cost <= most) {
        let mut union: Vec<usize> =
            merge.clusters.iter().flat_map(|&cluster| std::mem::take(&mut clusters[cluster])).collect();
        union.sort_unstable();
        clusters.push(union);
    }
    clusters.retain(|cluster| !cluster.is_empty());
    clusters.sort_unstable_by_key(|cluster| cluster[0]);
    clusters
}

/// Euclidean distances of points with so many coordinates, `[n · n]`.
pub fn distances(points: &[f32], dimensions: usize) -> Vec<f64> {
    let points: Vec<&[f32]> = points.chunks_exact(dimensions).collect();
    let n = points.len();
    let mut distances = vec![0.0; n * n];
    for a in 0..n {
        for b in 0..a {
            let squared: f64 =
                points[a].iter().zip(points[b]).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
            (distances[a * n + b], distances[b * n + a]) = (squared.sqrt(), squared.sqrt());
        }
    }
    distances
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        about: String,
        dimensions: usize,
        points: Vec<f32>,
        /// Rows of scipy's linkage: two clusters, cost, size.
        linkage: Vec<(f64, f64, f64, f64)>,
    }

    #[test]
    fn merges_are_scipys() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../fixtures/baselines/ward.json")).expect("the fixture");
        assert!(cases.iter().any(|case| case.about.contains("ties")));
        for Case { about, dimensions, points, linkage } in cases {
            let n = points.len() / dimensions;
            let merges = ward(distances(&points, dimensions), n);
            assert_eq!(merges.len(), linkage.len(), "{about}");
            for (step, (ours, (a, b, cost, size))) in merges.iter().zip(linkage).enumerate() {
                assert_eq!((ours.clusters, ours.size), ([a as usize, b as usize], size as usize), "{about}, {step}");
                assert!((ours.cost - cost).abs() <= 1e-12 * cost.max(1.0), "{about}, {step}: {} {cost}", ours.cost);
            }
        }
    }

    #[test]
    fn cuts_are_at_costs() {
        let merges = ward(distances(&[0.0, 1.0, 10.0, 12.0], 1), 4);
        assert_eq!(merges[0], Merge { clusters: [0, 1], cost: 1.0, size: 2 });
        assert_eq!(cut(&merges, 4, 0.9), [[0], [1], [2], [3]]);
        assert_eq!(cut(&merges, 4, 1.0), [vec![0, 1], vec![2], vec![3]]);
        assert_eq!(cut(&merges, 4, 2.0), [[0, 1], [2, 3]]);
        assert_eq!(cut(&merges, 4, 1e9), [[0, 1, 2, 3]]);
        assert!(cut(&ward(Vec::new(), 0), 0, 1.0).is_empty());
        assert_eq!(cut(&ward(vec![0.0], 1), 1, 1.0), [[0]]);
    }

    proptest! {
        /// A merge costs what the formula of means says, and none costs less than one before it.
        #[test]
        fn costs_are_of_means(values in proptest::collection::vec(-1.0_f32..1.0, 3 * 24), n in 1..24_usize) {
            let points = &values[..3 * n];
            let merges = ward(distances(points, 3), n);
            let mut clusters: Vec<Vec<usize>> = (0..n).map(|point| vec![point]).collect();
            let mut last = 0.0;
            for merge in &merges {
                let [a, b] = merge.clusters.map(|cluster| clusters[cluster].clone());
                let mean = |of: &[usize], axis: usize| {
                    of.iter().map(|point| f64::from(points[3 * point + axis])).sum::<f64>() / of.len() as f64
                };
                let squared: f64 = (0..3).map(|axis| (mean(&a, axis) - mean(&b, axis)).powi(2)).sum();
                let (x, y) = (a.len() as f64, b.len() as f64);
                let cost = (2.0 * x * y / (x + y) * squared).sqrt();
                prop_assert!((merge.cost - cost).abs() < 1e-6, "{} {}", merge.cost, cost);
                prop_assert!(merge.cost >= last - 1e-9);
                last = merge.cost;
                clusters.push([a, b].concat());
            }
            prop_assert_eq!(merges.last().map_or(1, |merge| merge.size), n);
        }
    }
}
