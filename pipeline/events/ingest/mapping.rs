//! Raw logs of any shape, read through a mapping from their columns to ours.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dataset::Result;
use dataset::ids::{article_id, id};
use schemas::DOMAINS;

use super::articles::{Article, clean_text};
use super::collect::NEWS;
use super::config::{EventLog, NewsLog};
use super::events::Titles;
use super::one_or_many::Texts;
use super::read::{Field, Reason, Row, Shape, reason, rows};
use super::tally::Tally;
use super::time::TimeParser;

const MISSING: Field<'static> = Field::Missing;
/// Why a row is left out that has none of the values wanted.
pub(super) const NOT_AMONG: &str = "not among `only`";
/// Why a row is left out that lacks a value.
pub(super) const WITHOUT: &str = "without what they `require`";

/// The columns that a mapping names, and where each of ours is among them.
struct Columns<'a, const N: usize> {
    wanted: Vec<&'a str>,
    at: [Option<usize>; N],
    /// Texts that mean that there is no value.
    nulls: &'a [String],
    /// Columns with the values that a row must have one of.
    only: Vec<(usize, &'a Texts)>,
    /// Columns in which a row must have a value.
    require: Vec<usize>,
}

impl<'a, const N: usize> Columns<'a, N> {
    fn new(
        ours: [Option<&'a String>; N],
        nulls: &'a [String],
        only: &'a BTreeMap<String, Texts>,
        require: &'a [String],
    ) -> Self {
        let mut wanted: Vec<&str> = Vec::new();
        let mut want = |name: &'a String| {
            let known = wanted.iter().position(|wanted| wanted == name);
            known.unwrap_or_else(|| {
                wanted.push(name);
                wanted.len() - 1
            })
        };
        let at = ours.map(|name| name.map(&mut want));
        let only = only.iter().map(|(name, values)| (want(name), values)).collect();
        let require = require.iter().map(&mut want).collect();
        Columns { wanted, at, nulls, only, require }
    }

