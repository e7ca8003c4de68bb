//! Ten batteries at five sites, a day at a time. Each device's day is seeded by device, date and rows, so that making it again
//! gives the same rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use chrono::{DateTime, Days, NaiveDate};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::satellite::replace;
use crate::telemetry::{Telemetry, round, times_array, ts_field};

/// Capacities in kWh of D01001 to D01010; two devices a site.
pub const CAPACITY_KWH: [f64; 10] = [
    200.0, 250.0, 300.0, 150.0, 220.0, 180.0, 260.0, 200.0, 240.0, 210.0,
];
const MEASURES: [&str; 6] = [
    "power_w",
    "energy_wh",
    "voltage_v",
    "current_a",
    "temperature_c",
    "soc_percent",
];

struct Device {
    id: String,
    site: String,
    capacity_kwh: f64,
    rng: SmallRng,
    soc: f64,
}

pub struct Fleet {
    date: NaiveDate,
    rows_per_device: usize,
    devices: Vec<Device>,
    next: usize,
    schema: SchemaRef,
}

impl Fleet {
    /// From `date` on, `rows_per_device` rows a day and device (1440: one a minute).
    pub fn new(date: NaiveDate, rows_per_device: usize) -> Self {
        let mut fields = vec![
            ts_field(),
            Field::new("device_id", DataType::Utf8, false),
            Field::new("site_id", DataType::Utf8, true),
        ];
        fields.extend(MEASURES.map(|name| Field::new(name, DataType::Float64, true)));
        fields.push(Field::new("status", DataType::Utf8, true));
        let mut fleet = Fleet {
            date,
            rows_per_device: rows_per_device.max(1),
            devices: Vec::new(),
            next: 0,
            schema: Arc::new(Schema::new(fields)),
        };
        fleet.day();
        fleet
    }

    /// Devices as a new day finds them.
    fn day(&mut self) {
        let devices = CAPACITY_KWH.iter().enumerate().map(|(i, capacity)| {
            let id = format!("D{:05}", 1001 + i);
            let seed = format!("{id}/{}/{}", self.date, self.rows_per_device);
            let seed = seed.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            let mut rng = SmallRng::seed_from_u64(seed);
            Device {
                id,
                site: format!("S{:02}", i / 2 + 1),
                capacity_kwh: *capacity,
                soc: rng.random_range(40.0..85.0),
                rng,
            }
        });
        self.devices = devices.collect();
        self.next = 0;
    }
}

impl Device {
    /// Measures at a fraction of the day, in the order of [`MEASURES`], and the status.
    fn row(&mut self, fraction: f64, interval: f64) -> ([f64; 6], &'static str) {
        let mut normal = |mean: f64, sd: f64| -> f64 {
            let normal: f64 = self.rng.sample(StandardNormal);
            mean + sd * normal
        };
        let turn = std::f64::consts::TAU * fraction;
        let peak = (500.0 * self.capacity_kwh).max(500.0);
        let diurnal = (turn - std::f64::consts::FRAC_PI_2).sin().max(0.0);
        let power = (diurnal * peak + normal(0.0, 0.05 * peak)).max(0.0);
        let voltage = normal(400.0, 3.0).clamp(360.0, 440.0);
        let temperature = 30.0 + 5.0 * turn.sin() + normal(0.0, 1.0);
        self.soc = (self.soc + normal(0.0, 0.08)).clamp(0.0, 100.0);
        let status = if self.rng.random_bool(0.01) {
            "FAULT"
        } else {
            "OK"
        };
        let row = [
            round(power, 3),
            round(power * interval / 3600.0, 6),
            round(voltage, 3),
            round(power / voltage, 6),
            round(temperature, 3),
            round(self.soc, 3),
        ];
        (row, status)
    }
}

impl Telemetry for Fleet {
    /// One day.
    fn len(&self) -> Option<u64> {
        Some((self.rows_per_device * self.devices.len()) as u64)
    }

