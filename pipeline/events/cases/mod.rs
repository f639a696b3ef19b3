//! Situations from logs of the real world, each as a small log of invented rows, and what is right.
//!
//! | kind | what is decided | where |
//! |---|---|---|
//! | malformed CSV, bare returns, wrong width | set aside with every line that it may have swallowed; reading goes on at the next line | `files`, `ingest/read/separated.rs` |
//! | other dialects and encodings | settings: `delimiter`, `quote`, `escape`, `encoding`; UTF-16 by its mark | `files` |
//! | archives of several members, long windows, bz2 | read, marks and all | `files`, `ingest/read/open.rs` |
//! | one id, two spellings | one id: `101.0` is `101`, big integers keep their digits, a UUID is its text; where digits were lost, set aside | `ids` |
//! | marks for nothing | no id, no time; in other columns as `nulls` says | `ids` |
//! | files that cannot be looked at, links to nothing | one error, which names them | `ingest/globs.rs` |
//! | lines without an end | set aside without being held | `ingest/read/open.rs`, `ingest/read/separated.rs` |
//! | filters that no row passes | one error, which names the filter | `shapes` |
//! | columns or files that are not there | one error, which names those that are | `ids` |
//! | columns of a type that says nothing | one error, which names column and type | `ids` |
//! | times | every part counts, or the format is refused; a day is its midnight in the zone | `times`, `ingest/time.rs` |
//! | one log of several is lost | each log has its own bad ratio, counts and reason | `logs` |
//! | an optional field is unreadable | null, and counted | `logs` |
//! | what an id gives away | an id that may be personal, or is very long, becomes its hash | `logs`, `ingest/ids.rs` |
//! | MIND's histories | one per user, as of the first impression, older than all that has a time | `mind` |
//! | objects in objects, lists, rows of other kinds, partitions | names with dots, parallel lists, `only` and `require`, columns of the path | `shapes` |
//! | a file that comes again changed | takes the place of what came of it, and the version says so | `again` |
//! | a person who is erased | out of all that ingest writes, versions before included, and left out of whatever is read later | `erased` |
//! | personal data in any script | users' texts scrubbed of it, numbers that are nobody's left; publishers' lose e-mail addresses only | `personal`, `scrub/` |
//! | what impressions showed | of MIND, and of a log with `shown`; a file that has some of the window must stay | `mind`, `shown` |
//! | MIND's layout off the path | said in one error: four columns, no labels | `mind` |

mod again;
mod docs;
mod erased;
mod files;
mod first_steps;
mod ids;
mod logs;
mod mind;
mod personal;
mod shapes;
mod shown;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use dataset::{Account, Result, Runner, Summary};
use parquet::data_type::{ByteArrayType, DoubleType, FixedLenByteArrayType, FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use schemas::{Events, Impressions, News, Quarantine, Truth};
use tempfile::TempDir;

use crate::ingest::{Ingest, ingest};
use crate::laws::{rows, runner};

/// Files to be ingested: name and content.
type Files<'a> = &'a [(&'a str, &'a [u8])];

/// What ingest made of files.
struct Ran {
    folder: TempDir,
    runner: Runner,
    summaries: Vec<Summary>,
}

/// Ingests files by a section `[ingest]`, in which `@/` is the files' folder.
fn run(section: &str, files: Files<'_>) -> Result<Ran> {
    run_with(section, files, 1.0)
}

fn run_with(section: &str, files: Files<'_>, max_bad_ratio: f64) -> Result<Ran> {
    let folder = TempDir::new().expect("a folder");
    write(folder.path(), files);
    let mut runner = runner(&folder.path().join("data"));
    runner.resources.max_bad_ratio = max_bad_ratio;
    let summaries = ingest(&runner, &settings(folder.path(), section))?;
    Ok(Ran { folder, runner, summaries })
}

fn write(folder: &Path, files: Files<'_>) {
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        std::fs::write(path, content).expect("writable");
    }
}

fn settings(folder: &Path, section: &str) -> Ingest {
    let cut_off = if section.contains("mind") { "" } else { "cut_off = \"2025-12-01\"\n" };
    let section = format!("{cut_off}buckets = 2\n{section}").replace("@/", &format!("{}/", folder.display()));
    toml::from_str(&section).unwrap_or_else(|e| panic!("{section}: {e}"))
}

/// A log of searches with the columns user, time and text; `more` are further settings.
fn searches(file: &str, format: &str, more: &str) -> String {
    log("searches", "search", file, format, &format!("text = \"text\"\n{more}"))
}

fn log(name: &str, domain: &str, file: &str, format: &str, more: &str) -> String {
    format!(
        "[[events]]\nname = \"{name}\"\ndomain = \"{domain}\"\nfiles = \"@/{file}\"\nformat = \"{format}\"\n\
         user = \"user\"\ntime = \"time\"\n{more}\n"
    )
}

fn news(file: &str, format: &str, more: &str) -> String {
    let about =
        format!("name = \"news\"\nfiles = \"@/{file}\"\nformat = \"{format}\"\nnews_id = \"id\"\ntitle = \"title\"");
    format!("[[news]]\n{about}\n{more}\n")
}

