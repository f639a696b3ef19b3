//! The cleaner's tokenizer: byte-level BPE trained on the labelled texts, or the initial model's with RoBERTa's special tokens.

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::{Lowercase, NFC, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

/// Special tokens in the order of their ids, as RoBERTa has them.
pub(crate) const SPECIAL: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
const MASK: &str = "<mask>";

/// What BERT calls them.
const BERT: [&str; 4] = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"];

/// Trains a byte-level BPE of at most `size` tokens. Texts are lower-cased: behaviours are typed in any case.
pub(crate) fn train_bpe(texts: &[&str], size: usize) -> Result<Tokenizer, tokenizers::Error> {
    let special = |content: &str| AddedToken::from(content.to_owned(), true);
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(size)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(SPECIAL.iter().chain([&MASK]).map(|name| special(name)).collect())
        .build();
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(Some(Sequence::new(vec![NFC.into(), Lowercase.into()])))
        .with_pre_tokenizer(Some(ByteLevel::default()))
        .with_post_processor(Some(RobertaProcessing::new(("</s>".into(), 2), ("<s>".into(), 0))))
        .with_decoder(Some(ByteLevel::default()))
        .build()?;
    tokenizer.train(&mut trainer, texts.iter())?;
    // From the typed tokenizer to one of any kind, the way that its readers take it.
    Tokenizer::from_bytes(serde_json::to_vec(&tokenizer)?)
}

/// Gives a BERT tokenizer (as `tokenizer.json`) RoBERTa's special tokens and their ids. A RoBERTa tokenizer stays as it is.
///
/// Returns also which old id each new one was: tokens change places, so the rows of the embedding must follow.
pub(crate) fn with_roberta_ids(json: &[u8]) -> Result<(Tokenizer, Vec<u32>), tokenizers::Error> {
    let mut value: Value = serde_json::from_slice(json)?;
    let tokenizer = Tokenizer::from_bytes(json)?;
    let size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id + 1);
    let mut old_ids: Vec<u32> = (0..size).collect();
    if SPECIAL.iter().zip(0..).all(|(name, id)| tokenizer.token_to_id(name) == Some(id)) {
        return Ok((tokenizer, old_ids));
    }
    let vocabulary = value["model"]["vocab"].as_object_mut().ok_or("expected a vocabulary of tokens and ids")?;
    for (new_id, (old, new)) in BERT.into_iter().zip(SPECIAL).enumerate() {
        let id = vocabulary.remove(old).ok_or_else(|| format!("expected the tokens {BERT:?} or {SPECIAL:?}"))?;
        if let Some((_, displaced)) = vocabulary.iter_mut().find(|(_, id)| **id == new_id) {
            *displaced = id.clone();
        }
        let id = id.as_u64().ok_or("expected ids that are numbers")? as usize;
        old_ids.swap(new_id, id);
        vocabulary.insert(new.into(), new_id.into());
    }
    let mask = vocabulary.remove("[MASK]").unwrap_or_else(|| old_ids.len().into());
    vocabulary.insert(MASK.into(), mask.clone());
    let added = |name: &str, id: &Value| json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let mut tokens: Vec<Value> = SPECIAL.iter().enumerate().map(|(id, name)| added(name, &id.into())).collect();
    tokens.push(added(MASK, &mask));
    value["added_tokens"] = tokens.into();
    value["model"]["unk_token"] = "<unk>".into();
    value["post_processor"] = json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": true, "add_prefix_space": false});
    value["truncation"] = Value::Null;
    value["padding"] = Value::Null;
    Ok((Tokenizer::from_bytes(serde_json::to_vec(&value)?)?, old_ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_vocabulary_has_robertas_special_tokens_and_loses_nothing() -> Result<(), tokenizers::Error> {
        let texts: Vec<String> = (0..50).map(|i| format!("News about the Weather in town {}", i % 5)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let tokenizer = train_bpe(&texts, 400)?;
        for (id, name) in SPECIAL.iter().enumerate() {
            assert_eq!(tokenizer.token_to_id(name), Some(id as u32));
        }
        let encoding = tokenizer.encode("the weather, übermorgen 🌧", true)?;
        assert_eq!((encoding.get_ids()[0], encoding.get_ids().last()), (0, Some(&2)));
        assert_eq!(tokenizer.decode(encoding.get_ids(), true)?.trim(), "the weather, übermorgen 🌧");
        Ok(())
    }

    #[test]
    fn a_bert_vocabulary_keeps_its_tokens_under_new_ids() -> Result<(), tokenizers::Error> {
        let names = ["[PAD]", "one", "two", "##s", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        let vocabulary: serde_json::Map<String, Value> =
            names.iter().enumerate().map(|(id, name)| (name.to_string(), id.into())).collect();
        let json = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {"type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": null, "decoder": null, "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary}});
        let (tokenizer, old_ids) = with_roberta_ids(&serde_json::to_vec(&json)?)?;
        let ids = tokenizer.encode("ones TWO zwei", true)?.get_ids().to_vec();
        let old: Vec<&str> = ids.iter().map(|&id| names[old_ids[id as usize] as usize]).collect();
        assert_eq!(old, ["[CLS]", "one", "##s", "two", "[UNK]", "[SEP]"]);
        assert_eq!((ids[0], ids.last(), tokenizer.token_to_id("<pad>")), (0, Some(&2), Some(1)));
        let again = with_roberta_ids(&serde_json::to_vec(&tokenizer)?)?;
        assert_eq!(again.1, (0..8).collect::<Vec<u32>>());
        Ok(())
    }
}
