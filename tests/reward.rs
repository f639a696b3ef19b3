//! Rewards end to end: lists are scored the same whatever the cut, and a score can be explained.

use std::path::Path;
use std::process::Command;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Int32Type};
use tempfile::TempDir;

use crate::support::{at_rest, batches, config, contents, datasets, fail, pipeline, querent, succeed};

const COMPONENTS: [&str; 5] = ["align", "coverage", "specificity", "diversity", "structure"];

fn score(root: &Path) -> Command {
    let mut command = querent();
    command.args(["score", "--quiet", "--data"]).arg(root);
    command
}

/// Users, candidates, and the numbers of some columns; NaN for null.
fn scores(root: &Path, columns: &[&str]) -> Vec<(String, i32, Vec<f32>)> {
    let mut rows = Vec::new();
    for batch in batches(root, "scores") {
        let users = batch.column_by_name("user_id").expect("a column").as_string::<i32>().clone();
        let candidates = batch.column_by_name("candidate").expect("a column").as_primitive::<Int32Type>().clone();
        for row in 0..batch.num_rows() {
            let number = |name: &&str| {
                let column = batch.column_by_name(name).expect("a column").as_primitive::<Float32Type>();
                if column.is_null(row) { f32::NAN } else { column.value(row) }
            };
            let numbers = columns.iter().map(number).collect();
            rows.push((users.value(row).to_owned(), candidates.value(row), numbers));
        }
    }
    rows
}

#[test]
fn lists_are_scored_and_explained() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 5)));
    let generate = ["generate", "--quiet", "--samples", "3", "--keep-all", "--share", "0.3", "--queries", "3"];
    succeed(querent().args(generate).args(["--max-new-tokens", "40", "--budget-tokens", "64", "--data"]).arg(&root));
    let said = fail(&mut score(&root), 1);
    assert!(said.contains("news_vectors"), "{said}");
    succeed(querent().args(["embed", "--fields", "title", "--quiet", "--data"]).arg(&root));

    let said = succeed(score(&root).args(["--threads", "1"]));
    assert!(said.contains("align ") && said.contains("structure "), "the scale is said: {said}");
    at_rest(&root);
    let rows = scores(&root, &[&COMPONENTS[..], &["copied", "reward"]].concat());
    assert_eq!(rows.len() as u64, datasets(&root)["interests"].account.output * 3);
    for (user, candidate, numbers) in &rows {
        assert!(numbers[..6].iter().all(|number| (0.0..=1.0).contains(number)), "{user} {candidate}: {numbers:?}");
        assert!((0.0..=5.0).contains(&numbers[6]), "{user} {candidate}: {numbers:?}");
    }
    assert!(rows.iter().any(|(.., numbers)| numbers[0] > 0.1 && numbers[3] > 0.1), "{rows:?}");
    assert!(succeed(&mut score(&root)).contains("score: up to date"));

    // In shards and with other threads: the same bytes.
    let content = contents(&root)["scores"].clone();
    std::fs::remove_dir_all(root.join("scores")).expect("there");
    for shard in ["0/2", "1/2"] {
        succeed(score(&root).args(["--threads", "2", "--shard", shard]));
    }
    succeed(querent().args(["commit", "scores", "--data"]).arg(&root));
    assert_eq!(contents(&root)["scores"], content);

    // Raw, the reward is the weighted sum of what the columns say.
    succeed(score(&root).args(["--normalise", "raw", "--without", "structure,align", "--coverage-weight", "2"]));
    for (user, candidate, numbers) in scores(&root, &["coverage", "specificity", "diversity", "reward"]) {
        let expected = 2.0 * numbers[0] + numbers[1] + numbers[2];
        assert!((numbers[3] - expected).abs() < 1e-5, "{user} {candidate}: {numbers:?}");
    }

    // An explanation shows the user's themes and each list's queries, and scores nothing.
    let (user, ..) = &rows[0];
    let before = contents(&root);
    let said = succeed(score(&root).args(["--explain", user]));
    for expected in ["themes", "theme 1: weight", "list 0: reward", "list 2: reward", "fetches, mean cosine", "copied"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(contents(&root), before);
    let said = fail(score(&root).args(["--explain", "somebody"]), 2);
    assert!(said.contains("--explain: expected a user id") && said.contains("hint: "), "{said}");
    let said = fail(score(&root).args(["--explain", &"0".repeat(32)]), 2);
    assert!(said.contains("expected a user of profiles"), "{said}");

    // Another step's lists are another dataset's.
    let said = fail(querent().args(["score@student", "--quiet", "--data"]).arg(&root), 1);
    assert!(said.contains("interests.student"), "{said}");
    let scale = folder.path().join("scale.json");
    std::fs::write(&scale, "{\"low\": [0, 0, 0, 0, 0], \"high\": [1, 1, 0, 1, 1], \"clip\": true}").expect("writable");
    let said = fail(score(&root).arg("--calibration").arg(&scale), 3);
    assert!(said.contains("each of low below that of high"), "{said}");
}
