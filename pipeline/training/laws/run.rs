//! Folders of training runs, file by file, as runs write them.

use std::fs;
use std::path::Path;

use dataset::{Rows, encode};
use schemas::{
    PolicyState, PolicyStateColumns, Rollouts, RolloutsColumns, Table, Texts, TrainLog, TrainLogColumns, Vector,
};

use crate::run::CHOSEN_BY;

fn write<T: Table>(folder: &Path, file: &str, columns: T::Columns) {
    let rows = Rows::<T>::of(columns).expect("rows");
    fs::create_dir_all(folder).expect("writable");
    fs::write(folder.join(file), encode(&T::contract(), &rows.into_batches()).expect("in order")).expect("writable");
}

/// The figures of the steps up to `step`.
pub(crate) fn log(run: &Path, step: u64, rows: &[(i64, &str, f64)]) {
    let columns = TrainLogColumns {
        step: rows.iter().map(|row| row.0).collect::<Vec<_>>().into(),
        figure: rows.iter().map(|row| Some(row.1)).collect(),
        value: rows.iter().map(|row| row.2).collect::<Vec<_>>().into(),
    };
    write::<TrainLog>(&run.join(TrainLog::NAME), &format!("step={step:06}.parquet"), columns);
}

/// The state of a checkpoint in a folder.
pub(crate) fn checkpoint(folder: &Path, step: i64, chosen_by: f64) {
    let text = |text: String| vec![text].into();
    let columns = PolicyStateColumns {
        step: vec![step].into(),
        prompt_cursor: vec![0].into(),
        random: [Vec::<i64>::new()].into_iter().collect(),
        settings_digest: text(String::new()),
        base: text("{}".into()),
        base_path: vec![None::<&str>].into(),
        config: text("{}".into()),
        lora: vec![None::<&str>].into(),
        tokenizer: text("{}".into()),
        prompt: vec![None::<&str>].into(),
        metrics: text(format!("{{\"{CHOSEN_BY}\": {chosen_by}}}")),
        files: text("{}".into()),
    };
    write::<PolicyState>(folder, policy::checkpoint::STATE, columns);
}

/// Lists of the steps up to `step`, each with its step and reward. The n-th is for `user n`, and has one query.
pub(crate) fn rollouts(run: &Path, step: u64, rows: &[(i64, Option<f32>)]) {
    let rewards = || rows.iter().map(|row| row.1);
    let none = || vec![None::<f32>; rows.len()].into();
    let vectors = || rows.iter().map(|_| Vec::<f32>::new()).collect::<Vector>();
    let columns = RolloutsColumns {
        step: rows.iter().map(|row| row.0).collect::<Vec<_>>().into(),
        user_id: (0..rows.len()).map(|n| Some(format!("user {n:02}"))).collect(),
        sample: vec![0; rows.len()].into(),
        seed: vec![1; rows.len()].into(),
        completion: (0..rows.len()).map(|n| Some(format!("- query {n}"))).collect(),
        queries: (0..rows.len()).map(|n| vec![format!("query {n}")]).collect::<Texts>(),
        finish: rows.iter().map(|_| Some("stop")).collect(),
        tokens: rows.iter().map(|_| Vec::<i32>::new()).collect(),
        log_probabilities: vectors(),
        reference: vectors(),
        align: rewards().collect(),
        coverage: none(),
        specificity: none(),
        diversity: none(),
        structure: none(),
        weighted_align: rewards().collect(),
        weighted_coverage: none(),
        weighted_specificity: none(),
        weighted_diversity: none(),
        weighted_structure: none(),
        reward: rewards().collect(),
        copied: vec![Some(0.0); rows.len()].into(),
        advantage: none(),
    };
    write::<Rollouts>(&run.join(Rollouts::NAME), &format!("step={step:06}.parquet"), columns);
}
