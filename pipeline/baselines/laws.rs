//! Laws of trained baselines: gradients are PyTorch's, groups and neighbours decide nothing, steps follow from their numbers.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device};
use news::Vectors;
use nn::{Dropout, Negatives, Weights};
use serde::Deserialize;

use crate::{Articles, Clicks, Drawn, Item, Model, Network, Records, Sizes, Texts, TrainSettings, Vocabulary, measure};

#[derive(Deserialize)]
struct Fixture {
    articles: usize,
    titles: Vec<Vec<u32>>,
    sizes: Sizes,
    users: Vec<User>,
    negatives: Drawing,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct User {
    articles: Vec<u32>,
    at_s: Vec<i64>,
    searches: Vec<Record>,
    visits: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    at_s: i64,
    words: Vec<u32>,
}

#[derive(Deserialize)]
struct Drawing {
    items: Vec<u32>,
    log_q: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    model: Model,
    item: Item,
    #[serde(default)]
    cross_domain: bool,
    loss: f64,
    clicks: usize,
}

fn clicks(articles: &[u32], at_s: &[i64]) -> Clicks {
    let at_us = at_s.iter().map(|s| s * 1_000_000).collect();
    Clicks::new(articles.to_vec(), at_us)
}

fn records(of: &[Record]) -> Records {
    let mut records = Records::default();
    for Record { at_s, words } in of {
        records.texts.push(words);
        records.at_us.push(at_s * 1_000_000);
    }
    records
}

#[test]
fn losses_and_gradients_are_pytorchs() -> candle_core::Result<()> {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../fixtures/baselines/gradients.json")).expect("the fixture");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/baselines/gradients.safetensors");
    let tensors = candle_core::safetensors::load(file, &Device::Cpu)?;
    let flat = |name: &str| tensors[name].to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let vectors = Vectors::new(flat("vectors")?.len() / fixture.articles, flat("vectors")?);
    let users: Vec<Clicks> = fixture
        .users
        .iter()
        .map(|user| {
            let (searches, visits) = (records(&user.searches), records(&user.visits));
            Clicks { searches, visits, ..clicks(&user.articles, &user.at_s) }
        })
        .collect();
    let users: Vec<&Clicks> = users.iter().collect();
    let vocabulary = Vocabulary {
        numbers: HashMap::new(),
        vectors: Vectors::new(tensors["words"].dims()[1], flat("words")?),
        titles: {
            let mut titles = Texts::default();
            fixture.titles.iter().for_each(|title| titles.push(title));
            titles
        },
    };
    let negatives = Negatives { items: fixture.negatives.items, log_q: fixture.negatives.log_q };
    for case in &fixture.cases {
        let across = if case.cross_domain { "-cross" } else { "" };
        let about = format!("{}-{}{across}", case.model, if case.item == Item::Text { "text" } else { "id" });
        let sizes = Sizes { item: case.item, cross_domain: case.cross_domain, ..fixture.sizes.clone() };
        let articles = match case.item {
            _ if case.model == Model::Nrhub => Articles::Words(&vocabulary),
            Item::Text => {
                Articles::Texts { articles: &vectors, words: case.cross_domain.then_some(&vocabulary.vectors) }
            }
            Item::Id => Articles::Ids(fixture.articles),
        };
        let prefix = format!("{about}/value/");
        let values: BTreeMap<_, _> = tensors
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_owned(), value.clone())))
            .collect();
        let parameters = Network::parameters(case.model, &sizes, articles.inner());
        assert_eq!(parameters.len(), values.len(), "{about}");
        let network = Network::of(case.model, &sizes, &articles, Weights::of(&parameters, values)?)?;
        let (loss, count) = network.loss(&users, &negatives, &mut Dropout::off())?;
        assert_eq!(count, case.clicks);
        let got = f64::from(loss.to_scalar::<f32>()?);
        assert!((got - case.loss).abs() < 1e-5 * case.loss, "{about}: {got} {}", case.loss);
        let gradients = network.weights.gradients(&loss.backward()?)?;
        let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let most = gradients.values().map(|gradient| largest(gradient)).fold(0.0, f32::max);
        for (name, gradient) in &gradients {
            let expected = flat(&format!("{about}/gradient/{name}"))?;
            let apart: Vec<f32> = gradient.iter().zip(&expected).map(|(a, b)| a - b).collect();
            let scale = largest(&expected).max(1e-3 * most);
            assert!(largest(&apart) < 1e-4 * scale, "{about}, {name}: {} of {scale}", largest(&apart));
            // A softmax does not change when all its keys move alike.
            assert!(largest(gradient) > 1e-3 * most || name.ends_with("key.bias"), "{about}, {name}: {gradient:?}");
        }
    }
    Ok(())
}

