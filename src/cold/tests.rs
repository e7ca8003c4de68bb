#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arrow::array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::*;

const OWNER: &str = "deltaplane/owner";

/// Fails the next write of a log entry, before or after it took effect.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    mode: Arc<AtomicU8>,
}

const SOUND: u8 = 0;
const FAIL_BEFORE: u8 = 1;
const FAIL_AFTER: u8 = 2;

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic {
        store: "Faulty",
        source: "the connection was lost on purpose".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let is_log = location.as_ref().contains("_delta_log/");
        match if is_log {
            self.mode.swap(SOUND, Ordering::SeqCst)
        } else {
            SOUND
        } {
            FAIL_BEFORE => Err(lost()),
            FAIL_AFTER => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(lost())
            }
            _ => self.inner.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(
        "n",
        Arc::new(Int64Array::from(vec![1, 2, 3])) as _,
        true,
    )])
    .unwrap()
}

async fn table(lake: &Lake) -> ColdTable {
    let txns = vec![("log/1".to_owned(), 0), (OWNER.to_owned(), 1)];
    ColdTable::create(lake, "s/t", batch().schema(), &[], BTreeMap::new(), txns)
        .await
        .unwrap()
}

async fn commit(table: &mut ColdTable, position: i64) -> std::result::Result<i64, Error> {
    let staged = table.stage(vec![batch()]).await?;
    table
        .commit(staged, vec![("log/1".to_owned(), position)])
        .await
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let mode = Arc::new(AtomicU8::new(SOUND));
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let lake = lake.with_store(|inner| {
        Arc::new(Faulty {
            inner,
            mode: mode.clone(),
        })
    });
    let mut table = table(&lake).await;
    for (position, fault) in [(5, FAIL_AFTER), (6, FAIL_BEFORE), (7, SOUND)] {
        mode.store(fault, Ordering::SeqCst);
        commit(&mut table, position).await.unwrap();
    }
    assert_eq!(table.view().rows(), Some(9));
    let again = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    assert_eq!(
        again.view().rows(),
        Some(9),
        "an independent look at the log"
    );
    assert_eq!(again.read_txn("log/1").await.unwrap(), Some(7));
}

#[tokio::test]
async fn an_older_position_and_a_former_owner_commit_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut old = table(&lake).await;
    commit(&mut old, 5).await.unwrap();
    assert!(matches!(
        commit(&mut old, 4).await,
        Err(Error::Superseded { held: 5, asked: 4 })
    ));
    let mut new = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    new.claim(OWNER, 2).await.unwrap();
    assert!(matches!(
        commit(&mut old, 6).await,
        Err(Error::Fenced { ours: 1, theirs: 2 })
    ));
    commit(&mut new, 6).await.unwrap();
    assert_eq!(new.view().rows(), Some(6));
}

#[tokio::test]
async fn a_table_with_a_checkpoint_reads_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    for position in 1..=6 {
        commit(&mut table, position).await.unwrap();
        if position == 3 {
            let due = table.checkpoint_due(3).unwrap();
            due.write(std::time::Duration::ZERO).await.unwrap();
        }
    }
    let again = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    assert_eq!((again.version(), again.view().rows()), (6, Some(18)));
    assert_eq!(again.read_txn("log/1").await.unwrap(), Some(6));
}

/// What the log no longer tells is named as such: the oldest version that can be put together begins at a checkpoint.
#[tokio::test]
async fn versions_before_the_oldest_checkpoint_are_gone_once_their_entries_are() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    for position in 1..=5 {
        commit(&mut table, position).await.unwrap();
        if position == 3 {
            let due = table.checkpoint_due(1).unwrap();
            due.write(std::time::Duration::from_secs(3600))
                .await
                .unwrap();
        }
    }
    let now = table.view();
    let history = now.history().unwrap();
    for version in 0..=5 {
        let then = history.view(At::Version(version), &now).await.unwrap();
        assert_eq!(then.rows(), Some(usize::try_from(version).unwrap() * 3));
    }
    for version in 0..3 {
        let entry = dir
            .path()
            .join(format!("s/t/_delta_log/{version:020}.json"));
        std::fs::remove_file(entry).unwrap();
    }
    let fresh = History::new(&lake, "s/t");
    for version in [2, 6] {
        let error = fresh.view(At::Version(version), &now).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::NoVersion {
                    oldest: 3,
                    newest: 5,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert_eq!(
        fresh.view(At::Version(3), &now).await.unwrap().rows(),
        Some(9)
    );
    assert!(fresh.view(At::Time(0), &now).await.is_err());
    let newest = fresh.view(At::Time(i64::MAX), &now).await.unwrap();
    assert_eq!(newest.version(), 5);
    assert_eq!(fresh.entries(Some(2)).await.unwrap().len(), 2);
}
