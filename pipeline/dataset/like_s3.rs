//! An object store with S3's manners, for tests: no renames, listings that lag, and requests that had succeeded and are sent again.
//!
//! Debug builds only. There `--data like-s3://FOLDER` is such a store over a local folder, so that whole pipelines can be killed over it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use crate::{Error, Result, Store};

/// How a root over a folder begins.
pub(crate) const SCHEME: &str = "like-s3://";

/// What was written by this process in the last moments is in no listing yet; what it deleted then still is. Some requests time out after they
/// succeeded, as a client sees it that sends them again: then a conditional one fails. Some fail for good.
#[derive(Debug, Clone)]
pub(crate) struct LikeS3 {
    inner: Arc<dyn ObjectStore>,
    recent: Arc<Mutex<Vec<(Instant, ObjectMeta, bool)>>>,
    lag: Duration,
    requests: Arc<AtomicU64>,
    /// The request that fails, and all after it: the process is killed.
    dies_at: Arc<AtomicU64>,
    retried: u64,
}

/// The store over a folder, and the root in it.
pub(crate) fn over_folder(root: &str, folder: &str) -> Result<Store> {
    let folder = std::path::absolute(folder).map_err(|e| Error::io(root, e))?;
    let key = Key::from_absolute_path(&folder).map_err(|e| Error::usage(format!("{root}: {e}"), "name a folder"))?;
    let objects = LikeS3::new(Arc::new(LocalFileSystem::new()), Duration::from_millis(20), 3);
    Store::objects(root, Arc::new(objects), key)
}

impl LikeS3 {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, lag: Duration, retried: u64) -> Self {
        LikeS3 {
            inner,
            recent: Arc::default(),
            lag,
            requests: Arc::default(),
            dies_at: Arc::new(AtomicU64::new(u64::MAX)),
            retried,
        }
    }

    /// The same objects, as a process sees them that has not been killed.
    #[cfg(test)]
    pub(crate) fn again(&self, dies_at: u64) -> Self {
        LikeS3 { requests: Arc::default(), dies_at: Arc::new(AtomicU64::new(dies_at)), ..self.clone() }
    }

    #[cfg(test)]
    pub(crate) fn store(&self) -> Store {
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
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), meta, there));
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
        self.remember(self.inner.head(at).await?, true);
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
                let meta = this.inner.head(&key).await?;
                this.inner.delete(&key).await?;
                this.remember(meta, false);
                Ok(key)
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
