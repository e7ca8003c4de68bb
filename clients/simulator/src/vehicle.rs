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
