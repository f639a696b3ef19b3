//! What trainers send and expect: three wires, each a way to say whose list it is, what was written, and what came of it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Refused;

/// Marks with which models end what they write. They may still be in the text.
const ENDS: [&str; 6] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<pad>"];
/// What stands before an answer in the text of a whole conversation.
const ANSWERS: [&str; 2] = ["<|im_start|>assistant\n", "<|start_header_id|>assistant<|end_header_id|>\n\n"];

/// A trainer's way of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// OpenRLHF, `--reward.remote_url`: several samples in one request, each as the text of the whole conversation.
    OpenRlhf,
    /// slime, `--rm-type remote_rm`: one sample.
    Slime,
    /// NeMo-Gym: one sample, as an answer of OpenAI's Responses API.
    NemoGym,
}

/// A list to be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) user_id: String,
    /// What the policy wrote, without the marks of its end.
    pub(super) text: String,
}

/// What a list scored: reward, and numbers to be logged by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scored {
    pub(super) reward: f32,
    pub(super) log: Vec<(&'static str, f32)>,
}

impl Wire {
    /// The wire of a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/get_reward" => Some(Wire::OpenRlhf),
            "/reward" => Some(Wire::Slime),
            "/verify" => Some(Wire::NemoGym),
            _ => None,
        }
    }

    /// The lists of a request.
    pub(super) fn read(self, body: &Value) -> Result<Vec<Asked>, Refused> {
        match self {
            Wire::OpenRlhf => open_rlhf(body),
            Wire::Slime => Ok(vec![slime(body)?]),
            Wire::NemoGym => Ok(vec![nemo_gym(body)?]),
        }
    }

    /// The answer to it.
    pub(super) fn write(self, body: Value, scored: &[Scored]) -> Value {
        let of = |scored: &Scored| scored.log.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        match self {
            Wire::OpenRlhf => {
                let mut logs: Map<String, Value> = Map::new();
                for (name, value) in scored.iter().flat_map(|scored| &scored.log) {
                    let log = logs.entry(*name).or_insert_with(|| json!([]));
                    log.as_array_mut().into_iter().for_each(|log| log.push(json!(value)));
                }
                json!({"rewards": scored.iter().map(|scored| scored.reward).collect::<Vec<_>>(), "extra_logs": logs})
            }
            Wire::Slime => {
                let mut answer: Map<String, Value> = scored.first().map(of).unwrap_or_default();
                answer.insert("reward".into(), json!(scored.first().map(|scored| scored.reward)));
                Value::Object(answer)
            }
            Wire::NemoGym => {
                let mut answer = body;
                answer["reward"] = json!(scored.first().map(|scored| scored.reward));
                answer["reward_components"] = Value::Object(scored.first().map(of).unwrap_or_default());
                answer
            }
        }
    }
}

fn shape(expected: &str, e: impl std::fmt::Display) -> Refused {
    // serde says which field it is about, and of what type it was; a text's first words are not for a log of errors.
    let what = e.to_string();
    let what = what.split(" \"").next().unwrap_or_default();
    Refused::new(422, format!("expected {expected}; {what}"))
}

fn open_rlhf(body: &Value) -> Result<Vec<Asked>, Refused> {
    #[derive(Deserialize)]
    struct Body {
        query: Vec<String>,
        prompts: Vec<String>,
        labels: Vec<String>,
    }
    let expected = "{\"query\": [texts], \"prompts\": [texts], \"labels\": [user ids]}";
    let Body { query, prompts, labels } = Body::deserialize(body).map_err(|e| shape(expected, e))?;
    if query.len() != prompts.len() || query.len() != labels.len() || query.is_empty() {
        let got = format!("got {}, {} and {} of them", query.len(), prompts.len(), labels.len());
        return Err(shape(&format!("{expected}, as many of each"), got));
    }
    let one = |((query, prompt), label): ((&String, &String), String)| {
        Ok(Asked { user_id: label, text: without_ends(answer(query, prompt)?).to_owned() })
    };
    query.iter().zip(&prompts).zip(labels).map(one).collect()
}

/// The answer in the text of a conversation: what comes after the prompt, or after the mark of an answer where the text was decoded
/// otherwise than the prompt.
fn answer<'a>(query: &'a str, prompt: &str) -> Result<&'a str, Refused> {
    let after_mark =
        || ANSWERS.iter().filter_map(|mark| Some(query.rsplit_once(mark)?.1)).min_by_key(|rest| rest.len());
    query.strip_prefix(prompt).or_else(after_mark).ok_or_else(|| {
        Refused::new(
            422,
            "expected each query to begin with its prompt, or to have the mark of an assistant's answer".into(),
        )
    })
}

fn slime(body: &Value) -> Result<Asked, Refused> {
    #[derive(Deserialize)]
    struct Body {
        response: String,
        label: String,
    }
    let expected = "{\"prompt\": …, \"response\": text, \"label\": user id}";
    let Body { response, label } = Body::deserialize(body).map_err(|e| shape(expected, e))?;
    Ok(Asked { user_id: label, text: without_ends(&response).to_owned() })
}

