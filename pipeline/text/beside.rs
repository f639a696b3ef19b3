//! What `tokenizer_config.json` says beside a tokenizer: it is followed, or refused where the two files say different things.

use std::path::{Path, PathBuf};

use dataset::Result;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationDirection};

use crate::folder::{says, wrong};

const HINT: &str = "the two files must be of one model, saved together: copy the model's folder again, or save it again with transformers";

/// The fields that decide a text's tokens.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    truncation_side: Option<String>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    add_prefix_space: Option<bool>,
}

/// Its place beside a `tokenizer.json`.
pub(crate) fn tokenizer_config(tokenizer: &Path) -> PathBuf {
    tokenizer.with_file_name("tokenizer_config.json")
}

/// Which end of a text that is too long goes, if the file says so.
///
/// # Errors
/// When the file says other than the tokenizer does of case, accents, Chinese characters or a leading space. Versions of transformers follow
/// different ones of the two.
pub(crate) fn clipped_end(path: &Path, tokenizer: &Tokenizer) -> Result<Option<TruncationDirection>> {
    let path = tokenizer_config(path);
    let settings: Settings = says(&path, "a tokenizer's settings", HINT)?.unwrap_or_default();
    let said = serde_json::to_value(tokenizer).unwrap_or_default();
    let of = |part: &str, kind: &str, field: &str| {
        let part = &said[part];
        (part["type"] == kind).then(|| part[field].clone()).filter(|value| *value != Value::Null)
    };
    for (name, setting, does) in [
        ("do_lower_case", settings.do_lower_case, of("normalizer", "BertNormalizer", "lowercase")),
        ("strip_accents", settings.strip_accents, of("normalizer", "BertNormalizer", "strip_accents")),
        (
            "tokenize_chinese_chars",
            settings.tokenize_chinese_chars,
            of("normalizer", "BertNormalizer", "handle_chinese_chars"),
        ),
        ("add_prefix_space", settings.add_prefix_space, of("pre_tokenizer", "ByteLevel", "add_prefix_space")),
    ] {
        if let (Some(setting), Some(does)) = (setting, does)
            && does != setting
        {
            return Err(wrong(&path, format!("{name}: expected {does}, as in tokenizer.json, got {setting}"), HINT));
        }
    }
    match settings.truncation_side.as_deref() {
        None => Ok(None),
        Some("right") => Ok(Some(TruncationDirection::Right)),
        Some("left") => Ok(Some(TruncationDirection::Left)),
        Some(other) => Err(wrong(&path, format!("truncation_side: expected left or right, got {other:?}"), HINT)),
    }
}
