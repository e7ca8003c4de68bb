//! The table that the benchmark writes to, its views, and the batches that it sends.
//!
//! Values are made before anything is measured and are sent over and over. Only event times are new in each batch, so that no two
//! rows of a stream have one time; two streams have different devices.

use std::sync::Arc;

use anyhow::Context;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltaplane_simulator::reactor::{Generator, Source};
use deltaplane_simulator::telemetry::{Clock, Telemetry, ts_field};

use super::options::{Options, Pace, Table, VIEWS_MAX};
use super::schedule::Schedule;
use crate::cli::bundled::load;
use crate::dataset::{Action, Contract, Rule, RuleKind, from_toml};

/// Event times begin here whenever the benchmark runs: 2025-10-09, in the morning.
const START: i64 = 1_760_000_000_000_000;
/// Different batches, at most, and the bytes that they may have together.
const POOL: usize = 32;
const POOL_BYTES: usize = 64 << 20;
/// Devices of one stream, whose rows come in turn.
const DEVICES: usize = 16;
/// Name and width of each view.
const VIEWS: [(&str, &str); VIEWS_MAX] = [
    ("by_10s", "10 seconds"),
    ("by_1min", "1 minute"),
    ("by_5min", "5 minutes"),
    ("by_1h", "1 hour"),
    ("by_1d", "1 day"),
];
/// What each double lies within.
const RANGE: (f64, f64) = (0.0, 100.0);

/// Schema and name of the table.
pub(super) fn table(options: &Options) -> [&'static str; 2] {
    match options.table {
        Table::Reactor => ["reactor", "raw"],
        Table::Doubles(_) => ["bench", "readings"],
    }
}

/// The statements that create the table and its views.
///
/// # Errors
/// A contract cannot stand, which is a bug.
pub(super) fn statements(options: &Options) -> anyhow::Result<Vec<String>> {
    let [schema, name] = table(options);
    let mut contract = match options.table {
        Table::Reactor => reactor()?,
        Table::Doubles(doubles) => of_doubles(doubles)?,
    };
    let (device, value) = match options.table {
        Table::Reactor => ("reactor_id", "PE"),
        Table::Doubles(_) => ("device", "v1"),
    };
    match (options.table, options.rules) {
        (Table::Reactor, Some(_)) => contract.rules.clear(),
        (Table::Reactor, None) => {}
        (Table::Doubles(doubles), rules) => {
            contract.rules = rules_of_doubles(doubles)
                .take(rules.unwrap_or_default())
                .collect();
        }
    }
    if options.unique {
        let columns = vec![device.to_owned(), "ts".to_owned()];
        let unique = RuleKind::Unique { columns };
        contract
            .rules
            .push(Rule::new(device, unique, Action::Reject));
    }
    let view = |(view, width): &(&str, &str)| {
        format!(
            "CREATE MATERIALIZED VIEW {schema}.{view} WITH (delay = '2 seconds') AS \
             SELECT window_start, window_end, {device}, avg({value}) AS mean, min({value}) AS low, max({value}) AS high, count(*) AS n \
             FROM {schema}.{name} GROUP BY tumble(ts, '{width}'), {device}"
        )
    };
    let views = VIEWS.iter().take(options.views).map(view);
    Ok([contract.to_ddl()].into_iter().chain(views).collect())
}

fn reactor() -> anyhow::Result<Contract> {
    let tables = load("reactor")?.dataset.tables;
    let raw = tables.into_iter().find(|t| t.table.table() == "raw");
    raw.context("the bundled dataset has no table raw")
}

fn of_doubles(doubles: usize) -> anyhow::Result<Contract> {
    let columns: String = (1..=doubles)
        .map(|n| format!("  {{ name = \"v{n}\", type = \"double\" }},\n"))
        .collect();
    let text = format!(
        "dataset = \"bench\"\n[[table]]\nname = \"readings\"\nevent_time = \"ts\"\nkey = [\"device\", \"ts\"]\ncolumns = [\n  \
         {{ name = \"ts\", type = \"timestamp\", required = true }},\n  {{ name = \"device\", type = \"string\", required = true }},\n{columns}]\n"
    );
    let tables = from_toml(&text)?.tables;
    tables.into_iter().next().context("there is no table")
}

/// All rules that the table of doubles can have, none of which a row breaks.
fn rules_of_doubles(doubles: usize) -> impl Iterator<Item = Rule> {
    let ranges = (1..=doubles).map(|n| {
        let range = RuleKind::Range {
            min: Some(RANGE.0),
            max: Some(RANGE.1),
        };
        Rule::new(&format!("v{n}"), range, Action::Reject)
    });
    let day = 86_400_000_000;
    let others = [
        ("device", RuleKind::MaxLength { chars: 32 }),
        ("ts", RuleKind::MaxFuture { micros: day }),
        (
            "device",
            RuleKind::Regex {
                pattern: "^s[0-9]+-d[0-9]+$".to_owned(),
            },
        ),
    ];
    let others = others.map(|(column, kind)| Rule::new(column, kind, Action::Reject));
    ranges.chain(others)
}

