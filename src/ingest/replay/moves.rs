//! One move of rows from the quarantine's Delta table to the main one, and how it is finished after a crash.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::pass::Pass;
use crate::catalog::Shared;
use crate::catalog::control::{append_control, control_frame};
use crate::catalog::ddl_lock::Patience;
use crate::catalog::expected::note_unlogged;
use crate::catalog::table::{Cold, Table};
use crate::catalog::visible::FrameEffect;
use crate::cold::{self, ColdTable, Reason, Removal, Staged};
use crate::fault::{Fault, Kind};
use crate::records::{Record, Replayed};

/// The `txn` under which both tables record the newest move.
const REPLAY: &str = "deltaplane/replay";
/// The `txn` under which the main table records that it took a move back.
const TAKEN_BACK: &str = "deltaplane/replay_taken_back";
/// The note's name.
const NOTE: &str = "replay";
/// How long the second commit of a move is tried before the caller is told; the next start or replay finishes it.
const FINISH_TRIES: u32 = 20;

/// Finishes the move that a crash or a dead store has cut, if there is one.
///
/// # Errors
/// The store's and the log's.
pub async fn resume(shared: &Arc<Shared>, table: &Arc<Table>) -> Result<(), Fault> {
    let mut cold = table.commit_lock_within(Patience::of_own_work()).await?;
    resume_locked(shared, table, &mut cold).await
}

/// [`resume`] for whoever holds the commit lock already.
///
/// # Errors
/// As [`resume`].
pub async fn resume_locked(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    cold: &mut Cold,
) -> Result<(), Fault> {
    let Some(note) = cold.quarantine.read_note(NOTE).await? else {
        return without_note(shared, table, cold).await;
    };
    let planned = Move::of_note(note)?;
    let done = cold.main.read_txn(REPLAY).await?.unwrap_or(0);
    if done >= planned.replayed.number {
        tracing::info!(table = %table.name(), number = planned.replayed.number, "finishing a replay of the quarantine");
        finish(shared, table, cold, planned).await?;
        note_unlogged(shared, table, cold);
    }
    cold.quarantine.remove_note(NOTE).await?;
    Ok(())
}

/// There is no note. If the table has committed a move and the quarantine has not, the note was lost on the way, and the rows of
/// the move are on both sides: the table takes them back, as if the move had not begun.
async fn without_note(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    cold: &mut Cold,
) -> Result<(), Fault> {
    let Some((number, followed)) = half_done(&cold.main, &cold.quarantine).await? else {
        return Ok(());
    };
    tracing::error!(
        table = %table.name(), number,
        "the note of a replay of the quarantine is lost, and the rows are in the table and in the quarantine: the table takes them back"
    );
    let taken_back =
        followed + 1 == number && cold.main.take_back(REPLAY, number, TAKEN_BACK).await?;
    if !taken_back {
        return Err(Fault::new(
            Kind::Corrupt,
            "replay_note",
            format!(
                "{}; restore _deltaplane/replay.json beside the quarantine from a backup, or run REPAIR TABLE {} ACCEPT LOSS: then these rows stay in both",
                lost(number, followed),
                table.name()
            ),
        ));
    }
    let done = follow(cold, number).await;
    shown(shared, table, cold);
    done?;
    note_unlogged(shared, table, cold);
    Ok(())
}

/// The number of the newest move of the table and of the quarantine, if the quarantine's is missing.
async fn half_done(main: &ColdTable, quarantine: &ColdTable) -> Result<Option<(i64, i64)>, Fault> {
    let Some(number) = main.read_txn(REPLAY).await? else {
        return Ok(None);
    };
    let followed = quarantine.read_txn(REPLAY).await?.unwrap_or(0);
    Ok((number > followed).then_some((number, followed)))
}

fn lost(number: i64, followed: i64) -> String {
    format!(
        "the note of a replay is lost: the table has rows of replay {number}, and the quarantine, whose newest replay is {followed}, has them as well"
    )
}

