//! Create and drop. A create makes the Delta tables first and logs the frame second: a dead store fails the statement and
//! leaves nothing behind but, after a crash in between, a folder that no frame speaks of (the next life takes the next name).

use std::sync::Arc;
use std::time::Duration;

use super::control::{FRAME_BYTES, control_frame, enqueue};
use super::ddl_lock::{DdlGuard, Patience};
use super::expected::note_unlogged;
use super::locks::CommitLock;
use super::running::Work;
use super::table::{Cold, Committed, Table};
use super::visible::FrameEffect;
use super::{Registry, Shared};
use crate::cold::{ColdTable, PinnedFiles, Reason, Removal, Staged, Stager};
use crate::dataset::{self, Contract};
use crate::fault::{Fault, Kind};
use crate::records::{Created, Record, Stamp};
use crate::types::{Incarnation, Lsn, TableName};
use crate::wal::Reservation;
use futures::future::BoxFuture;

/// The `txn` by which owners of a table follow one another (DESIGN, "Ownership").
pub const OWNER_TXN: &str = "deltaplane/owner";

pub fn quarantine_folder(folder: &str) -> String {
    match folder.split_once('~') {
        Some((name, life)) => format!("{name}{}~{life}", crate::types::QUARANTINE_SUFFIX),
        None => format!("{folder}{}", crate::types::QUARANTINE_SUFFIX),
    }
}

fn folder_name(name: &TableName, life: u64) -> String {
    if life == 1 {
        format!("{}/{}", name.schema(), name.table())
    } else {
        format!("{}/{}~{life}", name.schema(), name.table())
    }
}

/// Which life of its name a folder holds: 1, 2, ..
pub fn life_of(folder: &str) -> u64 {
    folder
        .rsplit_once('~')
        .and_then(|(_, n)| n.parse().ok())
        .unwrap_or(1)
}

impl Registry {
    pub fn insert(&mut self, table: Arc<Table>) {
        let folded = table.name().folded();
        let life = life_of(&table.folder);
        let lives = self.lives.entry(folded.clone()).or_default();
        *lives = (*lives).max(life);
        self.next_incarnation = self.next_incarnation.max(table.incarnation.get() + 1);
        self.tables.insert(folded, table);
    }

    pub fn remove(&mut self, table: &Table) {
        let folded = table.name().folded();
        if self
            .tables
            .get(&folded)
            .is_some_and(|t| t.incarnation == table.incarnation)
        {
            self.tables.remove(&folded);
        }
    }

    /// The table has another name than `from`.
    pub fn rename(&mut self, table: &Arc<Table>, from: &TableName) {
        let from = from.folded();
        let is_this = |t: &Arc<Table>| t.incarnation == table.incarnation;
        if self.tables.get(&from).is_some_and(is_this) {
            self.tables.remove(&from);
        }
        self.tables.insert(table.name().folded(), table.clone());
    }

    /// The next incarnation, given once, and the life of its name that it will at least be.
    fn next_life(&mut self, name: &TableName) -> (Incarnation, u64) {
        let incarnation = self.next_incarnation.max(1);
        self.next_incarnation = incarnation + 1;
        let lives = self.lives.get(&name.folded()).copied().unwrap_or(0);
        (Incarnation::new(incarnation), lives + 1)
    }

    pub fn restore(&mut self, lives: Vec<(TableName, u64)>, next_incarnation: u64) {
        self.lives = lives.into_iter().collect();
        self.next_incarnation = next_incarnation;
    }
}

/// What becomes of a table that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfThere {
    /// It stays, and the statement is an error.
    Refuse,
    /// It stays, and nothing is done.
    Keep,
    /// The new one takes its place, and it goes as if it were dropped.
    Replace,
}

/// Who gives a table that is being created its first rows.
pub trait Founding: Send {
    /// Stages them. Nobody else knows of the table yet.
    fn stage<'a>(
        &'a mut self,
        shared: &'a Arc<Shared>,
        contract: &'a Arc<Contract>,
        stager: Stager,
    ) -> BoxFuture<'a, Result<Staged, Fault>>;
}

/// Creates the table and its quarantine, in Delta and in the log. Returns false if it is there already and may be.
///
/// # Errors
/// ALREADY_EXISTS; INVALID_ARGUMENT for a contract that contradicts itself; ABORTED `table_busy`; the store's and the log's own:
/// there is no table then, unless the log's says that nobody knows.
pub async fn create(
    shared: &Arc<Shared>,
    contract: Contract,
    if_not_exists: bool,
) -> Result<bool, Fault> {
    let there = if if_not_exists {
        IfThere::Keep
    } else {
        IfThere::Refuse
    };
    let created = create_with(shared, contract, there, None).await?;
    Ok(created.is_some())
}

