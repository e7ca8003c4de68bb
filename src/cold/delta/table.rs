//! One Delta table, held by its one committer: made, opened, read again, and what is known of its newest version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::DeltaTable;
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;

use super::super::files::pins::{Pins, Staging};
use super::super::mapping::{Mapping, schema_json};
use super::super::{Columns, Error, Lake, PinnedFiles, store_error};
use super::checkpoint;
use super::commit::properties_of;
use super::create;
use super::error::read_error;
use super::history::History;
use super::past::files_of;
use super::recent::Recent;
use super::schema::{mapping_of, plain_schema};
use super::stage::{Staged, Stager};
use crate::clock::{Clock, SystemClock};
use crate::ids::random_id;

pub(super) const OWNER: &str = "deltaplane/owner";

/// Application ids of one version.
pub struct Txns(DeltaTable);

impl Txns {
    pub async fn read(&self, app: &str) -> Result<Option<i64>, Error> {
        let snapshot = self.0.snapshot().map_err(store_error)?;
        snapshot
            .transaction_version(self.0.log_store().as_ref(), app)
            .await
            .map_err(store_error)
    }
}

pub struct ColdTable {
    pub(super) lake: Lake,
    pub(super) folder: String,
    pub(super) delta: DeltaTable,
    pub(super) schema: SchemaRef,
    pub(super) partition_by: Vec<String>,
    pub(super) mapping: Arc<Mapping>,
    /// The owner epoch under which this handle commits; 0 until it has claimed.
    pub(super) owner: i64,
    /// The newest Delta checkpoint: written by a `Checkpointer` outside the commit lock.
    pub(super) checkpointed: Arc<AtomicI64>,
    pub(super) view: Arc<PinnedFiles>,
    pub(super) staging: Staging,
    pub(super) recent: Recent,
    /// A version that was tried may stand in the log, which was not read since.
    pub(super) unclear: bool,
    /// The number of the last version that was tried past the server's log.
    pub(super) numbered: i64,
    /// When the newest version was committed, in milliseconds since 1970: the next one is later.
    pub(super) committed_ms: i64,
    /// The newest version of this handle whose content is not in the server's log.
    pub(super) unlogged: i64,
}

impl ColdTable {
    /// Creates the table with its first version, which carries the `txn`s.
    ///
    /// # Errors
    /// `Store`: it is there already, or the store refused.
    pub async fn create(
        lake: &Lake,
        folder: &str,
        schema: SchemaRef,
        partition_by: &[String],
        properties: BTreeMap<String, String>,
        txns: Vec<(String, i64)>,
    ) -> Result<Self, Error> {
        let owner = txns
            .iter()
            .find(|(app, _)| app == OWNER)
            .map_or(0, |(_, v)| *v);
        let kernel_schema: StructType = schema.as_ref().try_into_kernel().map_err(store_error)?;
        let mut mapping = Mapping::created(schema.fields(), || random_id().to_string());
        let protocol = create::protocol_of(&schema, &properties, mapping.is_on())?;
        let delta = if mapping.is_on() {
            let mut annotated = schema_json(&kernel_schema)?;
            mapping.annotate(&mut annotated)?;
            let mut properties = properties;
            properties.extend(mapping.properties());
            let first = create::First {
                annotated: &annotated,
                partition_by,
                properties,
                protocol,
            };
            create::mapped(lake, folder, first, txns).await?
        } else {
            CreateBuilder::new()
                .with_log_store(lake.log_store(folder)?)
                .with_columns(kernel_schema.fields().cloned())
                .with_partition_columns(partition_by)
                .with_configuration(properties.into_iter().map(|(k, v)| (k, Some(v))))
                .with_raise_if_key_not_exists(false)
                .with_save_mode(SaveMode::ErrorIfExists)
                .with_actions(protocol)
                .with_commit_properties(properties_of(txns))
                .await
                .map_err(store_error)?
        };
        let mut table = Self::over(lake, folder, delta, schema, partition_by.to_vec(), owner, 0)?;
        table.committed_at(SystemClock.now() / 1000);
        Ok(table)
    }

