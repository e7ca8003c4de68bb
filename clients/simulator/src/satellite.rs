//! A fleet of satellites. Each flies a profile of `rows` events and then another one: temperature and battery are a noisy
//! sine scaled so that both ends of the range occur once a profile, the altitude is uniform, the sensors are noisy sines.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::telemetry::{Clock, Telemetry, round, times_array, ts_field};

pub const COLUMNS: [&str; 6] = [
    "temp_c",
    "battery_charge_pct",
    "altitude_km",
    "sensor1",
    "sensor2",
    "sensor3",
];
/// Mean of the 100 to 200 ms that a satellite sleeps between two events.
const SLEEP_SECONDS: f64 = 0.15;

struct Satellite {
    name: String,
    rng: SmallRng,
    profile: Vec<[f64; 6]>,
    at: usize,
}

pub struct Fleet {
    satellites: Vec<Satellite>,
    rows_per_profile: usize,
    next: usize,
    clock: Clock,
    schema: SchemaRef,
}

impl Fleet {
    /// `first`: the number of the first satellite, for fleets in parts.
    pub fn new(
        first: usize,
        count: usize,
        rows_per_profile: usize,
        seed: u64,
        clock: Clock,
    ) -> Self {
        let satellites = (first..first + count.max(1)).map(|k| Satellite {
            name: format!("sat{k}"),
            rng: SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(k as u64)),
            profile: Vec::new(),
            at: 0,
        });
        let mut fields = vec![
            Field::new("satellite_name", DataType::Utf8, false),
            ts_field(),
        ];
        fields.extend(COLUMNS.map(|name| Field::new(name, DataType::Float64, true)));
        Fleet {
            satellites: satellites.collect(),
            rows_per_profile: rows_per_profile.max(2),
            next: 0,
            clock,
            schema: Arc::new(Schema::new(fields)),
        }
    }

    /// Names, and the events of each satellite's first profile: what the fleet's files hold.
    pub fn profiles(&mut self) -> impl Iterator<Item = (&str, &[[f64; 6]])> {
        let rows = self.rows_per_profile;
        self.satellites.iter_mut().map(move |s| {
            if s.profile.is_empty() {
                s.profile = profile(&mut s.rng, rows);
            }
            (s.name.as_str(), s.profile.as_slice())
        })
    }
}

/// `n` events: temp, battery, altitude, three sensors; two decimals.
fn profile(rng: &mut SmallRng, n: usize) -> Vec<[f64; 6]> {
    let share = |i: usize| i as f64 / (n - 1) as f64;
    let end = f64::from(rng.random_range(10..=19));
    let noise: f64 = rng.random();
    let mut wave = |from: f64, to: f64, noise: f64, range: (f64, f64)| {
        let raw: Vec<f64> = (0..n)
            .map(|i| {
                let normal: f64 = rng.sample(StandardNormal);
                (from + (to - from) * share(i)).sin() + noise * normal
            })
            .collect();
        let low = raw.iter().copied().fold(f64::INFINITY, f64::min);
        let high = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let scale = (range.1 - range.0) / (high - low);
        raw.into_iter()
            .map(|v| round(range.0 + (v - low) * scale, 2))
            .collect::<Vec<f64>>()
    };
    let columns = [
        wave(0.0, end, noise, (-100.0, 120.0)),
        wave(0.0, end, noise, (0.0, 100.0)),
        wave(10.0, 100.0, 0.1, (-1.0, 1.0)),
        wave(10.0, 100.0, 0.1, (-1.0, 1.0)),
        wave(10.0, 100.0, 0.1, (-1.0, 1.0)),
    ];
    (0..n)
        .map(|i| {
            let altitude = round(rng.random_range(160.0..2000.0), 2);
            let [temp, battery, s1, s2, s3] = std::array::from_fn(|c| columns[c][i]);
            [temp, battery, altitude, s1, s2, s3]
        })
        .collect()
}

impl Telemetry for Fleet {
    fn natural_rate(&self) -> f64 {
        self.satellites.len() as f64 / SLEEP_SECONDS
    }

    fn batch(&mut self, rows: usize, now: i64) -> anyhow::Result<RecordBatch> {
        let mut names = Vec::with_capacity(rows);
        let mut times = Vec::with_capacity(rows);
        let mut columns: [Vec<f64>; 6] = std::array::from_fn(|_| Vec::with_capacity(rows));
        for _ in 0..rows {
            let index = self.next % self.satellites.len();
            self.next += 1;
            let satellite = &mut self.satellites[index];
            if satellite.at >= satellite.profile.len() {
                satellite.profile = profile(&mut satellite.rng, self.rows_per_profile);
                satellite.at = 0;
            }
            names.push(index);
            times.push(self.clock.tick(now));
            for (column, value) in columns.iter_mut().zip(satellite.profile[satellite.at]) {
                column.push(value);
            }
            satellite.at += 1;
        }
        let names = names.into_iter().map(|i| self.satellites[i].name.as_str());
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(names)),
            times_array(times),
        ];
        arrays.extend(columns.map(|c| Arc::new(Float64Array::from(c)) as ArrayRef));
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }

    /// Satellites send their clock as nanoseconds, and no other time.
    fn wire(&mut self, batch: RecordBatch) -> anyhow::Result<RecordBatch> {
        let at = batch.schema().index_of("ts")?;
        let times = batch.column(at).as_primitive::<TimestampMicrosecondType>();
        let nanos: Int64Array = times.iter().map(|t| t.map(|t| t * 1000)).collect();
        replace(
            &batch,
            at,
            Field::new("timestamp_ns", DataType::Int64, false),
            Arc::new(nanos),
        )
    }
}

/// The batch with another column in one place.
pub fn replace(
    batch: &RecordBatch,
    at: usize,
    field: Field,
    column: ArrayRef,
) -> anyhow::Result<RecordBatch> {
    let mut fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    fields[at] = field;
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_range_occur_once_a_profile_and_sensors_spread_as_they_should() {
        let mut fleet = Fleet::new(0, 20, 1000, 88, Clock::live(0));
        for (name, rows) in fleet.profiles() {
            let count = |c: usize, v: f64| rows.iter().filter(|r| r[c] == v).count();
            for (c, low, high) in [(0, -100.0, 120.0), (1, 0.0, 100.0)] {
                assert_eq!((count(c, low), count(c, high)), (1, 1), "{name}");
            }
            assert!(rows.iter().all(|r| (160.0..=2000.0).contains(&r[2])));
            let mean = rows.iter().map(|r| r[3]).sum::<f64>() / 1000.0;
            let sd = (rows.iter().map(|r| (r[3] - mean).powi(2)).sum::<f64>() / 999.0).sqrt();
            assert!(
                mean.abs() < 0.15 && (0.5..0.7).contains(&sd),
                "{name} {mean} {sd}"
            );
        }
    }
}
