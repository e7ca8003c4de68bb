//! Quarantined rows that the contract in force now takes go to the table, each once.
//!
//! A replay goes in passes of some files, each of which is one move from one Delta table to another:
//!
//! 1. judged anew, the rows that pass are staged as files of the table, what is left of their files as files of the quarantine;
//! 2. a note beside the quarantine says what the move is, and its number;
//! 3. the table's commit, with the number as `txn`: from here on the move happens, whatever crashes;
//! 4. the quarantine's commit, with the same `txn`;
//! 5. a frame in the log: both versions become visible and the counts change, in one step;
//! 6. the note goes.
//!
//! A crash before 3 leaves files that nobody speaks of. A crash after it is finished by [`resume`] at the next start, before
//! anyone asks: the number says which of 4 and 5 are done. A pass holds the commit lock, so queries see a row on one side or
//! on the other.
//!
//! A row keeps its `_ingest_ts`, `_source` and `_seq`: it is where it would have been had the rule been what it is now, and
//! lateness is held against its arrival. It knows no SQL: which rows are meant is the caller's function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use serde_json::json;

use crate::catalog::Shared;
use crate::catalog::control::{append_control, control_frame};
use crate::catalog::expected::note_unlogged;
use crate::catalog::table::{Cold, Table};
use crate::catalog::visible::{FrameEffect, Part};
use crate::catalog::write::TableWriter;
use crate::clock::{Micros, day_of};
use crate::cold::{self, ColdFile, ColdTable, Reason, Removal, Staged};
use crate::fault::{Fault, Kind};
use crate::records::{Left, Record, Replayed};
use crate::validate::{self, Keys, Origin, Override, References, Scope, Source, Validator};

/// The `txn` under which both tables record the newest move.
const REPLAY: &str = "deltaplane/replay";
/// The note's name.
const NOTE: &str = "replay";
/// A pass takes whole files until they have so many rows: what is held in memory, and how long a commit of the table waits.
const PASS_ROWS: usize = 65_536;
/// How long the second commit of a move is tried before the caller is told; the next start or replay finishes it.
const FINISH_TRIES: u32 = 20;

/// Which rows of a quarantine are meant: true for each that is.
pub type Filter = dyn Fn(&RecordBatch) -> Result<BooleanArray, Fault> + Send + Sync;

/// What is asked for.
#[derive(Default)]
pub struct Request {
    /// Values that take the place of what was sent, in every row that is meant.
    pub overrides: Vec<Override>,
    /// None: all rows.
    pub filter: Option<Box<Filter>>,
    /// Counts, and changes nothing.
    pub dry_run: bool,
}

/// What became of the rows that are meant: `examined` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub examined: u64,
    /// They are in the table now.
    pub replayed: u64,
    /// The table has an identical row: they have left the quarantine.
    pub duplicates: u64,
    /// They break a rule still, or are no rows at all.
    pub rejected: u64,
}

/// What becomes of one row.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// Not asked for.
    Stays,
    Moves,
    Duplicate,
    /// It breaks these rules now, the first in these words.
    Breaks {
        rules: Vec<String>,
        reason: String,
    },
    /// The batch that it makes is refused.
    Refused,
}

/// # Errors
/// A column of `overrides` that the table does not have; the store's and the log's. Passes before the one that failed are
/// done, each whole; the same replay again goes on.
pub async fn replay(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    request: &Request,
) -> Result<Outcome, Fault> {
    let contract = table.contract();
    for (name, _) in &request.overrides {
        if !contract
            .columns
            .iter()
            .any(|c| c.name.eq_ignore_ascii_case(name))
        {
            let known: Vec<&str> = contract.columns.iter().map(|c| &*c.name).collect();
            return Err(Fault::invalid(
                "column_not_found",
                format!(
                    "no such column to set, column={name}, table={}, columns={}",
                    contract.table,
                    known.join(", ")
                ),
            ));
        }
    }
    let mut sum = Outcome::default();
    let mut seen = BTreeSet::new();
    // Rows that come while it runs are not chased.
    let until = shared.clock.now();
    while let Some(pass) = pass(shared, table, request, &mut seen, until).await? {
        sum.examined += pass.examined;
        sum.replayed += pass.replayed;
        sum.duplicates += pass.duplicates;
        sum.rejected += pass.rejected;
    }
    Ok(sum)
}

