//! The same laws over an object store with S3's manners.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::like_s3::LikeS3;

fn toy(lag: Duration, retried: u64) -> LikeS3 {
    LikeS3::new(Arc::new(InMemory::new()), lag, retried)
}

#[test]
fn a_run_commits_is_skipped_and_superseded() -> Result<()> {
    let objects = toy(Duration::from_millis(30), 2);
    let runner = runner_over(objects.store());
    assert_eq!(run(&runner, &make(3, 0, 4))?.outcome, Outcome::Committed);
    assert_eq!(run(&runner, &make(3, 0, 4))?.outcome, Outcome::UpToDate);
    assert_eq!(run(&runner, &make(2, 0, 4))?.outputs[0].version, 1);
    assert_eq!(by_version(&runner, "out")?.len(), 8);
    runner.run(&Pass {}, &["copy"])?;
    std::thread::sleep(Duration::from_millis(40));
    run(&runner, &make(2, 0, 4))?;
    std::thread::sleep(Duration::from_millis(40));
    assert!(
        Dataset::new(runner.store(), "out").unnamed_parts()?.is_empty(),
        "what the listing showed late is deleted later"
    );
    Ok(())
}

/// A process that dies at its n-th request, for every n: the next run finishes with the same rows.
#[test]
fn a_kill_at_any_request_is_made_good_by_the_next_run() -> Result<()> {
    let expected = {
        let runner = runner_over(toy(Duration::ZERO, 0).store());
        run(&runner, &make(4, 9, 3))?;
        by_version(&runner, "out")?
    };
    let mut survived = false;
    for dies_at in 0..400 {
        let objects = toy(Duration::from_millis(2), 3);
        run(&runner_over(objects.again(u64::MAX).store()), &make(3, 1, 3))?;
        let before = by_version(&runner_over(objects.again(u64::MAX).store()), "out")?;
        let died = run(&runner_over(objects.again(dies_at).store()), &make(4, 9, 3));
        let next = runner_over(objects.again(u64::MAX).store());
        let seen = by_version(&next, "out")?;
        assert!(seen == before || seen == expected, "killed at request {dies_at}");
        run(&next, &make(4, 9, 3))?;
        assert_eq!(by_version(&next, "out")?, expected, "killed at request {dies_at}");
        if died.is_ok() {
            survived = true;
            break;
        }
    }
    assert!(survived, "400 requests were too few for a whole run");
    Ok(())
}
