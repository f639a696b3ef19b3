//! What a sentence-transformers folder says beside its model: its modules, how it pools, its longest text, its case, its prompts.
//!
//! All of it is followed or refused by name. A folder that says nothing means its tokens' vectors.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Component, Path, PathBuf};

use dataset::{Error, Result, check_file, is_there};
use serde::Deserialize;
use serde_json::Value;

use crate::folder::{MAX_JSON, NAMES, says, wrong};

const HINT: &str = "take a sentence-transformers model with mean pooling, such as all-MiniLM-L6-v2";

const MODULES: &str = "modules.json";
/// Where pooling is said when there is no list of modules.
const POOLING: &str = "1_Pooling";
const PROMPTS: &str = "config_sentence_transformers.json";
const TOKENIZER: &str = "tokenizer_config.json";
/// What the file of the first module has been called; the first that is there counts.
const TRANSFORMER: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// What decides an encoder's vectors beside its model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// Tokens of a text, at most.
    pub(crate) longest: Option<usize>,
    /// Texts are lower-cased first.
    pub(crate) lower_case: bool,
    /// What stands before a query.
    pub(crate) query_prompt: String,
    /// What stands before a document.
    pub(crate) document_prompt: String,
    /// The file that leaves the prompt's tokens out of the mean, which is not done here.
    pub(crate) without_prompt: Option<PathBuf>,
}

/// A module of the list.
#[derive(Debug, Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Module {
    /// Its class; of somebody else's code, the whole name.
    fn class(&self) -> &str {
        let ours = self.kind.starts_with("sentence_transformers.");
        self.kind.rsplit('.').next().filter(|_| ours).unwrap_or(&self.kind)
    }
}

/// The list of modules; `None` when there is none.
fn modules(folder: &Path) -> Result<Option<Vec<Module>>> {
    let file = folder.join(MODULES);
    let Some(modules) = says::<Vec<Module>>(&file, "a list of modules", HINT)? else { return Ok(None) };
    let plain = |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    match modules.iter().find(|module| !plain(&module.path)) {
        Some(outside) => {
            Err(wrong(&file, format!("expected paths inside the model's folder, got {:?}", outside.path), HINT))
        }
        None => Ok(Some(modules)),
    }
}

/// Those of the files that are there. What they say is not looked at, for a classifier needs none of them.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let pooling =
        |modules: Vec<Module>| modules.into_iter().filter(|m| m.class() == "Pooling").map(|m| m.path).collect();
    let pooling: Vec<String> = modules(folder)?.map_or_else(|| vec![POOLING.into()], pooling);
    let pooling = pooling.into_iter().map(|path| folder.join(path).join("config.json"));
    let named = [MODULES, PROMPTS].into_iter().chain(TRANSFORMER).map(|name| folder.join(name));
    let mut there = Vec::new();
    for file in named.chain(pooling) {
        if is_there(&file, NAMES)? {
            check_file(&file, MAX_JSON, HINT)?;
            there.push(file);
        }
    }
    Ok(there)
}

impl Sentence {
    /// What a folder says.
    ///
    /// # Errors
    /// 3, naming it, for what would change the vectors and is not followed.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let modules = modules(folder)?;
        let unit = check_modules(&folder.join(MODULES), modules.as_deref())?;
        let pooling = modules.as_deref().and_then(|modules| modules.get(1)).map_or(POOLING, |module| &module.path);
        let without_prompt = check_pooling(&folder.join(pooling).join("config.json"), modules.is_some())?;
        let mut sentence = Sentence { without_prompt, ..Sentence::default() };
        sentence.read_transformer(folder)?;
        if sentence.longest.is_none() && modules.is_some() {
            sentence.longest = longest_of_tokenizer(&folder.join(TOKENIZER))?;
        }
        sentence.read_prompts(&folder.join(PROMPTS), unit)?;
        Ok(sentence)
    }

    /// The longest text, and whether texts are lower-cased.
    fn read_transformer(&mut self, folder: &Path) -> Result<()> {
        for file in TRANSFORMER.map(|name| folder.join(name)) {
            let Some(settings) = says::<BTreeMap<String, Value>>(&file, "how texts are put to the model", HINT)? else {
                continue;
            };
            for (name, value) in &settings {
                let refused = |expected: &dyn Display| Err(differs(&file, name, expected, value));
                match (name.as_str(), value) {
                    (_, Value::Null) => {}
                    ("max_seq_length", _) => match value.as_u64().filter(|length| *length > 0) {
                        Some(length) => self.longest = Some(length as usize),
                        None => return refused(&"a number above 0"),
                    },
                    ("do_lower_case", _) => match value.as_bool() {
                        Some(lower) => self.lower_case = lower,
                        None => return refused(&"true or false"),
                    },
                    ("transformer_task", _) if value != "feature-extraction" => return refused(&"feature-extraction"),
                    ("module_output_name", _) if value != "token_embeddings" => return refused(&"token_embeddings"),
                    ("modality_config", _) if value["text"]["method_output_name"] != "last_hidden_state" => {
                        return refused(&"text of last_hidden_state");
                    }
                    // How batches are laid out changes no vector.
                    ("transformer_task" | "module_output_name" | "modality_config" | "unpad_inputs", _) => {}
                    (_, Value::Bool(false)) => {}
                    (_, Value::Object(fields)) if fields.is_empty() => {}
                    _ => return refused(&"nothing"),
                }
            }
            return Ok(());
        }
        Ok(())
    }

    /// Prompts, as `encode_query` and `encode_document` of sentence-transformers choose them: by their names, else the default one.
    /// Others are for tasks that are not ours. `unit`: the folder gives its vectors unit length itself.
    fn read_prompts(&mut self, file: &Path, unit: bool) -> Result<()> {
        #[derive(Deserialize)]
        struct Prompts {
            #[serde(default)]
            prompts: BTreeMap<String, Option<String>>,
            default_prompt_name: Option<String>,
            similarity_fn_name: Option<String>,
            model_type: Option<String>,
        }
        let Some(said) = says::<Prompts>(file, "prompts", HINT)? else { return Ok(()) };
        if let Some(other) = said.model_type.filter(|kind| kind != "SentenceTransformer") {
            return Err(differs(file, "model_type", "SentenceTransformer", other));
        }
        match said.similarity_fn_name.as_deref() {
            None | Some("cosine") => {}
            // Of vectors of unit length both say what the cosine says.
            Some("dot" | "euclidean") if unit => {}
            Some(other) => {
                let what = format!("similarity_fn_name: expected cosine, got {other}; vectors have unit length here");
                return Err(wrong(file, what, HINT));
            }
        }
        let prompt = |name: &str| said.prompts.get(name).cloned().flatten().filter(|prompt| !prompt.is_empty());
        let default = match said.default_prompt_name.as_deref() {
            Some(name) if !said.prompts.contains_key(name) => {
                let names: Vec<&String> = said.prompts.keys().collect();
                return Err(differs(file, "default_prompt_name", format!("one of {names:?}"), name));
            }
            name => name.and_then(prompt).unwrap_or_default(),
        };
        let first = |names: &[&str]| names.iter().find_map(|name| prompt(name)).unwrap_or_else(|| default.clone());
        self.query_prompt = first(&["query"]);
        self.document_prompt = first(&["document", "passage", "corpus"]);
        Ok(())
    }
}

