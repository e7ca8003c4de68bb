//! `VACUUM`: files that no version, no running query and no commit under way needs, deleted when they are old enough.

use std::sync::Arc;
use std::time::Duration;

use super::journal::Outcome;
use super::{STUCK, Upkeep, part_name, unless_stuck};
use crate::catalog::ddl_lock::Patience;
use crate::catalog::running::Task;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::{FILE_RETENTION, Found, Keep};
use crate::fault::{Fault, Kind};
use crate::types::TableName;

/// Files that are deleted under one taking of the commit lock.
const CHUNK: usize = 200;

/// What a vacuum did, or would do.
#[derive(Clone, Debug, Default)]
pub struct Vacuumed {
    pub files: Vec<Found>,
    pub deleted: u64,
    pub bytes: u64,
}

impl Vacuumed {
    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            files_removed: self.deleted,
            bytes_removed: self.bytes,
            ..Outcome::default()
        }
    }
}

impl Upkeep {
    /// `VACUUM table [RETAIN ..] [DRY RUN]`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a RETAIN that is shorter than what the settings allow; the store's.
    pub async fn vacuum(
        &self,
        name: &TableName,
        retain: Option<Duration>,
        dry_run: bool,
    ) -> Result<(Vacuumed, TableName), Fault> {
        let (table, part) = self.find(name)?;
        self.check_retain(retain)?;
        let _turn = self.turn_for(&table).await?;
        if !dry_run {
            let work = Self::work(&table, Task::Vacuum);
            self.shared.running.resume(&work);
        }
        let shown = part_name(&table, part);
        let run = self.journal.begin("vacuum", &shown);
        let ended = self.vacuum_part(&table, part, retain, dry_run).await;
        let noted = ended.as_ref().map(Vacuumed::outcome);
        self.journal.end(run, noted.map_err(Clone::clone));
        ended.map(|done| (done, shown))
    }

    /// Readers outside this server pin nothing here: only time protects them.
    fn check_retain(&self, retain: Option<Duration>) -> Result<(), Fault> {
        let config = &self.shared.config;
        let least = config.upkeep.retain_min;
        if least.is_zero() {
            return Ok(());
        }
        let least = least.max(config.query.timeout);
        match retain {
            Some(retain) if retain < least => Err(Fault::new(
                Kind::Invalid,
                "retain_too_short",
                format!(
                    "RETAIN {} is too short, least={}: readers outside this server may still read files that were removed since; \
                     ask for more, or set upkeep.retain_min = \"0s\"",
                    hours(retain),
                    hours(least)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// With the turn held.
    pub(super) async fn vacuum_part(
        &self,
        table: &Arc<Table>,
        part: Part,
        retain: Option<Duration>,
        dry_run: bool,
    ) -> Result<Vacuumed, Fault> {
        let settings = &self.shared.config.upkeep;
        let patience = Patience::of_statement(&self.shared.config);
        let work = Self::work(table, Task::Vacuum);
        let _running = self.shared.running.enter(&work).await;
        let sweeper = table.files_within(patience, |cold| cold.part(part).sweeper());
        let sweeper = sweeper.await?;
        let step = (&**table, "the vacuum");
        let listed = unless_stuck(step, STUCK, sweeper.list()).await?;
        // Behind the listing: what is listed and staged, or committed since, is known to be needed.
        let (sweeper, needed, removed) = {
            let begun = TableWriter::same_rows(&self.shared, table);
            let mut writer = unless_stuck(step, STUCK, begun).await?;
            // Another writer's versions count as well.
            unless_stuck(step, STUCK, writer.refresh(part)).await?;
            let side = writer.files(part);
            let removed = retain
                .or_else(|| side.interval(FILE_RETENTION))
                .unwrap_or(settings.file_retention);
            (side.sweeper(), side.needed(), removed)
        };
        let keep = Keep {
            removed,
            orphans: settings.orphan_age,
            now_ms: self.shared.clock.now() / 1000,
        };
        let sweep = sweeper.sweep(listed, &needed, keep);
        let sweep = unless_stuck(step, STUCK, sweep).await?;
        let mut done = Vacuumed {
            bytes: sweep.files.iter().map(|f| f.bytes).sum(),
            files: sweep.files,
            deleted: 0,
        };
        if dry_run {
            return Ok(done);
        }
        done.bytes = 0;
        for chunk in done.files.chunks(CHUNK) {
            let mut cold = table.commit_lock_within(patience).await?;
            table.check_alive()?;
            let removing = cold.part_mut(part).remove_unneeded(chunk);
            let (files, bytes) = unless_stuck(step, STUCK, removing).await?;
            done.deleted += u64::try_from(files).unwrap_or(0);
            done.bytes += bytes;
        }
        Ok(done)
    }
}

fn hours(time: Duration) -> String {
    format!("{} HOURS", (time.as_secs_f64() / 36.0).round() / 100.0)
}
