//! What the original systems write to disk: a CSV a satellite, a JSON-lines tree for the batteries.

use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};
use arrow::array::{AsArray, RecordBatch};

use crate::source::Dataset;
use crate::telemetry::{Clock, Telemetry};
use crate::{energy, satellite};

/// Writes the dataset's files below `dir`; returns how many rows.
///
/// # Errors
/// The dataset has no form of files, or a file cannot be written.
pub fn write(dataset: &Dataset, seed: u64, dir: &Path) -> anyhow::Result<u64> {
    match dataset {
        Dataset::Satellite {
            first,
            satellites,
            rows_per_profile,
        } => write_satellites(
            satellite::Fleet::new(*first, *satellites, *rows_per_profile, seed, Clock::live(0)),
            dir,
        ),
        Dataset::Energy {
            date,
            rows_per_device,
        } => {
            let mut fleet = energy::Fleet::new(*date, *rows_per_device);
            let rows = usize::try_from(fleet.len().unwrap_or(0))?;
            let batch = fleet.batch(rows, 0)?;
            let batch = fleet.wire(batch)?;
            let day = dir.join(date.format("%Y/%m/%d").to_string());
            write_devices(&batch, &day)
        }
        other => bail!("{} has no files; satellite and energy have", other.name()),
    }
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