    /// Why a row is left out, if it is.
    fn leaves_out(&self, fields: &[Field<'_>]) -> Option<&'static str> {
        let holds = |text: &[u8], values: &Texts| values.0.iter().any(|value| value.as_bytes() == text.trim_ascii());
        let is_one = |(at, values): &(usize, &Texts)| match &fields[*at] {
            Field::Text(text) | Field::Coarse(text) => holds(text, values),
            Field::Missing => holds(b"", values),
            _ => false,
        };
        let is_there = |at: &usize| match &fields[*at] {
            Field::Missing => false,
            Field::Text(text) => !text.trim_ascii().is_empty() && !self.is_null(text),
            _ => true,
        };
        match (self.only.iter().all(is_one), self.require.iter().all(is_there)) {
            (false, _) => Some(NOT_AMONG),
            (true, false) => Some(WITHOUT),
            (true, true) => None,
        }
    }

    /// A row's fields in our order; those that the mapping does not name are missing.
    fn pick<'f, 'v>(&self, fields: &'f [Field<'v>]) -> [&'f Field<'v>; N] {
        self.at.map(|at| match at.map(|at| &fields[at]) {
            Some(field) => self.unless_null(field),
            None => &MISSING,
        })
    }

    /// Reads a file: of every row that is neither damaged nor left out, its fields in our order. The others are counted.
    fn each<S: Counted>(
        &self,
        path: &Path,
        shape: &Shape<'_>,
        into: &mut S,
        mut each: impl FnMut([&Field<'_>; N], Row, &mut S) -> Result<()>,
    ) -> Result<()> {
        let found = rows(path, shape, &self.wanted, &mut |row, fields| match fields {
            Err(reason) => {
                into.tally().reject(row, &reason);
                Ok(())
            }
            Ok(fields) => match self.leaves_out(fields) {
                Some(why) => {
                    into.tally().leave_out(why);
                    Ok(())
                }
                None => {
                    into.tally().passed = true;
                    each(self.pick(fields), row, into)
                }
            },
        })?;
        into.tally().found(found);
        Ok(())
    }

    fn unless_null<'f, 'v>(&self, field: &'f Field<'v>) -> &'f Field<'v> {
        match field {
            Field::Text(text) if self.is_null(text) => &MISSING,
            field => field,
        }
    }

    fn is_null(&self, text: &[u8]) -> bool {
        self.nulls.iter().any(|null| null.as_bytes() == text)
    }
}

/// Reads one file of a log of behaviours.
pub(super) fn read_events(path: &Path, log: &EventLog, titles: &Titles, into: &mut impl Behaviours) -> Result<()> {
    let domain = DOMAINS.iter().position(|d| *d == log.domain).unwrap_or_default() as u8;
    let reader = Reader { log, time: log.time_parser()?, domain, titles };
    let columns = Columns::new(log.mapped(), &log.nulls, &log.only, &log.require);
    columns.each(path, &log.shape()?, into, |fields, row, into| {
        if !fields.iter().any(|field| matches!(field, Field::List(_))) {
            return reader.take(row, fields, into);
        }
        let Some(behaviours) = length(&fields) else {
            match reader.user(fields[0]) {
                Ok(user) => into.refuse(row, &user, &reason::LENGTHS),
                Err(_) => into.tally().reject(row, &reason::LENGTHS),
            }
            return Ok(());
        };
        (0..behaviours)
            .try_for_each(|i| reader.take(row, fields.map(|field| columns.unless_null(item(field, i))), into))
    })
}

/// An impression as its row says it.
pub(super) struct Impression<'a> {
    pub(super) user: Cow<'a, [u8]>,
    /// Microseconds since 1970.
    pub(super) at: i64,
    /// The log's own id of it, if it has one.
    pub(super) id: Option<Cow<'a, [u8]>>,
    /// The articles that it showed (none: no readable id), and whether each was clicked.
    pub(super) shown: Vec<(Option<Cow<'a, str>>, bool)>,
}

/// Reads the impressions of one file of a log of behaviours. Rows that cannot be read are counted beside them.
pub(super) fn read_shown<S: Counted>(
    path: &Path,
    log: &EventLog,
    into: &mut S,
    mut each: impl FnMut(Impression<'_>, &mut S) -> Result<()>,
) -> Result<()> {
    let reader = Reader { log, time: log.time_parser()?, domain: NEWS, titles: &Titles::new() };
    let columns = Columns::new(log.impression_columns(), &log.nulls, &log.only, &log.require);
    columns.each(path, &log.shape()?, into, |fields, row, into| match reader.shown(fields) {
        Ok(impression) => each(impression, into),
        Err(reason) => {
            into.tally().reject(row, &reason);
            Ok(())
        }
    })
}

/// The items of a list; of another field itself, if it has a value.
fn items<'f, 'v>(field: &'f Field<'v>) -> &'f [Field<'v>] {
    match field {
        Field::List(items) => items,
        Field::Missing => &[],
        field => std::slice::from_ref(field),
    }
}

/// How many behaviours a row with lists is: the lists are parallel. None, if they are not.
fn length(fields: &[&Field<'_>]) -> Option<usize> {
    let mut lengths = fields.iter().filter_map(|field| match field {
        Field::List(items) => Some(items.len()),
        _ => None,
    });
    let first = lengths.next()?;
    lengths.all(|length| length == first).then_some(first)
}

/// What one of a row's behaviours has: of lists an item of its own, of the rest what all have.
fn item<'f, 'v>(field: &'f Field<'v>, i: usize) -> &'f Field<'v> {
    match field {
        Field::List(items) => &items[i],
        field => field,
    }
}

/// How behaviours of a log are read.
struct Reader<'a> {
    log: &'a EventLog,
    time: TimeParser,
    /// By its rank.
    domain: u8,
    titles: &'a Titles,
}

/// A behaviour as its fields say it.
pub(super) struct Behaviour<'a> {
    pub(super) user: Cow<'a, [u8]>,
    /// Microseconds since 1970.
    pub(super) at: i64,
    pub(super) text: Cow<'a, [u8]>,
    /// Whether the text is a title of `news`: it is clean already.
    pub(super) titled: bool,
    pub(super) news_id: Option<Cow<'a, str>>,
}

/// A behaviour without its user.
type Did<'a> = (i64, Cow<'a, [u8]>, bool, Option<Cow<'a, str>>);

/// What takes a log's rows.
pub(super) trait Counted {
    /// Where rows are counted.
    fn tally(&mut self) -> &mut Tally;
}

/// What takes the behaviours of a log.
pub(super) trait Behaviours: Counted {
    /// Takes a behaviour of a domain, given by its rank.
    fn take(&mut self, row: Row, domain: u8, behaviour: Behaviour<'_>) -> Result<()>;

    /// Sets somebody's row aside.
    fn refuse(&mut self, row: Row, _user: &[u8], reason: &Reason) {
        self.tally().reject(row, reason);
    }
}

/// What takes the articles of a log.
pub(super) trait Articles: Counted {
    /// Takes an article, which has a title.
    fn take(&mut self, row: Row, id: &str, published_at: Option<i64>, article: Article) -> Result<()>;

    /// Takes an article whose id and title can be read, and counts it; sets the row aside otherwise.
    fn offer(
        &mut self,
        row: Row,
        id: Result<Option<Cow<'_, str>>, Reason>,
        published_at: Option<i64>,
        title: Result<Option<String>, Reason>,
        article: Article,
    ) -> Result<()> {
        match id.and_then(|id| Ok((id.ok_or(reason::NO_NEWS_ID)?, title?.ok_or(reason::NO_TEXT)?))) {
            Ok((id, title)) => {
                self.tally().units += 1;
                self.take(row, &id, published_at, Article { title: Some(title), ..article })
            }
            Err(reason) => {
                self.tally().reject(row, &reason);
                Ok(())
            }
        }
    }
}

impl Reader<'_> {
    fn take(&self, row: Row, fields: [&Field<'_>; 4], into: &mut impl Behaviours) -> Result<()> {
        let user = match self.user(fields[0]) {
            Ok(user) => user,
            Err(reason) => {
                into.tally().reject(row, &reason);
                return Ok(());
            }
        };
        match self.did(fields, into.tally()) {
            Ok((at, text, titled, news_id)) => {
                into.take(row, self.domain, Behaviour { user, at, text, titled, news_id })
            }
            Err(reason) => {
                into.refuse(row, &user, &reason);
                Ok(())
            }
        }
    }

    fn shown<'f>(&self, [user, at, clicked, shown, own]: [&'f Field<'_>; 5]) -> Result<Impression<'f>, Reason> {
        let whole = self.log.whole_ids;
        let read = |field: &'f Field<'_>| article(field, whole).ok().flatten();
        let clicked: BTreeSet<Cow<'f, str>> = items(clicked).iter().filter_map(read).collect();
        let shown = items(shown).iter().map(read).map(|id| {
            let clicked = id.as_ref().is_some_and(|id| clicked.contains(id));
            (id, clicked)
        });
        let shown = shown.collect();
        let own = id_text(own, whole)?.map_or(Ok(None), |text| id(text, whole))?;
        Ok(Impression { user: self.user(user)?, at: self.time.of_behaviour(at)?, id: own, shown })
    }

    fn user<'f>(&self, field: &'f Field<'_>) -> Result<Cow<'f, [u8]>, Reason> {
        id(id_text(field, self.log.whole_ids)?.ok_or(reason::NO_USER)?, self.log.whole_ids)?.ok_or(reason::NO_USER)
    }

    /// When it was, its text, and its article.
    fn did<'f>(&'f self, [_, at, text, news_id]: [&'f Field<'_>; 4], tally: &mut Tally) -> Result<Did<'f>, Reason> {
        let whole = self.log.whole_ids;
        let is_click = self.domain == NEWS && self.log.news_id.is_some();
        let at = self.time.of_behaviour(at)?;
        let news_id = article(news_id, whole);
        let news_id = match is_click {
            true => Some(news_id?.ok_or(reason::NO_NEWS_ID)?),
            false => tally.optional("a news id", news_id),
        };
        let title = news_id.as_deref().filter(|_| is_click).map(|id| self.titles.get(id));
        let titled = !matches!(text, Field::Text(_));
        let text = match (text, title) {
            (Field::Text(text), title) => {
                if title == Some(None) {
                    tally.note("clicks on articles that no news log has");
                }
                Cow::Borrowed(text.as_ref())
            }
            (_, Some(Some(title))) => Cow::Borrowed(title.as_bytes()),
            (_, Some(None)) => return Err(reason::UNKNOWN_NEWS),
            (_, None) => return Err(reason::NO_TEXT),
        };
        Ok((at, text, titled, news_id))
    }
}

/// What an id is made of; none where there is none. With `whole`, it is refused if it lost digits.
fn id_text<'f>(field: &'f Field<'_>, whole: bool) -> Result<Option<&'f [u8]>, Reason> {
    match field {
        Field::Coarse(_) if whole => Err(reason::INEXACT_ID),
        Field::Text(text) | Field::Coarse(text) => Ok(Some(text)),
        _ => Ok(None),
    }
}

fn article<'f>(field: &'f Field<'_>, whole: bool) -> Result<Option<Cow<'f, str>>, Reason> {
    id_text(field, whole)?.map_or(Ok(None), |text| article_id(text, whole))
}

/// Reads one file of a log of articles.
pub(super) fn read_news(path: &Path, log: &NewsLog, into: &mut impl Articles) -> Result<()> {
    let time = log.time_parser()?;
    let columns = Columns::new(log.mapped(), &log.nulls, &log.only, &log.require);
    columns.each(path, &log.shape()?, into, |[id, title, at, summary, category, subcategory, entities], row, into| {
        let id = article(id, log.whole_ids);
        let published_at = into.tally().optional("a publication time", time.of_article(at));
        let article = Article {
            title: None,
            summary: into.tally().optional("an abstract", text(summary)),
            category: into.tally().optional("a category", text(category)),
            subcategory: into.tally().optional("a subcategory", text(subcategory)),
            entities: into.tally().optional("entities", names(entities)),
        };
        into.offer(row, id, published_at, text(title), article)
    })
}

fn text(field: &Field<'_>) -> Result<Option<String>, Reason> {
    match field {
        Field::Text(text) | Field::Coarse(text) => clean_text(text),
        _ => Ok(None),
    }
}

/// Names in a list, or with `;` between them.
fn names(field: &Field<'_>) -> Result<Vec<String>, Reason> {
    match field {
        Field::List(items) => {
            Ok(items.iter().map(text).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        field => {
            let names = text(field)?.unwrap_or_default();
            Ok(names.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
        }
    }
}