/// The quarantine's number follows the table's, and its rows stay.
async fn follow(cold: &mut Cold, number: i64) -> Result<(), Fault> {
    let txns = [(REPLAY.to_owned(), number)];
    let quarantine = &mut cold.quarantine;
    quarantine
        .rewrite(&Removal::Nothing, Staged::empty(), &Reason::Append, &txns)
        .await?;
    Ok(())
}

fn shown(shared: &Shared, table: &Arc<Table>, cold: &Cold) {
    table.note_version(cold);
    shared
        .visible
        .replace_cold(table, cold.main.view(), cold.quarantine.view());
}

/// An operator has accepted that a note is lost whose rows cannot be taken back. Says what that means; none if no note is lost.
///
/// # Errors
/// The store's.
pub async fn accept_loss(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    cold: &mut Cold,
) -> Result<Option<String>, Fault> {
    match cold.quarantine.read_note(NOTE).await {
        Ok(Some(_)) => return Ok(None),
        Ok(None) => {}
        Err(cold::Error::Damaged(_)) => cold.quarantine.remove_note(NOTE).await?,
        Err(error) => return Err(error.into()),
    }
    let Some((number, followed)) = half_done(&cold.main, &cold.quarantine).await? else {
        return Ok(None);
    };
    if followed + 1 == number && cold.main.take_back(REPLAY, number, TAKEN_BACK).await? {
        return Ok(None);
    }
    follow(cold, number).await?;
    shown(shared, table, cold);
    Ok(Some(lost(number, followed)))
}

/// What is wrong with the note of a table that no server has open; none if a start can go on from it.
pub async fn problem(main: &ColdTable, quarantine: &ColdTable) -> Option<String> {
    let note = match quarantine.read_note(NOTE).await {
        Ok(note) => note,
        Err(error) => return Some(error.to_string()),
    };
    match note {
        Some(note) => Move::of_note(note).err().map(|fault| fault.message),
        None => match half_done(main, quarantine).await {
            Ok(found) => found.map(|(number, followed)| {
                let lost = lost(number, followed);
                format!("{lost}; a start takes them out of the table")
            }),
            Err(fault) => Some(fault.message),
        },
    }
}

/// A move that is staged and can be finished by whoever finds its note.
struct Move {
    replayed: Replayed,
    /// Files of the quarantine that go, and those in their place.
    removed: BTreeSet<String>,
    left: Staged,
}

impl Move {
    fn note(&self) -> Result<serde_json::Value, cold::Error> {
        Ok(json!({
            "version": 1,
            "replayed": self.replayed,
            "removed": self.removed,
            "left": self.left.note()?,
        }))
    }

    fn of_note(mut note: serde_json::Value) -> Result<Self, Fault> {
        let bad = |what: String| {
            Fault::new(
                Kind::Corrupt,
                "replay_note",
                format!("the note of a replay cannot be read: {what}"),
            )
        };
        if note["version"] != 1 {
            return Err(bad(format!("unknown version {}", note["version"])));
        }
        Ok(Move {
            replayed: serde_json::from_value(note["replayed"].take())
                .map_err(|e| bad(e.to_string()))?,
            removed: serde_json::from_value(note["removed"].take())
                .map_err(|e| bad(e.to_string()))?,
            left: Staged::from_note(note["left"].take())?,
        })
    }
}

