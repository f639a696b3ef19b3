//! Layers: a job's settings are its defaults, under what the settings file says, under `--set`, under flags.
//!
//! The struct is read from the command line first, which fills in defaults. It is written down as JSON, the configuration is laid over
//! every key that no flag names, and the struct is read back. So a setting needs no code of its own, and what a file says is checked by
//! the same types and the same parsers as flags.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ArgAction;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};
use dataset::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::{Config, Node, Setting, nearest};
use super::{Job, Step};

/// A job's settings for a step.
pub(crate) fn settings<J: Job>(config: &Config, step: &Step, matches: &ArgMatches) -> Result<J> {
    let sections: Vec<&str> = J::SHARES.iter().copied().chain([J::NAME]).collect();
    resolve(config, &sections, step.name.as_deref(), matches)
}

/// A job's settings for a step, without any flags.
pub(crate) fn settings_of_file<J: Job>(config: &Config, step: &Step) -> Result<J> {
    settings(config, step, &no_flags::<J>())
}

/// What a command line without flags says.
pub(crate) fn no_flags<S: Args>() -> ArgMatches {
    S::augment_args(Command::new("settings").no_binary_name(true)).get_matches_from(std::iter::empty::<&str>())
}

/// The keys of settings: the flags' and those that only a file can hold.
pub(crate) fn keys<S: Args + Serialize>() -> Vec<String> {
    let matches = no_flags::<S>();
    let written = S::from_arg_matches(&matches).ok().and_then(|settings| written(&settings).ok()).unwrap_or_default();
    let command = S::augment_args(Command::new("settings"));
    let flags = command.get_arguments().map(|arg| arg.get_id().to_string());
    let mut keys: Vec<String> = flags.chain(written.keys().cloned()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Settings: defaults, then what the sections say, the later over the earlier, then flags.
pub(crate) fn resolve<S: Args + Serialize + DeserializeOwned>(
    config: &Config,
    sections: &[&str],
    name: Option<&str>,
    matches: &ArgMatches,
) -> Result<S> {
    let flags = S::from_arg_matches(matches).map_err(unparsed)?;
    let mut map = written(&flags)?;
    let command = S::augment_args(Command::new("settings"));
    let arg = |key: &str| command.get_arguments().find(|arg| arg.get_id() == key);
    let from_flag = |key: &str| {
        arg(key).is_some()
            && matches!(matches.value_source(key), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    for arg in command.get_arguments() {
        let key = arg.get_id().as_str();
        // Not everything is written down: where a model lies does not decide what comes out.
        if !map.contains_key(key)
            && let Some(value) = unwritten(matches, arg)?
        {
            map.insert(key.to_owned(), value);
        }
        if from_flag(key) && map.get(key).is_some_and(Value::is_null) {
            return Err(Error::setting(&flag(arg), "a finite number", "nan or inf", "give another value"));
        }
    }
    let mut settings = S::deserialize(Value::Object(map.clone()))
        .map_err(|e| Error::bug(format!("[{}]: its defaults cannot be read back: {e}", sections.join(", "))))?;
    for section in sections {
        for setting in config.settings(section, name) {
            let Setting { key, node, .. } = &setting;
            // A section that is shared has settings of its own job, too.
            if from_flag(key) || !(map.contains_key(*key) || arg(key).is_some()) {
                continue;
            }
            let value = arg(key).map_or_else(|| node.value.clone(), |arg| as_flag(arg, node));
            map.insert((*key).to_owned(), value.clone());
            settings =
                S::deserialize(Value::Object(map.clone())).map_err(|e| refused::<S>(&map, &setting, &e.to_string()))?;
            if let Some(arg) = arg(key) {
                check(arg, &value).map_err(|said| wrong(&setting, &node.place, &said))?;
            }
        }
    }
    Ok(settings)
}

/// Settings as JSON.
fn written(settings: &impl Serialize) -> Result<Map<String, Value>> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::bug("settings that are no table")),
        Err(e) => Err(Error::usage(format!("settings: {e}"), "give a name in UTF-8")),
    }
}

/// A setting that is not written down, as the command line or its default says it.
fn unwritten(matches: &ArgMatches, arg: &Arg) -> Result<Option<Value>> {
    let Ok(Some(raw)) = matches.try_get_raw(arg.get_id().as_str()) else { return Ok(None) };
    let text = |raw: &std::ffi::OsStr| match raw.to_str() {
        Some(text) if is_text(arg) => Ok(Value::from(text)),
        Some(text) => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        None => Err(Error::setting(&flag(arg), "UTF-8", raw.to_string_lossy(), "give another name")),
    };
    let mut values: Vec<Value> = raw.map(text).collect::<Result<_>>()?;
    Ok(if is_list(arg) { Some(Value::Array(values)) } else { values.pop() })
}

fn flag(arg: &Arg) -> String {
    arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"))
}

fn is_text(arg: &Arg) -> bool {
    let parsed = arg.get_value_parser().type_id();
    [TypeId::of::<String>(), TypeId::of::<PathBuf>(), TypeId::of::<OsString>()].iter().any(|text| parsed == *text)
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// What `--set` says of something that is a flag, too, is read as the flag would be: `2025` may be a folder, and commas part a list.
fn as_flag(arg: &Arg, node: &Node) -> Value {
    match (&node.text, &node.value) {
        (Some(text), value) if is_list(arg) && !value.is_array() => {
            let delimiter = arg.get_value_delimiter().unwrap_or(',');
            let item = |text: &str| match serde_json::from_str(text) {
                Ok(value) if !is_text(arg) => value,
                _ => Value::from(text),
            };
            Value::Array(text.split(delimiter).map(|text| item(text.trim())).collect())
        }
        (Some(text), value) if is_text(arg) && !value.is_string() && !is_list(arg) => Value::from(text.as_str()),
        (_, value) => value.clone(),
    }
}

/// Puts a value from a file to the flag's own parser.
fn check(arg: &Arg, value: &Value) -> Result<(), String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let texts: Vec<String> = match value {
        _ if !arg.get_action().takes_values() => return Ok(()),
        Value::Array(items) => items.iter().map(text).collect(),
        value => vec![text(value)],
    };
    let parser = arg.get_value_parser().clone();
    let probe = Command::new("probe").no_binary_name(true).arg(Arg::new("value").long("value").value_parser(parser));
    texts.iter().try_for_each(|text| {
        let parsed = probe.clone().try_get_matches_from([format!("--value={text}")]);
        parsed.map(|_| ()).map_err(|e| said(&e, text))
    })
}

fn said(error: &clap::Error, got: &str) -> String {
    let said = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => format!("expected one of {}", valid.join(", ")),
        _ => std::error::Error::source(error).map_or_else(|| error.kind().to_string(), ToString::to_string),
    };
    if said.starts_with("expected") { format!("{said}, got {got}") } else { said }
}