/// Finishes the move that a crash or a dead store has cut, if there is one.
///
/// # Errors
/// The store's and the log's.
pub async fn resume(shared: &Arc<Shared>, table: &Arc<Table>) -> Result<(), Fault> {
    let mut cold = table.commit_lock().await;
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
        return Ok(());
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

/// None: no file is left to look at.
async fn pass(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    request: &Request,
    seen: &mut BTreeSet<String>,
    until: Micros,
) -> Result<Option<Outcome>, Fault> {
    let asked_by = table.contract();
    let mut references = shared.lookups.references(shared, &asked_by).await?;
    let mut writer = TableWriter::begin(shared, table, "REPLAY QUARANTINE").await?;
    let validator = writer.validator().clone();
    if !Arc::ptr_eq(validator.contract(), &asked_by) {
        references = shared
            .lookups
            .references(shared, validator.contract())
            .await?;
    }
    resume_locked(shared, table, writer.cold()).await?;
    let view = writer.files(Part::Quarantine).view();
    let mut files: Vec<Arc<ColdFile>> = Vec::new();
    let mut rows = 0;
    for file in view.files() {
        // Column 0 is `_ingest_ts`.
        let later = matches!(file.lower_bound(0), Some(ScalarValue::TimestampMicrosecond(Some(t), _)) if *t > until);
        if later || seen.contains(file.path()) {
            continue;
        }
        rows += file.rows().unwrap_or(PASS_ROWS);
        files.push(file.clone());
        if rows >= PASS_ROWS {
            break;
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    let taken = view.with_files(files);
    let mut batches = Vec::with_capacity(taken.files().len());
    for file in taken.each() {
        batches.push(file.read().await?);
    }
    let judging = Judging {
        validator: &validator,
        references: &references,
        bytes_max: shared.config.memory.query_bytes_max.as_usize(),
    };
    let judged = judge(&judging, request, &batches, writer.known().await?);
    let moved = match judged {
        Ok(judged) => {
            let cold = writer.cold();
            commit(
                shared,
                table,
                request,
                cold,
                taken.files(),
                &batches,
                judged,
            )
            .await
        }
        Err(fault) => Err(fault),
    };
    if request.dry_run || moved.is_err() {
        // They know of rows that are not in the table.
        writer.forget();
    }
    let (outcome, left) = moved?;
    seen.extend(taken.files().iter().map(|f| f.path().to_owned()));
    seen.extend(left);
    Ok(Some(outcome))
}

/// What judges the rows of a pass.
struct Judging<'a> {
    validator: &'a Validator,
    references: &'a References,
    bytes_max: usize,
}

/// What a pass would do.
struct Judged {
    /// A fate for each row of each file.
    fates: Vec<Vec<Fate>>,
    accepted: Vec<RecordBatch>,
    days: BTreeMap<i32, Left>,
    outcome: Outcome,
}

impl Judged {
    fn settle(&mut self, (file, row): (usize, usize), arrived: Micros, fate: Fate) {
        let day = day_of(arrived);
        match fate {
            Fate::Stays => return,
            Fate::Moves => {
                self.outcome.replayed += 1;
                self.days.entry(day).or_default().accepted += 1;
            }
            Fate::Duplicate => {
                self.outcome.duplicates += 1;
                self.days.entry(day).or_default().duplicates += 1;
            }
            Fate::Breaks { .. } | Fate::Refused => self.outcome.rejected += 1,
        }
        self.outcome.examined += 1;
        if let Some(slot) = self.fates.get_mut(file).and_then(|f| f.get_mut(row)) {
            *slot = fate;
        }
    }
}

/// Rows of one sent batch: where each stands, and its text.
type Group<'a> = Vec<((usize, usize), &'a str)>;

/// Judges the rows that are meant, in the order in which they came.
fn judge(
    judging: &Judging<'_>,
    request: &Request,
    batches: &[RecordBatch],
    mut keys: Option<&mut Keys>,
) -> Result<Judged, Fault> {
    let mut judged = Judged {
        fates: batches
            .iter()
            .map(|b| vec![Fate::Stays; b.num_rows()])
            .collect(),
        accepted: Vec::new(),
        days: BTreeMap::new(),
        outcome: Outcome::default(),
    };
    let mut groups: BTreeMap<(Micros, &str, i64), Group<'_>> = BTreeMap::new();
    for (file, batch) in batches.iter().enumerate() {
        let meant = request.filter.as_ref().map(|f| f(batch)).transpose()?;
        let columns = Columns::of(batch)?;
        for row in 0..batch.num_rows() {
            if meant
                .as_ref()
                .is_some_and(|m| m.is_null(row) || !m.value(row))
            {
                continue;
            }
            let key = (
                columns.ingest_ts.value(row),
                columns.source.value(row),
                columns.seq.value(row),
            );
            let place = ((file, row), columns.raw.value(row));
            groups.entry(key).or_default().push(place);
        }
    }
    for ((arrived, source, seq), group) in groups {
        let origin = Origin {
            ingest_ts: arrived,
            source: &Source::new(source),
            seq,
        };
        let texts: Vec<&str> = group.iter().map(|(_, text)| *text).collect();
        let restored = validate::restore(judging.validator.contract(), &texts, &request.overrides)?;
        for row in restored.unreadable {
            judged.settle(group[row].0, arrived, Fate::Refused);
        }
        for shape in restored.shapes {
            let fates = shape_fates(
                judging,
                &shape.batch,
                &origin,
                &mut keys,
                &mut judged.accepted,
            );
            for (row, fate) in shape.rows.iter().zip(fates?) {
                judged.settle(group[*row].0, arrived, fate);
            }
        }
    }
    Ok(judged)
}

/// The fates of rows of one shape. A row whose batch is refused (a rule with action `fail`, a column that is unknown now) takes
/// no other with it.
fn shape_fates(
    judging: &Judging<'_>,
    rows: &RecordBatch,
    origin: &Origin<'_>,
    keys: &mut Option<&mut Keys>,
    accepted: &mut Vec<RecordBatch>,
) -> Result<Vec<Fate>, Fault> {
    match one_batch(judging, rows, origin, keys) {
        Ok((fates, good)) => {
            accepted.extend(good);
            Ok(fates)
        }
        Err(fault) if fault.kind != Kind::Invalid => Err(fault),
        Err(_) if rows.num_rows() > 1 => {
            let mut fates = Vec::with_capacity(rows.num_rows());
            for row in 0..rows.num_rows() {
                let one = rows.slice(row, 1);
                fates.extend(shape_fates(judging, &one, origin, keys, accepted)?);
            }
            Ok(fates)
        }
        Err(_) => Ok(vec![Fate::Refused; rows.num_rows()]),
    }
}

fn one_batch(
    judging: &Judging<'_>,
    rows: &RecordBatch,
    origin: &Origin<'_>,
    keys: &mut Option<&mut Keys>,
) -> Result<(Vec<Fate>, Option<RecordBatch>), Fault> {
    let scope = Scope {
        keys: keys.as_deref(),
        lateness: true,
        bytes_max: judging.bytes_max,
    };
    let validated = judging
        .validator
        .judge(rows, origin, judging.references, scope)?;
    let (applied, verdict, additions) = validated.into_parts();
    let (accepted, _) = applied.into_sides();
    if let Some(keys) = keys {
        keys.add(additions);
    }
    let mut fates = vec![Fate::Moves; rows.num_rows()];
    for row in &verdict.duplicates {
        fates[*row as usize] = Fate::Duplicate;
    }
    for rejected in verdict.rejected {
        fates[rejected.row as usize] = Fate::Breaks {
            rules: rejected.rules,
            reason: rejected.reason,
        };
    }
    Ok((fates, accepted))
}

/// The columns of a quarantine that a replay reads.
struct Columns<'a> {
    ingest_ts: &'a arrow::array::TimestampMicrosecondArray,
    source: &'a StringArray,
    seq: &'a arrow::array::Int64Array,
    raw: &'a StringArray,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, Fault> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| {
                Fault::new(
                    Kind::Corrupt,
                    "quarantine_damaged",
                    format!("the quarantine lacks a column, column={name}"),
                )
            })
        };
        let other = || {
            Fault::new(
                Kind::Corrupt,
                "quarantine_damaged",
                "a column of the quarantine has another type",
            )
        };
        Ok(Columns {
            ingest_ts: column("_ingest_ts")?
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(other)?,
            source: column("_source")?
                .as_string_opt::<i32>()
                .ok_or_else(other)?,
            seq: column("_seq")?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(other)?,
            raw: column("raw")?.as_string_opt::<i32>().ok_or_else(other)?,
        })
    }
}