    /// Opens the newest version; none if there is no table.
    pub async fn open(lake: &Lake, folder: &str) -> Result<Option<Self>, Error> {
        let mut delta = lake.table(folder)?;
        if !delta
            .verify_deltatable_existence()
            .await
            .map_err(read_error)?
        {
            return Ok(None);
        }
        super::super::folder_check::log_is_sound(lake, folder).await?;
        delta.load().await.map_err(read_error)?;
        let snapshot = delta.snapshot().map_err(store_error)?;
        let schema = snapshot.snapshot().arrow_schema();
        let partition_by = snapshot.metadata().partition_columns().to_vec();
        let schema = plain_schema(&schema);
        let checkpointed = checkpoint::newest(lake, folder).await;
        // Everything is in memory by now: what goes wrong here lies in the table.
        let opened = Self::over(lake, folder, delta, schema, partition_by, 0, checkpointed);
        let mut table = opened.map_err(|error| match error {
            Error::Store(text) => Error::Damaged(text),
            other => other,
        })?;
        table.read_commit_time().await?;
        Ok(Some(table))
    }

    /// A table that cannot be opened now: no version and no rows, and whatever is done with it is an error.
    ///
    /// # Errors
    /// `Location`: the folder's name is none.
    pub fn closed(
        lake: &Lake,
        folder: &str,
        schema: SchemaRef,
        partition_by: &[String],
    ) -> Result<Self, Error> {
        let delta = lake.table(folder)?;
        let partition_by = partition_by.to_vec();
        Ok(Self::unread(
            lake,
            folder,
            delta,
            schema,
            partition_by,
            0,
            0,
        ))
    }

    /// Opens the newest version again, for those who know this one: views, followers and staged files go on. None: there is
    /// no table.
    ///
    /// # Errors
    /// As [`ColdTable::open`]; this one stays as it was.
    pub async fn reopened(&self) -> Result<Option<Self>, Error> {
        let Some(mut fresh) = Self::open(&self.lake, &self.folder).await? else {
            return Ok(None);
        };
        fresh.owner = self.owner;
        // Versions may have been lost since.
        fresh.unlogged = self.unlogged.min(fresh.version());
        fresh.staging = self.staging.clone();
        fresh.recent = self.recent.clone();
        fresh.committed_at(self.committed_ms);
        let view = self.view.reshaped(fresh.schema.clone());
        fresh.view = Arc::new(view.partitioned_by(fresh.partition_by.clone()));
        fresh.reload()?;
        Ok(Some(fresh))
    }

    /// The owner epoch under which this handle commits; 0 before it has claimed.
    pub fn owner(&self) -> i64 {
        self.owner
    }

    fn over(
        lake: &Lake,
        folder: &str,
        delta: DeltaTable,
        schema: SchemaRef,
        partition_by: Vec<String>,
        owner: i64,
        checkpointed: i64,
    ) -> Result<Self, Error> {
        let mut table = Self::unread(
            lake,
            folder,
            delta,
            schema,
            partition_by,
            owner,
            checkpointed,
        );
        table.reload()?;
        Ok(table)
    }

    fn unread(
        lake: &Lake,
        folder: &str,
        delta: DeltaTable,
        schema: SchemaRef,
        partition_by: Vec<String>,
        owner: i64,
        checkpointed: i64,
    ) -> Self {
        let history = Arc::new(History::new(lake, folder));
        let view = PinnedFiles::empty(lake, schema.clone(), partition_by.clone());
        let view = Arc::new(view.in_folder(folder).with_history(history));
        ColdTable {
            lake: lake.clone(),
            folder: folder.to_owned(),
            delta,
            schema,
            partition_by,
            mapping: Arc::default(),
            owner,
            checkpointed: Arc::new(AtomicI64::new(checkpointed)),
            view,
            staging: Staging::default(),
            recent: Recent::default(),
            unclear: false,
            numbered: 0,
            committed_ms: i64::MIN,
            unlogged: 0,
        }
    }

