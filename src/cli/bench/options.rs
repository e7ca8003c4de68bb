//! The options of `deltaplane bench ingest`, and which of them go together.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use deltaplane_client::protocol::AckLevel;

use crate::config::Resolved;
use crate::config::size::parse_duration;

/// Rows of the closed loop where neither `--rows` nor `--duration` is given.
const ROWS: u64 = 8_000_000;
/// How long the open loop lasts where neither is given.
const DURATION: Duration = Duration::from_secs(10);
pub(super) const DOUBLES_MAX: usize = 900;
pub(super) const VIEWS_MAX: usize = 5;
/// The benchmark sets these itself.
const OWN_SETTINGS: [&str; 3] = ["server.data_dir", "server.listen", "server.http"];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Table {
    /// `reactor.raw`, by the contract that the binary carries.
    Reactor,
    /// A time, a device and so many doubles.
    Doubles(usize),
}

/// What decides when the next batch is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// An ack of the same stream, once `window` of its batches are unacked. `None`: as many as fit into the client's 32 MiB.
    Closed { window: Option<usize> },
    /// The clock: so many rows a second of all streams together.
    Open { rate: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Length {
    Rows(u64),
    Time(Duration),
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub table: Table,
    /// Rules a row; `None`: those that the table has.
    pub rules: Option<usize>,
    pub unique: bool,
    pub views: usize,
    pub pace: Pace,
    pub streams: usize,
    pub batch_rows: usize,
    pub ack: AckLevel,
    pub length: Length,
    pub warm_up: Duration,
    pub dir: Option<PathBuf>,
    pub json: Option<PathBuf>,
    /// Settings of the server, as the benchmark and the command line give them.
    pub settings: Vec<(String, String)>,
    pub commit: Option<String>,
}

pub(in crate::cli) fn command() -> Command {
    let value = |name: &'static str, form: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(form).help(help)
    };
    let count = |name: &'static str, range: std::ops::RangeInclusive<u64>, help: &'static str| {
        value(name, "N", help).value_parser(RangedU64ValueParser::<usize>::new().range(range))
    };
    let time = |name: &'static str, help: &'static str| {
        value(name, "TIME", help).value_parser(parse_duration)
    };
    let path = |name: &'static str, form: &'static str, help: &'static str| {
        value(name, form, help).value_parser(value_parser!(PathBuf))
    };
    Command::new("ingest")
        .about("What a row costs from the client to Delta, beside raw DoPut and raw append + fdatasync, in one run")
        .after_help(EXAMPLES)
        .arg(
            value("table", "TABLE", "reactor: reactor.raw as it is bundled. doubles: a time, a device and --doubles numbers")
                .value_parser(["reactor", "doubles"])
                .default_value("reactor"),
        )
        .arg(count("doubles", 1..=DOUBLES_MAX as u64, "Columns of doubles of --table doubles, beside a time and a device; 8 if not given"))
        .arg(count("rules", 0..=DOUBLES_MAX as u64 + 3, "Rules that each row is judged by. reactor has five, or none with 0. doubles has 10 or as many as it can, if not given: ranges of its numbers first, then the longest device name, the latest time and the form of a device name"))
        .arg(Arg::new("unique").long("unique").action(ArgAction::SetTrue).help("Device and time are a unique key"))
        .arg(count("views", 0..=VIEWS_MAX as u64, "Materialized views over the table, by device: of 10 s, 1 min, 5 min, 1 hour and 1 day").default_value("0"))
        .arg(
            value("loop", "LOOP", "closed: a stream sends its next batch when an earlier one is acked. open: batches are sent at the times that --rate says, and the time of an ack counts from there")
                .value_parser(["closed", "open"])
                .default_value("closed"),
        )
        .arg(value("rate", "ROWS", "Rows a second of all streams together, in the open loop").value_parser(rate))
        .arg(count("window", 1..=1_000_000, "Batches of one stream that may be unacked at once, in the closed loop; if not given, as many as fit into the client's 32 MiB, at most 1,000"))
        .arg(count("streams", 1..=1_000_000, "Streams, each a producer of its own on a connection of its own").default_value("1"))
        .arg(count("batch-rows", 1..=u64::from(u32::MAX), "Rows of a batch").default_value("8192"))
        .arg(
            value("ack", "LEVEL", "What an ack means: durable, the batch is synced to the log; committed, it is in a Delta version")
                .value_parser(["durable", "committed"])
                .default_value("durable"),
        )
        .arg(
            value("rows", "ROWS", "End after so many rows, rounded up to whole batches; 8000000 in the closed loop if no end is given")
                .value_parser(value_parser!(u64).range(1..))
                .conflicts_with("duration"),
        )
        .arg(time("duration", "End after so long, as 10s; 10s in the open loop if no end is given"))
        .arg(time("warm-up", "Send in the same way for so long before, and wait until all of it is committed; no figure counts it").default_value("0s"))
        .arg(path("dir", "DIR", "Where to write, in a folder of its own that is removed at the end; the system's temporary folder if not given"))
        .arg(path("json", "FILE", "Write options, machine and figures there, as one JSON document"))
        .arg(value("set", "NAME=VALUE", "A setting of the server, as commit.interval=5s; can be given several times").action(ArgAction::Append))
        .arg(value("commit", "ID", "The commit that the binary was built from, for the JSON document"))
}

