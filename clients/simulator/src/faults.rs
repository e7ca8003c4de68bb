//! Faults on request: `nulls=.01,range=.02,type=.01,duplicates=.01,late=.05,renamed=.1,seed=7`. Each is the share of rows that has
//! it; of batches for `renamed`, because a column has one name a batch.

use std::str::FromStr;

use anyhow::{Context, bail};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{nullif, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    pub nulls: f64,
    pub range: f64,
    pub wrong_type: f64,
    pub duplicates: f64,
    pub late: f64,
    /// The first measure comes under a name that the contract does not know (`AT` as `T`).
    pub renamed: f64,
    pub seed: Option<u64>,
}

impl FromStr for Faults {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut faults = Faults::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .with_context(|| format!("fault without a share: {part}; write name=share"))?;
            if name == "seed" {
                faults.seed = Some(
                    value
                        .parse()
                        .with_context(|| format!("seed is a whole number, got {value}"))?,
                );
                continue;
            }
            let share: f64 = value
                .parse()
                .with_context(|| format!("share of {name} is a number, got {value}"))?;
            if !(0.0..=1.0).contains(&share) {
                bail!("share of {name} is 0 to 1, got {share}");
            }
            match name {
                "nulls" => faults.nulls = share,
                "range" => faults.range = share,
                "type" => faults.wrong_type = share,
                "duplicates" => faults.duplicates = share,
                "late" => faults.late = share,
                "renamed" => faults.renamed = share,
                _ => {
                    bail!(
                        "unknown fault {name}; known: nulls, range, type, duplicates, late, renamed, seed"
                    )
                }
            }
        }
        Ok(faults)
    }
}

/// A bad value for a share of rows: far outside any sensible range.
const BEYOND: f64 = 1e12;
const LATE_MICROS: i64 = 10_000_000;

/// Breaks rows of any dataset: its measures (columns of doubles, and of whole numbers but the first) and its event time `ts`.
pub struct Injector {
    faults: Faults,
    rng: SmallRng,
}

impl Injector {
    pub fn new(faults: Faults, seed: u64) -> Self {
        Injector {
            rng: SmallRng::seed_from_u64(faults.seed.unwrap_or(seed) ^ 0x5eed),
            faults,
        }
    }

    /// Are there any? A batch without faults goes as it is.
    pub fn is_idle(&self) -> bool {
        let f = &self.faults;
        let shares = [
            f.nulls,
            f.range,
            f.wrong_type,
            f.duplicates,
            f.late,
            f.renamed,
        ];
        shares.iter().all(|share| *share == 0.0)
    }

    fn hits(&mut self, share: f64, rows: usize) -> Vec<bool> {
        (0..rows)
            .map(|_| share > 0.0 && self.rng.random_bool(share))
            .collect()
    }

