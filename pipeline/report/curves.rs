//! The page's section about training: a chart per question, and the lists at both ends of the last step.

use maud::{Markup, html};
use reward::Component;
use training::{Ranked, Rolled, thinned};

use crate::line::Curve;
use crate::runs::TrainingRun;

/// Points of a line, at most.
const POINTS: usize = 300;
/// Characters shown of an output that is no list.
const SHOWN: usize = 300;
const LARGE: (f64, f64) = (760.0, 230.0);
const SMALL: (f64, f64) = (340.0, 170.0);

/// What a run is trained for: the figure, what it says, its unit.
const GOALS: [(&str, &str, &str); 2] =
    [("reward.mean", "Reward", "weighted sum of the components"), ("loss", "Loss", "nats a token of the lists")];

/// What else one wants to know of a run.
const QUESTIONS: [(&str, &str, &str); 16] = [
    ("align.mean", "Align: queries fetch what they and the user are about", "0 to 1"),
    ("coverage.mean", "Coverage: lists cover the user's themes", "0 to 1"),
    ("specificity.mean", "Specificity: queries say something in particular", "0 to 1"),
    ("diversity.mean", "Diversity: queries differ from each other", "0 to 1"),
    ("structure.mean", "Form: lists that keep it", "share of lists"),
    ("kl", "KL: distance from where training began", "nats a list"),
    ("reverse", "Reverse KL: what the student says and the teacher would not", "nats a token"),
    ("forward", "Forward KL: what the teacher would say and the student does not", "nats a token"),
    ("overlap", "Overlap: of the teacher's ten likeliest tokens", "share of them"),
    ("entropy", "Entropy: how open the next token is", "nats a token"),
    ("length.mean", "Length", "tokens a list"),
    ("truncated", "Cut off: lists longer than allowed", "share of lists"),
    ("copied", "Copied: near copies of a behaviour", "share of a list's queries"),
    ("repeated", "Repeated: queries that a user's lists have in common", "share of their queries"),
    ("groups.without_spread", "Nothing to learn: groups of equal rewards", "share of groups"),
    ("likeliest", "First choice: tokens that were the likeliest", "share of tokens"),
];

/// The section; nothing without runs.
pub(crate) fn training(runs: &[TrainingRun]) -> Markup {
    html! {
        @if !runs.is_empty() {
            h2 { "Training" }
            p.soft {
                span.key.train {} "users learnt from, step by step  "
                span.key.band {} "± deviation between a user's lists  "
                span.key.valid {} "users of valid, from whom nothing is learnt  "
                span.key.chosen {} "the chosen checkpoint"
            }
            @for run in runs { (one(run)) }
        }
    }
}

fn one(run: &TrainingRun) -> Markup {
    let charts = |questions: &'static [(&str, &str, &str)], size: (f64, f64)| {
        questions.iter().filter_map(move |(figure, title, unit)| {
            let curve = curve(run, figure)?;
            Some(html! { figure {
                figcaption { (title) " " span.soft { "(" (unit) ")" } }
                (curve.svg(&format!("{title}, {}", run.name), size.0, size.1))
            } })
        })
    };
    html! {
        h3 { (run.name) }
        @if let Some(why) = &run.unreadable {
            p { "This run cannot be read: " (why) }
        } @else {
            p { (standing(run)) }
            @for chart in charts(&GOALS, LARGE) { (chart) }
            div.charts { @for chart in charts(&QUESTIONS, SMALL) { (chart) } }
            @if let Some(ranked) = &run.lists { (lists(ranked)) }
        }
    }
}

/// How far the run went, and where its time did.
fn standing(run: &TrainingRun) -> String {
    let history = &run.history;
    let steps = match run.planned.filter(|planned| *planned != history.steps()) {
        Some(planned) => format!("{} of {planned} steps", history.steps()),
        None => format!("{} steps", history.steps()),
    };
    let mut said = format!("{}: {steps}", run.job);
    if let Some(chosen) = history.chosen {
        said.push_str(&format!("; the one that is kept is of step {chosen}"));
    }
    if let Some(speed) = history.tokens_per_second() {
        let phases = history.seconds();
        let step: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
        let phases: Vec<String> = phases.iter().map(|(phase, seconds)| format!("{phase} {seconds:.1}")).collect();
        said.push_str(&format!("; {step:.1} s a step ({}), {speed:.0} tokens/s", phases.join(", ")));
    }
    said + "."
}

