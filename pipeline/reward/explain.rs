//! Why a user's lists score what they score, for people. It holds what the user did and read: it is printed where somebody asks for it,
//! and nowhere else.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;

use dataset::bucket::{bucket, unhex};
use dataset::{Error, Result, Store, Style, Whole};
use schemas::{Interests, News, Profiles};

use crate::people::{Candidates, INTERESTS, PROFILES, People};
use crate::{
    Article, Calibration, Component, Judged, Look, Looked, QueryVerdict, RewardSettings, Rewards, Score, ScoreLists,
    Scorer, ThemeVerdict, UserInterests, Verdict,
};

/// Writes a user's themes, and for each of their lists what is seen of it.
///
/// # Errors
/// When there is no such user.
pub fn explain(settings: &ScoreLists, store: &Store, user_id: &str, out: &mut dyn Write) -> Result<()> {
    let hint = "a user id of profiles, 32 hex digits: `querent inspect profiles --head 5` shows some";
    let id = unhex(user_id).ok_or_else(|| Error::setting("--explain", "a user id", user_id, hint))?;
    let profiles = Whole::<Profiles>::open(store, "profiles")?.columns(&PROFILES);
    let people = People::read(&profiles.read(bucket(&id, profiles.partitions()))?)?;
    let user = people.find(user_id).ok_or_else(|| Error::setting("--explain", "a user of profiles", user_id, hint))?;
    let interests = Whole::<Interests>::open(store, &settings.interests)?.columns(&INTERESTS);
    let candidates = Candidates::read(&interests.read(bucket(&id, interests.partitions()))?)?;
    let candidates = candidates.into_iter().find(|candidates| candidates.user_id == user_id);

    let Scorer { rewards, calibration } = settings.now(store, Style::Auto)?;
    let behaviours = user.behaviours.len();
    let user = rewards.interests(&[user])?.remove(0);
    let lists = candidates.as_ref().map_or(&[][..], |candidates| &candidates.lists);
    let looked = rewards.look(&user, lists)?;
    let titles = titles(store, &rewards, looked.iter().map(|(looked, _)| looked))?;

    writeln!(
        out,
        "user {user_id}: {behaviours} behaviours, {} distinct texts, {} themes",
        user.texts.len(),
        user.themes.len()
    )?;
    for (number, theme) in user.themes.iter().enumerate() {
        let text = &user.texts[theme.medoid];
        writeln!(
            out,
            "  theme {}: weight {:.2}, {} texts, such as: {text}",
            number + 1,
            theme.weight,
            theme.members.len()
        )?;
    }
    if looked.is_empty() {
        writeln!(out, "no list of {} is theirs", settings.interests)?;
    }
    let numbers = candidates.iter().flat_map(|candidates| &candidates.numbers);
    for (number, (looked, score)) in numbers.zip(&looked) {
        writeln!(out)?;
        list(out, &rewards, &calibration, *number, score)?;
        coverage(out, &rewards, &user, looked)?;
        judge(out, rewards.settings(), looked)?;
        for look in &looked.queries {
            query(out, &rewards, &user, look, &titles)?;
        }
    }
    Ok(())
}

/// A list's reward, and how it comes to be.
fn list(out: &mut dyn Write, rewards: &Rewards, scale: &Calibration, number: i32, score: &Score) -> Result<()> {
    let settings = rewards.settings();
    let say = |value: Option<f32>| value.map_or_else(|| "undecided".to_owned(), |value| format!("{value:.3}"));
    writeln!(out, "list {number}: reward {}", say(settings.total(&score.components, scale)))?;
    let weighted = settings.weighted(&score.components, scale);
    for component in Component::ALL {
        let (raw, part) = (say(score.components.get(component)), say(weighted.get(component)));
        let (low, high) = (scale.low[component as usize], scale.high[component as usize]);
        let weight = settings.weights()[component as usize];
        writeln!(out, "  {:<11} {raw} of {low:.3} to {high:.3}, weight {weight}: {part}", component.name())?;
    }
    Ok(writeln!(out, "  {:<11} {:.3}", "copied", score.copied)?)
}

