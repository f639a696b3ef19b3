//! What end-to-end tests share: a tiny pipeline, the binary, and two ways of reading what it wrote.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use dataset::{Dataset, Manifest, Store, read_part};
use serde_json::Value;
use tempfile::TempDir;

/// A pipeline over a tiny world, its datasets under `root`.
pub(crate) fn config(root: &Path, users: u32, seed: u32) -> PathBuf {
    let demo = include_str!("../jobs/configs/demo.toml");
    let text = demo
        .replace("out/demo", &root.display().to_string())
        .replace("users = 2000", &format!("users = {users}"))
        .replace("news = 8000", "news = 1500")
        .replace("seed = 7", &format!("seed = {seed}"))
        .replace("[ingest]\n", "[ingest]\nbuckets = 4\n");
    let jobs = text.lines().find(|line| line.starts_with("jobs = ")).expect("the demo names its jobs");
    // Without the step, its section would be a mistake.
    let mut named = false;
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| {
            if line.starts_with('[') {
                named = !line.starts_with("[[") && line.contains('.');
            }
            !named
        })
        .collect();
    let text = kept.join("\n");
    let text = text.replace(jobs, "jobs = [\"simulate\", \"ingest\", \"clean\", \"cap\", \"statistics\"]").replace(
        "[clean]\nmodel = \"train-cleaner\"",
        &format!("[clean]\nborderline = 20\nmodel = \"{}\"", cleaner().display()),
    );
    let path = root.with_extension(format!("{seed}.toml"));
    std::fs::write(&path, text).expect("writable");
    path
}

/// A tiny cleaner's folder, trained once for all tests: what it says is no matter, that it says the same is.
pub(crate) fn cleaner() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cleaner");
        std::fs::create_dir_all(&root).expect("writable");
        let labels = root.join("labels.tsv");
        std::fs::write(&labels, labels_tsv()).expect("writable");
        let folder = root.join("model");
        let data = root.join("data");
        let annotate = ["annotate", "--annotator", "file", "--quiet", "--labels-file"];
        succeed(querent().args(annotate).arg(&labels).arg("--data").arg(&data));
        let train = ["train-cleaner", "--quiet", "--set", "train-cleaner.layers=1", "--set", "train-cleaner.width=32"];
        let more =
            ["--set", "train-cleaner.vocabulary=500", "--epochs", "8", "--learning-rate", "0.002", "--folds", "2"];
        succeed(querent().args(train).args(more).arg("--output").arg(&folder).arg("--data").arg(&data));
        folder
    })
}

/// Invented labels that a tiny model can learn.
pub(crate) fn labels_tsv() -> String {
    let mut tsv = String::from("text\tdomain\tlabel\n");
    let subjects =
        ["glacier", "election", "orchestra", "vaccine", "harvest", "comet", "strike", "museum", "drought", "treaty"];
    let sites = ["velmo", "quill", "torni", "brindle", "mossle", "pebble", "otter", "zimbra", "lumpa", "grove"];
    let interests =
        ["latest {} guide for beginners", "What the {} means for the region", "{} explained in five questions"];
    let noise = ["{} login", "{} - Home", "https://{}.com/", "Sign In | {}", "weather {}", "My Account - {}"];
    for (i, (subject, site)) in subjects.iter().zip(sites).enumerate() {
        for (j, pattern) in interests.iter().cycle().take(9).enumerate() {
            tsv += &format!("{} {}\tsearch\t1\n", pattern.replace("{}", subject), subjects[(i + j) % 10]);
        }
        for (j, pattern) in noise.iter().cycle().take(9).enumerate() {
            tsv += &format!("{}{}\tbrowse\t0\n", pattern.replace("{}", site), ["", " page", "s", " 2"][j / 6 + j % 2]);
        }
    }
    tsv
}

/// A user key for tests only.
pub(crate) const KEY: &str = "3f786850e387550fdab836ed7e6dc881";

/// The binary, with a user key in its environment.
pub(crate) fn querent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_querent"));
    command.env("QUERENT_USER_KEY", KEY).env_remove("QUERENT_DATA");
    command
}

/// A script of this repository, with the packages that `make python` installed.
pub(crate) fn python(script: &str) -> Command {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = repository.join(".python");
    assert!(packages.join(".done").exists(), "this test needs Python packages: run `make python`");
    let mut command = Command::new("python3");
    command.arg(repository.join(script)).env("PYTHONPATH", packages);
    command
}

/// Runs a pipeline.
pub(crate) fn pipeline(config: &Path) -> Command {
    let mut command = querent();
    command.arg("run").arg(config).arg("--quiet");
    command
}