/// [`create`] with first rows: the table appears with all of them. Returns how many they are; none: it is there and was kept.
///
/// # Errors
/// As [`create`]; what the rows meet; FAILED_PRECONDITION: what has the name cannot be replaced. Then there is no table, or still
/// the one before.
pub async fn create_with(
    shared: &Arc<Shared>,
    contract: Contract,
    there: IfThere,
    rows: Option<Box<dyn Founding>>,
) -> Result<Option<u64>, Fault> {
    contract
        .validate_self()
        .and_then(|()| contract.check_partitions())
        .map_err(|e| Fault::invalid("invalid_contract", e.to_string()))?;
    let name = contract.table.clone();
    let shared = shared.clone();
    let work = async move {
        let verb = match there {
            IfThere::Replace => "CREATE OR REPLACE",
            IfThere::Refuse | IfThere::Keep => "CREATE",
        };
        let _name = lock(&shared, &contract, verb).await?;
        if !may_be_created(&shared, &name, there)? {
            return Ok(None);
        }
        check_sources(&shared, &contract)?;
        let Ok(old) = shared.table(&name) else {
            let made = make(&shared, contract, rows).await?;
            let count = made.rows;
            let table = announce(&shared, made).await?;
            crate::flush::spawn(shared, table);
            tracing::info!(table = %name, "table created");
            return Ok(Some(count));
        };
        let room = control_room(&shared).await?;
        // The old one is written and read meanwhile.
        let made = make(&shared, contract, rows).await?;
        let count = made.rows;
        let cold = match old
            .commit_lock_within(Patience::of_ddl(&shared.config))
            .await
        {
            Ok(cold) => cold,
            Err(fault) => {
                take_back(&shared, &made.folders()).await;
                return Err(fault);
            }
        };
        let table = announce(&shared, made).await?;
        crate::flush::spawn(shared.clone(), table);
        bury(&shared, &old, cold, room).await?;
        tracing::info!(table = %name, "table replaced");
        Ok(Some(count))
    };
    to_its_end(work).await
}

/// False: the name is taken, and that is fine.
///
/// # Errors
/// ALREADY_EXISTS; FAILED_PRECONDITION: what has the name cannot be replaced.
pub fn may_be_created(shared: &Shared, name: &TableName, there: IfThere) -> Result<bool, Fault> {
    let Some(old) = shared.registered(name) else {
        if let Some(view) = shared.definitions.now().view(name) {
            return Err(Fault::new(
                Kind::AlreadyExists,
                "is_a_view",
                format!(
                    "a view has the name, name={}; DROP VIEW it first",
                    view.name
                ),
            ));
        }
        return Ok(true);
    };
    match there {
        IfThere::Keep => Ok(false),
        IfThere::Refuse => Err(Fault::new(
            Kind::AlreadyExists,
            "table_exists",
            format!(
                "the table is there already, table={name}; DROP TABLE it first, or say IF NOT EXISTS or CREATE OR REPLACE TABLE"
            ),
        )),
        IfThere::Replace if old.contract().view.is_some() => Err(Fault::new(
            Kind::Precondition,
            "is_a_view",
            format!(
                "a table does not replace a materialized view, name={name}; DROP MATERIALIZED VIEW it first"
            ),
        )),
        IfThere::Replace => {
            refuse_with_readers(shared, name)?;
            Ok(true)
        }
    }
}

/// Views that read a table keep it.
pub(super) fn refuse_with_readers(shared: &Shared, name: &TableName) -> Result<(), Fault> {
    let readers = shared.readers(name);
    if readers.is_empty() {
        return Ok(());
    }
    let readers: Vec<String> = readers.iter().map(ToString::to_string).collect();
    Err(Fault::new(
        Kind::Precondition,
        "table_has_views",
        format!(
            "materialized views read it, table={name}, views={}; drop them first (DROP TABLE {name} CASCADE drops them with it)",
            readers.join(", ")
        ),
    ))
}

/// Puts another table in the place of the one of this name, in one step: no query finds the name unknown, or both.
///
/// # Errors
/// As [`create`]; on any of them the old one stays.
pub async fn replace(shared: &Arc<Shared>, contract: Contract) -> Result<(), Fault> {
    let shared = shared.clone();
    let work = async move {
        let _name = lock(&shared, &contract, "CREATE OR REPLACE").await?;
        let old = shared.table(&contract.table)?;
        check_sources(&shared, &contract)?;
        // All that can be refused comes before anything is done.
        let room = control_room(&shared).await?;
        let patience = Patience::of_ddl(&shared.config);
        let cold = old.commit_lock_within(patience).await?;
        let table = born(&shared, contract).await?;
        crate::flush::spawn(shared.clone(), table);
        bury(&shared, &old, cold, room).await
    };
    to_its_end(work).await
}

/// A statement that has begun is finished, whether or not its caller still waits.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    tokio::spawn(work)
        .await
        .map_err(|e| Fault::internal(format!("statement: {e}")))?
}

