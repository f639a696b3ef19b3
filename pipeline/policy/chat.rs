//! Chat templates of the families: how turns of system, user and assistant are told apart by control tokens.

use dataset::{Error, Result};

use crate::Tokenizer;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Instructions.
    System,
    /// Who asks.
    User,
    /// The policy.
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A chat template, chosen by the control tokens that a tokenizer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chat {
    /// `<|im_start|>role\n…<|im_end|>\n`: Qwen2 and Qwen2.5, SmolLM2.
    ChatMl,
    /// `<|start_header_id|>role<|end_header_id|>\n\n…<|eot_id|>`: Llama 3.
    Llama3,
}

impl Chat {
    /// The template of a tokenizer.
    ///
    /// # Errors
    /// When it has the control tokens of none.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let has = |token: &str| tokenizer.control(token).is_some();
        match (has("<|im_start|>") && has("<|im_end|>"), has("<|start_header_id|>") && has("<|eot_id|>")) {
            (true, _) => Ok(Chat::ChatMl),
            (_, true) => Ok(Chat::Llama3),
            _ => Err(Error::setting(
                "policy",
                "a chat model with <|im_start|> (Qwen2, SmolLM2) or <|start_header_id|> (Llama 3) tokens",
                "neither",
                "take the model's instruct or chat variant",
            )),
        }
    }

    /// What a text begins with.
    pub(crate) fn begin(self, tokenizer: &Tokenizer) -> Vec<u32> {
        match self {
            Chat::ChatMl => Vec::new(),
            Chat::Llama3 => tokenizer.control("<|begin_of_text|>").into_iter().collect(),
        }
    }

    /// What opens a turn: tokens up to the last control token, and the text behind it. To a tokenizer that text and what the turn says
    /// are one text.
    pub(crate) fn open(self, tokenizer: &Tokenizer, role: Role) -> (Vec<u32>, String) {
        let control = |token: &str| tokenizer.control(token).expect("checked when the template was chosen");
        match self {
            Chat::ChatMl => (vec![control("<|im_start|>")], format!("{}\n", role.name())),
            Chat::Llama3 => {
                let (start, end) = (control("<|start_header_id|>"), tokenizer.control("<|end_header_id|>"));
                let role = tokenizer.encode(role.name());
                (std::iter::once(start).chain(role).chain(end).collect(), "\n\n".to_owned())
            }
        }
    }

    /// A whole turn.
    pub(crate) fn turn(self, tokenizer: &Tokenizer, role: Role, text: &str) -> Vec<u32> {
        let (control, opening) = self.open(tokenizer, role);
        [control, tokenizer.encode(&(opening + text)), self.close(tokenizer)].concat()
    }

    /// What closes a turn, and stands between it and the next.
    pub(crate) fn close(self, tokenizer: &Tokenizer) -> Vec<u32> {
        match self {
            Chat::ChatMl => self.end(tokenizer).into_iter().chain(tokenizer.encode("\n")).collect(),
            Chat::Llama3 => self.end(tokenizer).into_iter().collect(),
        }
    }

    /// The token that ends the assistant's turn.
    pub(crate) fn end(self, tokenizer: &Tokenizer) -> Option<u32> {
        tokenizer.control(match self {
            Chat::ChatMl => "<|im_end|>",
            Chat::Llama3 => "<|eot_id|>",
        })
    }
}
