//! How a table comes to be: its two Delta tables first, with its first rows, and then the frame. What fails in between is taken
//! back.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::super::Shared;
use super::super::control::{FRAME_BYTES, control_frame, enqueue};
use super::super::ddl_lock::Patience;
use super::super::expected::note_unlogged;
use super::super::table::{Cold, Committed, Table};
use super::super::visible::FrameEffect;
use super::{OWNER_TXN, folder_name, offset_i64, quarantine_folder};
use crate::cold::{ColdTable, PinnedFiles, Reason, Removal, Staged, Stager};
use crate::dataset::{self, Contract};
use crate::fault::Fault;
use crate::records::{Created, Record, Stamp};
use crate::wal::Reservation;

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

/// A table that stands in the store, with its rows, and of which no frame speaks yet.
pub(super) struct Made {
    table: Arc<Table>,
    main: Arc<PinnedFiles>,
    quarantine: Arc<PinnedFiles>,
    record: Record,
    room: Reservation,
    pub(super) rows: u64,
}

impl Made {
    pub(super) fn folders(&self) -> [String; 2] {
        let folder = &self.table.folder;
        [folder.clone(), quarantine_folder(folder)]
    }
}

/// The two Delta tables, then the frame; from there on the name means this table. What fails in between is taken back.
pub(super) async fn born(shared: &Arc<Shared>, contract: Contract) -> Result<Arc<Table>, Fault> {
    let made = make(shared, contract, None).await?;
    announce(shared, made).await
}

/// The two Delta tables, and a version of the one with its first rows. What fails is taken back.
pub(super) async fn make(
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
pub(super) async fn announce(shared: &Arc<Shared>, made: Made) -> Result<Arc<Table>, Fault> {
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
    // Nobody knows the table yet, so nobody holds it.
    let cold = table
        .commit_lock_within(Patience::of_ddl(&shared.config))
        .await?;
    match enqueue(shared, room, frame, effect) {
        Ok(ticket) => shared.synced(ticket.wait()).await?,
        Err(fault) => {
            take_back(shared, &folders).await;
            return Err(fault);
        }
    };
    // Its first rows are in no frame.
    note_unlogged(shared, &table, &cold);
    drop(cold);
    Ok(table)
}

/// Deletes what a creation has put into the store and no frame speaks of.
pub(super) async fn take_back(shared: &Shared, folders: &[String]) {
    for folder in folders {
        if let Err(error) = shared.lake.remove_folder(folder).await {
            tracing::warn!(%folder, %error, "files of a table that was not created were left behind; the next one of its name takes another folder");
        }
    }
}