/// Users of a small world: they go round three rings of articles. Each article's title is a word of its own and one of its ring. Before each
/// click they search for another word that says which article it is.
fn rings(users: usize) -> Vec<Clicks> {
    let user = |user: usize| {
        let articles: Vec<u32> = (0..3 + user % 9).map(|step| ((user + step) % 10 + 10 * (user % 3)) as u32).collect();
        let at_s: Vec<i64> = (0..articles.len() as i64).map(|step| step * 1000 + user as i64).collect();
        let hints: Vec<Record> = articles
            .iter()
            .zip(&at_s)
            .map(|(article, at_s)| Record { at_s: at_s - 1, words: vec![31 + article] })
            .collect();
        Clicks { searches: records(&hints), ..clicks(&articles, &at_s) }
    };
    (0..users).map(user).collect()
}

/// A model, and whether it reads searches that it would not read by itself.
#[derive(Debug, Clone, Copy)]
struct Kind(Model, bool);

const KINDS: [Kind; 7] = [
    Kind(Model::Gru, false),
    Kind(Model::Sasrec, false),
    Kind(Model::Hstu, false),
    Kind(Model::Nrhub, false),
    Kind(Model::Gru, true),
    Kind(Model::Sasrec, true),
    Kind(Model::Hstu, true),
];

impl Kind {
    /// The articles of `rings` to it: ids, titles, or vectors, which are those of the words that say which article it is.
    fn network(self, vocabulary: &Vocabulary, seed: u64) -> Network {
        let vectors = vocabulary.vectors.gather(&(1..31).collect::<Vec<_>>());
        let articles = match self {
            Kind(Model::Nrhub, _) => Articles::Words(vocabulary),
            Kind(_, true) => Articles::Texts { articles: &vectors, words: Some(&vocabulary.vectors) },
            Kind(_, false) => Articles::Ids(30),
        };
        Network::random(self.0, &self.settings().sizes, &articles, seed).expect("a network")
    }

    fn settings(self) -> TrainSettings {
        let item = if self.1 { Item::Text } else { Item::Id };
        let sizes = Sizes { width: 16, length: 8, item, cross_domain: self.1, ..Sizes::default() };
        TrainSettings { sizes, dropout: 0.1, negatives: 12, learning_rate: 1e-2, ..TrainSettings::default() }
    }
}

/// 30 words of titles, 30 of searches, and 3 of rings, far from each other.
fn vocabulary() -> Vocabulary {
    let mut titles = Texts::default();
    (0..30).for_each(|article| titles.push(&[1 + article, 61 + article / 10]));
    let value = |at: usize| if at < 32 { 0.0 } else { (at as f32 * 12.9898).sin() };
    Vocabulary { numbers: HashMap::new(), vectors: Vectors::new(32, (0..64 * 32).map(value).collect()), titles }
}