/// The names that a table's or view's creation is about: what a view reads is there, and stays while they are held.
async fn lock(shared: &Shared, contract: &Contract, verb: &str) -> Result<DdlGuard, Fault> {
    let view = contract.view.iter();
    let read = view.flat_map(|v| std::iter::once(&v.source).chain(&v.dimensions));
    let names: Vec<&TableName> = std::iter::once(&contract.table).chain(read).collect();
    let what = format!("{verb} {}", contract.table);
    shared
        .ddl
        .lock(&names, &what, Patience::of_ddl(&shared.config))
        .await
}

fn check_sources(shared: &Shared, contract: &Contract) -> Result<(), Fault> {
    if let Some(view) = &contract.view {
        shared.table(&view.source)?;
        for dimension in &view.dimensions {
            shared.table(dimension)?;
        }
    }
    Ok(())
}

/// A table that stands in the store, with its rows, and of which no frame speaks yet.
struct Made {
    table: Arc<Table>,
    main: Arc<PinnedFiles>,
    quarantine: Arc<PinnedFiles>,
    record: Record,
    room: Reservation,
    rows: u64,
}

impl Made {
    fn folders(&self) -> [String; 2] {
        let folder = &self.table.folder;
        [folder.clone(), quarantine_folder(folder)]
    }
}

/// The two Delta tables, then the frame; from there on the name means this table. What fails in between is taken back.
async fn born(shared: &Arc<Shared>, contract: Contract) -> Result<Arc<Table>, Fault> {
    let made = make(shared, contract, None).await?;
    announce(shared, made).await
}

/// The two Delta tables, and a version of the one with its first rows. What fails is taken back.
async fn make(
    shared: &Arc<Shared>,
    contract: Contract,
    rows: Option<Box<dyn Founding>>,
) -> Result<Made, Fault> {
    let name = contract.table.clone();
    let record = |folder: &str| {
        Record::Create(Box::new(Created {
            folder: folder.to_owned(),
            contract: contract.clone(),
        }))
    };
    let (incarnation, mut life) = shared.registry.write().next_life(&name);
    // Room first: with the log full nothing is made. A later life's folder has a longer name.
    let longest = record(&folder_name(&name, u64::MAX)).encode(Stamp::default())?;
    let room = shared
        .log
        .reserve(longest.payload.len() + FRAME_BYTES)
        .await?;
    // What a crash left between the store and the log, and what others have put there, is stepped over: either of the two.
    let folder = loop {
        let folder = folder_name(&name, life);
        let main = ColdTable::open(&shared.lake, &folder).await?;
        let taken = match main {
            Some(_) => true,
            None => ColdTable::open(&shared.lake, &quarantine_folder(&folder))
                .await?
                .is_some(),
        };
        if !taken {
            break folder;
        }
        life += 1;
    };
    let app = shared.app_id(incarnation);
    // Nothing of this incarnation can stand at or below the log's present end.
    let start = shared.log.durable();
    let txns = vec![(app, offset_i64(start)), (OWNER_TXN.to_owned(), 1)];
    let mut properties = contract.to_properties();
    properties.insert("deltaplane.incarnation".to_owned(), incarnation.to_string());
    let quarantine = ColdTable::create(
        &shared.lake,
        &quarantine_folder(&folder),
        dataset::quarantine_schema(),
        &["ingest_date".to_owned()],
        std::iter::once(("deltaplane.quarantineOf".to_owned(), name.to_string())).collect(),
        txns.clone(),
    )
    .await?;
    let record = record(&folder);
    let contract = Arc::new(contract);
    let main = ColdTable::create(
        &shared.lake,
        &folder,
        contract.table_schema(),
        &contract.partition_by,
        properties,
        txns,
    )
    .await;
    let founded = match main {
        Ok(main) => founded(shared, &contract, main, rows).await,
        Err(error) => {
            take_back(shared, &[quarantine_folder(&folder)]).await;
            return Err(error.into());
        }
    };
    let (main, rows) = match founded {
        Ok(founded) => founded,
        Err(fault) => {
            take_back(shared, &[folder.clone(), quarantine_folder(&folder)]).await;
            return Err(fault);
        }
    };
    let committed = Committed {
        offset: start,
        version: main.version(),
    };
    let views = (main.view(), quarantine.view());
    let table = Arc::new(Table::new(
        incarnation,
        contract,
        folder,
        Cold::new(main, quarantine),
        committed,
    ));
    Ok(Made {
        table,
        main: views.0,
        quarantine: views.1,
        record,
        room,
        rows,
    })
}

