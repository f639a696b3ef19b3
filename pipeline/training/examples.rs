//! What `sft` shows: a user's prompt, and the lists to say after it.

use std::collections::HashMap;

use dataset::{Result, Whole};
use engine::Tree;
use policy::{ListRule, Task, Template};
use reward::Rewards;
use schemas::Interests;

use crate::people::Person;
use crate::pseudo;

/// Users whose lists a vocabulary is learnt from, beside everyone's texts: enough to have seen how a list is written.
const CORPUS_LISTS: usize = 64;

/// A user's prompt, and a list to learn for it.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) prompt: Vec<u32>,
    pub(crate) list: Vec<u32>,
}

impl Example {
    /// Tokens that are learnt.
    pub(crate) fn learnt(&self) -> usize {
        self.list.len()
    }

    /// All tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.prompt.len() + self.list.len()
    }

    pub(crate) fn tree(&self) -> Tree<'_> {
        Tree { prompt: &self.prompt, lists: vec![&self.list] }
    }
}

/// Who knows what to say.
pub(crate) struct Teacher {
    pub(crate) rewards: Rewards,
    /// Lists by user; none: they are made of each user's themes.
    pub(crate) given: Option<HashMap<String, Vec<String>>>,
    /// Queries in a list.
    pub(crate) queries: usize,
}

impl Teacher {
    /// An example of each user, none where there is no list to learn.
    pub(crate) fn examples(&self, task: &Task, people: &[Person]) -> Result<Vec<Option<Example>>> {
        let fitted = people.iter().map(|person| task.fit(&person.shown()).unzip());
        let (prompts, shown): (Vec<_>, Vec<_>) = fitted.unzip();
        let lists = self.lists(people, &shown)?;
        let examples = prompts.into_iter().zip(lists).map(|(prompt, list)| {
            let (prompt, list) = prompt.zip(list)?;
            Some(Example { prompt, list: task.answer(&list) })
        });
        Ok(examples.collect())
    }

    /// Examples of the first users who have a list to learn, so many at most.
    pub(crate) fn first(&self, task: &Task, people: &[Person], most: usize) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        for people in people.chunks(16) {
            if examples.len() < most {
                examples.extend(self.examples(task, people)?.into_iter().flatten());
            }
        }
        examples.truncate(most);
        Ok(examples)
    }

    /// What a vocabulary is learnt from: the training users' texts, and lists as they are written.
    pub(crate) fn corpus(&self, people: &[Person], template: &Template) -> Result<Vec<String>> {
        let mut corpus: Vec<String> = people.iter().flat_map(Person::texts).map(|text| format!("- {text}\n")).collect();
        let some = &people[..people.len().min(CORPUS_LISTS)];
        for list in self.lists(some, &vec![None; some.len()])?.into_iter().flatten() {
            corpus.push(template.list(&list));
        }
        Ok(corpus)
    }

    /// The list to learn for each history; none where there is none. It is of the history's themes, and made of the behaviours that the prompt
    /// shows (their places; none: of all): what is not shown can only be guessed, and who is taught to guess does not look.
    fn lists(&self, people: &[Person], shown: &[Option<Vec<usize>>]) -> Result<Vec<Option<Vec<String>>>> {
        if let Some(given) = &self.given {
            return Ok(people.iter().map(|person| given.get(&person.user_id).cloned()).collect());
        }
        let users: Vec<_> = people.iter().map(Person::user).collect();
        let least = ListRule::default().min_queries;
        let interests = self.rewards.interests(&users)?;
        let lists = interests.into_iter().zip(&users).zip(shown).map(|((mut interests, user), shown)| {
            if let Some(shown) = shown {
                interests.only(shown.iter().map(|&place| user.behaviours[place].text));
            }
            pseudo::list(&interests, self.rewards.lexicon(), self.queries, least)
        });
        Ok(lists.collect())
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