/// A value of the wrong type, at the list's item that is to blame.
fn refused<S: DeserializeOwned>(map: &Map<String, Value>, setting: &Setting<'_>, message: &str) -> Error {
    let Setting { key, node, .. } = setting;
    let fails_with = |items: &[Value]| {
        let mut map = map.clone();
        map.insert((*key).to_owned(), Value::Array(items.to_vec()));
        S::deserialize(Value::Object(map)).is_err()
    };
    let items = node.value.as_array().map(Vec::as_slice).unwrap_or_default();
    let guilty = (0..items.len()).find(|i| fails_with(&items[..=*i]));
    let place = guilty.and_then(|i| node.items.get(i)).unwrap_or(&node.place);
    wrong(setting, place, message)
}

fn wrong(setting: &Setting<'_>, place: &str, message: &str) -> Error {
    let Setting { section, key, .. } = setting;
    let expected = message.split_once(": ").filter(|(kind, _)| kind.starts_with("invalid "));
    let message = match expected.and_then(|(_, rest)| rest.rsplit_once(", expected ")) {
        Some((got, expected)) => format!("expected {expected}, got {got}"),
        None => message.to_owned(),
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = match (message.starts_with("unknown "), quoted.next()) {
        (true, Some(unknown)) => nearest(unknown, quoted),
        _ => format!("see `querent {} --help`", section.split('.').next().unwrap_or_default()),
    };
    Error::usage(format!("{place}: [{section}] {key}: {message}"), hint)
}

/// Arguments that clap let through and the struct does not take.
pub(crate) fn unparsed(error: clap::Error) -> Error {
    Error::bug(format!("arguments: {error}"))
}
