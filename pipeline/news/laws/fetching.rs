//! Laws of what queries fetch: a user's list is the user's alone.

use std::collections::HashSet;

use proptest::prelude::*;

use super::search::vectors;
use crate::lists::{Fetch, Lists};
use crate::people::Person;
use crate::{Exact, Fusion, Ivf, Pool, Vectors};

const ARTICLES: usize = 300;

/// Lists from a pool whose articles have vectors; queries are numbers of vectors.
fn lists(articles: usize) -> Lists {
    let ids = (0..ARTICLES).map(|number| format!("n{number:04}")).collect();
    Lists { pool: Pool::of(ids), fetch: Fetch::Random { seed: 1 }, articles }
}

fn of(queries: &Vectors, texts: &[&str]) -> Vec<f32> {
    let number = |text: &&str| text.parse::<usize>().expect("queries are numbers");
    texts.iter().map(number).flat_map(|number| queries.get(number).iter().copied()).collect()
}

fn person() -> impl Strategy<Value = Person> {
    let queries = proptest::collection::hash_set(0_usize..12, 0..5);
    // Some have read little, some most of the pool.
    let seen =
        (0_usize..4).prop_flat_map(|size| proptest::collection::hash_set(0_usize..ARTICLES, 0..[2, 20, 90, 290][size]));
    (queries, seen).prop_map(|(queries, seen)| Person {
        queries: queries.iter().map(ToString::to_string).collect(),
        seen: seen.iter().map(|number| format!("n{number:04}")).collect(),
        ..Person::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_user_s_list_does_not_depend_on_who_is_beside_them(
        people in proptest::collection::vec(person(), 1..7), articles in 1_usize..30, way in 0_usize..3, probes in 0_usize..3
    ) {
        let (pool, queries) = (vectors(ARTICLES, 16, 1), vectors(12, 16, 2));
        let (exact, ivf) = (Exact::new(pool.clone())?, Ivf::build(&pool, 24, &|_| ())?);
        let lists = lists(articles);
        let fusion = [Fusion::Max, Fusion::Rrf, Fusion::RoundRobin][way];
        let search = |texts: &[&str], ks: &[usize]| match probes {
            0 => exact.search(&of(&queries, texts), ks),
            probes => ivf.search(&of(&queries, texts), ks, probes),
        };
        let fetched = |people: &[Person]| {
            let number = |id: &String| lists.pool.number(id).expect("of the pool");
            let seen: Vec<HashSet<u32>> = people.iter().map(|person| person.seen.iter().map(number).collect()).collect();
            lists.asked(people, &seen, fusion, search)
        };
        let together = fetched(&people)?;
        for (person, list) in people.iter().zip(&together) {
            prop_assert_eq!(&fetched(std::slice::from_ref(person))?[0], list);
        }
    }
}