fn nemo_gym(body: &Value) -> Result<Asked, Refused> {
    let places = ["/user_id", "/label", "/verifier_metadata/user_id", "/responses_create_params/metadata/user_id"];
    let user = places.iter().find_map(|place| body.pointer(place)?.as_str());
    let Some(user_id) = user else {
        return Err(shape("a user id", format!("got none in {}", places.join(", "))));
    };
    let output = body.pointer("/response/output").and_then(Value::as_array);
    let messages = output.into_iter().flatten().filter(|item| item["type"] == "message");
    let parts = messages.filter_map(|message| message["content"].as_array()).flatten();
    let texts: Vec<&str> =
        parts.filter(|part| part["type"] == "output_text").filter_map(|part| part["text"].as_str()).collect();
    match texts.is_empty() {
        true => Err(shape("response.output with a message that has an output_text", "got none")),
        false => Ok(Asked { user_id: user_id.to_owned(), text: without_ends(&texts.concat()).to_owned() }),
    }
}

/// A text without the marks of its end. Whether it ended by itself is not said on these wires, and need not be: a list that was cut off
/// is not closed, and so has no valid form.
fn without_ends(text: &str) -> &str {
    let mut text = text.trim_end();
    while let Some(shorter) = ENDS.iter().find_map(|end| text.strip_suffix(end)) {
        text = shorter.trim_end();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_says_whose_list_it_is_and_what_was_written() {
        let asked = |user: &str, text: &str| Asked { user_id: user.into(), text: text.into() };
        let prompt = "<|im_start|>user\nwho?<|im_end|>\n<|im_start|>assistant\n";
        let body = json!({"prompts": [prompt, "another decoding"], "labels": ["a", "b"],
            "query": [format!("{prompt}[\"x y\"]<|im_end|><|endoftext|>"), format!("{prompt}[\"z\"] <|im_end|>\n<pad><pad>")]});
        assert_eq!(Wire::OpenRlhf.read(&body), Ok(vec![asked("a", "[\"x y\"]"), asked("b", "[\"z\"]")]));
        let body = json!({"prompt": [{"role": "user"}], "response": "[\"x y\"]</s>", "label": "a", "more": 1});
        assert_eq!(Wire::Slime.read(&body), Ok(vec![asked("a", "[\"x y\"]")]));
        let output = json!([{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "[\"x\"]"}]}]);
        let body = json!({"responses_create_params": {}, "response": {"output": output}, "verifier_metadata": {"user_id": "a"}});
        assert_eq!(Wire::NemoGym.read(&body), Ok(vec![asked("a", "[\"x\"]")]));
    }

    #[test]
    fn what_has_another_shape_is_refused_without_its_texts() {
        for (wire, body) in [
            (Wire::OpenRlhf, json!({"query": ["planted"], "prompts": ["p"], "labels": []})),
            (Wire::OpenRlhf, json!({"query": [], "prompts": [], "labels": []})),
            (Wire::OpenRlhf, json!({"query": "planted", "prompts": ["p"], "labels": ["u"]})),
            (Wire::OpenRlhf, json!({"query": ["planted"], "prompts": ["another"], "labels": ["u"]})),
            (Wire::Slime, json!({"response": 7, "label": "u"})),
            (Wire::Slime, json!({"response": "planted"})),
            (Wire::Slime, json!(["planted"])),
            (Wire::Slime, json!("planted")),
            (Wire::NemoGym, json!({"response": {"output": []}, "label": "u"})),
            (Wire::NemoGym, json!({"response": {"output": [{"type": "message", "content": "planted"}]}, "label": "u"})),
            (Wire::NemoGym, json!({"response": {}})),
        ] {
            let refused = wire.read(&body).expect_err("refused");
            assert_eq!(refused.status, 422, "{body}");
            assert!(!refused.what.contains("planted"), "{}", refused.what);
        }
    }

    #[test]
    fn answers_are_as_each_trainer_reads_them() {
        let scored = |reward, align| Scored { reward, log: vec![("align", align), ("undecided", 0.0)] };
        let two = Wire::OpenRlhf.write(Value::Null, &[scored(1.5, 0.5), scored(2.5, 0.25)]);
        assert_eq!(two, json!({"rewards": [1.5, 2.5], "extra_logs": {"align": [0.5, 0.25], "undecided": [0.0, 0.0]}}));
        let one = Wire::Slime.write(Value::Null, &[scored(1.5, 0.5)]);
        assert_eq!(one, json!({"reward": 1.5, "align": 0.5, "undecided": 0.0}));
        let verified = Wire::NemoGym.write(json!({"response": {"id": 1}}), &[scored(1.5, 0.5)]);
        let components = json!({"align": 0.5, "undecided": 0.0});
        assert_eq!(verified, json!({"response": {"id": 1}, "reward": 1.5, "reward_components": components}));
    }
}
