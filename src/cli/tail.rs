//! `deltaplane tail`: a table's rows as they are committed, each once, also across a server that goes and comes back.

use std::io::Write;

use arrow::array::RecordBatch;
use clap::{Arg, ArgMatches, Command, value_parser};
use deltaplane_client::{Position, Start, Subscription};

use super::Outcome;
use super::export::encode;
use super::sql::{is_broken_pipe, readable, render};

pub(super) fn command(uri: Arg) -> Command {
    let value = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    Command::new("tail")
        .about("Rows of a table as they are committed, each once; goes on after a cut; Ctrl-C ends")
        .arg(uri)
        .arg(
            value(
                "from-version",
                "Begin with this version of the table; without it, with the next",
            )
            .value_name("N")
            .value_parser(value_parser!(i64).range(0..)),
        )
        .arg(
            value(
                "where",
                "Only rows that meet this condition over the table's columns",
            )
            .value_name("CONDITION"),
        )
        .arg(
            value("limit", "End after so many rows")
                .value_name("ROWS")
                .value_parser(value_parser!(usize)),
        )
        .arg(
            value("format", "How rows are printed")
                .default_value("json")
                .value_parser(["table", "csv", "json"]),
        )
        .arg(Arg::new("table").required(true).help("schema.table"))
}

pub(super) async fn run(matches: &ArgMatches) -> anyhow::Result<Outcome> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let mut feed = Subscription::new(text("uri"), text("table"));
    if let Some(version) = matches.get_one("from-version").copied() {
        feed = feed.starting(Start::At(Position { version, row: 0 }));
    }
    if let Some(condition) = matches.get_one::<String>("where") {
        feed = feed.filtered(condition);
    }
    let mut left = matches.get_one("limit").copied().unwrap_or(usize::MAX);
    let format = text("format");
    let mut is_first = true;
    while left > 0 {
        let batch = feed.next().await.map_err(readable)?;
        let batch = batch.slice(0, left.min(batch.num_rows()));
        left -= batch.num_rows();
        match print(&batch, &format, is_first) {
            // Whoever read it has had enough, as `head` does.
            Err(error) if is_broken_pipe(&error) => break,
            other => other?,
        }
        is_first = false;
    }
    Ok(Outcome::Done)
}

fn print(batch: &RecordBatch, format: &str, is_first: bool) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match format {
        "table" => {
            let rows = std::slice::from_ref(batch);
            writeln!(out, "{}", render(rows, &batch.schema(), format)?)?;
        }
        _ => encode(batch, format, is_first, &mut out)?,
    }
    Ok(out.flush()?)
}