    fn natural_rate(&self) -> f64 {
        (self.rows_per_device * self.devices.len()) as f64 / 86_400.0
    }

    fn burst(&self) -> usize {
        self.devices.len()
    }

    fn batch(&mut self, rows: usize, _: i64) -> anyhow::Result<RecordBatch> {
        let mut times = Vec::with_capacity(rows);
        let (mut ids, mut sites, mut statuses) = (
            StringBuilder::new(),
            StringBuilder::new(),
            Vec::with_capacity(rows),
        );
        let mut columns: [Vec<f64>; 6] = std::array::from_fn(|_| Vec::with_capacity(rows));
        let interval = 86_400.0 / self.rows_per_device as f64;
        for _ in 0..rows {
            if self.next == self.rows_per_device * self.devices.len() {
                self.date = self
                    .date
                    .checked_add_days(Days::new(1))
                    .unwrap_or(self.date);
                self.day();
            }
            let (step, device) = (
                self.next / self.devices.len(),
                self.next % self.devices.len(),
            );
            self.next += 1;
            let seconds = step as f64 * interval;
            let midnight = self.date.and_time(chrono::NaiveTime::MIN).and_utc();
            times.push(midnight.timestamp_micros() + (seconds * 1e6) as i64);
            let device = &mut self.devices[device];
            let (row, status) = device.row(seconds / 86_400.0, interval);
            ids.append_value(&device.id);
            sites.append_value(&device.site);
            statuses.push(status);
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let mut arrays: Vec<ArrayRef> = vec![
            times_array(times),
            Arc::new(ids.finish()),
            Arc::new(sites.finish()),
        ];
        arrays.extend(columns.map(|c| Arc::new(Float64Array::from(c)) as ArrayRef));
        arrays.push(Arc::new(StringArray::from(statuses)));
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }

    /// Times as ISO text with a `Z`, under the name `ts_utc`.
    fn wire(&mut self, batch: RecordBatch) -> anyhow::Result<RecordBatch> {
        let at = batch.schema().index_of("ts")?;
        let times = batch.column(at).as_primitive::<TimestampMicrosecondType>();
        let mut texts = StringBuilder::new();
        let mut shown = (i64::MIN, String::new());
        for time in times.values() {
            if shown.0 != *time {
                let utc = DateTime::from_timestamp_micros(*time).unwrap_or_default();
                shown = (*time, utc.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            }
            texts.append_value(&shown.1);
        }
        replace(
            &batch,
            at,
            Field::new("ts_utc", DataType::Utf8, false),
            Arc::new(texts.finish()),
        )
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::datatypes::Float64Type;

    use super::*;

    #[test]
    fn a_day_has_the_energy_the_zeros_and_the_temperature_that_it_should_and_is_the_same_again() {
        let date = NaiveDate::from_ymd_opt(2025, 8, 1).unwrap();
        let make = || Fleet::new(date, 1440).batch(14_400, 0).unwrap();
        let day = make();
        assert_eq!(day, make());
        let column = |name: &str| {
            day.column_by_name(name)
                .unwrap()
                .as_primitive::<Float64Type>()
                .values()
                .to_vec()
        };
        let (power, energy, temperature) = (
            column("power_w"),
            column("energy_wh"),
            column("temperature_c"),
        );
        for (device, capacity) in CAPACITY_KWH.iter().enumerate() {
            let total: f64 = energy.iter().skip(device).step_by(10).sum();
            let hours = total / (500.0 * capacity);
            assert!((hours - 7.87).abs() < 0.15, "device {device}: {hours} h");
        }
        let zero = power.iter().filter(|p| **p == 0.0).count() as f64 / 14_400.0;
        assert!((zero - 0.265).abs() < 0.02, "{zero}");
        let mean = temperature.iter().sum::<f64>() / 14_400.0;
        let sd = (temperature.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / 14_399.0).sqrt();
        assert!(
            (mean - 30.0).abs() < 0.1 && (sd - 3.67).abs() < 0.05,
            "{mean} {sd}"
        );
    }
}