/// Steps 4 and 5, whichever of them are not done.
async fn finish(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    cold: &mut Cold,
    planned: Move,
) -> Result<(), Fault> {
    let number = planned.replayed.number;
    let mut tries = 0;
    while cold.quarantine.read_txn(REPLAY).await?.unwrap_or(0) < number {
        // A copy of the list: the files stay staged until a version has them.
        let left = Staged::from_note(planned.left.note()?)?;
        let removal = Removal::Files(planned.removed.clone());
        let reason = Reason::Delete {
            predicate: Some("replayed".to_owned()),
        };
        let txns = [(REPLAY.to_owned(), number)];
        match cold
            .quarantine
            .rewrite(&removal, left, &reason, &txns)
            .await
        {
            Ok(_) => break,
            // The table has the rows already: while the store is away nothing else may come between.
            Err(error @ cold::Error::Store(_)) if tries < FINISH_TRIES => {
                tries += 1;
                tracing::warn!(table = %table.name(), %error, tries, "a replay waits for the store");
                tokio::time::sleep(Duration::from_millis(100 * u64::from(tries))).await;
            }
            Err(error) => {
                shared
                    .visible
                    .replace_cold(table, cold.main.view(), cold.quarantine.view());
                return Err(error.into());
            }
        }
    }
    table.note_version(cold);
    let (main, quarantine) = (cold.main.view(), cold.quarantine.view());
    if shared.visible.replays(table) >= number {
        shared.visible.replace_cold(table, main, quarantine);
        return Ok(());
    }
    let frame = control_frame(table, Record::Replayed(planned.replayed.clone()))?;
    let effect = FrameEffect::Replayed {
        table: table.clone(),
        replayed: planned.replayed,
        at: shared.clock.now(),
        main: main.clone(),
        quarantine: quarantine.clone(),
    };
    let logged = append_control(shared, frame, effect).await;
    if logged.is_err() {
        shared.visible.replace_cold(table, main, quarantine);
    }
    logged
}

/// Makes the move, if there is anything to move. Returns the paths of the files that took the place of others.
pub(super) async fn commit(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    cold: &mut Cold,
    pass: &mut Pass,
) -> Result<Vec<String>, Fault> {
    if pass.removed.is_empty() {
        return Ok(Vec::new());
    }
    let (in_main, left) = pass.staged().await?;
    let paths = left.paths();
    let planned = Move {
        replayed: Replayed {
            number: next_number(shared, table, cold).await?,
            days: std::mem::take(&mut pass.days),
        },
        removed: std::mem::take(&mut pass.removed),
        left,
    };
    cold.quarantine.write_note(NOTE, &planned.note()?).await?;
    // If this fails the note stays: it says what to do in case the commit is there after all, and goes with the next resume.
    take(&mut cold.main, in_main, planned.replayed.number).await?;
    finish(shared, table, cold, planned).await?;
    cold.quarantine.remove_note(NOTE).await?;
    Ok(paths)
}

/// Step 3.
async fn take(main: &mut ColdTable, rows: Staged, number: i64) -> Result<(), cold::Error> {
    let txns = [(REPLAY.to_owned(), number)];
    main.rewrite(&Removal::Nothing, rows, &Reason::Append, &txns)
        .await
        .map(|_| ())
}

async fn next_number(shared: &Shared, table: &Table, cold: &Cold) -> Result<i64, Fault> {
    let main = cold.main.read_txn(REPLAY).await?.unwrap_or(0);
    let quarantine = cold.quarantine.read_txn(REPLAY).await?.unwrap_or(0);
    Ok(main.max(quarantine).max(shared.visible.replays(table)) + 1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use super::*;
    use crate::stored_form::{is_stored_as, stored};

    /// The file around it has its form from `cold`.
    #[test]
    fn the_note_of_a_replay_has_its_form() {
        let file = json!({
            "path": "event_date=2026-11-30/part-1.parquet",
            "partitionValues": {"event_date": "2026-11-30"},
            "size": 1234,
            "modificationTime": 1_796_000_000_000_i64,
            "dataChange": true,
            "stats": "{\"numRecords\":3}",
            "tags": {"deltaplane.floatsInOneForm": "true"},
        });
        let planned = Move {
            replayed: Replayed {
                number: 4,
                days: BTreeMap::new(),
            },
            removed: BTreeSet::from(["part-0.parquet".to_owned()]),
            left: Staged::from_note(json!([file])).unwrap(),
        };
        let written = planned.note().unwrap();
        is_stored_as("replay.json", written.to_string().as_bytes());
        let read = Move::of_note(serde_json::from_slice(&stored("replay.json")).unwrap()).unwrap();
        assert_eq!(read.replayed, planned.replayed);
        assert_eq!(read.removed, planned.removed);
        assert_eq!(read.note().unwrap(), written);
    }
}