/// Makes the batches.
pub(super) struct Rows {
    table: Table,
    schema: SchemaRef,
    /// The columns of values of each batch.
    pool: Vec<Vec<ArrayRef>>,
    batch_rows: usize,
    /// Microseconds between two rows.
    step: i64,
}

impl Rows {
    /// # Errors
    /// The columns do not fit together, which is a bug.
    pub(super) fn new(options: &Options) -> anyhow::Result<Self> {
        let rows = options.batch_rows;
        let batch_bytes = rows * options.columns() * 8;
        let pool = (POOL_BYTES / batch_bytes).clamp(2, POOL);
        let (schema, pool) = match options.table {
            Table::Reactor => reactor_values(rows, pool)?,
            Table::Doubles(doubles) => {
                (doubles_schema(doubles), double_values(doubles, rows, pool))
            }
        };
        let step = match options.pace {
            Pace::Closed { .. } => 1,
            Pace::Open { rate } => Schedule {
                rate,
                batch_rows: rows,
            }
            .micros_a_row(options.streams),
        };
        Ok(Rows {
            table: options.table,
            schema,
            pool,
            batch_rows: rows,
            step,
        })
    }

    /// The devices of a stream, a name for each row of a batch.
    pub(super) fn devices(&self, stream: usize) -> ArrayRef {
        let names = (0..self.batch_rows).map(|row| match self.table {
            Table::Reactor => format!("R{}", stream + 1),
            Table::Doubles(_) => format!("s{stream}-d{}", row % DEVICES),
        });
        Arc::new(StringArray::from_iter_values(names))
    }

    /// Batch `n` of a stream, from 0.
    ///
    /// # Errors
    /// The columns do not fit together, which is a bug.
    pub(super) fn batch(&self, devices: &ArrayRef, n: u64) -> anyhow::Result<RecordBatch> {
        let rows = i64::try_from(self.batch_rows)?;
        let first = START + i64::try_from(n)? * rows * self.step;
        let times: Vec<i64> = (0..rows).map(|row| first + row * self.step).collect();
        let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
        let times: ArrayRef = Arc::new(times);
        let named = match self.table {
            Table::Reactor => [devices.clone(), times],
            Table::Doubles(_) => [times, devices.clone()],
        };
        let values = &self.pool[usize::try_from(n)? % self.pool.len()];
        let columns = named.into_iter().chain(values.iter().cloned());
        Ok(RecordBatch::try_new(
            self.schema.clone(),
            columns.collect(),
        )?)
    }

    /// As many different batches as there are.
    pub(super) fn pool(&self) -> anyhow::Result<Vec<RecordBatch>> {
        let devices = self.devices(0);
        (0..self.pool.len() as u64)
            .map(|n| self.batch(&devices, n))
            .collect()
    }
}

fn reactor_values(rows: usize, pool: usize) -> anyhow::Result<(SchemaRef, Vec<Vec<ArrayRef>>)> {
    let mut generator = Generator::new(Source::StandIn, 1, Clock::live(START))?;
    let batches = (0..pool)
        .map(|_| generator.batch(rows, START))
        .collect::<anyhow::Result<Vec<RecordBatch>>>()?;
    let schema = batches.first().context("there is no batch")?.schema();
    let values = |batch: &RecordBatch| batch.columns().iter().skip(2).cloned().collect();
    Ok((schema, batches.iter().map(values).collect()))
}

fn doubles_schema(doubles: usize) -> SchemaRef {
    let named = [ts_field(), Field::new("device", DataType::Utf8, false)];
    let values = (1..=doubles).map(|n| Field::new(format!("v{n}"), DataType::Float64, true));
    Arc::new(Schema::new(
        named.into_iter().chain(values).collect::<Vec<_>>(),
    ))
}

/// Readings with two decimals, evenly distributed over the range.
fn double_values(doubles: usize, rows: usize, pool: usize) -> Vec<Vec<ArrayRef>> {
    let mut state = 88u64;
    let mut next = || {
        state = super::raw::next_random(state);
        RANGE.0 + ((state >> 33) % ((RANGE.1 - RANGE.0) * 100.0) as u64) as f64 / 100.0
    };
    let mut column = || -> ArrayRef {
        Arc::new(Float64Array::from(
            (0..rows).map(|_| next()).collect::<Vec<f64>>(),
        ))
    };
    (0..pool)
        .map(|_| (0..doubles).map(|_| column()).collect())
        .collect()
}