/// The table with its first rows as a version, and how many they are.
async fn founded(
    shared: &Arc<Shared>,
    contract: &Arc<Contract>,
    mut main: ColdTable,
    rows: Option<Box<dyn Founding>>,
) -> Result<(ColdTable, u64), Fault> {
    let Some(mut rows) = rows else {
        return Ok((main, 0));
    };
    let staged = rows.stage(shared, contract, main.stager()).await?;
    let count = staged.rows();
    if staged.files() > 0 {
        main.rewrite(&Removal::Nothing, staged, &Reason::Append, &[])
            .await?;
    }
    Ok((main, count))
}

/// The frame, from whose sync on the name means the table.
async fn announce(shared: &Arc<Shared>, made: Made) -> Result<Arc<Table>, Fault> {
    let folders = made.folders();
    let Made {
        table,
        main,
        quarantine,
        record,
        room,
        ..
    } = made;
    let frame = control_frame(&table, record)?;
    let effect = FrameEffect::Create {
        table: table.clone(),
        main,
        quarantine,
    };
    match enqueue(shared, room, frame, effect) {
        Ok(ticket) => shared.synced(ticket.wait()).await?,
        Err(fault) => {
            take_back(shared, &folders).await;
            return Err(fault);
        }
    };
    // Its first rows are in no frame.
    note_unlogged(shared, &table, &*table.commit_lock().await);
    Ok(table)
}

/// Deletes what a creation has put into the store and no frame speaks of.
async fn take_back(shared: &Shared, folders: &[String]) {
    for folder in folders {
        if let Err(error) = shared.lake.remove_folder(folder).await {
            tracing::warn!(%folder, %error, "files of a table that was not created were left behind; the next one of its name takes another folder");
        }
    }
}

/// Drops the table and its quarantine. Rows that are not committed yet go with it; open streams end with NOT_FOUND.
/// Files go once no query pins them any more.
///
/// # Errors
/// NOT_FOUND; FAILED_PRECONDITION while views read it; ABORTED `table_busy`; the log's. The table is there then, unless the
/// log's says that nobody knows.
pub async fn drop(shared: &Arc<Shared>, name: &TableName, if_exists: bool) -> Result<bool, Fault> {
    let (shared, name) = (shared.clone(), name.clone());
    let work = async move {
        let patience = Patience::of_ddl(&shared.config);
        let what = format!("DROP {name}");
        let _name = shared.ddl.lock(&[&name], &what, patience).await?;
        let table = match shared.table(&name) {
            Ok(table) => table,
            Err(_) if if_exists => return Ok(false),
            Err(fault) => return Err(fault),
        };
        refuse_with_readers(&shared, &name)?;
        let room = control_room(&shared).await?;
        let cold = table.commit_lock_within(patience).await?;
        bury(&shared, &table, cold, room).await?;
        tracing::info!(table = %name, "table dropped");
        Ok(true)
    };
    to_its_end(work).await
}

/// Room for a frame that lets go of a table: also in a full log, which such a frame makes room in.
async fn control_room(shared: &Shared) -> Result<Reservation, Fault> {
    Ok(shared.log.reserve_beyond(FRAME_BYTES).await?)
}

/// With the commit lock held no flush is half way through. The frame decides: the table is gone from its sync on.
async fn bury(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    mut cold: CommitLock<'_>,
    room: Reservation,
) -> Result<(), Fault> {
    let frame = control_frame(table, Record::Drop)?;
    let effect = FrameEffect::Drop {
        table: table.clone(),
    };
    let ticket = enqueue(shared, room, frame, effect)?;
    shared.synced(ticket.wait()).await?;
    let number = table.incarnation.get();
    shared.running.forget(&Work::Rows(number));
    if let Err(error) = shared.aside.remove(number) {
        tracing::warn!(table = %table.name(), %error, "parked rows of a dropped table were left behind");
    }
    // Its hot rows are gone: memory and log have room for those of others.
    shared.hot_space.notify_waiters();
    shared.log.trim(shared.visible.trim_point());
    // What is pinned from here on is what queries hold, of this version and of older ones.
    let pins = [cold.main.let_go(), cold.quarantine.let_go()];
    let lake = shared.lake.clone();
    let mut folders = vec![table.folder.clone(), quarantine_folder(&table.folder)];
    if table
        .parked()
        .is_some_and(|state| state.reason == "owned_elsewhere")
    {
        tracing::warn!(table = %table.name(), "another server owns the table: its files stay");
        folders.clear();
    }
    let grace = shared.config.query.timeout;
    tokio::spawn(async move {
        let deadline = tokio::time::Instant::now() + grace;
        while pins.iter().any(|pins| !pins.paths().is_empty())
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for folder in folders {
            if let Err(error) = lake.remove_folder(&folder).await {
                tracing::warn!(%folder, %error, "files of a dropped table were left behind");
            }
        }
    });
    Ok(())
}

pub fn offset_i64(offset: Lsn) -> i64 {
    i64::try_from(offset.get()).unwrap_or(i64::MAX)
}