fn differs(file: &Path, name: &str, expected: impl Display, got: impl Display) -> Error {
    wrong(file, format!("{name}: expected {expected}, got {got}"), HINT)
}

/// Checks the modules; whether they give vectors unit length.
fn check_modules(file: &Path, modules: Option<&[Module]>) -> Result<bool> {
    let Some(modules) = modules else { return Ok(false) };
    let classes: Vec<&str> = modules.iter().map(Module::class).collect();
    match classes.as_slice() {
        ["Transformer", "Pooling", rest @ ..] if rest.iter().all(|class| *class == "Normalize") => {
            match modules.first().map_or("", |module| &module.path) {
                "" => Ok(!rest.is_empty()),
                elsewhere => {
                    let hint = "save the model again with a newer sentence-transformers";
                    Err(wrong(file, format!("expected the Transformer's path to be empty, got {elsewhere:?}"), hint))
                }
            }
        }
        _ => {
            let known = ["Transformer", "Pooling", "Normalize"];
            let got =
                classes.iter().find(|class| !known.contains(class)).map_or(classes.join(", "), ToString::to_string);
            let what = format!("expected the modules Transformer, Pooling and perhaps Normalize, got {got}");
            Err(wrong(file, what, HINT))
        }
    }
}

/// Checks that vectors are pooled by the mean alone. Returns the file if it leaves the prompt's tokens out of it.
fn check_pooling(file: &Path, needed: bool) -> Result<Option<PathBuf>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Modes {
        One(String),
        Several(Vec<String>),
    }
    #[derive(Deserialize)]
    struct Pooling {
        pooling_mode: Option<Modes>,
        include_prompt: Option<bool>,
        #[serde(flatten)]
        flags: BTreeMap<String, Value>,
    }
    let Some(pooling) = says::<Pooling>(file, "how vectors are pooled", HINT)? else {
        return match needed {
            true => Err(wrong(file, "expected how vectors are pooled, got no such file", HINT)),
            false => Ok(None),
        };
    };
    // Since sentence-transformers 5.4 there is one field, before there was a flag for each.
    let on = |(name, value): (String, Value)| (name.starts_with("pooling_mode_") && value == true).then_some(name);
    let modes = match pooling.pooling_mode {
        Some(Modes::One(mode)) => vec![mode],
        Some(Modes::Several(modes)) => modes,
        None => pooling.flags.into_iter().filter_map(on).collect(),
    };
    match modes.iter().find(|mode| !["mean", "pooling_mode_mean_tokens"].contains(&mode.as_str())) {
        Some(other) => Err(wrong(file, format!("expected pooling by the mean alone, got {other}"), HINT)),
        None => Ok((pooling.include_prompt == Some(false)).then(|| file.into())),
    }
}

/// The longest text that a tokenizer's file names. Many name a number beyond all.
fn longest_of_tokenizer(file: &Path) -> Result<Option<usize>> {
    #[derive(Deserialize)]
    struct Tokenizer {
        model_max_length: Option<f64>,
    }
    let said = says::<Tokenizer>(file, "a tokenizer's settings", HINT)?.and_then(|said| said.model_max_length);
    Ok(said.filter(|length| (1.0..1e9).contains(length)).map(|length| length as usize))
}
