//! Laws of rewards, with an encoder that is a table of words: so every cosine is known.

mod choosing;

use std::fs;

use dataset::Result;
use news::{Pool, Searcher, Vectors};
use onnx_rs::ast::{
    DataType, Dimension, Graph, Model, Node, OpType, OperatorSetId, TensorProto, TensorShape, TensorShapeDimension,
    TensorTypeProto, TypeProto, TypeValue, ValueInfo,
};
use policy::List;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use text::{Encoder, EncoderOptions, ModelFolder};

use crate::{Align, Behaviour, Component, Coverage, Lexicon, RewardSettings, Rewards, Score, User, UserInterests};

/// Words, and what they are about.
const WORDS: [(&str, [f32; 3]); 11] = [
    ("solar", [1.0, 0.0, 0.0]),
    ("sun", [1.0, 0.0, 0.0]),
    ("panels", [1.0, 0.0, 0.0]),
    ("rail", [0.0, 1.0, 0.0]),
    ("trains", [0.0, 1.0, 0.0]),
    ("strike", [0.0, 1.0, 0.0]),
    ("bonds", [0.0, 0.0, 1.0]),
    ("yields", [0.0, 0.0, 1.0]),
    ("today", [0.0, 0.0, 1.0]),
    ("odd", [0.3, -0.8, 0.5]),
    ("<unk>", [1.0, 1.0, 1.0]),
];
const ARTICLES: [(&str, &str); 4] =
    [("a1", "solar panels"), ("a2", "rail strike"), ("a3", "bonds yields"), ("a4", "solar strike")];

fn value<'a>(name: &'a str, elem_type: DataType, dims: Vec<Dimension<'a>>) -> ValueInfo<'a> {
    let dim = dims.into_iter().map(|value| TensorShapeDimension { value, ..TensorShapeDimension::default() }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShape { dim }) };
    let kind = TypeProto { value: Some(TypeValue::Tensor(tensor)), ..TypeProto::default() };
    ValueInfo { name, r#type: Some(kind), ..ValueInfo::default() }
}

/// A sentence encoder that looks each word up.
fn encoder(folder: &TempDir) -> Result<Encoder> {
    let table: Vec<u8> = WORDS.iter().flat_map(|(_, row)| row).flat_map(|x| x.to_le_bytes()).collect();
    let of_text = |name: &'static str| Dimension::Param(name);
    let graph = Graph {
        name: "table",
        node: vec![Node {
            input: vec!["table", "input_ids"],
            output: vec!["states"],
            op_type: OpType::Gather,
            ..Node::default()
        }],
        initializer: vec![TensorProto::from_raw("table", vec![WORDS.len() as i64, 3], DataType::Float, &table)],
        input: vec![value("input_ids", DataType::Int64, vec![of_text("batch"), of_text("length")])],
        output: vec![value("states", DataType::Float, vec![of_text("batch"), of_text("length"), Dimension::Value(3)])],
        ..Graph::default()
    };
    let onnx = onnx_rs::encode(&Model {
        ir_version: 8,
        opset_import: vec![OperatorSetId { domain: "", version: 13 }],
        graph: Some(graph),
        ..Model::default()
    });
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("writable");
    write("model.onnx", &onnx);
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().zip(0..).map(|((word, _), id)| ((*word).into(), id.into())).collect();
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}});
    write("tokenizer.json", tokenizer.to_string().as_bytes());
    write("config.json", b"{}");
    Encoder::open(ModelFolder::open(folder.path(), "")?, EncoderOptions::default())
}

/// Rewards over the few articles.
fn rewards(settings: RewardSettings) -> Result<Rewards> {
    let folder = TempDir::new().expect("a folder");
    let encoder = encoder(&folder)?;
    let texts: Vec<&str> = ARTICLES.iter().map(|(_, text)| *text).collect();
    let vectors = Vectors::new(3, encoder.documents(&texts)?.concat());
    let pool = Pool::of(ARTICLES.iter().map(|(id, _)| (*id).to_owned()).collect());
    let mut settings = RewardSettings { align_articles: 2, common_share: 0.6, ..settings };
    settings.themes.half_life_days = 0.0;
    let lexicon = Lexicon::new(texts, &settings)?;
    Ok(Rewards::new(settings, Searcher::exact(encoder, pool, vectors)?, lexicon))
}

