//! Create and drop. A create makes the Delta tables first and logs the frame second: a dead store fails the statement and
//! leaves nothing behind but, after a crash in between, a folder that no frame speaks of (the next life takes the next name).

mod creation;

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::control::{FRAME_BYTES, control_frame, enqueue};
use super::ddl_lock::{DdlGuard, Patience};
use super::locks::CommitLock;
use super::running::{Task, Work};
use super::table::Table;
use super::visible::FrameEffect;
use crate::dataset::{Contract, TEMPORARY_SCHEMA};
use crate::fault::{Fault, Kind};
use crate::folder_name::encoded;
use crate::records::Record;
use crate::types::{Lsn, TableName};
use crate::wal::Reservation;
use creation::{announce, born, make, take_back};

pub use creation::Founding;

/// The `txn` by which owners of a table follow one another (DESIGN, "Ownership").
pub const OWNER_TXN: &str = "deltaplane/owner";

pub fn quarantine_folder(folder: &str) -> String {
    match folder.split_once('~') {
        Some((name, life)) => format!("{name}{}~{life}", crate::types::QUARANTINE_SUFFIX),
        None => format!("{folder}{}", crate::types::QUARANTINE_SUFFIX),
    }
}

fn folder_name(name: &TableName, life: u64) -> String {
    let (schema, table) = (encoded(name.schema()), encoded(name.table()));
    if life == 1 {
        format!("{schema}/{table}")
    } else {
        format!("{schema}/{table}~{life}")
    }
}

/// Which life of its name a folder holds: 1, 2, ..
pub fn life_of(folder: &str) -> u64 {
    folder
        .rsplit_once('~')
        .and_then(|(_, n)| n.parse().ok())
        .unwrap_or(1)
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
    refuse_temporary_schema(&contract.table)?;
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

/// # Errors
/// INVALID_ARGUMENT `reserved_schema`: the name would be one of a session's temporary tables.
pub fn refuse_temporary_schema(name: &TableName) -> Result<(), Fault> {
    if !name.schema().eq_ignore_ascii_case(TEMPORARY_SCHEMA) {
        return Ok(());
    }
    Err(Fault::invalid(
        "reserved_schema",
        format!(
            "the schema {TEMPORARY_SCHEMA} has the temporary tables of each session and nothing that is stored, name={name}; choose another schema, or say CREATE TEMP TABLE"
        ),
    ))
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
    for task in Task::ALL {
        shared.running.forget(&Work::Upkeep(number, task));
    }
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
