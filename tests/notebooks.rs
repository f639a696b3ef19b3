//! Notebooks: polars, DuckDB, pandas and pyarrow open every dataset and see what the manifests say.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{config, pipeline, succeed};

#[test]
fn python_readers_agree_with_the_manifests() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = repository.join(".python");
    assert!(packages.join(".done").exists(), "this test needs Python packages: run `make python`");
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 1)));
    let said = succeed(
        Command::new("python3")
            .arg(repository.join("tests/notebooks.py"))
            .args([env!("CARGO_BIN_EXE_querent"), &root.display().to_string()])
            .env("PYTHONPATH", packages),
    );
    assert!(said.contains("agree with the manifests"), "{said}");
}
