//! What chat servers send, in the dialects that there are.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dataset::plain;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use ureq::http::HeaderMap;

/// What a server says that it has read or written, at most: more would be no count of tokens.
const MOST_TOKENS: u64 = 1 << 32;
/// Characters of a server's message that are shown.
const LONGEST_MESSAGE: usize = 200;

/// A model's answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it said; `None` when it was cut off.
    pub content: Option<String>,
    /// Tokens read, as far as the server says.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
}

/// The answer in a chat completion. Counts of tokens are a note: they may be missing, null or floats.
pub(crate) fn read(body: &str) -> Result<Answer, &'static str> {
    if body.trim_start().starts_with("data:") {
        return Err("an event stream, though none was asked for");
    }
    let completion: Completion = serde_json::from_str(body).map_err(|_| "an answer that is no chat completion")?;
    let tokens = |name: &str| (completion.usage[name].as_f64().unwrap_or_default() as u64).min(MOST_TOKENS);
    let (prompt_tokens, completion_tokens) = (tokens("prompt_tokens"), tokens("completion_tokens"));
    let choice = completion.choices.into_iter().next();
    let whole = choice.filter(|choice| choice.finish_reason.as_deref() != Some("length"));
    let content = whole.and_then(|choice| text(choice.message.content));
    Ok(Answer { content, prompt_tokens, completion_tokens })
}

/// A text, or the parts of one.
fn text(content: Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text),
        Value::Array(parts) => parts.iter().map(|part| part["text"].as_str()).collect(),
        _ => None,
    }
}

/// What a model says as JSON, without what models put around it: a byte order mark, what it thought before, a code fence.
pub(crate) fn json_of(content: &str) -> &str {
    let content = content.rsplit_once("</think>").map_or(content, |(_, after)| after);
    let content = content.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let fenced = content.strip_prefix("```").and_then(|inner| inner.strip_suffix("```"));
    fenced.map_or(content, |inner| inner.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim())
}

/// 1 or 0, as models spell it: also in quotes, as `true` or as `1.0`. For `#[serde(deserialize_with = "chat::bit")]`.
///
/// # Errors
/// For anything else.
pub fn bit<'de, D: Deserializer<'de>>(json: D) -> Result<u8, D::Error> {
    let value = Value::deserialize(json)?;
    let number = match &value {
        Value::Bool(is) => Some(f64::from(u8::from(*is))),
        Value::String(text) => match text.trim() {
            "true" => Some(1.0),
            "false" => Some(0.0),
            text => text.parse().ok(),
        },
        value => value.as_f64(),
    };
    match number {
        Some(1.0) => Ok(1),
        Some(0.0) => Ok(0),
        _ => Err(D::Error::custom("expected 0 or 1")),
    }
}

/// How long to wait, where the server says so: in seconds, or until a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(value).ok()?;
            (until.to_utc() - Utc::now()).to_std().ok()
        }
    }
}

/// What the server says of an error, as `: message`. Left out where it says again what it was asked, or the key.
pub(crate) fn message(body: &str, question: &str, key: Option<&str>) -> String {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return String::new() };
    let error = &body["error"];
    let said = [&error["message"], error, &body["message"], &body["detail"]].into_iter().find_map(Value::as_str);
    let said: String = plain(said.unwrap_or_default()).chars().take(LONGEST_MESSAGE).collect();
    let asked: HashSet<String> = words(question).collect();
    let repeats = words(&said).any(|word| asked.contains(&word)) || key.is_some_and(|key| said.contains(key));
    if said.is_empty() || repeats { String::new() } else { format!(": {said}") }
}