#[test]
fn what_comes_next_is_learnt() -> dataset::Result<()> {
    let users = rings(60);
    let all: Vec<u32> = (0..30).collect();
    let vocabulary = vocabulary();
    let clicked: Vec<(u32, u64)> = all.iter().map(|article| (*article, 1)).collect();
    for kind in KINDS {
        let Kind(model, across) = kind;
        let reads_searches = across || model == Model::Nrhub;
        let mut settings = kind.settings();
        settings.drawn = if model == Model::Gru { Drawn::Clicks } else { Drawn::Uniform };
        let network = kind.network(&vocabulary, 3);
        let before = measure(&network, &users, &all).map_err(crate::candle)?;
        let mut parameters = training::Parameters::new(network.weights.values().map_err(crate::candle)?);
        let of_step: Vec<&Clicks> = users.iter().collect();
        for step in 1..=60 {
            let (_, gradients) = settings.gradients(&network, &of_step, &settings.draw(&clicked, step), step)?;
            settings.optimizer().step(step, 60, &mut parameters, &gradients)?;
            network.weights.set(&parameters.values).map_err(crate::candle)?;
        }
        let after = measure(&network, &users, &all).map_err(crate::candle)?;
        // NRHUB knows no order: that a search was the last one, it can only tell from the clicks that it belongs to none of. Words and
        // articles that are vectors of their own are learnt more slowly than ids.
        let enough = if reads_searches { 0.7 } else { 0.9 };
        assert!(after.ndcg_10 > enough && before.ndcg_10 < 0.5, "{kind:?}: {before:?}, {after:?}");
        // Who reads searches has learnt to: without the last one, the next click is told less well.
        let silent = |user: &Clicks| {
            let searches = user.without_last(1).searches;
            let last = searches.texts.len().saturating_sub(1);
            let mut kept = Records::default();
            (0..last).for_each(|at| kept.push(searches.texts.get(at), searches.at_us[at]));
            Clicks { searches: kept, ..user.clone() }
        };
        let silent: Vec<Clicks> = users.iter().map(silent).collect();
        let silent = measure(&network, &silent, &all).map_err(crate::candle)?;
        assert_eq!(silent.ndcg_10 < after.ndcg_10, reads_searches, "{kind:?}: {silent:?}, {after:?}");
    }
    Ok(())
}

#[test]
fn a_step_follows_from_its_number_and_a_user_from_themselves() -> dataset::Result<()> {
    let users = rings(40);
    let users: Vec<&Clicks> = users.iter().collect();
    let vocabulary = vocabulary();
    let clicked: Vec<(u32, u64)> = (0..30).map(|article| (article, 1 + u64::from(article))).collect();
    for kind in KINDS {
        let (settings, network) = (kind.settings(), kind.network(&vocabulary, 3));
        let of = |step: u64| settings.gradients(&network, &users, &settings.draw(&clicked, step), step);
        assert_eq!(of(5)?, of(5)?, "{kind:?}");
        assert_ne!(of(5)?, of(6)?, "{kind:?}");
        // What is read once for all is what would be read each time, but for rounding: products of more rows may add in another order.
        let values = |x: candle_core::Tensor| x.flatten_all()?.to_vec1::<f32>();
        let each_time = network.reads(&[0, 7, 19], &mut Dropout::off()).and_then(values).map_err(crate::candle)?;
        let once = network.clone().prepared([19, 7]).and_then(|some| values(some.read)).map_err(crate::candle)?;
        let prepared = network.prepared(0..30).map_err(crate::candle)?;
        let of_all = nn::select(&prepared.read, &[0, 7, 19]).and_then(values).map_err(crate::candle)?;
        for read in [once, of_all] {
            let alike = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
            assert!(read.len() == each_time.len() && read.iter().zip(&each_time).all(alike), "{kind:?}");
        }
        let padded = prepared.last(&users).and_then(|x| x.to_vec2::<f32>()).map_err(crate::candle)?;
        let nobody = Clicks::default();
        let everyone: Vec<&Clicks> = users.iter().copied().chain([&nobody]).collect();
        let asked = prepared.ask(&everyone).map_err(crate::candle)?;
        assert!(asked.len() == padded.len() + 1 && asked[padded.len()].is_empty(), "{kind:?}");
        for ((user, padded), asked) in users.iter().zip(&padded).zip(&asked) {
            let alone = &prepared.ask(&[user]).map_err(crate::candle)?[0];
            for other in [&padded[..], asked.values()] {
                let apart = alone.values().iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(other.len() == alone.values().len() && apart < 1e-5, "{kind:?}: another is seen: {apart}");
            }
        }
    }
    Ok(())
}

