//! An object store in memory. What was put is durable and whole; its answer may not come.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{BoxStream, once};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::world::{Fate, How, World};

/// The store as the server of one life has it.
#[derive(Clone)]
pub(super) struct SimStore {
    pub(super) world: Arc<World>,
    pub(super) life: u64,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

fn error(what: &'static str) -> object_store::Error {
    object_store::Error::Generic {
        store: "SimStore",
        source: what.into(),
    }
}

/// A file's kind, without the parts of its name that differ from run to run.
fn short(path: &Path) -> String {
    match path.as_ref().split_once("_delta_log/") {
        Some((_, entry)) => entry.to_owned(),
        None => "data file".to_owned(),
    }
}

impl SimStore {
    async fn call<T>(
        &self,
        what: String,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match self.world.call(self.life, true, &what) {
            Fate::Done => work.await,
            Fate::NoPower | Fate::Meets(How::Before) => Err(error("the power is out")),
            Fate::Meets(How::Fails | How::NoRoom) => Err(error("failed on purpose")),
            Fate::Meets(How::FailsAfter) => {
                work.await?;
                Err(error("failed on purpose, after its work"))
            }
            Fate::Meets(How::Torn) if self.world.random(2) == 0 => Err(error("the power is out")),
            Fate::Meets(How::Torn | How::After) => {
                work.await?;
                Err(error("the power is out"))
            }
        }
    }

    fn alive(&self) -> Result<()> {
        match self.world.is_alive(self.life) {
            true => Ok(()),
            false => Err(error("the power is out")),
        }
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Result<PutResult> {
        let what = format!("put {}", short(at));
        self.call(what, self.world.objects.put_opts(at, payload, how))
            .await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.alive()?;
        self.world.objects.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        self.alive()?;
        self.world.objects.get_opts(at, how).await
    }

    fn delete_stream(
        &self,
        places: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = places.then(move |place| {
            let this = this.clone();
            async move {
                let place = place?;
                let what = format!("delete {}", short(&place));
                this.call(what, this.world.objects.delete(&place)).await?;
                Ok(place)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.alive() {
            Ok(()) => self.world.objects.list(prefix),
            Err(error) => once(async { Err(error) }).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.alive() {
            Ok(()) => self.world.objects.list_with_offset(prefix, offset),
            Err(error) => once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.alive()?;
        self.world.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        let what = format!("copy {}", short(to));
        self.call(what, self.world.objects.copy_opts(from, to, how))
            .await
    }
}