const EXAMPLES: &str = "The server runs as a process of its own, so that its CPU time and memory are told apart from the client's (on Linux).
It takes its settings from --set alone: commit.interval is 1s unless given. docs/performance.md says what each figure is.

Examples:
  deltaplane bench ingest
  deltaplane bench ingest --table doubles --streams 4 --batch-rows 1000 --duration 20s --warm-up 2s --json now.json
  deltaplane bench ingest --table doubles --loop open --rate 200000 --batch-rows 1000 --views 5 --duration 30s";

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("give rows a second, more than 0".to_owned()),
    }
}

/// Options that do not go together, as clap tells of what is wrong with one of them.
fn conflict(text: String) -> anyhow::Error {
    clap::Error::raw(ErrorKind::ArgumentConflict, format!("{text}\n")).into()
}

impl Options {
    /// # Errors
    /// Options that do not go together; the text names them.
    pub(super) fn read(m: &ArgMatches) -> anyhow::Result<Self> {
        let word = |name: &str| m.get_one::<String>(name).map_or("", String::as_str);
        let count = |name: &str| m.get_one::<usize>(name).copied();
        let table = match (word("table"), count("doubles")) {
            ("reactor", None) => Table::Reactor,
            ("reactor", Some(_)) => {
                return Err(conflict("--doubles needs --table doubles".to_owned()));
            }
            (_, doubles) => Table::Doubles(doubles.unwrap_or(8)),
        };
        let rules = check_rules(table, count("rules"))?;
        let rate = m.get_one::<f64>("rate").copied();
        let pace = match (word("loop"), rate, count("window")) {
            ("closed", Some(_), _) => {
                return Err(conflict(
                    "--rate needs --loop open: a closed loop sends as fast as acks come".to_owned(),
                ));
            }
            ("closed", None, window) => Pace::Closed { window },
            (_, None, _) => return Err(conflict("--loop open needs --rate".to_owned())),
            (_, Some(_), Some(_)) => {
                return Err(conflict(
                    "--window needs --loop closed: an open loop waits for no ack".to_owned(),
                ));
            }
            (_, Some(rate), None) => Pace::Open { rate },
        };
        let rows = m.get_one::<u64>("rows").copied();
        let length = match (rows, m.get_one::<Duration>("duration"), pace) {
            (Some(rows), ..) => Length::Rows(rows),
            (None, Some(time), _) if time.is_zero() => {
                return Err(conflict("--duration is more than 0s".to_owned()));
            }
            (None, Some(time), _) => Length::Time(*time),
            (None, None, Pace::Closed { .. }) => Length::Rows(ROWS),
            (None, None, Pace::Open { .. }) => Length::Time(DURATION),
        };
        Ok(Options {
            table,
            rules,
            unique: m.get_flag("unique"),
            views: count("views").unwrap_or(0),
            pace,
            streams: count("streams").unwrap_or(1),
            batch_rows: count("batch-rows").unwrap_or(8192),
            ack: match word("ack") {
                "committed" => AckLevel::Committed,
                _ => AckLevel::Durable,
            },
            length,
            warm_up: m.get_one("warm-up").copied().unwrap_or_default(),
            dir: m.get_one("dir").cloned(),
            json: m.get_one("json").cloned(),
            settings: settings(m.get_many::<String>("set").into_iter().flatten())?,
            commit: m
                .get_one::<String>("commit")
                .cloned()
                .or(option_env!("DELTAPLANE_COMMIT").map(str::to_owned)),
        })
    }

    /// The server's settings.
    ///
    /// # Errors
    /// One of them is unknown or cannot stand, or the options ask for more than they allow.
    pub(super) fn resolve(&self) -> anyhow::Result<Resolved> {
        let given = |(name, value): &'_ (String, String)| (name.clone(), value.clone());
        let given: Vec<(String, String)> = self.settings.iter().map(given).collect();
        let given: Vec<(&str, &str)> = given.iter().map(|(n, v)| (&**n, &**v)).collect();
        let resolved = Resolved::default().with(&given)?;
        let limits = &resolved.config.limits;
        // One connection is for the statements of the benchmark itself.
        if self.streams >= limits.connections_max {
            return Err(conflict(format!(
                "--streams {}: the server takes limits.connections_max = {} connections, of which the benchmark needs one itself; raise it with --set",
                self.streams, limits.connections_max
            )));
        }
        if self.batch_rows > limits.batch_rows_max {
            return Err(conflict(format!(
                "--batch-rows {}: the server takes batches of limits.batch_rows_max = {} rows; lower it, or raise the limit with --set",
                self.batch_rows, limits.batch_rows_max
            )));
        }
        let (bytes, most) = (self.batch_bytes(), limits.batch_bytes_max);
        if bytes > most.get() {
            return Err(conflict(format!(
                "--batch-rows {}: a batch has {bytes} bytes, and the server takes limits.batch_bytes_max = {most}; lower it, or raise the limit with --set",
                self.batch_rows
            )));
        }
        Ok(resolved)
    }