#[test]
fn who_reads_searches_looks_at_what_was_before_and_at_nothing_else() -> candle_core::Result<()> {
    let (users, vocabulary) = (rings(9), vocabulary());
    for kind in KINDS.into_iter().filter(|Kind(model, across)| *across || *model == Model::Nrhub) {
        let network = kind.network(&vocabulary, 3);
        let negatives = Negatives { items: vec![3, 14], log_q: Vec::new() };
        let loss = |user: &Clicks| network.loss(&[user], &negatives, &mut Dropout::off())?.0.to_scalar::<f32>();
        let user = &users[8];
        let changed = |at: usize, by_us: i64| {
            let mut user = user.clone();
            user.searches.at_us[at] += by_us;
            user
        };
        // The last search becomes one after the last click: it is not seen.
        let last = user.len() - 1;
        assert_ne!(loss(&changed(last, 2_000_000))?, loss(user)?, "{kind:?}");
        assert_eq!(loss(&changed(last, 1_000_000))?, loss(&changed(last, 2_000_000))?, "{kind:?}");
        // The one before stays before its click: only who looks at times can see that it moved.
        let moved = loss(&changed(last - 1, 500_000))? != loss(user)?;
        assert!(!moved || matches!(kind, Kind(Model::Hstu, _)), "{kind:?}");
        // Who never clicked has a vector all the same; with clicks alone it is another.
        let never = Clicks { articles: Vec::new(), at_us: Vec::new(), ..user.clone() };
        assert!(network.knows(&never) && !network.knows(&Clicks::default()), "{kind:?}");
        let alone = Clicks::new(user.articles.clone(), user.at_us.clone());
        // Of users with clicks alone all the same, as of a log that has nothing else.
        let (_, gradients) = kind.settings().gradients(&network, &[&alone], &negatives, 1).expect("gradients");
        assert_eq!(
            gradients.keys().collect::<Vec<_>>(),
            network.weights.tensors().keys().collect::<Vec<_>>(),
            "{kind:?}"
        );
        let prepared = network.prepared(0..30)?;
        let asked = prepared.ask(&[&never, user, &alone])?;
        let [never, both, alone] = [0, 1, 2].map(|at| asked[at].values());
        assert!((never.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5, "{kind:?}");
        assert!(never != both && both != alone, "{kind:?}");
    }
    Ok(())
}

#[test]
fn negatives_are_drawn_as_often_as_they_should() {
    let clicked = [(4, 1), (7, 3)];
    let share = |drawn| {
        let settings = TrainSettings { negatives: 10_000, drawn, ..TrainSettings::default() };
        let negatives = settings.draw(&clicked, 1);
        assert_ne!(negatives, settings.draw(&clicked, 2));
        let sevens = negatives.items.iter().filter(|item| **item == 7).count();
        (sevens as f64 / 10_000.0, negatives)
    };
    let (half, uniform) = share(Drawn::Uniform);
    assert!((half - 0.5).abs() < 0.03 && uniform.log_q.is_empty());
    let (most, drawn) = share(Drawn::Clicks);
    assert!((most - 0.75).abs() < 0.03);
    for (item, log_q) in drawn.items.iter().zip(drawn.log_q) {
        let expected = if *item == 7 { 1.5_f32.ln() } else { 0.5_f32.ln() };
        assert!((log_q - expected).abs() < 1e-6);
    }
    let full = TrainSettings { negatives: 0, ..TrainSettings::default() };
    assert_eq!(full.draw(&clicked, 1), Negatives { items: vec![4, 7], log_q: Vec::new() });
}
