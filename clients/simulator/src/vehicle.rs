//! Connected vehicles: each reports once a round; temperature ~ N(20, 1), humidity ~ N(35, 5). Times are local Berlin text.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use chrono::DateTime;
use chrono_tz::Europe::Berlin;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::satellite::replace;
use crate::telemetry::{Clock, Telemetry, round, times_array, ts_field};

pub const ROUND_SECONDS: f64 = 5.0;

pub struct Vehicles {
    entities: i64,
    next: i64,
    time: i64,
    clock: Clock,
    rng: SmallRng,
    schema: SchemaRef,
}

impl Vehicles {
    pub fn new(entities: usize, seed: u64, clock: Clock) -> Self {
        Vehicles {
            entities: i64::try_from(entities.max(1)).unwrap_or(i64::MAX),
            next: 0,
            time: 0,
            clock,
            rng: SmallRng::seed_from_u64(seed),
            schema: Arc::new(Schema::new(vec![
                Field::new("entity", DataType::Int64, false),
                ts_field(),
                Field::new("temp", DataType::Float64, true),
                Field::new("humidity", DataType::Float64, true),
            ])),
        }
    }

    fn normal(&mut self, mean: f64, sd: f64) -> f64 {
        let normal: f64 = self.rng.sample(StandardNormal);
        round(mean + sd * normal, 2)
    }
}

impl Telemetry for Vehicles {
    fn natural_rate(&self) -> f64 {
        self.entities as f64 / ROUND_SECONDS
    }

    /// A round: all report, then all pause.
    fn burst(&self) -> usize {
        usize::try_from(self.entities).unwrap_or(1).clamp(1, 8192)
    }

    fn batch(&mut self, rows: usize, now: i64) -> anyhow::Result<RecordBatch> {
        let mut entities = Vec::with_capacity(rows);
        let mut times = Vec::with_capacity(rows);
        let (mut temp, mut humidity) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for _ in 0..rows {
            if self.next % self.entities == 0 {
                self.time = self.clock.tick(now);
            }
            entities.push(self.next % self.entities + 1);
            self.next += 1;
            times.push(self.time);
            temp.push(self.normal(20.0, 1.0));
            humidity.push(self.normal(35.0, 5.0).clamp(0.0, 100.0));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(entities)),
            times_array(times),
            Arc::new(Float64Array::from(temp)),
            Arc::new(Float64Array::from(humidity)),
        ];
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn wire(&mut self, batch: RecordBatch) -> anyhow::Result<RecordBatch> {
        local_text(&batch, "%Y-%m-%d %H:%M:%S%.3f", "ts")
    }
}

/// Event times as Berlin's clocks show them, under another name; a whole round shares one text.
fn local_text(batch: &RecordBatch, form: &str, name: &str) -> anyhow::Result<RecordBatch> {
    let at = batch.schema().index_of("ts")?;
    let times = batch.column(at).as_primitive::<TimestampMicrosecondType>();
    let mut texts = StringBuilder::with_capacity(times.len(), times.len() * 23);
    let mut shown = (i64::MIN, String::new());
    for time in times.values() {
        if shown.0 != *time {
            let utc = DateTime::from_timestamp_micros(*time).unwrap_or_default();
            shown = (*time, utc.with_timezone(&Berlin).format(form).to_string());
        }
        texts.append_value(&shown.1);
    }
    replace(
        batch,
        at,
        Field::new(name, DataType::Utf8, false),
        Arc::new(texts.finish()),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::datatypes::Float64Type;

    use super::*;

    /// Rounds of five seconds from one instant on, as they are sent: entity and local text.
    fn sent(start: &str, rounds: usize) -> Vec<(i64, String)> {
        let start = DateTime::parse_from_rfc3339(start).unwrap();
        let clock = Clock::simulated(start.timestamp_micros(), 5_000_000);
        let mut vehicles = Vehicles::new(3, 1, clock);
        let batch = vehicles.batch(3 * rounds, 0).unwrap();
        let batch = vehicles.wire(batch).unwrap();
        let entities = batch
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>();
        let texts = batch.column(1).as_string::<i32>();
        let rows = entities.values().iter().zip(texts.iter().flatten());
        rows.map(|(e, t)| (*e, t.to_owned())).collect()
    }

    #[test]
    fn rounds_bear_berlins_local_time_over_both_changes() {
        let spring: Vec<String> = sent("2026-03-29T00:59:55Z", 2)
            .into_iter()
            .map(|r| r.1)
            .collect();
        assert_eq!(
            spring[2..4],
            ["2026-03-29 01:59:55.000", "2026-03-29 03:00:00.000"]
        );
        let autumn: Vec<String> = sent("2026-10-25T00:59:55Z", 2)
            .into_iter()
            .map(|r| r.1)
            .collect();
        assert_eq!(
            autumn[2..4],
            ["2026-10-25 02:59:55.000", "2026-10-25 02:00:00.000"]
        );
        let entities: Vec<i64> = sent("2026-07-01T00:00:00Z", 2)
            .into_iter()
            .map(|r| r.0)
            .collect();
        assert_eq!(entities, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn fifteen_minutes_have_36_000_rows_of_the_distributions_told() {
        let mut vehicles = Vehicles::new(200, 1, Clock::simulated(0, 5_000_000));
        let rows = (vehicles.natural_rate() * 900.0) as usize;
        assert_eq!((rows, vehicles.burst()), (36_000, 200));
        let batch = vehicles.batch(rows, 0).unwrap();
        for (name, mean, sd) in [("temp", 20.0, 1.0), ("humidity", 35.0, 5.0)] {
            let column = batch
                .column_by_name(name)
                .unwrap()
                .as_primitive::<Float64Type>();
            let n = rows as f64;
            let got = column.values().iter().sum::<f64>() / n;
            let spread = column
                .values()
                .iter()
                .map(|v| (v - got).powi(2))
                .sum::<f64>()
                / (n - 1.0);
            // Four sigma of a mean, and of a variance.
            assert!((got - mean).abs() < 4.0 * sd / n.sqrt(), "{name} {got}");
            assert!(
                (spread.sqrt() / sd - 1.0).abs() < 4.0 / (2.0 * n).sqrt(),
                "{name}"
            );
            assert!(
                column
                    .values()
                    .iter()
                    .all(|v| (v * 100.0 - (v * 100.0).round()).abs() < 1e-6)
            );
        }
    }
}
