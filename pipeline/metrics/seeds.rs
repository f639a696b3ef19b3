//! Several seeds of one method. Steps whose names differ in a trailing `-s1`, `-s2`, … alone are runs of one method: `grpo-s1`, `grpo-s2` and
//! `grpo-s3` are `grpo (3 seeds)`, whose value for a user is the mean of theirs. It has intervals and is compared like any method; its seeds
//! are not, for of single seeds nobody asks which is the better.

use std::collections::BTreeMap;

use schemas::{mean_of_seeds, method_and_step, of_seed};

/// Of methods' names: those that are seeds of one method, by its name.
pub(crate) fn seeds<'a>(methods: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Vec<&'a str>> {
    let mut of: BTreeMap<(&str, Option<&str>), Vec<&str>> = BTreeMap::new();
    for name in methods {
        let (method, step) = method_and_step(name);
        if let Some(base) = of_seed(method) {
            of.entry((base, step)).or_default().push(name);
        }
    }
    let several = of.into_iter().filter(|(_, names)| names.len() > 1);
    several
        .map(|((base, step), names)| {
            let step = step.map(|step| format!(".{step}")).unwrap_or_default();
            (mean_of_seeds(base, names.len()) + &step, names)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_one_method_and_retriever_belong_together() {
        let methods =
            ["grpo-s1", "grpo-s1.bm25", "grpo-s2", "grpo-s2.bm25", "own-titles", "sft-s1", "x-s", "x-sa", "-s1", "-s2"];
        let found = seeds(methods);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["grpo (2 seeds)", "grpo (2 seeds).bm25"]);
        assert_eq!(found["grpo (2 seeds).bm25"], ["grpo-s1.bm25", "grpo-s2.bm25"]);
        assert!(seeds(found.keys().map(String::as_str)).is_empty(), "a mean is no seed");
    }
}