/// What an ingest that must fail says.
fn refused(section: &str, files: Files<'_>) -> String {
    match run(section, files) {
        Ok(_) => panic!("expected an error"),
        Err(e) => {
            assert!(e.to_string().contains("\nhint: "), "{e}");
            e.to_string()
        }
    }
}

impl Ran {
    fn events(&self) -> Vec<Vec<String>> {
        rows::<Events>(&self.runner, "events").iter().map(|row| row.split('|').map(str::to_owned).collect()).collect()
    }

    /// A column of the events, sorted.
    fn column(&self, column: usize) -> Vec<String> {
        let mut cells: Vec<String> = self.events().into_iter().map(|mut row| row.swap_remove(column)).collect();
        cells.sort();
        cells
    }

    fn texts(&self) -> Vec<String> {
        self.column(4)
    }

    /// When each text was written.
    fn times(&self) -> BTreeMap<String, String> {
        self.events().into_iter().map(|row| (row[4].clone(), row[3].clone())).collect()
    }

    fn users(&self) -> usize {
        self.column(1).into_iter().collect::<BTreeSet<_>>().len()
    }

    fn truth(&self) -> Vec<String> {
        let rows = rows::<Truth>(&self.runner, "truth");
        rows.iter().map(|row| row.split('|').nth(1).expect("an article").to_owned()).collect()
    }

    fn news(&self) -> Vec<Vec<String>> {
        rows::<News>(&self.runner, "news").iter().map(|row| row.split('|').map(str::to_owned).collect()).collect()
    }

    /// Lines that were set aside, and why.
    fn aside(&self) -> Vec<(u64, String)> {
        let rows = rows::<Quarantine>(&self.runner, "events.quarantine");
        let mut aside: Vec<(u64, String)> = rows
            .iter()
            .map(|row| {
                let cells: Vec<&str> = row.split('|').collect();
                (cells[2].parse().expect("a line"), cells[3].to_owned())
            })
            .collect();
        aside.sort();
        aside
    }

    /// Of what was shown: when, position, article, clicked; in order of time, where users have times of their own.
    fn impressions(&self) -> Vec<String> {
        let all = rows::<Impressions>(&self.runner, "impressions");
        let cells = all.iter().map(|row| row.split('|').map(str::to_owned).collect::<Vec<_>>());
        let mut cells: Vec<String> = cells.map(|row| format!("{} {} {} {}", row[1], row[3], row[4], row[5])).collect();
        cells.sort();
        cells
    }

    fn account(&self) -> &Account {
        &self.summaries[1].account
    }
}

/// Values of a column of a Parquet file.
enum Values<'a> {
    Bytes(Vec<&'a [u8]>),
    Fixed(Vec<&'a [u8]>),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Singles(Vec<f32>),
}

/// A Parquet file: its schema as Parquet writes it, and the values of its columns, none of which may be null.
fn parquet(schema: &str, columns: Vec<Values<'_>>) -> Vec<u8> {
    let schema = parse_message_type(&format!("message rows {{ {schema} }}")).expect("a schema");
    let mut bytes = Vec::new();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(&mut bytes, Arc::new(schema), properties).expect("in memory");
    let mut group = file.next_row_group().expect("in memory");
    let byte_arrays = |values: Vec<&[u8]>| {
        values.into_iter().map(|v| v.to_vec().into()).collect::<Vec<parquet::data_type::ByteArray>>()
    };
    for values in columns {
        let mut column = group.next_column().expect("in memory").expect("a column");
        let written = match values {
            Values::Bytes(values) => column.typed::<ByteArrayType>().write_batch(&byte_arrays(values), None, None),
            Values::Fixed(values) => {
                let values: Vec<parquet::data_type::FixedLenByteArray> =
                    byte_arrays(values).into_iter().map(Into::into).collect();
                column.typed::<FixedLenByteArrayType>().write_batch(&values, None, None)
            }
            Values::Integers(values) => column.typed::<Int64Type>().write_batch(&values, None, None),
            Values::Singles(values) => column.typed::<FloatType>().write_batch(&values, None, None),
            Values::Floats(values) => column.typed::<DoubleType>().write_batch(&values, None, None),
        };
        written.expect("in memory");
        column.close().expect("in memory");
    }
    group.close().expect("in memory");
    file.close().expect("in memory");
    bytes
}

/// Ten minutes before the cut-off, and seconds later, in microseconds.
fn at(second: i64) -> i64 {
    (1_764_546_600 + second) * 1_000_000
}

/// The time and text columns of a Parquet log.
const TIME_AND_TEXT: &str = "required int64 time (TIMESTAMP(MICROS,true)); required binary text (STRING);";

/// The same of three rows.
fn three<'a>() -> [Values<'a>; 2] {
    [Values::Integers(vec![at(0), at(1), at(2)]), Values::Bytes(vec![b"ferry", b"shed", b"boat"])]
}
