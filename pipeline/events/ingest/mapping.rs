//! Raw logs of any shape, read through a mapping from their columns to ours.

use std::path::Path;

use dataset::Result;
use schemas::DOMAINS;

use super::articles::{Article, ArticleCollector, clean_text, valid_id};
use super::collect::Collector;
use super::config::{EventLog, NewsLog};
use super::events::Titles;
use super::read::{Field, reason, rows};
use super::time::TimeParser;

/// Adds the columns that the mapping names to those wanted; says where each will be among a row's fields.
fn want<'a, const N: usize>(wanted: &mut Vec<&'a str>, columns: [&'a Option<String>; N]) -> [Option<usize>; N] {
    columns.map(|column| {
        column.as_deref().map(|name| {
            wanted.push(name);
            wanted.len() - 1
        })
    })
}

/// Reads one file of a log of behaviours.
pub(super) fn read_events(path: &Path, log: &EventLog, titles: &Titles, into: &mut Collector<'_, '_>) -> Result<()> {
    let setting = format!("ingest.events[{}]", log.name);
    let time = TimeParser::new(&setting, &log.time_format, &log.time_zone)?;
    let domain = DOMAINS.iter().position(|d| *d == log.domain).unwrap_or_default() as u8;
    let mut wanted = vec![log.user.as_str(), log.time.as_str()];
    let [text_at, news_at] = want(&mut wanted, [&log.text, &log.news_id]);
    rows(path, log.format, &log.columns, &wanted, &mut |line, fields| {
        let fields = match fields {
            Ok(fields) => fields,
            Err(reason) => {
                into.reject(line, reason);
                return Ok(());
            }
        };
        let parsed = (|| {
            let Field::Text(user) = &fields[0] else { return Err(reason::NO_USER) };
            let at = time.micros(&fields[1])?;
            let news_id = match news_at.map(|i| &fields[i]) {
                None => None,
                Some(Field::Text(id)) => Some(*id),
                Some(_) if log.domain == "news" => return Err(reason::NO_NEWS_ID),
                Some(_) => None,
            };
            let text = match text_at.map(|i| &fields[i]) {
                Some(Field::Text(text)) => *text,
                Some(_) => return Err(reason::NO_TEXT),
                None => {
                    let id = valid_id(news_id.unwrap_or_default())?;
                    titles.get(id).ok_or(reason::UNKNOWN_NEWS)?.as_bytes()
                }
            };
            Ok((*user, at, text, news_id))
        })();
        match parsed {
            Ok((user, at, text, news_id)) => into.push(line, user, domain, at, text, news_id),
            Err(reason) => {
                into.reject(line, reason);
                Ok(())
            }
        }
    })
}

/// Reads one file of a log of articles.
pub(super) fn read_news(path: &Path, log: &NewsLog, into: &mut ArticleCollector<'_, '_>) -> Result<()> {
    let setting = format!("ingest.news[{}]", log.name);
    let time = TimeParser::new(&setting, &log.time_format, &log.time_zone)?;
    let mut wanted = vec![log.news_id.as_str(), log.title.as_str()];
    let optional = [&log.time, &log.summary, &log.category, &log.subcategory, &log.entities];
    let at = want(&mut wanted, optional);
    rows(path, log.format, &log.columns, &wanted, &mut |line, fields| {
        let fields = match fields {
            Ok(fields) => fields,
            Err(reason) => {
                into.reject(line, reason);
                return Ok(());
            }
        };
        let field = |i: usize| at[i].map_or(&Field::Missing, |at| &fields[at]);
        let text = |field: &Field<'_>| match field {
            Field::Text(text) => clean_text(text),
            _ => Ok(None),
        };
        let Field::Text(id) = &fields[0] else {
            into.reject(line, reason::NO_NEWS_ID);
            return Ok(());
        };
        let published_at = match field(0) {
            Field::Missing => Ok(None),
            written => time.micros(written).map(Some),
        };
        let article = (|| {
            published_at?;
            Ok(Article {
                title: text(&fields[1])?,
                summary: text(field(1))?,
                category: text(field(2))?,
                subcategory: text(field(3))?,
                entities: match field(4) {
                    Field::List(names) => {
                        let names: Vec<_> = names.iter().map(|n| clean_text(n.as_bytes())).collect::<Result<_, _>>()?;
                        names.into_iter().flatten().collect()
                    }
                    Field::Text(names) => text(&Field::Text(names))?
                        .iter()
                        .flat_map(|names| names.split(';'))
                        .map(|name| name.trim().to_owned())
                        .filter(|name| !name.is_empty())
                        .collect(),
                    _ => Vec::new(),
                },
            })
        })();
        into.push(line, id, published_at.unwrap_or_default(), article)
    })
}
