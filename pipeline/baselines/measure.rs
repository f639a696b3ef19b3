//! How well users' last clicks are told from those before them.

use candle_core::Result;
use nn::by_length;
use rayon::prelude::*;

use crate::{Clicks, Network};

/// Users that are measured together.
const TOGETHER: usize = 64;

/// The place of what is no candidate.
const NOWHERE: usize = usize::MAX;

/// Means over users whose last click was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// Share of users whose last click is among the first ten.
    pub recall_10: f64,
    /// `1 / log2(1 + rank)` of it, 0 beyond the first ten.
    pub ndcg_10: f64,
}

/// Ranks each user's last click among `candidates`, without what they clicked before. Of equal ones the greater number comes first.
pub fn measure(network: &Network, users: &[Clicks], candidates: &[u32]) -> Result<Measured> {
    let clicked = users.iter().flat_map(|user| user.articles.iter().copied());
    let network = network.clone().prepared(clicked)?;
    let table_cd = network.network().articles(candidates)?.t()?.contiguous()?;
    let places = places(candidates);
    let lengths: Vec<usize> = users.iter().map(|user| network.network().sizes.all_len(user)).collect();
    let groups = by_length(&lengths, TOGETHER);
    let ranks: Vec<Vec<usize>> = groups
        .par_iter()
        .map(|group| {
            let before: Vec<Clicks> = group.iter().map(|&user| users[user].without_last(1)).collect();
            let scores = network.last(&before.iter().collect::<Vec<_>>())?.matmul(&table_cd)?.to_vec2::<f32>()?;
            let rank = |(at, scores): (usize, &Vec<f32>)| rank(&users[group[at]], scores, &places);
            Ok(scores.iter().enumerate().map(rank).collect())
        })
        .collect::<Result<_>>()?;
    let mut measured = Measured::default();
    for &rank in ranks.iter().flatten().filter(|&&rank| rank <= 10) {
        measured.recall_10 += 1.0;
        measured.ndcg_10 += 1.0 / (1.0 + rank as f64).log2();
    }
    let count = users.len().max(1) as f64;
    Ok(Measured { recall_10: measured.recall_10 / count, ndcg_10: measured.ndcg_10 / count })
}

/// Where each of the candidates lies, by its number: [`NOWHERE`] for what is none.
fn places(candidates: &[u32]) -> Vec<usize> {
    let mut places = vec![NOWHERE; candidates.last().map_or(0, |last| *last as usize + 1)];
    candidates.iter().enumerate().for_each(|(at, candidate)| places[*candidate as usize] = at);
    places
}

/// The rank of a user's last click, from 1; beyond all if it is no candidate.
fn rank(user: &Clicks, scores: &[f32], places: &[usize]) -> usize {
    let place = |article: &u32| places.get(*article as usize).copied().filter(|place| *place != NOWHERE);
    let Some((target, before)) = user.articles.split_last() else { return usize::MAX };
    let Some(target) = place(target) else { return usize::MAX };
    let of_target = scores[target];
    let earlier = scores[..target].iter().filter(|score| score.total_cmp(&of_target).is_gt()).count();
    let later = scores[target + 1..].iter().filter(|score| score.total_cmp(&of_target).is_ge()).count();
    let better = |other: &usize| scores[*other].total_cmp(&of_target).then(other.cmp(&target)).is_gt();
    let mut hidden: Vec<usize> = before.iter().filter_map(place).filter(better).collect();
    hidden.sort_unstable();
    hidden.dedup();
    1 + earlier + later - hidden.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_clicked_before_is_left_out_and_ties_go_to_the_greater() {
        let user = |articles: &[u32]| Clicks { articles: articles.to_vec(), ..Clicks::default() };
        let scores = [0.9, 0.5, 0.5, 0.1];
        let candidates = places(&[10, 20, 30, 40]);
        assert_eq!(rank(&user(&[40, 20]), &scores, &candidates), 3);
        assert_eq!(rank(&user(&[10, 30]), &scores, &candidates), 1);
        assert_eq!(rank(&user(&[10, 20]), &scores, &candidates), 2);
        assert_eq!(rank(&user(&[10, 10, 30]), &scores, &candidates), 1);
        assert_eq!(rank(&user(&[10, 50]), &scores, &candidates), usize::MAX);
    }
}
