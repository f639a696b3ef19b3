//! What a model of sequences sees of a user: the latest of what they clicked, or of all that they did.

use crate::{Clicks, Records, Sizes};

/// Something that a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    /// A click on the article of this number.
    Click(u32),
    /// A search, by its words.
    Search(&'a [u32]),
    /// A visit to a page, by its title's words.
    Visit(&'a [u32]),
}

/// A part of what a user did, oldest first, and what is to be told from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window<'a> {
    pub(crate) seen: Vec<Seen<'a>>,
    /// When, in seconds.
    pub(crate) at_s: Vec<i64>,
    /// Places of `seen` after which a click follows.
    pub(crate) places: Vec<u32>,
    /// The articles of those clicks.
    pub targets: Vec<u32>,
}

impl Window<'_> {
    /// Behaviours that are seen.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }
}

impl Sizes {
    /// The latest behaviours before a user's last click, with the clicks that follow one of them as targets: to learn from. Without searches and
    /// visits, each click but the first is a target.
    pub fn learnt<'a>(&self, user: &'a Clicks) -> Window<'a> {
        let all = self.in_order(user);
        let is_click = |seen: &Seen<'_>| matches!(seen, Seen::Click(_));
        let end = all.iter().rposition(|(_, seen)| is_click(seen)).unwrap_or(0);
        let start = end.saturating_sub(self.length);
        let mut window = Window::of(&all[start..end]);
        for (place, (_, next)) in (0..).zip(all.iter().take(end + 1).skip(start + 1)) {
            if let Seen::Click(article) = next {
                window.places.push(place);
                window.targets.push(*article);
            }
        }
        window
    }

    /// The latest behaviours of all, without targets: to ask with.
    pub(crate) fn latest<'a>(&self, user: &'a Clicks) -> Window<'a> {
        let all = self.in_order(user);
        Window::of(&all[all.len().saturating_sub(self.length)..])
    }

    /// How many behaviours there are to see, of which `latest` has the last ones.
    pub(crate) fn all_len(&self, user: &Clicks) -> usize {
        user.len() + if self.cross_domain { user.searches.texts.len() + user.visits.texts.len() } else { 0 }
    }

    /// What a model sees of a user, oldest first, with times in microseconds. Of one time clicks come first: what is no earlier than a click says
    /// nothing about it.
    fn in_order<'a>(&self, user: &'a Clicks) -> Vec<(i64, Seen<'a>)> {
        let clicks = user.articles.iter().zip(&user.at_us).map(|(article, at_us)| (*at_us, Seen::Click(*article)));
        let mut all: Vec<_> = clicks.collect();
        if self.cross_domain {
            all.extend(texts(&user.searches, Seen::Search));
            all.extend(texts(&user.visits, Seen::Visit));
            all.sort_by_key(|(at_us, _)| *at_us);
        }
        all
    }
}

fn texts<'a>(records: &'a Records, seen: impl Fn(&'a [u32]) -> Seen<'a> + 'a) -> impl Iterator<Item = (i64, Seen<'a>)> {
    records.at_us.iter().enumerate().map(move |(text, at_us)| (*at_us, seen(records.texts.get(text))))
}

impl<'a> Window<'a> {
    fn of(behaviours: &[(i64, Seen<'a>)]) -> Self {
        Window {
            seen: behaviours.iter().map(|(_, seen)| *seen).collect(),
            at_s: behaviours.iter().map(|(at_us, _)| at_us.div_euclid(1_000_000)).collect(),
            ..Window::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn each_click_is_told_from_what_was_before_it() {
        let mut user = Clicks::new(vec![5, 6, 7, 8], vec![-1, SECOND, 3 * SECOND - 1, 3 * SECOND]);
        let of = |length, cross_domain| Sizes { length, cross_domain, ..Sizes::default() };
        let clicks = |articles: &[u32]| articles.iter().map(|article| Seen::Click(*article)).collect::<Vec<_>>();
        let window = of(2, false).learnt(&user);
        assert_eq!((&window.seen, &window.at_s), (&clicks(&[6, 7]), &vec![1, 2]));
        assert_eq!((&window.places, &window.targets), (&vec![0, 1], &vec![7, 8]));
        let window = of(9, false).learnt(&user);
        assert_eq!((window.seen, window.at_s, window.targets), (clicks(&[5, 6, 7]), vec![-1, 1, 2], vec![6, 7, 8]));
        assert_eq!(of(2, false).latest(&user).seen, clicks(&[7, 8]));
        assert_eq!(of(2, false).learnt(&Clicks::default()), Window::default());

        // Searches at the time of a click, and after the last one, are not before it.
        for at_us in [0, 3 * SECOND - 1, 3 * SECOND] {
            user.searches.push(&[at_us as u32], at_us);
        }
        user.visits.push(&[9], 2);
        let search = |at_us: i64| at_us as u32;
        let texts = [[search(0)], [search(3 * SECOND - 1)], [search(3 * SECOND)]];
        let all = [
            Seen::Click(5),
            Seen::Search(&texts[0]),
            Seen::Visit(&[9]),
            Seen::Click(6),
            Seen::Click(7),
            Seen::Search(&texts[1]),
            Seen::Click(8),
            Seen::Search(&texts[2]),
        ];
        let window = of(9, true).learnt(&user);
        assert_eq!((&window.seen[..], &window.places, &window.targets), (&all[..6], &vec![2, 3, 5], &vec![6, 7, 8]));
        let window = of(2, true).learnt(&user);
        assert_eq!((&window.seen[..], &window.places, &window.targets), (&all[4..6], &vec![1], &vec![8]));
        assert_eq!(of(3, true).latest(&user).seen, all[5..]);
        for sizes in [of(3, true), of(3, false), of(99, true), of(99, false)] {
            assert_eq!(sizes.all_len(&user).min(sizes.length), sizes.latest(&user).len());
        }
        // Who searched and never clicked is seen, and has nothing to be told.
        let searched = Clicks { searches: user.searches.clone(), ..Clicks::default() };
        assert_eq!(of(9, true).latest(&searched).len(), 3);
        assert_eq!(of(9, true).learnt(&searched), Window::default());
    }
}