fn user(rewards: &Rewards, behaviours: &[(&str, Option<&str>)]) -> Result<UserInterests> {
    let one = |(text, news_id): &(&'static str, Option<&'static str>)| Behaviour {
        domain: if news_id.is_some() { "news" } else { "search" },
        text,
        occurred_at_us: 0,
        news_id: *news_id,
    };
    let behaviours: Vec<(&'static str, Option<&'static str>)> =
        behaviours.iter().map(|(text, id)| (leak(text), id.map(leak))).collect();
    let user = User { user_id: "u", behaviours: behaviours.iter().map(one).collect() };
    Ok(rewards.interests(&[user])?.remove(0))
}

fn leak(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

fn list(queries: &[&str]) -> List {
    List { queries: queries.iter().map(|query| (*query).to_owned()).collect(), reasoning: None, valid: true }
}

fn score(rewards: &Rewards, user: &UserInterests, queries: &[&str]) -> Result<Score> {
    Ok(rewards.score(&[(user, &[list(queries)])])?[0][0])
}

fn bits(score: &Score) -> ([Option<u32>; 5], u32) {
    (score.components.0.map(|value| value.map(f32::to_bits)), score.copied.to_bits())
}

/// Two themes: the sun, once, whose article the user has read; trains, twice.
const READER: [(&str, Option<&str>); 4] =
    [("sun panels", Some("a1")), ("rail trains", None), ("Rail  Trains", None), ("trains strike", None)];

#[test]
fn by_hand() -> Result<()> {
    let rewards = rewards(RewardSettings::default())?;
    let user = user(&rewards, &READER)?;
    assert_eq!(user.texts, ["sun panels", "rail trains", "trains strike"]);
    let members: Vec<&[usize]> = user.themes.iter().map(|theme| theme.members.as_slice()).collect();
    assert_eq!(members, [&[1, 2][..], &[0]]);
    let sun = 1.0 / (1.0 + 3.0_f32.sqrt());
    assert!((user.themes[1].weight - sun).abs() < 1e-6);

    // The sun's query fetches a4 (cosine 1/√2) and then one at 0, for a1 was read; bonds' fetches a3 and then one at 0.
    let Score { components, copied } = score(&rewards, &user, &["solar panels", "bonds yields"])?;
    let near = |component, expected: f32| {
        let got = components.get(component).expect("decided");
        assert!((got - expected).abs() < 1e-6, "{component}: expected {expected}, got {got}");
    };
    // Nobody whose themes are the sun and trains cares about a3.
    near(Component::Align, 0.5_f32.sqrt() / 4.0);
    near(Component::Coverage, sun);
    near(Component::Specificity, 1.0);
    near(Component::Diversity, 1.0);
    near(Component::Structure, 1.0);
    assert_eq!(copied, 0.5, "what is about the sun is a copy");

    let halves = score(&rewards, &user, &["bonds today", "solar panels"])?;
    assert_eq!(halves.components.get(Component::Specificity), Some(0.5));
    let same = score(&rewards, &user, &["solar panels", "sun panels"])?;
    assert_eq!(same.components.get(Component::Diversity), Some(0.0));
    assert_eq!(score(&rewards, &user, &["sun panels"])?.components.get(Component::Diversity), Some(0.0));

    let papers = self::rewards(RewardSettings { align: Align::Query, ..RewardSettings::default() })?;
    let align = score(&papers, &user, &["solar panels", "bonds yields"])?.components.get(Component::Align);
    assert!(align.is_some_and(|align| (align - (0.5_f32.sqrt() / 2.0 + 0.5) / 2.0).abs() < 1e-6), "{align:?}");

    let soft = self::rewards(RewardSettings { coverage: Coverage::Soft, ..RewardSettings::default() })?;
    let halfway = score(&soft, &user, &["solar strike"])?.components.get(Component::Coverage);
    assert!(halfway.is_some_and(|coverage| (coverage - 0.5_f32.sqrt()).abs() < 1e-6), "{halfway:?}");

    let nothing = rewards.score(&[(&user, &[List::default()])])?[0][0];
    assert_eq!(nothing.components.0, [Some(0.0); 5]);
    let stranger = self::user(&rewards, &[])?;
    let unknown = score(&rewards, &stranger, &["solar panels", "rail strike"])?;
    assert_eq!((unknown.components.get(Component::Coverage), unknown.copied), (Some(0.0), 0.0));
    Ok(())
}

#[test]
fn an_explanation_is_what_was_scored() -> Result<()> {
    let rewards = rewards(RewardSettings::default())?;
    let user = user(&rewards, &READER)?;
    let lists = [list(&["solar panels", "bonds today"]), List::default()];
    let looks = rewards.look(&user, &lists)?;
    let scores = rewards.score(&[(&user, &lists)])?.remove(0);
    assert_eq!(looks.iter().map(|(_, score)| *score).collect::<Vec<_>>(), scores);
    let [bonds, sun] = &looks[0].0.queries[..] else { panic!("two queries") };
    let fetched: Vec<&str> =
        sun.articles.iter().map(|article| rewards.pool().ids()[article.number as usize].as_str()).collect();
    assert_eq!(fetched, ["a4", "a3"], "a1 was read; of equally good ones the greater id comes first");
    assert_eq!(sun.nearest.map(|(at, _)| user.texts[at].as_str()), Some("sun panels"));
    assert_eq!(bonds.wording.why_generic().as_deref(), Some("bonds: content, in 1 articles; today: section or filler"));
    assert_eq!(looks[0].0.best_by_theme(2).iter().map(|x| x.round()).collect::<Vec<_>>(), [0.0, 1.0]);
    Ok(())
}

fn query() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(WORDS.map(|(word, _)| word).to_vec()), 1..4)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scores_depend_on_user_and_list_alone(
        queries in proptest::collection::vec(query(), 0..7),
        beside in proptest::collection::vec(query(), 0..7),
        behaviours in proptest::collection::vec(query(), 0..12),
        soft in any::<bool>(),
    ) {
        let coverage = if soft { Coverage::Soft } else { Coverage::Threshold };
        let rewards = rewards(RewardSettings { coverage, ..RewardSettings::default() })?;
        let behaviours: Vec<(&str, Option<&str>)> = behaviours.iter().map(|text| (text.as_str(), Some("a2"))).collect();
        let user = user(&rewards, &behaviours)?;
        let reader = self::user(&rewards, &READER)?;
        let texts: Vec<&str> = queries.iter().map(String::as_str).collect();
        let alone = score(&rewards, &user, &texts)?;
        for (component, value) in Component::ALL.iter().zip(alone.components.0) {
            prop_assert!(value.is_some_and(|value| (0.0..=1.0).contains(&value)), "{component}: {value:?}");
        }
        prop_assert!((0.0..=1.0).contains(&alone.copied));

        let mut turned = texts.clone();
        turned.reverse();
        turned.rotate_left(texts.len() / 3);
        prop_assert_eq!(bits(&score(&rewards, &user, &turned)?), bits(&alone), "another order");

        let other = list(&beside.iter().map(String::as_str).collect::<Vec<_>>());
        let lists = [other.clone(), list(&texts), other.clone()];
        let together = rewards.score(&[(&reader, &lists), (&user, &lists), (&user, &[])])?;
        prop_assert_eq!(bits(&together[1][1]), bits(&alone), "others beside");

        let twice: Vec<&str> = texts.iter().chain(&texts).copied().collect();
        let diversity = |score: &Score| score.components.get(Component::Diversity).expect("decided");
        let doubled = diversity(&score(&rewards, &user, &twice)?);
        // Each distance counts four times among pairs that are more than four times as many; but for what is clipped.
        let once = diversity(&alone);
        prop_assert!(doubled < once || once < 1e-6 || once == 1.0, "{doubled} {once}");
    }

    #[test]
    fn themes_cover_themselves(behaviours in proptest::collection::vec(query(), 1..15)) {
        let rewards = rewards(RewardSettings::default())?;
        let behaviours: Vec<(&str, Option<&str>)> = behaviours.iter().map(|text| (text.as_str(), None)).collect();
        let user = user(&rewards, &behaviours)?;
        let medoids: Vec<&str> = user.themes.iter().map(|theme| user.texts[theme.medoid].as_str()).collect();
        let Score { components, copied } = score(&rewards, &user, &medoids)?;
        prop_assert!(components.get(Component::Coverage).is_some_and(|coverage| coverage > 1.0 - 1e-5), "{components:?}");
        prop_assert_eq!(copied, 1.0);
    }
}