    /// Columns as a client sends them.
    pub(super) fn columns(&self) -> usize {
        match self.table {
            Table::Reactor => 7,
            Table::Doubles(doubles) => 2 + doubles,
        }
    }

    /// A batch's values, at least: eight bytes for each number and time, and four for where a device's name ends.
    fn batch_bytes(&self) -> u64 {
        let row = (self.columns() - 1) * 8 + 4;
        (self.batch_rows * row) as u64
    }
}

fn check_rules(table: Table, rules: Option<usize>) -> anyhow::Result<Option<usize>> {
    match (table, rules) {
        (Table::Reactor, None | Some(0)) => Ok(rules),
        (Table::Reactor, Some(n)) => Err(conflict(format!(
            "--rules {n}: reactor.raw has its own rules, or none with --rules 0; --table doubles takes any number"
        ))),
        (Table::Doubles(doubles), None) => Ok(Some((doubles + 3).min(10))),
        (Table::Doubles(doubles), Some(n)) if n > doubles + 3 => Err(conflict(format!(
            "--rules {n}: a table of {doubles} doubles takes {} rules at most, one for each of them and three more",
            doubles + 3
        ))),
        (Table::Doubles(_), rules) => Ok(rules),
    }
}

/// The benchmark's settings, and behind them those given as `NAME=VALUE`.
fn settings<'a>(given: impl Iterator<Item = &'a String>) -> anyhow::Result<Vec<(String, String)>> {
    let mut settings = vec![("commit.interval".to_owned(), "1s".to_owned())];
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(conflict(format!("--set {text}: give NAME=VALUE")));
        };
        if OWN_SETTINGS.contains(&name) {
            return Err(conflict(format!(
                "--set {name}: the benchmark sets it itself; --dir says where to write"
            )));
        }
        settings.retain(|(known, _)| known != name);
        settings.push((name.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(line: &str) -> anyhow::Result<Options> {
        let words = ["ingest"].into_iter().chain(line.split_whitespace());
        let options = Options::read(&command().try_get_matches_from(words)?)?;
        options.resolve()?;
        Ok(options)
    }

    #[test]
    fn what_is_not_given_has_a_default() {
        let options = read("").unwrap();
        assert_eq!((options.table, options.rules), (Table::Reactor, None));
        assert_eq!(options.pace, Pace::Closed { window: None });
        assert_eq!(options.length, Length::Rows(ROWS));
        let options = read("--table doubles --loop open --rate 1e5").unwrap();
        assert_eq!(
            (options.table, options.rules, options.columns()),
            (Table::Doubles(8), Some(10), 10)
        );
        assert_eq!(options.length, Length::Time(DURATION));
        assert_eq!(
            read("--table doubles --doubles 2").unwrap().rules,
            Some(5),
            "as many as there can be"
        );
        let options = read("--set commit.interval=5s --set log.segment_bytes=16MiB").unwrap();
        assert_eq!(options.settings.len(), 2, "{:?}", options.settings);
    }

    #[test]
    fn options_that_do_not_go_together_are_refused_by_name() {
        for (line, said) in [
            ("--rate 1000", "--rate needs --loop open"),
            ("--loop open", "--loop open needs --rate"),
            ("--loop open --rate 0", "more than 0"),
            ("--loop open --rate fast", "more than 0"),
            ("--loop open --rate 10 --window 2", "--window needs"),
            ("--streams 0", "--streams"),
            ("--streams 10000", "limits.connections_max = 10000"),
            ("--batch-rows 0", "--batch-rows"),
            ("--batch-rows 2000000", "limits.batch_rows_max = 1048576"),
            ("--batch-rows 500000", "limits.batch_bytes_max = 16MiB"),
            ("--doubles 3", "--table doubles"),
            ("--rules 3", "reactor.raw has its own rules"),
            ("--table doubles --rules 12", "takes 11 rules at most"),
            ("--views 6", "--views"),
            ("--rows 5 --duration 1s", "--duration"),
            ("--duration 10", "give a unit"),
            ("--duration 0s", "more than 0s"),
            ("--ack maybe", "--ack"),
            ("--set commit.interval", "NAME=VALUE"),
            ("--set commit.intervall=1s", "commit.interval"),
            ("--set server.listen=127.0.0.1:1", "server.listen"),
        ] {
            let error = read(line)
                .map(|options| format!("{options:?}"))
                .unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(said), "{line}: {error}");
        }
        read("--batch-rows 500000 --set limits.batch_bytes_max=64MiB").unwrap();
    }
}
