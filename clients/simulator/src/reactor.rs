//! The reactor's power block: AT, V, AP, RH, PE of one reactor, sampled, made by the stand-in recipe, or replayed from a CSV.
//!
//! Figures: the CCPP data set (UCI 294, doi 10.24432/C5002N, CC BY 4.0). `Sampler` draws each column from N(mean, sd) on its
//! own, as today's generator does; `StandIn` keeps the correlations.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::telemetry::{Clock, Telemetry, times_array, ts_field};

pub const COLUMNS: [&str; 5] = ["AT", "V", "AP", "RH", "PE"];
const MEAN: [f64; 5] = [19.651231, 54.305804, 1013.259078, 73.308978, 454.365009];
const SD: [f64; 5] = [7.452473, 12.707893, 5.938784, 14.600269, 17.066995];
const RANGE: [(f64, f64); 5] = [
    (1.81, 37.11),
    (25.36, 81.56),
    (992.89, 1033.30),
    (25.56, 100.16),
    (420.26, 495.76),
];
/// Quantiles of AT, and the probabilities that they stand at.
const AT_QUANTILES: [f64; 15] = [
    1.81, 5.117, 7.460, 9.340, 12.204, 14.540, 17.450, 20.345, 22.790, 24.790, 26.790, 29.240,
    30.920, 33.033, 37.11,
];
const PROBABILITIES: [f64; 15] = [
    0.0, 0.01, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90, 0.95, 0.99, 1.0,
];

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Sampler,
    StandIn,
    Csv(PathBuf),
}

impl std::str::FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "sampler" => Ok(Source::Sampler),
            "standin" => Ok(Source::StandIn),
            _ => match text.split_once(':') {
                Some(("csv", path)) if !path.is_empty() => Ok(Source::Csv(path.into())),
                _ => bail!("unknown source {text}; known: sampler, standin, csv:FILE"),
            },
        }
    }
}

pub struct Generator {
    source: Source,
    rng: SmallRng,
    schema: SchemaRef,
    replay: Vec<[f64; 5]>,
    at: usize,
    clock: Clock,
}

impl Generator {
    pub fn new(source: Source, seed: u64, clock: Clock) -> anyhow::Result<Self> {
        let replay = match &source {
            Source::Csv(path) => read(path)?,
            _ => Vec::new(),
        };
        let mut fields = vec![Field::new("reactor_id", DataType::Utf8, false), ts_field()];
        fields.extend(COLUMNS.map(|name| Field::new(name, DataType::Float64, true)));
        Ok(Generator {
            rng: SmallRng::seed_from_u64(seed),
            source,
            schema: Arc::new(Schema::new(fields)),
            replay,
            at: 0,
            clock,
        })
    }
}

impl Telemetry for Generator {
    fn len(&self) -> Option<u64> {
        matches!(self.source, Source::Csv(_)).then_some(self.replay.len() as u64)
    }

    fn natural_rate(&self) -> f64 {
        10.0
    }

    fn batch(&mut self, rows: usize, now: i64) -> anyhow::Result<RecordBatch> {
        let mut columns: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(rows));
        let mut times = Vec::with_capacity(rows);
        for _ in 0..rows {
            times.push(self.clock.tick(now));
            let row = self.row();
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                "R1", rows,
            ))),
            times_array(times),
        ];
        arrays.extend(columns.map(|c| Arc::new(Float64Array::from(c)) as ArrayRef));
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }
}

impl Generator {
    fn normal(&mut self) -> f64 {
        self.rng.sample(StandardNormal)
    }

    fn row(&mut self) -> [f64; 5] {
        match self.source {
            Source::Sampler => std::array::from_fn(|i| MEAN[i] + SD[i] * self.normal()),
            Source::StandIn => self.stand_in(),
            Source::Csv(_) => {
                let row = self.replay[self.at % self.replay.len()];
                self.at += 1;
                row
            }
        }
    }

    fn stand_in(&mut self) -> [f64; 5] {
        let p: f64 = self.rng.random();
        let i = PROBABILITIES.partition_point(|q| *q <= p).clamp(1, 14);
        let share = (p - PROBABILITIES[i - 1]) / (PROBABILITIES[i] - PROBABILITIES[i - 1]);
        let at = AT_QUANTILES[i - 1] + share * (AT_QUANTILES[i] - AT_QUANTILES[i - 1]);
        let v = 26.020539 + 1.439364 * at + 6.8133 * self.normal();
        let rh = 79.037496 - 1.901407 * at + 0.582561 * v + 11.604 * self.normal();
        let ap = 1029.90688 - 0.663852 * at + 0.093035 * v - 0.118057 * rh + 4.9272 * self.normal();
        let pe = 454.609274 - 1.977513 * at - 0.233916 * v + 0.062083 * ap - 0.158054 * rh
            + 4.5583 * self.normal();
        let mut row = [at, v, ap, rh, pe];
        for (value, (lo, hi)) in row.iter_mut().zip(RANGE) {
            *value = (value.clamp(lo, hi) * 100.0).round() / 100.0;
        }
        row
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<[f64; 5]>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let header = reader.headers()?.clone();
    let mut positions = [0; 5];
    for (position, name) in positions.iter_mut().zip(COLUMNS) {
        *position = header
            .iter()
            .position(|h| h == name)
            .with_context(|| format!("{}: no column {name} in the header", path.display()))?;
    }
    let mut rows = Vec::new();
    for (line, record) in reader.records().enumerate() {
        let record = record?;
        let mut row = [0.0; 5];
        for (value, position) in row.iter_mut().zip(positions) {
            let text = record.get(position).unwrap_or_default();
            *value = text.parse().with_context(|| {
                format!("{}:{}: not a number: {text:?}", path.display(), line + 2)
            })?;
        }
        rows.push(row);
    }
    if rows.is_empty() {
        bail!("{} has no rows", path.display());
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    #[test]
    fn the_stand_in_has_the_means_and_the_slope_of_the_data_set() {
        let mut g = Generator::new(Source::StandIn, 1, Clock::live(0)).unwrap();
        let batch = g.batch(50_000, 0).unwrap();
        let column = |name| {
            batch
                .column_by_name(name)
                .unwrap()
                .as_primitive::<Float64Type>()
                .values()
                .to_vec()
        };
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        for (i, name) in COLUMNS.iter().enumerate() {
            assert!((mean(&column(name)) - MEAN[i]).abs() < 0.7, "{name}");
        }
        let (x, y) = (column("AT"), column("PE"));
        let (mx, my) = (mean(&x), mean(&y));
        let slope = x
            .iter()
            .zip(&y)
            .map(|(a, b)| (a - mx) * (b - my))
            .sum::<f64>()
            / x.iter().map(|a| (a - mx).powi(2)).sum::<f64>();
        assert!((slope + 2.17).abs() < 0.06, "{slope}");
    }
}