    /// # Errors
    /// The batch has no measure.
    pub fn inject(&mut self, batch: RecordBatch) -> anyhow::Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut from = Vec::with_capacity(rows);
        for (row, again) in self
            .hits(self.faults.duplicates, rows)
            .into_iter()
            .enumerate()
        {
            let before = from.last().copied();
            let row = u32::try_from(row).unwrap_or(u32::MAX);
            from.push(before.filter(|_| again).unwrap_or(row));
        }
        let copied: Vec<bool> = from.windows(2).map(|w| w[0] == w[1]).collect();
        let is_copy = |row: usize| row > 0 && copied[row - 1];
        let batch = if self.faults.duplicates > 0.0 {
            take_record_batch(&batch, &UInt32Array::from(from))?
        } else {
            batch
        };
        let mut fields: Vec<Field> = batch
            .schema()
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .collect();
        let mut columns = batch.columns().to_vec();
        let measures: Vec<usize> = (1..fields.len())
            .filter(|i| matches!(fields[*i].data_type(), DataType::Float64 | DataType::Int64))
            .collect();
        let first = *measures.first().context("the batch has no measure")?;
        let late = self.hits(self.faults.late, rows);
        if let Ok(at) = batch.schema().index_of("ts") {
            let times = columns[at].as_primitive::<TimestampMicrosecondType>();
            let moved = times.values().iter().enumerate().map(|(row, time)| {
                let by = if late[row] && !is_copy(row) {
                    self.rng.random_range(1..LATE_MICROS)
                } else {
                    0
                };
                time - by
            });
            let mut moved: Vec<i64> = moved.collect();
            for row in (1..rows).filter(|row| is_copy(*row)) {
                moved[row] = moved[row - 1];
            }
            columns[at] = Arc::new(TimestampMicrosecondArray::from(moved).with_timezone("UTC"));
        }
        for (share, null) in [(self.faults.nulls, true), (self.faults.range, false)] {
            if share == 0.0 {
                continue;
            }
            let hit = self.hits(share, rows);
            let chosen: Vec<usize> = hit
                .iter()
                .map(|h| {
                    if *h {
                        measures[self.rng.random_range(0..measures.len())]
                    } else {
                        usize::MAX
                    }
                })
                .collect();
            for at in &measures {
                let mask: BooleanArray = (0..rows)
                    .map(|row| Some(chosen[row] == *at && !is_copy(row)))
                    .collect();
                if mask.true_count() == 0 {
                    continue;
                }
                columns[*at] = if null {
                    nullif(&columns[*at], &mask)?
                } else {
                    beyond(&columns[*at], &mask)
                };
                fields[*at] = fields[*at].clone().with_nullable(true);
            }
        }
        if self.faults.wrong_type > 0.0 {
            // A column has one type a batch: a wrong value in a column of numbers is how text reaches the server.
            let hit = self.hits(self.faults.wrong_type, rows);
            let options = FormatOptions::default();
            let column = columns[first].clone();
            let shown = ArrayFormatter::try_new(&column, &options)?;
            let texts = (0..rows).map(|row| match (hit[row], column.is_null(row)) {
                (true, _) => Some("n/a".to_owned()),
                (false, true) => None,
                (false, false) => Some(shown.value(row).to_string()),
            });
            let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
            fields[first] = Field::new(fields[first].name(), DataType::Utf8, true);
            columns[first] = texts;
        }
        if self.faults.renamed > 0.0 && self.rng.random_bool(self.faults.renamed) {
            let name = fields[first].name();
            // Its last letter, as `AT` became `T`.
            let other = name.chars().last().map_or_else(String::new, String::from);
            fields[first] = fields[first].clone().with_name(other);
        }
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

fn beyond(column: &ArrayRef, mask: &BooleanArray) -> ArrayRef {
    match column.data_type() {
        DataType::Int64 => Arc::new(
            column
                .as_primitive::<Int64Type>()
                .iter()
                .zip(mask)
                .map(|(v, hit)| {
                    if hit == Some(true) {
                        Some(BEYOND as i64)
                    } else {
                        v
                    }
                })
                .collect::<Int64Array>(),
        ),
        _ => Arc::new(
            column
                .as_primitive::<Float64Type>()
                .iter()
                .zip(mask)
                .map(|(v, hit)| if hit == Some(true) { Some(BEYOND) } else { v })
                .collect::<Float64Array>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::reactor::{Generator, Source};
    use crate::telemetry::{Clock, Telemetry};

    #[test]
    fn the_same_seed_breaks_the_same_rows_and_a_share_is_a_share() {
        let faults: Faults = "nulls=.1,range=.1,duplicates=.1,late=.1,type=.1,seed=7"
            .parse()
            .unwrap();
        let make = || {
            let mut generator = Generator::new(Source::Sampler, 1, Clock::live(0)).unwrap();
            Injector::new(faults, 1)
                .inject(generator.batch(5000, 0).unwrap())
                .unwrap()
        };
        let batch = make();
        assert_eq!(batch, make());
        let nulls: usize = batch.columns().iter().map(|c| c.null_count()).sum();
        assert!((350..550).contains(&nulls), "{nulls}");
        let texts = batch.column(2).as_string::<i32>();
        let wrong = texts.iter().flatten().filter(|t| *t == "n/a").count();
        assert!((430..570).contains(&wrong), "{wrong}");
    }
}
