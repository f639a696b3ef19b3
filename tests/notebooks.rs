//! Notebooks and other engines: everyone opens every dataset and sees the current version.

use tempfile::TempDir;

use crate::support::{config, pipeline, python, succeed};

#[test]
fn python_readers_read_the_current_version() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    succeed(&mut pipeline(&config(&root, 24, 1)));
    let binary = env!("CARGO_BIN_EXE_querent");
    let said = succeed(python("tests/notebooks.py").arg(binary).arg(&root));
    assert!(said.contains("read the current version"), "{said}");
    // As Delta tables: deltalake and polars, after a second version too.
    succeed(python("tests/delta.py").arg(binary).arg(&root));
    succeed(&mut pipeline(&config(&root, 28, 2)));
    succeed(python("tests/delta.py").arg(binary).arg(&root));
}
