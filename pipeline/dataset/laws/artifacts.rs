//! Artifacts: whole at any moment, made by one process at a time, and never in somebody else's place.

use tempfile::TempDir;

use super::*;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Letter {
    text: String,
}

impl Artifact for Letter {
    const NAME: &'static str = "letter";
    const VERSION: u32 = 1;
    type Inputs = ();

    fn inputs(&self, _: &mut Inputs<'_>) -> Result<()> {
        Ok(())
    }

    fn make(&self, (): &(), draft: &Draft, _: &Resources) -> Result<()> {
        if self.text == "slow" {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        draft.write("letter.txt", self.text.as_bytes())?;
        match self.text.as_str() {
            "never" => Err(Error::bug("it never works")),
            _ => draft.write("below/copy.txt", self.text.as_bytes()),
        }
    }
}

fn letter(text: &str) -> Letter {
    Letter { text: text.into() }
}

#[test]
fn an_artifact_is_made_once_and_replaced_whole() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let (runner, target) = (runner(root.path()), root.path().join("letters/mine"));
    let read = || std::fs::read_to_string(target.join("letter.txt")).expect("there");
    assert_eq!(runner.make(&letter("one"), &target)?, Outcome::Committed);
    assert_eq!(runner.make(&letter("one"), &target)?, Outcome::UpToDate);
    assert!(runner.make(&letter("never"), &target).is_err());
    assert_eq!(read(), "one", "a failed attempt changes nothing");
    let dry = Runner { dry_run: true, ..runner.clone() };
    assert_eq!(dry.make(&letter("two"), &target)?, Outcome::WouldRun("settings changed".into()));
    assert_eq!(runner.make(&letter("two"), &target)?, Outcome::Committed);
    assert_eq!(read(), "two");
    let beside = std::fs::read_dir(root.path().join("letters")).expect("listable").flatten();
    assert_eq!(beside.map(|e| e.file_name()).collect::<Vec<_>>(), ["mine"]);

    // A file that is gone is noticed at once, one that changed when it is opened.
    let identity = Identity::read(&target)?.expect("ours");
    std::fs::write(target.join("letter.txt"), "six").expect("writable");
    assert!(identity.check(&target, "letter.txt").is_err());
    identity.check(&target, "below/copy.txt")?;
    std::fs::remove_file(target.join("letter.txt")).expect("removable");
    assert_eq!(runner.make(&letter("two"), &target)?, Outcome::Committed);
    Ok(())
}

#[test]
fn what_somebody_else_made_is_never_replaced() -> Result<()> {
    let root = TempDir::new().expect("a folder");
    let (runner, target) = (runner(root.path()), root.path().join("theirs"));
    std::fs::create_dir(&target).expect("writable");
    assert_eq!(runner.make(&letter("one"), &target)?, Outcome::Committed, "an empty folder is nobody's");
    std::fs::remove_file(target.join(IDENTITY)).expect("removable");
    let error = runner.make(&letter("two"), &target).expect_err("not ours");
    assert!(error.to_string().contains("somebody else's") && error.exit_code() == 2, "{error}");
    Ok(())
}

#[test]
fn two_at_once_are_one_and_a_clear_error() {
    let root = TempDir::new().expect("a folder");
    let target = root.path().join("mine");
    let one = || runner(root.path()).make(&letter("slow"), &target);
    let results: Vec<Result<Outcome>> = std::thread::scope(|scope| {
        let makers = [scope.spawn(one), scope.spawn(one)];
        makers.into_iter().map(|m| m.join().expect("no panic")).collect()
    });
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
    let error = results.into_iter().find_map(Result::err).expect("the other");
    assert!(error.to_string().contains("another process is making it") && error.exit_code() == 1, "{error}");
    assert_eq!(std::fs::read_to_string(target.join("letter.txt")).expect("whole"), "slow");
}
