//! Rows as files. What the original systems have: a CSV a satellite, a JSON-lines tree for the batteries; for those that only
//! stream, their messages as JSON lines. And one CSV of any dataset, as `deltaplane ingest` takes it.

use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, TimestampMicrosecondType};
use chrono::DateTime;

use crate::faults::{Faults, Injector};
use crate::satellite::{self, replace};
use crate::source::Dataset;

/// Rows of a dataset without an end that has a file.
const ROWS: u64 = 1000;

/// Which rows of a dataset.
#[derive(Clone, Debug)]
pub struct Rows {
    pub seed: u64,
    /// Event times from here on, microseconds since 1970; none: now.
    pub start: Option<i64>,
    pub faults: Faults,
    /// None: all of a dataset that ends, 1000 of another.
    pub rows: Option<u64>,
}

impl Rows {
    /// Writes the dataset's files below `dir`; returns how many rows.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn files(&self, dataset: &Dataset, dir: &Path) -> anyhow::Result<u64> {
        match dataset {
            Dataset::Satellite {
                first,
                satellites,
                rows_per_profile,
            } => write_satellites(
                satellite::Fleet::new(*first, *satellites, *rows_per_profile, self.seed, None),
                dir,
            ),
            Dataset::Energy { date, .. } => {
                let day = dir.join(date.format("%Y/%m/%d").to_string());
                write_devices(&self.batch(dataset)?, &day)
            }
            other => {
                let batch = as_today(other, &self.batch(other)?)?;
                let path = dir.join(format!("{}.ndjson", other.name()));
                let mut out = create(&path)?;
                let mut writer = arrow::json::LineDelimitedWriter::new(&mut out);
                writer.write(&batch)?;
                writer.finish()?;
                drop(writer);
                out.flush()?;
                Ok(batch.num_rows() as u64)
            }
        }
    }

    /// Writes the rows, as they are sent, to one CSV file; returns how many.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn csv(&self, dataset: &Dataset, path: &Path) -> anyhow::Result<u64> {
        let batch = as_today(dataset, &self.batch(dataset)?)?;
        let mut out = create(path)?;
        let mut writer = arrow::csv::WriterBuilder::new()
            .with_header(true)
            .build(&mut out);
        writer.write(&batch)?;
        drop(writer);
        out.flush()?;
        Ok(batch.num_rows() as u64)
    }

    fn batch(&self, dataset: &Dataset) -> anyhow::Result<RecordBatch> {
        let now = chrono::Utc::now().timestamp_micros();
        let mut devices = dataset.open(self.seed, now, self.start)?;
        let rows = self.rows.or(devices.len()).unwrap_or(ROWS);
        let mut batch = devices.batch(usize::try_from(rows)?, now)?;
        let mut injector = Injector::new(self.faults, self.seed);
        if !injector.is_idle() {
            batch = injector.inject(batch)?;
        }
        devices.wire(batch)
    }
}

/// Times in the form of the dataset's own messages: the reactor's are seconds with a fraction and name no reactor, the
/// building's are ISO text with milliseconds and a `Z`.
fn as_today(dataset: &Dataset, batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let Ok(at) = batch.schema().index_of("ts") else {
        return Ok(batch.clone());
    };
    let Some(times) = batch
        .column(at)
        .as_primitive_opt::<TimestampMicrosecondType>()
    else {
        return Ok(batch.clone());
    };
    if let Dataset::Reactor { .. } = dataset {
        let seconds: ArrayRef = Arc::new(Float64Array::from_iter_values(
            times.values().iter().map(|t| *t as f64 / 1e6),
        ));
        let field = Field::new("timestamp", DataType::Float64, false);
        let batch = replace(batch, at, field, seconds)?;
        // The measures first, then the time.
        let order: Vec<usize> = (at + 1..batch.num_columns()).chain([at]).collect();
        return Ok(batch.project(&order)?);
    }
    let text = |t: &i64| {
        let time = DateTime::from_timestamp_micros(*t).unwrap_or_default();
        time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    };
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        times.values().iter().map(text),
    ));
    replace(batch, at, Field::new("ts", DataType::Utf8, false), texts)
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    if let Some(dir) = path.parent() {
        create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(BufWriter::new(file))
}

fn write_satellites(mut fleet: satellite::Fleet, dir: &Path) -> anyhow::Result<u64> {
    let mut rows = 0;
    for (name, profile) in fleet.profiles() {
        let mut out = create(&dir.join(format!("{name}.csv")))?;
        writeln!(
            out,
            "temp_c,battery_charge_pct,altitude,sensor1,sensor2,sensor3"
        )?;
        for [temp, battery, altitude, s1, s2, s3] in profile {
            writeln!(
                out,
                "{temp:.2},{battery:.2},{altitude:.2},{s1:.2},{s2:.2},{s3:.2}"
            )?;
            rows += 1;
        }
        out.flush()?;
    }
    Ok(rows)
}

/// `site/device.jsonl`, rows in the order of their times.
fn write_devices(batch: &RecordBatch, day: &Path) -> anyhow::Result<u64> {
    let text = |name: &str| -> anyhow::Result<_> {
        let column = batch
            .column_by_name(name)
            .with_context(|| format!("no column {name}"))?;
        Ok(column.as_string::<i32>().clone())
    };
    let (devices, sites) = (text("device_id")?, text("site_id")?);
    let mut seen: Vec<(&str, &str)> = devices
        .iter()
        .flatten()
        .zip(sites.iter().flatten())
        .collect();
    seen.sort_unstable();
    seen.dedup();
    for (device, site) in seen {
        let mask = devices.iter().map(|d| Some(d == Some(device))).collect();
        let rows = arrow::compute::filter_record_batch(batch, &mask)?;
        let mut out = create(&day.join(site).join(format!("{device}.jsonl")))?;
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut out);
        writer.write(&rows)?;
        writer.finish()?;
        drop(writer);
        out.flush()?;
    }
    Ok(batch.num_rows() as u64)
}
