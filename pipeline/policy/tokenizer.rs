//! The tokenizer of a policy: byte-level BPE, with people's text kept apart from control tokens.

use std::path::Path;

use candle_core::quantized::gguf_file;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use dataset::{Error, Result};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer as Inner};

use crate::files::wrong;

/// Turns text into token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// As the model's files have it: control tokens in a text become control tokens.
    inner: Inner,
    /// The same, but for it every text is only text.
    plain: Inner,
    /// What each token stands for; empty for control tokens.
    bytes: Vec<Vec<u8>>,
}

/// What every tokenizer must give back: blanks, ends of lines, marks, other scripts.
const ROUND_TRIP: &str = "A line, two blanks:  and\ta tab.\r\n\n- \u{ab}\u{e9}lan\u{bb} don't \u{5317}\u{4eac} \u{e44}\u{e17}\u{e22} \u{1f686}?\n 12 ";
const HINT: &str = "models of the Llama 3, SmolLM2 and Qwen2 families have byte-level BPE tokenizers";

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_json(path: &Path, json: &[u8]) -> Result<Self> {
        let inner = Inner::from_bytes(json)
            .map_err(|e| wrong(path, format!("expected a tokenizer in the `tokenizers` format, got {e}"), HINT))?;
        Self::new(inner).map_err(|what| wrong(path, what, HINT))
    }

    /// Reads a tokenizer from a GGUF file's metadata.
    pub(crate) fn from_gguf(path: &Path, content: &mut gguf_file::Content) -> Result<Self> {
        let kind = "tokenizer.ggml.pre";
        if content.metadata.get(kind).and_then(|kind| kind.to_string().ok()).is_some_and(|kind| kind == "llama-bpe") {
            // llama.cpp's name for Llama 3's; it takes whole words of the vocabulary as they are.
            content.metadata.insert(kind.into(), gguf_file::Value::String("llama3".into()));
            content.metadata.insert("tokenizer.ggml.ignore_merges".into(), gguf_file::Value::Bool(true));
        }
        let mut inner = Inner::from_gguf(content)
            .map_err(|e| wrong(path, format!("expected a tokenizer in its metadata, got {e}"), HINT))?;
        let kind = content.metadata.get("tokenizer.ggml.pre").and_then(|kind| kind.to_string().ok());
        match kind.map(String::as_str) {
            // Candle knows these two.
            Some("qwen2" | "llama3") => {}
            // Digits one by one, then words as GPT-2 cuts them, without a space put before the text.
            Some("smollm") => {
                let digits = Digits::new(true).into();
                let words = ByteLevel::new(false, true, true).into();
                inner.with_pre_tokenizer(Some(Sequence::new(vec![digits, words])));
            }
            Some("gpt-2") => {
                inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
            }
            None => {
                let what = "tokenizer.ggml.pre: expected the kind of its pre-tokenizer, got none";
                let hint = "files from before May 2024 do not say how text is cut, and other cuts are other tokens: take a newer file, or \
                            add it: gguf-new-metadata --pre-tokenizer qwen2 OLD.gguf NEW.gguf (llama-bpe for Llama 3)";
                return Err(wrong(path, what, hint));
            }
            Some(other) => {
                let what = format!("tokenizer.ggml.pre: expected smollm, qwen2, llama-bpe or gpt-2, got {other}");
                return Err(wrong(path, what, "take the model's Hugging Face folder instead"));
            }
        }
        Self::new(inner).map_err(|what| wrong(path, what, HINT))
    }

    fn new(mut inner: Inner) -> Result<Self, String> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        let added = inner.get_added_tokens_decoder();
        let mut plain = inner.clone();
        let control = added.values().map(|token| AddedToken::from(token.content.clone(), true));
        plain.add_special_tokens(control).map_err(|e| e.to_string())?;
        plain.set_encode_special_tokens(true);
        let vocabulary = inner.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        if size > 2 * vocabulary.len() {
            return Err(format!("expected ids without large gaps, got {size} for {} tokens", vocabulary.len()));
        }
        if !matches!(inner.get_model(), ModelWrapper::BPE(_)) {
            return Err("expected a byte-level BPE tokenizer, got another kind".into());
        }
        let mut bytes = vec![Vec::new(); size];
        for (token, id) in &vocabulary {
            if !added.contains_key(id) {
                let spelled: Option<Vec<u8>> = token.chars().map(byte).collect();
                bytes[*id as usize] =
                    spelled.ok_or_else(|| format!("expected byte-level tokens, got number {id}, which is none"))?;
            }
        }
        let spelled = |byte: &u8| bytes.iter().any(|token| token.as_slice() == [*byte]);
        if let Some(missing) = (b' '..=b'~').find(|byte| !spelled(byte)) {
            return Err(format!("expected a token for every printable character, got none for {:?}", missing as char));
        }
        let tokenizer = Tokenizer { inner, plain, bytes };
        match tokenizer.decode(&tokenizer.encode(ROUND_TRIP)) {
            same if same == ROUND_TRIP => Ok(tokenizer),
            other => Err(format!(
                "expected a tokenizer that gives back what it is given, got {other:?} for {ROUND_TRIP:?}: is its byte-level step missing?"
            )),
        }
    }

    /// A token as the vocabulary spells it.
    pub(crate) fn spelled(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }

    /// Ids of a text in which nothing is a control token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        ids(&self.plain, text)
    }

    /// Ids of a text in which control tokens are control tokens.
    #[cfg(test)]
    pub(crate) fn encode_with_control(&self, text: &str) -> Vec<u32> {
        ids(&self.inner, text)
    }

    /// The id of a control token, if the vocabulary has it.
    pub fn control(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The text of tokens, without control tokens. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(tokens)).into_owned()
    }

    /// The text of tokens up to its last whole character.
    pub(crate) fn decode_whole(&self, tokens: &[u32]) -> String {
        let mut bytes = self.decode_bytes(tokens);
        if let Err(e) = std::str::from_utf8(&bytes) {
            bytes.truncate(e.valid_up_to());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes of tokens, without control tokens.
    fn decode_bytes(&self, tokens: &[u32]) -> Vec<u8> {
        tokens.iter().flat_map(|token| self.bytes(*token)).copied().collect()
    }

    /// What one token stands for; nothing for control tokens and ids that are no token.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// The largest token id, plus one.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len()
    }

    /// How many tokens this tokenizer shares with another: all that the smaller vocabulary has. What a larger one has beyond stands for no text.
    ///
    /// # Errors
    /// The first token that they spell differently, or that they cut a text into different ones.
    pub fn shared(&self, other: &Tokenizer) -> std::result::Result<usize, String> {
        let shared = self.vocabulary().min(other.vocabulary());
        for token in 0..shared as u32 {
            let [own, others] = [self, other].map(|tokenizer| tokenizer.spelled(token).unwrap_or_default());
            if own != others {
                return Err(format!("token {token} spelled {others:?} for {own:?}"));
            }
        }
        let beyond = |of: &Tokenizer| (shared..of.vocabulary()).find(|token| !of.bytes(*token as u32).is_empty());
        if let Some(token) = beyond(self).or(beyond(other)) {
            return Err(format!("token {token}, which only one of them has"));
        }
        match self.encode(ROUND_TRIP) == other.encode(ROUND_TRIP) {
            true => Ok(shared),
            false => Err("the same tokens, put together by other merges".into()),
        }
    }

    /// As `tokenizer.json`.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(false).map_err(|e| Error::bug(format!("tokenizer: {e}")))
    }
}

fn ids(tokenizer: &Inner, text: &str) -> Vec<u32> {
    let encoding = tokenizer.encode_fast(text, false).expect("a loaded tokenizer takes every text");
    encoding.get_ids().to_vec()
}

/// The byte that a character of a byte-level token stands for: printable bytes stand for themselves, the others for U+0100 onwards, in
/// order (Radford et al., 2019).
fn byte(c: char) -> Option<u8> {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(c);
    match u8::try_from(code) {
        Ok(b) => printable(b).then_some(b),
        Err(_) => (0..=255u8).filter(|b| !printable(*b)).nth(code as usize - 256),
    }
}

#[cfg(test)]
mod tests {
    use super::byte;

    #[test]
    fn characters_stand_for_bytes() {
        assert_eq!(['A', 'Ġ', 'Ċ', 'ÿ', 'Ń'].map(byte), [Some(b'A'), Some(b' '), Some(b'\n'), Some(255), Some(0xad)]);
        assert_eq!([' ', '▁'].map(byte), [None, None]);
    }
}
