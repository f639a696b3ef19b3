//! A tokenizer as its model's folder has it, set to never pad and to clip at the model's positions.

use std::path::Path;

use dataset::{Error, Result, read_file};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection, TruncationParams};

use crate::beside::clipped_end;
use crate::folder::{MAX_JSON, NAMES};

/// Turns texts into token ids, special tokens included.
#[derive(Debug, Clone)]
pub struct Tokens {
    tokenizer: Tokenizer,
    max_tokens: usize,
}

impl Tokens {
    /// Reads `tokenizer.json`; texts of more than `max_tokens` tokens are clipped, their closing token kept.
    pub fn open(path: &Path, max_tokens: usize) -> Result<Self> {
        let json = read_file(path, MAX_JSON, NAMES)?;
        let tokenizer = Tokenizer::from_bytes(json).map_err(|e| {
            let what = format!("expected a tokenizer in the `tokenizers` format, got {e}");
            Error::unreadable(path.display(), what, "copy the model's folder again")
        })?;
        let clipped_end = clipped_end(path, &tokenizer)?;
        Self::clipped(tokenizer, max_tokens, clipped_end)
    }

    /// The same for a tokenizer in memory. Texts are clipped at the end that it clips itself.
    ///
    /// # Errors
    /// When `max_tokens` leave no room for a text beside the special tokens.
    pub fn new(tokenizer: Tokenizer, max_tokens: usize) -> Result<Self> {
        Self::clipped(tokenizer, max_tokens, None)
    }

    /// Without an end that is said, texts are clipped at the tokenizer's own.
    fn clipped(mut tokenizer: Tokenizer, max_tokens: usize, end: Option<TruncationDirection>) -> Result<Self> {
        let special = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if max_tokens <= special {
            let expected = format!("at least {} ({special} special tokens and one of the text)", special + 1);
            let hint = "raise it; if it is higher, the model's folder names fewer positions: copy the folder again";
            return Err(Error::setting("max_tokens", expected, max_tokens, hint));
        }
        tokenizer.with_padding(None);
        let own = || tokenizer.get_truncation().map_or(TruncationDirection::Right, |own| own.direction);
        let direction = end.unwrap_or_else(own);
        let truncation = TruncationParams { max_length: max_tokens, direction, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| Error::bug(format!("max_tokens {max_tokens}: {e}")))?;
        Ok(Tokens { tokenizer, max_tokens })
    }

    /// The ids of each text.
    ///
    /// # Errors
    /// When the tokenizer has none for a text: it lacks a token for words that it does not know.
    pub fn ids(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        // One thread: the workers are parallel already.
        texts
            .iter()
            .map(|text| {
                let encoding = self.tokenizer.encode_fast(*text, true).map_err(|_| {
                    let what =
                        "expected tokens for every text, got a tokenizer without any for words that it does not know";
                    Error::unreadable(
                        "tokenizer.json",
                        what,
                        "add its unknown token to its vocabulary, or copy the model's folder again",
                    )
                })?;
                Ok(encoding.get_ids().to_vec())
            })
            .collect()
    }

    /// Tokens at which texts are clipped.
    pub fn longest(&self) -> usize {
        self.max_tokens
    }

    /// The largest token id, plus one.
    pub fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }
}
