//! What `sft` shows: a user's prompt, and the lists to say after it.

use std::collections::HashMap;

use dataset::{Result, Whole};
use engine::Tree;
use policy::{Behaviour, Generate, Task, Template};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use reward::Rewards;
use schemas::Interests;

use crate::people::Person;
use crate::pseudo;

/// Users whose lists a vocabulary is learnt from, beside everyone's texts: enough to have seen how a list is written.
const CORPUS_LISTS: usize = 64;
/// Lists for each history of a step that teaches to say it again.
const ECHOES: usize = 8;
/// Lines of a history of words at random, from a list's at least; as many as the prompt holds are shown. Where a line goes on is found sooner
/// among few (`budget_tokens`); a policy that has found it among ten finds it among more.
const LINES: std::ops::RangeInclusive<usize> = 5..=30;
/// Words of such a line.
const LINE: std::ops::RangeInclusive<usize> = 2..=8;
const DOMAINS: [&str; 3] = ["search", "browse", "news"];

/// A user's prompt, and lists to learn for it.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) prompt: Vec<u32>,
    pub(crate) lists: Vec<Vec<u32>>,
}

impl Example {
    /// Tokens that are learnt.
    pub(crate) fn learnt(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// All tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.prompt.len() + self.learnt()
    }

    /// Tokens of the prompt and its longest list.
    pub(crate) fn longest(&self) -> usize {
        self.prompt.len() + self.lists.iter().map(Vec::len).max().unwrap_or(0)
    }

    pub(crate) fn tree(&self) -> Tree<'_> {
        Tree { prompt: &self.prompt, lists: self.lists.iter().map(Vec::as_slice).collect() }
    }
}

/// A user, and how many of the latest behaviours are left out.
pub(crate) type Shown<'a> = (&'a Person, usize);

/// Who knows what to say.
pub(crate) struct Teacher {
    pub(crate) rewards: Rewards,
    /// Lists by user; none: they are made of each user's themes.
    pub(crate) given: Option<HashMap<String, Vec<String>>>,
    pub(crate) settings: Generate,
}

impl Teacher {
    /// An example of each user, none where there is no list to learn.
    pub(crate) fn examples(&self, task: &Task, people: &[Shown<'_>]) -> Result<Vec<Option<Example>>> {
        let example = |((person, left_out), list): (&Shown<'_>, Option<Vec<String>>)| {
            let lists = vec![task.answer(&list?)];
            Some(Example { prompt: task.prompt(&person.shown(*left_out))?, lists })
        };
        Ok(people.iter().zip(self.lists(people, Some(task))?).map(example).collect())
    }

    /// Examples of the first users who have a list to learn, so many at most.
    pub(crate) fn first(&self, task: &Task, people: &[Person], most: usize) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        for people in people.chunks(16) {
            if examples.len() < most {
                let shown: Vec<Shown<'_>> = people.iter().map(|person| (person, 0)).collect();
                examples.extend(self.examples(task, &shown)?.into_iter().flatten());
            }
        }
        examples.truncate(most);
        Ok(examples)
    }

    /// An example that teaches to say again what was read: a history of words at random, and lists of some of its lines, in any order. Where every
    /// text is new, copying is the only way to know how a line goes on; texts of real histories come again, and are learnt by heart instead.
    pub(crate) fn echo(&self, task: &Task, words: &[&str], seed: u64) -> Option<Example> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let lines: Vec<(&str, String)> = (0..random.random_range(LINES))
            .map(|_| {
                let line: Vec<&str> =
                    (0..random.random_range(LINE)).filter_map(|_| words.choose(&mut random).copied()).collect();
                (DOMAINS[random.random_range(0..DOMAINS.len())], line.join(" "))
            })
            .collect();
        let shown: Vec<Behaviour<'_>> = lines.iter().map(|(domain, text)| Behaviour { domain, text }).collect();
        let (prompt, mut texts) = (task.prompt(&shown)?, task.shown(&shown));
        if texts.len() < self.settings.rule.min_queries {
            return None;
        }
        let some = texts.len().min(self.settings.prompts.queries);
        let mut list = || {
            texts.shuffle(&mut random);
            task.answer(&texts[..some])
        };
        Some(Example { prompt, lists: (0..ECHOES).map(|_| list()).collect() })
    }

    /// What a vocabulary is learnt from: the training users' texts, and lists as they are written.
    pub(crate) fn corpus(&self, people: &[Person], template: &Template) -> Result<Vec<String>> {
        let mut corpus: Vec<String> = people.iter().flat_map(Person::texts).map(|text| format!("- {text}\n")).collect();
        let some: Vec<Shown<'_>> = people.iter().take(CORPUS_LISTS).map(|person| (person, 0)).collect();
        for list in self.lists(&some, None)?.into_iter().flatten() {
            corpus.push(template.list(&list));
        }
        Ok(corpus)
    }

    /// The list to learn for each history; none where there is none. It is made of behaviours that the task's prompt shows: what is not shown can
    /// only be guessed, and who is taught to guess does not look.
    fn lists(&self, people: &[Shown<'_>], task: Option<&Task>) -> Result<Vec<Option<Vec<String>>>> {
        if let Some(given) = &self.given {
            return Ok(people.iter().map(|(person, _)| given.get(&person.user_id).cloned()).collect());
        }
        fn user<'a>(task: Option<&Task>, (person, left_out): Shown<'a>) -> reward::User<'a> {
            let reach = task.map_or(usize::MAX, |task| task.reach(&person.shown(left_out)));
            person.user_of(left_out, reach)
        }
        let users: Vec<_> = people.iter().map(|shown| user(task, *shown)).collect();
        let (queries, least) = (self.settings.prompts.queries, self.settings.rule.min_queries);
        let interests = self.rewards.interests(&users)?;
        Ok(interests.iter().map(|user| pseudo::list(user, self.rewards.lexicon(), queries, least)).collect())
    }
}

/// Lists by user, the chosen ones.
pub(crate) fn given(lists: &Whole<Interests>) -> Result<HashMap<String, Vec<String>>> {
    let mut given = HashMap::new();
    for part in lists.parts() {
        for batch in part?.batches() {
            let (users, candidates) = (Interests::user_id.of(batch)?, Interests::candidate.of(batch)?);
            let queries = Interests::queries.of(batch)?;
            for row in (0..batch.num_rows()).filter(|&row| candidates.value(row) == 0) {
                let queries: Vec<String> = queries.row(row).map(str::to_owned).collect();
                if !queries.is_empty() {
                    given.insert(users.value(row).to_owned(), queries);
                }
            }
        }
    }
    Ok(given)
}
