//! What becomes of each row that is meant, and what is left of its file in the quarantine.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType};

use super::{Outcome, Request};
use crate::clock::{Micros, day_of};
use crate::fault::{Fault, Kind};
use crate::records::Left;
use crate::validate::{self, Keys, Origin, References, Scope, Source, Validator};

/// What becomes of one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fate {
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

/// What judges the rows of a pass.
pub(super) struct Judging<'a> {
    pub(super) validator: &'a Validator,
    pub(super) references: &'a References,
    pub(super) bytes_max: usize,
}

/// What a pass would do.
pub(super) struct Judged {
    /// A fate for each row of each file.
    pub(super) fates: Vec<Vec<Fate>>,
    pub(super) accepted: Vec<RecordBatch>,
    pub(super) days: BTreeMap<i32, Left>,
    pub(super) outcome: Outcome,
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
pub(super) fn judge(
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
    ingest_ts: &'a TimestampMicrosecondArray,
    source: &'a StringArray,
    seq: &'a Int64Array,
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

/// The rows of a file that stay, with the rules that they break now; none if the file stays as it is.
pub(super) fn remainder(
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
