//! The same laws over an object store with S3's manners: no renames, listings that lag, and requests that had succeeded and are sent again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;

/// An object store in memory. What was written in the last moments is in no listing yet; what was deleted then still is. Some requests
/// time out after they succeeded, as a client sees it that sends them again: then a conditional one fails. Some fail for good.
#[derive(Debug, Clone)]
pub(super) struct LikeS3 {
    inner: Arc<InMemory>,
    recent: Arc<Mutex<Vec<(Instant, ObjectMeta, bool)>>>,
    lag: Duration,
    requests: Arc<AtomicU64>,
    /// The request that fails, and all after it: the process is killed.
    dies_at: Arc<AtomicU64>,
    retried: u64,
}

impl LikeS3 {
    pub(super) fn new(lag: Duration, retried: u64) -> Self {
        LikeS3 {
            inner: Arc::default(),
            recent: Arc::default(),
            lag,
            requests: Arc::default(),
            dies_at: Arc::new(AtomicU64::new(u64::MAX)),
            retried,
        }
    }

    /// The same objects, as a process sees them that has not been killed.
    pub(super) fn again(&self, dies_at: u64) -> Self {
        LikeS3 { requests: Arc::default(), dies_at: Arc::new(AtomicU64::new(dies_at)), ..self.clone() }
    }

    pub(super) fn store(&self) -> Store {
        Store::objects("s3://toy", Arc::new(self.clone()), Key::from("root")).expect("opens")
    }

    fn request(&self) -> StoreResult<u64> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        match number >= self.dies_at.load(Ordering::SeqCst) {
            true => Err(object_store::Error::Generic { store: "toy", source: "the process was killed".into() }),
            false => Ok(number),
        }
    }

    fn remember(&self, meta: ObjectMeta, there: bool) {
        self.recent.lock().expect("no panic").push((Instant::now(), meta, there));
    }
}

impl fmt::Display for LikeS3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a toy like S3")
    }
}

#[async_trait::async_trait]
impl ObjectStore for LikeS3 {
    async fn put_opts(&self, at: &Key, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        let number = self.request()?;
        let again = options.clone();
        let first = self.inner.put_opts(at, payload.clone(), options).await?;
        self.remember(self.inner.head_meta(at).await?, true);
        match self.retried > 0 && number % self.retried == 0 && again.mode == PutMode::Create {
            // The answer was lost, so the client sent it again.
            true => self.inner.put_opts(at, payload, again).await,
            false => Ok(first),
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Key,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Key, options: GetOptions) -> StoreResult<GetResult> {
        self.request()?;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, StoreResult<Key>>) -> BoxStream<'static, StoreResult<Key>> {
        let this = self.clone();
        keys.then(move |key| {
            let this = this.clone();
            async move {
                let key = key?;
                this.request()?;
                let meta = this.inner.head_meta(&key).await?;
                object_store::ObjectStoreExt::delete(&*this.inner, &key).await?;
                this.remember(meta, false);
                Ok(key)
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let recent = self.recent.lock().expect("no panic").clone();
        let young: Vec<_> = recent.into_iter().filter(|(at, ..)| at.elapsed() < self.lag).collect();
        let prefix_owned = prefix.cloned();
        let hidden: BTreeSet<String> =
            young.iter().filter(|(_, _, there)| *there).map(|(_, meta, _)| meta.location.to_string()).collect();
        let ghosts: Vec<StoreResult<ObjectMeta>> = young
            .into_iter()
            .filter(|(_, meta, there)| !there && prefix_owned.as_ref().is_none_or(|p| meta.location.prefix_matches(p)))
            .map(|(_, meta, _)| Ok(meta))
            .collect();
        let listed = self.inner.list(prefix).filter(move |meta| {
            let shown = meta.as_ref().map_or(true, |meta| !hidden.contains(meta.location.as_ref()));
            futures::future::ready(shown)
        });
        listed.chain(futures::stream::iter(ghosts)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> StoreResult<()> {
        self.request()?;
        self.inner.copy_opts(from, to, options).await
    }
}

trait HeadMeta {
    async fn head_meta(&self, at: &Key) -> StoreResult<ObjectMeta>;
}

impl HeadMeta for InMemory {
    async fn head_meta(&self, at: &Key) -> StoreResult<ObjectMeta> {
        object_store::ObjectStoreExt::head(self, at).await
    }
}

#[test]
fn a_run_commits_is_skipped_and_superseded() -> Result<()> {
    let toy = LikeS3::new(Duration::from_millis(30), 2);
    let runner = runner_over(toy.store());
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
        let runner = runner_over(LikeS3::new(Duration::ZERO, 0).store());
        run(&runner, &make(4, 9, 3))?;
        by_version(&runner, "out")?
    };
    let mut survived = false;
    for dies_at in 0..400 {
        let toy = LikeS3::new(Duration::from_millis(2), 3);
        run(&runner_over(toy.again(u64::MAX).store()), &make(3, 1, 3))?;
        let before = by_version(&runner_over(toy.again(u64::MAX).store()), "out")?;
        let died = run(&runner_over(toy.again(dies_at).store()), &make(4, 9, 3));
        let next = runner_over(toy.again(u64::MAX).store());
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