/// Which query covers which theme.
fn coverage(out: &mut dyn Write, rewards: &Rewards, user: &UserInterests, looked: &Looked) -> Result<()> {
    for (theme, best) in looked.best_by_theme(user.themes.len()).into_iter().enumerate() {
        let Some(by) = looked.queries.iter().find(|look| look.themes[theme] == best) else { continue };
        let covered = if best >= rewards.settings().covered_at { "covered" } else { "not covered" };
        writeln!(out, "  theme {}: {covered}, nearest at {best:.2}: {}", theme + 1, by.query)?;
    }
    Ok(())
}

/// What the judge says, where there is one.
fn judge(out: &mut dyn Write, settings: &RewardSettings, looked: &Looked) -> Result<()> {
    let Some(Verdict { themes, queries }) = &looked.verdict else { return Ok(()) };
    let judged = settings.judged();
    if judged.contains(&Judged::Coverage) {
        if themes.is_none() {
            writeln!(out, "  judge: no verdict on themes could be had")?;
        }
        for ThemeVerdict { theme, nearest, covered } in themes.iter().flatten() {
            let covered = if *covered { "covered" } else { "not covered" };
            writeln!(out, "  judge: theme {theme}: {covered}, nearest: {nearest}")?;
        }
    }
    if judged.contains(&Judged::Specificity) {
        for (look, verdict) in looked.queries.iter().zip(queries) {
            let said = match verdict {
                Some(QueryVerdict { reason, specific: 1 }) => format!("specific: {reason}"),
                Some(QueryVerdict { reason, .. }) => format!("generic: {reason}"),
                None => "no verdict could be had".into(),
            };
            writeln!(out, "  judge: query {}: {said}", look.query)?;
        }
    }
    Ok(())
}

/// What is seen of a query.
fn query(
    out: &mut dyn Write,
    rewards: &Rewards,
    user: &UserInterests,
    look: &Look,
    titles: &HashMap<u32, String>,
) -> Result<()> {
    writeln!(out, "  query: {}", look.query)?;
    match look.wording.why_generic() {
        Some(why) => writeln!(out, "    generic: {why}")?,
        None => writeln!(out, "    specific")?,
    }
    if let Some((behaviour, cosine)) = look.nearest {
        let copy = if cosine >= rewards.settings().copied_at { "a copy of" } else { "nearest to" };
        writeln!(out, "    {copy} ({cosine:.2}, {}): {}", user.domains[behaviour], user.texts[behaviour])?;
    }
    let align = look.align(rewards.settings().align);
    writeln!(out, "    fetches, align {align:.3} (cosines with the query and with the nearest theme):")?;
    for Article { number, query, theme } in &look.articles {
        let title = titles.get(number).map_or("", String::as_str);
        writeln!(out, "      {query:.3}  {theme:.3}  {}  {title}", rewards.pool().ids()[*number as usize])?;
    }
    Ok(())
}

/// The titles of the articles that lists fetch.
fn titles<'a>(
    store: &Store,
    rewards: &Rewards,
    looked: impl Iterator<Item = &'a Looked>,
) -> Result<HashMap<u32, String>> {
    let wanted: BTreeSet<u32> = looked
        .flat_map(|looked| &looked.queries)
        .flat_map(|look| &look.articles)
        .map(|article| article.number)
        .collect();
    let mut titles = HashMap::new();
    if wanted.is_empty() {
        return Ok(titles);
    }
    for part in Whole::<News>::open(store, "news")?.columns(&[News::news_id.name(), News::title.name()]).parts() {
        for batch in part?.batches() {
            let (ids, texts) = (News::news_id.of(batch)?, News::title.of(batch)?);
            for row in 0..batch.num_rows() {
                if let Some(article) = rewards.pool().number(ids.value(row)).filter(|article| wanted.contains(article))
                {
                    titles.insert(article, texts.value(row).to_owned());
                }
            }
        }
    }
    Ok(titles)
}