/// A command's output, after checking that it succeeded.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A failed command's message, after checking its exit code and that the message says what to do.
pub(crate) fn fail(command: &mut Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().expect("the binary starts");
    let message = text(&stderr);
    assert_eq!(status.code(), Some(code), "{command:?}\n{message}");
    message
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The datasets under a root: name and current version.
pub(crate) fn datasets(root: &Path) -> BTreeMap<String, Manifest> {
    let store = Store::open(&root.display().to_string()).expect("a folder");
    let current = |name: String| Dataset::new(&store, &name).current().expect("readable").map(|m| (name, m));
    store.folders().expect("listable").into_iter().filter_map(current).collect()
}

/// What the datasets hold: the digest of every part's bytes. What ingest has read says where it lay, which is another place every time.
pub(crate) fn contents(root: &Path) -> BTreeMap<String, String> {
    let datasets = datasets(root).into_iter().filter(|(name, _)| !name.ends_with("raw_files"));
    datasets.map(|(name, manifest)| (name, manifest.content)).collect()
}

/// A dataset's batches, read by its log, digests checked.
pub(crate) fn batches(root: &Path, name: &str) -> Vec<RecordBatch> {
    let store = Store::open(&root.display().to_string()).expect("a folder");
    let dataset = Dataset::new(&store, name);
    let manifest = dataset.current().expect("readable").expect("committed");
    let contract = schemas::all().into_iter().find(|c| c.name == manifest.table).expect("a known table");
    let read = |part| read_part(&dataset, &contract, part, &[]).expect("as the log says");
    manifest.parts.iter().flat_map(read).collect()
}

/// A dataset's rows as sorted text, read by its log.
pub(crate) fn by_version(root: &Path, name: &str) -> Vec<String> {
    lines(&batches(root, name))
}

/// A dataset's rows as sorted text, read by a plain glob.
pub(crate) fn by_glob(root: &Path, name: &str) -> Vec<String> {
    let mut batches = Vec::new();
    let part =
        |p: &PathBuf| p.extension().is_some_and(|e| e == "parquet") && !p.display().to_string().contains("_delta_log");
    for path in files(&root.join(name)).into_iter().filter(part) {
        let file = std::fs::File::open(path).expect("it was listed");
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
        batches.extend(reader.build().expect("Parquet").map(|batch| batch.expect("Parquet")));
    }
    lines(&batches)
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| array_value_to_string(c, row).expect("printable"));
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    lines
}

/// Checks that every dataset is at rest: a plain glob reads exactly the current version's rows, and nothing else lies about.
pub(crate) fn at_rest(root: &Path) {
    for (name, manifest) in datasets(root) {
        let rows = by_version(root, &name);
        assert_eq!(rows.len() as u64, manifest.rows, "{name}");
        assert_eq!(by_glob(root, &name), rows, "{name}");
        let extra: Vec<PathBuf> = files(&root.join(&name))
            .into_iter()
            .filter(|p| p.extension().is_none_or(|e| e != "parquet") && !p.display().to_string().contains("_delta_log"))
            .collect();
        assert!(extra.is_empty(), "{name}: {extra:?}");
    }
}

/// The mapping of a log in TSV, with the column `at` for the time; `rest` are its other lines.
pub(crate) fn tsv_log(kind: &str, name: &str, files: &Path, rest: &str) -> String {
    format!(
        "[[ingest.{kind}]]\nname = \"{name}\"\nfiles = \"{}\"\nformat = \"tsv\"\ntime = \"at\"\n\
         time_format = \"%Y-%m-%d %H:%M:%S\"\n{rest}\n",
        files.display()
    )
}

/// A tiny world, ingested: its folder, the root in it, its pipeline.
pub(crate) fn world() -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let config = config(&root, 24, 1);
    succeed(&mut pipeline(&config));
    (folder, root, config)
}

/// Numbers that look random, the same every time: all of them follow from the first.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end
    }

    /// A share of a whole.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 40) as f64 / f64::from(1 << 24)
    }
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).expect("below it"));
        std::fs::create_dir_all(target.parent().expect("has a parent")).expect("writable");
        std::fs::copy(&path, target).expect("copies");
    }
}

/// What a server answers: a status such as `200 OK`, with more lines of the head, each with its end; and a body.
pub(crate) type HttpAnswer = (String, String);

/// A server on this machine, and its address. `answer` is asked with a request's JSON; none: the connection ends.
pub(crate) fn http_server(answer: impl Fn(&Value) -> Option<HttpAnswer> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &*answer));
        }
    });
    address
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, answer: &dyn Fn(&Value) -> Option<HttpAnswer>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).ok()? > 0 && line.trim() != "" {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (head, body) = answer(&serde_json::from_slice(&body).ok()?)?;
        write!(writer, "HTTP/1.1 {}\r\ncontent-length: {}\r\n\r\n{body}", head.trim_end(), body.len()).ok()?;
    }
}
