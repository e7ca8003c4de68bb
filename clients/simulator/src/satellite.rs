//! A fleet of satellites. Each flies a profile of `rows` events and then another one: temperature and battery are a noisy
//! sine scaled so that both ends of the range occur once a profile, the altitude is uniform, the sensors are noisy sines.
//! Between two events each sleeps 100 to 200 ms by itself, so a fleet's rate grows with its size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::telemetry::{Telemetry, round, times_array, ts_field};

pub const COLUMNS: [&str; 6] = [
    "temp_c",
    "battery_charge_pct",
    "altitude_km",
    "sensor1",
    "sensor2",
    "sensor3",
];
/// What a satellite sleeps between two events, and its mean.
const SLEEP_MICROS: std::ops::RangeInclusive<i64> = 100_000..=200_000;
const SLEEP_SECONDS: f64 = 0.15;
/// The seed of the fleet whose files there are today.
pub const SEED: u64 = 88;

struct Satellite {
    name: String,
    rng: SmallRng,
    profile: Vec<[f64; 6]>,
    at: usize,
}

pub struct Fleet {
    satellites: Vec<Satellite>,
    rows_per_profile: usize,
    /// When each satellite wakes, microseconds since the fleet's start: the earliest is next.
    due: BinaryHeap<Reverse<(i64, usize)>>,
    /// Event times from here on; none: the wall clock's, which the sleeps then only order and space.
    start: Option<i64>,
    last: i64,
    rng: SmallRng,
    schema: SchemaRef,
}

impl Fleet {
    /// `first`: the number of the first satellite, for fleets in parts. `start`: microseconds since 1970; none: now, live.
    pub fn new(
        first: usize,
        count: usize,
        rows_per_profile: usize,
        seed: u64,
        start: Option<i64>,
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
            due: (0..count.max(1)).map(|index| Reverse((0, index))).collect(),
            start,
            last: i64::MIN,
            rng: SmallRng::seed_from_u64(seed ^ first as u64),
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
    let mut wave = |from: f64, to: f64, noise: f64, range: (f64, f64), once: bool| {
        let raw: Vec<f64> = (0..n)
            .map(|i| {
                let normal: f64 = rng.sample(StandardNormal);
                (from + (to - from) * share(i)).sin() + noise * normal
            })
            .collect();
        let low = raw.iter().copied().fold(f64::INFINITY, f64::min);
        let high = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let scale = (range.1 - range.0) / (high - low);
        // A calm profile comes so close to an end that two decimals would show the end twice.
        let inner = |v: f64| v.clamp(range.0 + 0.01, range.1 - 0.01);
        raw.into_iter()
            .map(|v| match round(range.0 + (v - low) * scale, 2) {
                _ if v == low => range.0,
                _ if v == high => range.1,
                near if once => round(inner(near), 2),
                near => near,
            })
            .collect::<Vec<f64>>()
    };
    let columns = [
        wave(0.0, end, noise, (-100.0, 120.0), true),
        wave(0.0, end, noise, (0.0, 100.0), true),
        wave(10.0, 100.0, 0.1, (-1.0, 1.0), false),
        wave(10.0, 100.0, 0.1, (-1.0, 1.0), false),
        wave(10.0, 100.0, 0.1, (-1.0, 1.0), false),
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
            let Some(mut next) = self.due.peek_mut() else {
                break;
            };
            let Reverse((due, index)) = *next;
            *next = Reverse((due + self.rng.random_range(SLEEP_MICROS), index));
            drop(next);
            let satellite = &mut self.satellites[index];
            if satellite.at >= satellite.profile.len() {
                satellite.profile = profile(&mut satellite.rng, self.rows_per_profile);
                satellite.at = 0;
            }
            names.push(index);
            times.push(due);
            for (column, value) in columns.iter_mut().zip(satellite.profile[satellite.at]) {
                column.push(value);
            }
            satellite.at += 1;
        }
        let newest = times.last().copied().unwrap_or_default();
        for time in &mut times {
            *time = match self.start {
                Some(start) => start + *time,
                // The batch's last event is now, those before it as long ago as the sleeps say; never back.
                None => (now - (newest - *time)).max(self.last.saturating_add(1)),
            };
            self.last = *time;
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
        let mut nanos = |t: i64| t * 1000 + self.rng.random_range(0..1000);
        let nanos: Int64Array = times.iter().map(|t| t.map(&mut nanos)).collect();
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
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn both_ends_of_the_range_occur_once_a_profile_and_columns_spread_as_they_should() {
        let mut fleet = Fleet::new(0, 300, 1000, SEED, None);
        let moments = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let sd = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            (mean, (sd / (values.len() - 1) as f64).sqrt())
        };
        for (name, rows) in fleet.profiles() {
            let column = |c: usize| rows.iter().map(|r| r[c]).collect::<Vec<f64>>();
            let count = |c: usize, v: f64| rows.iter().filter(|r| r[c] == v).count();
            for (c, low, high) in [(0, -100.0, 120.0), (1, 0.0, 100.0)] {
                assert_eq!((count(c, low), count(c, high)), (1, 1), "{name}");
                assert!(rows.iter().all(|r| (low..=high).contains(&r[c])));
            }
            // Uniform: mean 1080, sd 531.2.
            let (mean, sd) = moments(&column(2));
            assert!((mean - 1080.0).abs() < 70.0 && (sd - 531.2).abs() < 40.0);
            assert!(column(2).iter().all(|v| (160.0..=2000.0).contains(v)));
            for c in 3..6 {
                let (mean, sd) = moments(&column(c));
                assert!(
                    mean.abs() < 0.15 && (0.5..0.7).contains(&sd),
                    "{name} {mean} {sd}"
                );
            }
            let (t, b) = (column(0), column(1));
            let ((mt, st), (mb, sb)) = (moments(&t), moments(&b));
            let joint: f64 = t.iter().zip(&b).map(|(t, b)| (t - mt) * (b - mb)).sum();
            let r = joint / 999.0 / (st * sb);
            assert!((0.2..=1.0).contains(&r), "{name} {r}");
        }
    }

    #[test]
    fn each_satellite_sleeps_100_to_200_ms_whatever_the_size_of_the_fleet() {
        let mut fleet = Fleet::new(0, 50, 1000, SEED, Some(1_000_000));
        assert!((fleet.natural_rate() - 50.0 / 0.15).abs() < 1e-9);
        let batch = fleet.batch(20_000, 0).unwrap();
        let names = batch.column(0).as_string::<i32>();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let (mut last, mut pauses) = (std::collections::HashMap::new(), Vec::new());
        for (name, time) in names.iter().zip(times.values()) {
            if let Some(before) = last.insert(name, *time) {
                pauses.push(*time - before);
            }
        }
        assert!(pauses.iter().all(|p| SLEEP_MICROS.contains(p)));
        let mean = pauses.iter().sum::<i64>() as f64 / pauses.len() as f64;
        assert!((mean - 150_000.0).abs() < 2_000.0, "{mean}");
        // Live, at the fleet's own pace: the batch ends now and nothing goes back.
        let mut fleet = Fleet::new(0, 50, 1000, SEED, None);
        let mut before = 0;
        for now in [5_000_000, 5_100_000, 5_150_000] {
            let batch = fleet.batch(33, now).unwrap();
            let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            assert!(times.value(0) > before && times.values().is_sorted());
            before = times.value(32);
            assert!(before >= now);
        }
    }
}
