//! ONNX Runtime: one library per process, found and loaded before anything else is asked of it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dataset::{Error, Result};
use ort::environment::Environment;
use ort::logging::LogLevel;

const BESIDE_THE_MODELS: &str = "models/onnxruntime/libonnxruntime.so";

/// The library that will be loaded: `ORT_DYLIB_PATH`, else the one that `make setup` fetched.
pub fn library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH")
        .filter(|path| !path.is_empty())
        .map_or_else(|| BESIDE_THE_MODELS.into(), PathBuf::from)
}

/// The process's environment.
pub(crate) fn environment() -> Result<&'static Environment> {
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();
    let path = library();
    let failed = |what: &str| {
        let hint = "`make setup` fetches ONNX Runtime; ORT_DYLIB_PATH names another copy";
        Error::usage(format!("{}: {what}", path.display()), hint)
    };
    ENVIRONMENT.get_or_init(|| load(&path)).as_ref().map_err(|what| failed(what))
}

fn load(path: &Path) -> Result<Environment, String> {
    // The lazy route would panic when the library is missing.
    if !path.is_file() {
        return Err("ONNX Runtime's shared library is not there".into());
    }
    let builder = ort::init_from(path).map_err(|e| format!("cannot be loaded: {e}"))?;
    let environment = builder.with_name("querent").build().map_err(|e| format!("cannot be started: {e}"))?;
    // What fails is said once, by our error. Who wants the library's own lines too names a level.
    if std::env::var_os("ORT_LOG").is_none() {
        environment.set_log_level(LogLevel::Fatal);
    }
    Ok(environment)
}
