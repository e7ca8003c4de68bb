//! The rows of one pass, piece by piece: memory holds the rows in hand, and what waits to be written as a file. Nothing is
//! committed here; dropped, it deletes what it has staged.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;

use super::super::bulk::Side;
use super::judge::{Judged, Judging, judge, remainder};
use super::{Outcome, PASS_ROWS, Request};
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::{self, PinnedFile, PinnedFiles, Staged};
use crate::fault::Fault;
use crate::records::Left;
use crate::validate::Keys;

/// Rows of so many bytes are judged at once, in the order in which they came.
const PIECE_BYTES: usize = 16 << 20;

/// What became of the files of a pass so far.
pub(super) struct Pass {
    /// Do rows that stay say which rules they break now?
    renew: bool,
    dry_run: bool,
    /// Whether the quarantine's files can be written anew without losing anything.
    writable: Result<(), cold::Error>,
    files: Vec<OfFile>,
    pub(super) outcome: Outcome,
    pub(super) days: BTreeMap<i32, Left>,
    /// Files of which something else is left than they have.
    pub(super) removed: BTreeSet<String>,
    main: Side,
    left: Side,
}

#[derive(Clone, Copy, Default)]
struct OfFile {
    /// The file goes, and what is left of it is written anew.
    goes: bool,
    /// Slices that stay as they are and are not written yet.
    whole: usize,
}

/// Some rows of a file, by its place in the list.
type Piece = (usize, RecordBatch);

impl Pass {
    pub(super) fn new(writer: &TableWriter<'_>, request: &Request) -> Self {
        let (main, quarantine) = (writer.files(Part::Main), writer.files(Part::Quarantine));
        Pass {
            // Rows that were changed on their way say nothing of those that stay.
            renew: request.overrides.is_empty(),
            dry_run: request.dry_run,
            writable: quarantine.all_columns_known(),
            files: Vec::new(),
            outcome: Outcome::default(),
            days: BTreeMap::new(),
            removed: BTreeSet::new(),
            main: Side::new(main.stager()),
            left: Side::new(quarantine.stager()),
        }
    }

    /// Judges every row of the files that is meant, and stages what becomes of them.
    ///
    /// # Errors
    /// What a rule cannot judge; the store's.
    pub(super) async fn run(
        &mut self,
        judging: &Judging<'_>,
        request: &Request,
        taken: &PinnedFiles,
        mut keys: Option<&mut Keys>,
    ) -> Result<(), Fault> {
        self.files = vec![OfFile::default(); taken.files().len()];
        let (mut pieces, mut bytes, mut rows) = (Vec::new(), 0, 0);
        for (place, file) in taken.each().enumerate() {
            let mut slices = file.slices();
            while let Some(slice) = slices.next().await? {
                bytes += slice.get_array_memory_size();
                rows += slice.num_rows();
                pieces.push((place, slice));
                if bytes >= PIECE_BYTES || rows >= PASS_ROWS {
                    let now = std::mem::take(&mut pieces);
                    (bytes, rows) = (0, 0);
                    let judged = judge_all(judging, request, &now, keys.as_deref_mut())?;
                    self.take(taken, now, judged).await?;
                }
            }
        }
        let judged = judge_all(judging, request, &pieces, keys)?;
        self.take(taken, pieces, judged).await
    }

    async fn take(
        &mut self,
        taken: &PinnedFiles,
        pieces: Vec<Piece>,
        judged: Judged,
    ) -> Result<(), Fault> {
        self.outcome.add(judged.outcome);
        for (day, left) in judged.days {
            let sum = self.days.entry(day).or_default();
            sum.accepted += left.accepted;
            sum.duplicates += left.duplicates;
        }
        if self.dry_run {
            return Ok(());
        }
        for ((place, rows), fates) in pieces.into_iter().zip(&judged.fates) {
            let rest = remainder(&rows, fates, self.renew)?;
            let file = taken.each().nth(place);
            if let Some(file) = file {
                self.keep(place, file, rows, rest).await?;
            }
        }
        for rows in judged.accepted {
            self.main.push(Some(rows)).await?;
        }
        Ok(())
    }

    /// `rest`: what is left of the rows; none: all of them, as they are.
    async fn keep(
        &mut self,
        place: usize,
        file: PinnedFile<'_>,
        rows: RecordBatch,
        rest: Option<RecordBatch>,
    ) -> Result<(), Fault> {
        let Some(state) = self.files.get_mut(place) else {
            return Ok(());
        };
        if !state.goes {
            if rest.is_none() {
                state.whole += 1;
                return Ok(());
            }
            // Once the table has the rows, the quarantine's commit has to follow.
            std::mem::replace(&mut self.writable, Ok(()))?;
            state.goes = true;
            self.removed.insert(file.path().to_owned());
            // What was passed by is read again: few files lose rows, and those that lose none are not written anew.
            let mut again = file.slices();
            for _ in 0..state.whole {
                self.left.push(again.next().await?).await?;
            }
        }
        let rest = rest.unwrap_or(rows);
        self.left
            .push(Some(rest).filter(|r| r.num_rows() > 0))
            .await
    }

    /// The files of the table, and those of the quarantine.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn staged(&mut self) -> Result<(Staged, Staged), Fault> {
        self.main.stage().await?;
        self.left.stage().await?;
        Ok((self.main.take(), self.left.take()))
    }
}

fn judge_all(
    judging: &Judging<'_>,
    request: &Request,
    pieces: &[Piece],
    keys: Option<&mut Keys>,
) -> Result<Judged, Fault> {
    let batches: Vec<RecordBatch> = pieces.iter().map(|(_, rows)| rows.clone()).collect();
    judge(judging, request, &batches, keys)
}