/// What tells a text from others: words of three letters or digits and more, but for the commonest; of other scripts, every letter.
fn words(text: &str) -> impl Iterator<Item = String> {
    const COMMON: [&str; 8] = ["the", "and", "for", "not", "you", "are", "with", "this"];
    let runs = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    let long = runs.filter(|word| word.chars().count() >= 3 && !COMMON.contains(&word.as_str()));
    let letters = text.chars().filter(|c| !c.is_ascii() && c.is_alphanumeric()).map(|c| c.to_lowercase().to_string());
    long.chain(letters)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dialects_are_read() {
        let choice = |content: Value| json!([{"message": {"content": content}, "finish_reason": "stop"}]);
        let fine = |body: Value| read(&body.to_string()).map(|answer| (answer.content, answer.prompt_tokens));
        let said = || Some("yes".to_owned());
        for (usage, tokens) in [
            (json!({"prompt_tokens": 10}), 10),
            (json!({"prompt_tokens": 10.0}), 10),
            (json!({"prompt_tokens": null}), 0),
            (json!({"prompt_tokens": -3}), 0),
            (json!({"prompt_tokens": 1e300}), MOST_TOKENS),
            (json!("none"), 0),
            (Value::Null, 0),
        ] {
            assert_eq!(fine(json!({"choices": choice(json!("yes")), "usage": usage})), Ok((said(), tokens)), "{usage}");
        }
        let parts = json!([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]);
        assert_eq!(fine(json!({"choices": choice(parts)})), Ok((said(), 0)));
        assert_eq!(fine(json!({"choices": choice(json!([{"type": "image_url"}]))})), Ok((None, 0)));
        assert_eq!(fine(json!({"choices": choice(Value::Null)})), Ok((None, 0)));
        assert_eq!(fine(json!({"choices": []})), Ok((None, 0)));
        assert_eq!(read("data: {\"choices\": []}\n\n"), Err("an event stream, though none was asked for"));
        assert!(read("{\"error\": {\"message\": \"loading\"}}").is_err());
    }

    #[test]
    fn what_models_put_around_json_is_no_part_of_it() {
        for around in [
            "{1}",
            " {1}\n",
            "\u{feff}{1}",
            "<think>\n{0}\n</think>\n\n{1}",
            "hm</think>{1}",
            "```json\n{1}\n```",
            "```{1}```",
            "<think>a</think>\n```json\n{1}```\n",
        ] {
            assert_eq!(json_of(around), "{1}", "{around:?}");
        }
        for left in ["Sure: {1}", "{1} I hope it helps", "```json\n{1}"] {
            assert_eq!(json_of(left), left);
        }
    }

    #[test]
    fn bits_are_spelt_in_many_ways() {
        let read = |json: &str| bit(&mut serde_json::Deserializer::from_str(json)).ok();
        for one in ["1", "1.0", "true", "\"1\"", "\"true\"", "\" 1 \""] {
            assert_eq!(read(one), Some(1), "{one}");
        }
        assert_eq!(["0", "-0.0", "false", "\"0\""].map(read), [Some(0); 4]);
        assert_eq!(["2", "0.5", "-1", "null", "\"yes\"", "[1]", "\"\""].map(read), [None; 7]);
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().expect("a header"));
            retry_after(&headers).map(|wait| wait.as_secs_f64())
        };
        assert_eq!(wait("1.5"), Some(1.5));
        assert_eq!(wait("1e300"), None);
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), None, "that has passed");
        let date = (Utc::now() + chrono::TimeDelta::seconds(20)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert!(wait(&date).is_some_and(|wait| wait > 17.0 && wait <= 20.0), "{date}");
    }

    #[test]
    fn a_servers_message_is_shown_unless_it_repeats_what_it_was_asked() {
        let question = "Behaviour: \"planted words of Bob, 北京天气\"";
        let shown = |body: Value| message(&body.to_string(), question, Some("sk-1"));
        assert_eq!(shown(json!({"error": {"message": "no such model"}})), ": no such model");
        assert_eq!(shown(json!({"error": "no such model"})), ": no such model");
        assert_eq!(shown(json!({"detail": "no such model"})), ": no such model");
        for hidden in ["You said: PLANTED", "no bob here", "北京", "wrong key sk-1", ""] {
            assert_eq!(shown(json!({"error": {"message": hidden}})), "", "{hidden}");
        }
        let long = shown(json!({"message": format!("\u{1b}[31m{}", "x".repeat(999))}));
        assert!(long.chars().count() <= LONGEST_MESSAGE + 2 && !long.contains('\u{1b}'), "{long}");
        assert_eq!(message("<html>", question, None), "");
    }
}