    /// Reads the file list anew from the snapshot.
    ///
    /// # Errors
    /// `Mismatch`: another writer has renamed or dropped a column that is known here; its values would be read as nulls.
    pub(super) fn reload(&mut self) -> Result<(), Error> {
        let mapping = mapping_of(self.delta.snapshot().map_err(store_error)?)?;
        let mut names = self.schema.fields().iter().map(|f| f.name());
        if let Some(gone) = names.find(|name| mapping.in_files(name).is_none()) {
            return Err(Error::Mismatch(format!(
                "another writer has renamed or dropped column {gone} of the Delta table {}; give it its name back there",
                self.folder
            )));
        }
        if mapping != *self.mapping {
            self.mapping = Arc::new(mapping);
        }
        let files = files_of(&self.lake, &self.folder, &self.delta, self.columns())?;
        let view = self.view.mapped(self.mapping.clone());
        self.view = Arc::new(view.of_version(version_of(&self.delta), files));
        Ok(())
    }

    /// As what its files are listed.
    pub(super) fn columns(&self) -> Columns<'_> {
        Columns {
            schema: &self.schema,
            partition_by: &self.partition_by,
            mapping: &self.mapping,
        }
    }

    pub fn version(&self) -> i64 {
        version_of(&self.delta)
    }

    /// The newest version that this handle committed past the server's log: a statement's, a compaction's, an ALTER's. 0: none.
    pub fn unlogged(&self) -> i64 {
        self.unlogged
    }

    pub fn view(&self) -> Arc<PinnedFiles> {
        self.view.clone()
    }

    /// The table is no more: its own view pins no files. Returns the pins of those that others hold.
    pub fn let_go(&mut self) -> Pins {
        self.view = Arc::new(self.view.with_files(Vec::new()));
        self.view.pins().clone()
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub fn properties(&self) -> BTreeMap<String, String> {
        let snapshot = self.delta.snapshot().ok();
        let configuration = snapshot
            .map(|s| s.metadata().configuration().clone())
            .unwrap_or_default();
        configuration.into_iter().collect()
    }

    /// Reads application ids of the present version without the commit lock.
    pub fn txns(&self) -> Txns {
        Txns(self.delta.clone())
    }

    /// The version last committed under an application id.
    pub async fn read_txn(&self, app: &str) -> Result<Option<i64>, Error> {
        Txns(self.delta.clone()).read(app).await
    }

    /// What stages files for this table, without the commit lock.
    pub fn stager(&self) -> Stager {
        Stager {
            lake: self.lake.clone(),
            folder: self.folder.clone(),
            schema: self.schema.clone(),
            partition_by: self.partition_by.clone(),
            mapping: self.mapping.clone(),
            staging: self.staging.clone(),
        }
    }

    /// Writes the rows as Parquet files, one a partition. They are on disk, and in no version.
    pub async fn stage(&self, batches: Vec<RecordBatch>) -> Result<Staged, Error> {
        self.stager().stage(batches).await
    }

    /// The last versions that this server wrote.
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    pub fn partition_by(&self) -> &[String] {
        &self.partition_by
    }

    /// Reads the newest version.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.unclear = true;
        let before = self.version();
        self.delta.update_state().await.map_err(read_error)?;
        self.reload()?;
        if self.version() != before {
            self.read_commit_time().await?;
        }
        self.unclear = false;
        Ok(())
    }

    /// Reads the log again if that failed after a commit, or whoever committed did not wait for the answer: what is decided by
    /// the file list must not be decided by an old one.
    ///
    /// # Errors
    /// `Store`: it still cannot be read.
    pub async fn make_sure(&mut self) -> Result<(), Error> {
        if self.unclear {
            self.refresh().await?;
        }
        Ok(())
    }
}

pub(super) fn version_of(delta: &DeltaTable) -> i64 {
    delta
        .version()
        .and_then(|v| i64::try_from(v).ok())
        .unwrap_or(-1)
}

pub(super) fn table_with(
    delta: &DeltaTable,
    state: deltalake::table::state::DeltaTableState,
) -> DeltaTable {
    let mut next = DeltaTable::new(delta.log_store());
    next.state = Some(state);
    next
}
