//! What was measured of a cleaner: the `metrics.json` of its folder.

use std::collections::BTreeMap;
use std::path::Path;

use dataset::{Error, Result};
use serde::{Deserialize, Serialize};
use text::Languages;

use crate::quality::Quality;
use crate::train::Epoch;

/// The file.
pub(crate) const METRICS: &str = "metrics.json";

/// What was measured; the folder's `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Labels trained on.
    pub trained_on: usize,
    /// Divides the logits (already done in the weights).
    pub temperature: f64,
    /// Largest difference between candle's logits and ONNX Runtime's, float32.
    pub onnx_difference: f32,
    /// Share of the labelled texts that the int8 variant decides as the float32 one does.
    pub int8_agreement: f64,
    /// On the labels held out, by ONNX file. Epoch, temperature and threshold were chosen on the same labels.
    pub held_out: BTreeMap<String, Quality>,
    /// Thresholds, by ONNX file.
    pub thresholds: BTreeMap<String, f32>,
    /// Of the labelled texts.
    #[serde(default)]
    pub languages: Languages,
    /// The training.
    pub epochs: Vec<Epoch>,
    /// On labels of other folds, when folds were asked for.
    pub cross_validation: Option<CrossValidation>,
}

/// Every label scored by a model that was trained, stopped and calibrated without its fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossValidation {
    /// Folds.
    pub folds: u32,
    /// All domains.
    pub all: Quality,
    /// Each domain.
    pub domains: BTreeMap<String, Quality>,
}

impl Metrics {
    /// What a cleaner's folder says.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(METRICS);
        let hint = "delete the folder and train again";
        let json = dataset::read_file(&path, 64 << 20, hint)?;
        serde_json::from_slice(&json)
            .map_err(|e| Error::unreadable(path.display(), format!("expected a cleaner's metrics, got {e}"), hint))
    }
}