/// Makes the move, if there is anything to move. Returns the paths of the files that took the place of others.
async fn commit(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    request: &Request,
    cold: &mut Cold,
    files: &[Arc<ColdFile>],
    batches: &[RecordBatch],
    judged: Judged,
) -> Result<(Outcome, Vec<String>), Fault> {
    let mut removed = BTreeSet::new();
    let mut remainders = Vec::new();
    for ((file, batch), fates) in files.iter().zip(batches).zip(&judged.fates) {
        // Rows that were changed on their way say nothing of those that stay.
        let renew = request.overrides.is_empty();
        if let Some(rest) = remainder(batch, fates, renew)? {
            removed.insert(file.path().to_owned());
            remainders.extend((rest.num_rows() > 0).then_some(rest));
        }
    }
    if request.dry_run || removed.is_empty() {
        return Ok((judged.outcome, Vec::new()));
    }
    let in_main = cold.main.stage(judged.accepted).await?;
    let left = cold.quarantine.stage(remainders).await?;
    let paths = left.paths();
    let planned = Move {
        replayed: Replayed {
            number: next_number(shared, table, cold).await?,
            days: judged.days,
        },
        removed,
        left,
    };
    cold.quarantine.write_note(NOTE, &planned.note()?).await?;
    if let Err(error) = take(&mut cold.main, in_main, planned.replayed.number).await {
        let _ = cold.quarantine.remove_note(NOTE).await;
        return Err(error.into());
    }
    finish(shared, table, cold, planned).await?;
    cold.quarantine.remove_note(NOTE).await?;
    Ok((judged.outcome, paths))
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

/// The rows of a file that stay, with the rules that they break now; none if the file stays as it is.
fn remainder(
    batch: &RecordBatch,
    fates: &[Fate],
    renew: bool,
) -> Result<Option<RecordBatch>, Fault> {
    let internal = |e: arrow::error::ArrowError| Fault::internal(format!("quarantine: {e}"));
    let damaged = || {
        Fault::new(
            Kind::Corrupt,
            "quarantine_damaged",
            "rules or reason of the quarantine have another type",
        )
    };
    let schema = batch.schema();
    let at = |name: &str| schema.index_of(name).map_err(internal);
    let (rules_at, reason_at) = (at("rules")?, at("reason")?);
    let rules = batch
        .column(rules_at)
        .as_list_opt::<i32>()
        .ok_or_else(damaged)?;
    let reasons = batch
        .column(reason_at)
        .as_string_opt::<i32>()
        .ok_or_else(damaged)?;
    let mut touched = false;
    let mut next_rules = ListBuilder::new(StringBuilder::new()).with_field(Field::new(
        "element",
        DataType::Utf8,
        true,
    ));
    let mut next_reasons = StringBuilder::new();
    for (row, fate) in fates.iter().enumerate() {
        let known = rules.value(row);
        let known: Vec<Option<&str>> = known
            .as_string_opt::<i32>()
            .ok_or_else(damaged)?
            .iter()
            .collect();
        match fate {
            Fate::Breaks { rules, reason }
                if renew && !rules.iter().map(|r| Some(&**r)).eq(known.iter().copied()) =>
            {
                touched = true;
                next_rules.append_value(rules.iter().map(Some));
                next_reasons.append_value(reason);
            }
            _ => {
                touched |= matches!(fate, Fate::Moves | Fate::Duplicate);
                next_rules.append_value(known);
                next_reasons.append_value(reasons.value(row));
            }
        }
    }
    if !touched {
        return Ok(None);
    }
    let mut columns = batch.columns().to_vec();
    columns[rules_at] = Arc::new(next_rules.finish()) as ArrayRef;
    columns[reason_at] = Arc::new(next_reasons.finish());
    let whole = RecordBatch::try_new(schema, columns).map_err(internal)?;
    let keep: BooleanArray = fates
        .iter()
        .map(|f| Some(!matches!(f, Fate::Moves | Fate::Duplicate)))
        .collect();
    filter_record_batch(&whole, &keep)
        .map(Some)
        .map_err(internal)
}
