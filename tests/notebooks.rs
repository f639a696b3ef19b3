//! Notebooks: polars, DuckDB, pandas and pyarrow open every dataset and see what the manifests say.

use tempfile::TempDir;

use crate::support::{config, pipeline, python, succeed};

#[test]
fn python_readers_agree_with_the_manifests() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 1)));
    let said = succeed(python("tests/notebooks.py").arg(env!("CARGO_BIN_EXE_querent")).arg(&root));
    assert!(said.contains("agree with the manifests"), "{said}");
}