/// The chart of a figure, if the run has it.
fn curve(run: &TrainingRun, figure: &str) -> Option<Curve> {
    let history = &run.history;
    let train = thinned(history.of(figure), POINTS);
    let valid = thinned(history.of(&format!("valid.{figure}")), POINTS);
    let component = figure.strip_suffix(".mean").unwrap_or(figure);
    let spread = history.of(&format!("{component}.deviation_in_groups"));
    // The spread belongs to the line only where it was noted at the same steps.
    let same = spread.iter().map(|(step, _)| step).eq(history.of(figure).iter().map(|(step, _)| step));
    let spread = if same { thinned(spread, POINTS) } else { Vec::new() };
    // Components have one, and nothing of theirs lies beyond 0 and 1.
    let ends = |((_, value), (_, spread)): (&(f64, f64), &(f64, f64))| {
        [value - spread, value + spread].map(|end| end.clamp(0.0, 1.0))
    };
    let band = train.iter().zip(&spread).map(ends).collect();
    let shown = !(train.is_empty() && valid.is_empty());
    shown.then(|| Curve { train, band, valid, chosen: history.chosen, last: history.steps() })
}

fn lists(ranked: &Ranked) -> Markup {
    html! {
        details {
            summary { "The best and the worst lists of step " (ranked.step) ", with their scores" }
            div.scroll { table {
                thead { tr {
                    th { "list" } th.number { "reward" } th.number { "advantage" }
                    @for component in Component::ALL { th.number { (component) } }
                    th.number { "copied" }
                } }
                @for (end, lists) in [("best", &ranked.best), ("worst", &ranked.worst)] {
                    tr { th colspan=(4 + Component::ALL.len()) { (end) } }
                    @for rolled in lists { (row(rolled)) }
                }
            } }
        }
    }
}

fn row(Rolled { user_id, completion, queries, score, reward, advantage }: &Rolled) -> Markup {
    let value = |value: Option<f32>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    html! { tr {
        td {
            @for query in queries { (query) br; }
            @if queries.is_empty() { "no list: " (completion.chars().take(SHOWN).collect::<String>()) br; }
            span.soft { "for user " (user_id) }
        }
        td.number { (format!("{reward:.3}")) }
        td.number { (advantage.map_or("–".to_owned(), |advantage| format!("{advantage:+.3}"))) }
        @for component in Component::ALL { td.number { (value(score.components.get(component))) } }
        td.number { (format!("{:.2}", score.copied)) }
    } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use training::History;

    fn run(figures: &[(&str, &[(u64, f64)])]) -> TrainingRun {
        let figures = figures.iter().map(|(name, series)| ((*name).to_owned(), series.to_vec())).collect();
        let history = History { ended: true, chosen: Some(2), figures };
        TrainingRun {
            name: "policy.toy".into(),
            job: "grpo".into(),
            planned: Some(3),
            history,
            ..TrainingRun::default()
        }
    }

    #[test]
    fn a_chart_for_each_question_that_the_run_answers() {
        let toy = run(&[
            ("reward.mean", &[(1, 0.25), (2, 0.5), (3, 0.75)]),
            ("valid.reward.mean", &[(0, 0.2), (2, 0.4)]),
            ("align.mean", &[(1, 0.25), (2, 0.5), (3, 0.95)]),
            ("align.deviation_in_groups", &[(1, 0.1), (2, 0.2), (3, 0.1)]),
            ("coverage.mean", &[(1, 0.25), (2, 0.5), (3, 0.75)]),
            ("coverage.deviation_in_groups", &[(1, 0.1)]),
            ("valid.copied", &[(0, 0.5)]),
            ("seconds.rollout", &[(1, 2.0)]),
            ("tokens", &[(1, 50.0)]),
        ]);
        let page = training(&[toy]).into_string();
        assert_eq!(page.matches("<svg").count(), 4, "{page}");
        for title in ["Reward", "Align", "Coverage", "Copied"] {
            assert!(page.contains(&format!("<figcaption>{title}")), "{title}: {page}");
        }
        assert_eq!(page.matches("<polygon").count(), 1, "only align's spread is of the steps of its line: {page}");
        assert!(page.contains(">1</text>") && !page.contains(">1.2</text>"), "nor does it leave 0 to 1: {page}");
        assert!(
            page.contains("grpo: 3 steps; the one that is kept is of step 2; 2.0 s a step (rollout 2.0), 25 tokens/s.")
        );
        assert!(training(&[]).into_string().is_empty());
        assert!(training(&[run(&[])]).into_string().contains("grpo: 0 of 3 steps"));
    }

    #[test]
    fn what_is_no_list_is_shown_as_it_is() {
        let rolled = Rolled { completion: "I cannot.".into(), reward: -0.5, ..Rolled::default() };
        let list = Rolled { queries: vec!["solar storms".into()], advantage: Some(0.25), ..Rolled::default() };
        let toy = TrainingRun { lists: Some(Ranked { step: 3, best: vec![list], worst: vec![rolled] }), ..run(&[]) };
        let page = training(&[toy]).into_string();
        assert!(page.contains("lists of step 3") && page.contains("no list: I cannot.<br>"), "{page}");
        assert!(page.contains("solar storms<br>") && page.contains("+0.250") && page.contains("-0.500"), "{page}");
    }
}
