//! The command line. Verbs about tables are clients of a server; only `serve` and `demo` open a data directory.
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 99 nothing to do.

mod apply;
mod bench;
mod bundled;
mod check;
mod complete;
mod data_check;
mod demo;
mod examples;
mod export;
mod ingest;
mod log;
mod process;
mod quarantine;
mod serve;
mod sql;
mod table;
mod tail;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{Resolved, SETTINGS, Sources};

/// What a verb ends with.
pub enum Outcome {
    Done,
    /// Schedulers take it as "skip".
    NothingToDo,
}

const NOTHING_TO_DO: i32 = 99;

fn command() -> Command {
    let uri = || {
        Arg::new("uri")
            .long("uri")
            .env("DELTAPLANE_URI")
            .default_value("http://127.0.0.1:32010")
            .help("The server's Flight address")
    };
    let text = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    Command::new("deltaplane")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Telemetry in by Arrow Flight, exactly once into Delta Lake, out by Flight SQL")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            with_settings(Command::new("demo"))
                .about("Server, the five simulated datasets and first query results in one command")
                .arg(text("for", "End by itself after this long, as in 30s"))
                .arg(text("rate", "Rows a second of each stream").default_value("200")),
        )
        .subcommand(with_settings(Command::new("serve")).about("The server"))
        .subcommand(
            with_settings(Command::new("config"))
                .about("Prints the settings in force, and where each comes from"),
        )
        .subcommand(
            Command::new("bench")
                .about("Honest figures, with the machine's limits beside them")
                .subcommand_required(true)
                .subcommand(bench::command()),
        )
        .subcommand(
            Command::new("sql")
                .about("Runs statements, or prompts for them")
                .arg(uri())
                .arg(
                    text("format", "How rows are printed")
                        .default_value("table")
                        .value_parser(["table", "csv", "json", "arrow"]),
                )
                .arg(
                    Arg::new("statement")
                        .help("The statement, or several with ; between them; without it a prompt, or standard input"),
                ),
        )
        .subcommand(tail::command(uri()))
        .subcommand(log::command())
        .subcommand(data_check::command(with_settings(Command::new("check"))))
        .subcommand(ingest::command(uri()))
        .subcommand({
            let table = || Arg::new("table").required(true).help("schema.table");
            let format = || {
                text("format", "How rows are printed")
                    .default_value("table")
                    .value_parser(["table", "csv", "json"])
            };
            Command::new("quarantine")
                .about("Rejected rows of a table; exit code 99 if there are none")
                .subcommand_required(true)
                .subcommand(
                    Command::new("list")
                        .about("How many rows each rule rejected")
                        .args([uri(), table(), format()]),
                )
                .subcommand(
                    Command::new("show")
                        .about("The newest rejected rows, as they came")
                        .args([uri(), table(), format()])
                        .arg(text("rule", "Only rows that broke this rule, as range:AT"))
                        .arg(text("limit", "At most so many").default_value("20")),
                )
                .subcommand(
                    Command::new("replay")
                        .about("Puts rejected rows that the rules in force take into the table, each once; prints how many; exit code 99 if none")
                        .args([uri(), table(), format()])
                        .arg(text("rule", "Only rows that broke this rule, as range:AT"))
                        .arg(text("where", "Only rows that meet this condition over the quarantine's columns, as \"_source = 'edge-7'\""))
                        .arg(
                            Arg::new("set")
                                .long("set")
                                .value_name("COLUMN=VALUE")
                                .action(ArgAction::Append)
                                .help("Corrects a value on the way, in every row that is meant; COLUMN= makes it null"),
                        )
                        .arg(
                            Arg::new("dry-run")
                                .long("dry-run")
                                .action(ArgAction::SetTrue)
                                .help("Only count"),
                        ),
                )
        })
        .subcommand(table_verbs(uri))
        .subcommand(
            Command::new("process")
                .about("Runs a day's batch; prints its quality as JSON; exit code 99 and nothing changed if the day has no rows")
                .arg(uri())
                .arg(
                    Arg::new("dataset")
                        .required(true)
                        .help("A dataset.toml file, or the name of a bundled dataset"),
                )
                .arg(text("date", "The day, as 2025-08-01 (UTC)").required(true))
                .arg(
                    Arg::new("allow-empty")
                        .long("allow-empty")
                        .action(ArgAction::SetTrue)
                        .help("A day without rows empties the day's results"),
                ),
        )
        .subcommand(
            Command::new("apply")
                .about("Creates what a dataset.toml declares; shows the plan as DDL first")
                .arg(uri())
                .arg(
                    Arg::new("files")
                        .required(true)
                        .num_args(1..)
                        .help("dataset.toml files, or the name of a bundled dataset"),
                )
                .arg(
                    Arg::new("dry-run")
                        .long("dry-run")
                        .action(ArgAction::SetTrue)
                        .help("Only show the plan"),
                )
                .arg(
                    Arg::new("yes")
                        .long("yes")
                        .action(ArgAction::SetTrue)
                        .help("Do not ask"),
                ),
        )
}

/// `deltaplane table ..`
fn table_verbs(uri: impl Fn() -> Arg) -> Command {
    let verb = |name: &'static str, about: &'static str| {
        let table = Arg::new("table").required(true).help("schema.table");
        let format = Arg::new("format")
            .long("format")
            .help("How rows are printed")
            .default_value("table")
            .value_parser(["table", "csv", "json"]);
        Command::new(name).about(about).args([uri(), table, format])
    };
    let value = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    Command::new("table")
        .about("What happened to a table, and what keeps it in shape")
        .subcommand_required(true)
        .subcommand(
            verb("history", "Its versions, the newest first").arg(
                value("limit", "At most so many")
                    .default_value("20")
                    .value_parser(value_parser!(u32)),
            ),
        )
        .subcommand(
            verb("optimize", "Makes small files into large ones").arg(
                value(
                    "zorder",
                    "Every file again, so that these columns prune well",
                )
                .value_name("COLUMN,..")
                .value_delimiter(','),
            ),
        )
        .subcommand(
            verb("vacuum", "Deletes files that nothing needs any more")
                .arg(
                    value(
                        "retain-hours",
                        "Keep what was removed since; else as the table says",
                    )
                    .value_parser(value_parser!(f64)),
                )
                .arg(value("dry-run", "Only list the files").action(ArgAction::SetTrue)),
        )
        .subcommand(
            verb("restore", "Makes an older version's rows the newest").arg(
                value("version", "The version")
                    .required(true)
                    .value_parser(value_parser!(i64)),
            ),
        )
        .subcommand(verb(
            "check",
            "Reads every file against the Delta log; exit code 1 if one is wrong",
        ))
        .subcommand(
            verb(
                "repair",
                "Tries to serve a parked table again; exit code 1 if it stays parked",
            )
            .arg(
                Arg::new("accept-loss")
                    .long("accept-loss")
                    .action(ArgAction::SetTrue)
                    .help("Serve what is left where commits or parked rows are missing for good"),
            ),
        )
}

/// The settings that are common enough for a flag; all are derived from the one table.
fn with_settings(command: Command) -> Command {
    let command = command.arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Settings file (deltaplane.toml is read if it is there)"),
    );
    SETTINGS
        .iter()
        .filter_map(|s| s.flag.map(|flag| (s, flag)))
        .fold(command, |command, (setting, flag)| {
            let arg = Arg::new(flag).long(flag).help(setting.help);
            let arg = if setting.is_switch() {
                arg.action(ArgAction::SetTrue)
            } else {
                arg.value_name(setting.form)
            };
            command.arg(arg)
        })
}

fn settings(matches: &ArgMatches) -> anyhow::Result<Resolved> {
    let mut sources = Sources::from_environment();
    sources.file = matches.get_one::<PathBuf>("config").cloned();
    for setting in SETTINGS {
        let Some(flag) = setting.flag else { continue };
        let value = if setting.is_switch() {
            matches.get_flag(flag).then(|| "true".to_owned())
        } else {
            matches.get_one::<String>(flag).cloned()
        };
        if let Some(value) = value {
            sources.flags.push((setting.name(), value));
        }
    }
    Ok(sources.resolve()?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        // Statements are handed on as trees, which are dropped where they end.
        .thread_stack_size(crate::query::STACK_BYTES)
        .enable_all()
        .build()?)
}

/// Parses the command line, runs the verb, and gives the process's exit code.
pub fn main() -> i32 {
    let matches = examples::with_examples(command()).get_matches();
    let filter =
        std::env::var("DELTAPLANE_LOG").unwrap_or_else(|_| "warn,deltaplane=info".to_owned());
    let filter = if matches.subcommand_name() == Some("demo") {
        "error".to_owned()
    } else {
        filter
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    // Both of rustls' providers are linked; without a choice tonic panics at the first TLS connection.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(&matches) {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::NothingToDo) => NOTHING_TO_DO,
        Err(error) => match error.downcast_ref::<clap::Error>() {
            Some(usage) => {
                eprint!("{usage}");
                usage.exit_code()
            }
            None => {
                eprintln!("deltaplane: {error:#}");
                1
            }
        },
    }
}

fn run(matches: &ArgMatches) -> anyhow::Result<Outcome> {
    let text = |m: &ArgMatches, name: &str| m.get_one::<String>(name).cloned().unwrap_or_default();
    match matches.subcommand() {
        Some(("config", m)) => {
            print!("{}", settings(m)?.to_toml());
            Ok(Outcome::Done)
        }
        Some(("serve", m)) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(serve::run(settings(m)?));
            // A call that does not come back (a disk, a store) does not keep the process. Not `shutdown_background`, which detaches
            // threads: glibc's pthread_detach can end the process on one that ends at that moment (see `query::Engine`).
            std::mem::forget(runtime);
            outcome
        }
        Some(("demo", m)) => {
            let duration = m
                .get_one::<String>("for")
                .map(|t| crate::config::size::parse_duration(t))
                .transpose()
                .map_err(anyhow::Error::msg)?;
            let rate: f64 = text(m, "rate").parse()?;
            let given = m.get_one::<String>("data-dir").is_some();
            runtime()?.block_on(demo::run(settings(m)?, given, duration, rate))
        }
        Some(("bench", m)) => match m.subcommand() {
            Some(("ingest", m)) => runtime()?.block_on(bench::run(m)),
            _ => anyhow::bail!("no such benchmark"),
        },
        Some(("sql", m)) => runtime()?.block_on(sql::run(
            &text(m, "uri"),
            m.get_one::<String>("statement"),
            &text(m, "format"),
        )),
        Some(("log", m)) => log::run(m),
        Some(("check", m)) => runtime()?.block_on(data_check::run(settings(m)?, m)),
        Some(("tail", m)) => runtime()?.block_on(tail::run(m)),
        Some(("ingest", m)) => runtime()?.block_on(ingest::run(m)),
        Some(("quarantine", m)) => {
            let (ask, m) = match m.subcommand() {
                Some(("show", m)) => {
                    let ask = quarantine::Ask::Show {
                        rule: m.get_one::<String>("rule").cloned(),
                        limit: text(m, "limit").parse()?,
                    };
                    (ask, m)
                }
                Some(("replay", m)) => {
                    let ask = quarantine::Ask::Replay(quarantine::Replay {
                        rule: m.get_one::<String>("rule").cloned(),
                        condition: m.get_one::<String>("where").cloned(),
                        set: m.get_many("set").into_iter().flatten().cloned().collect(),
                        dry_run: m.get_flag("dry-run"),
                    });
                    (ask, m)
                }
                Some((_, m)) => (quarantine::Ask::List, m),
                None => anyhow::bail!("list or show"),
            };
            runtime()?.block_on(quarantine::run(
                &text(m, "uri"),
                &text(m, "table"),
                ask,
                &text(m, "format"),
            ))
        }
        Some(("table", m)) => {
            let (ask, m) = match m.subcommand() {
                Some(("history", m)) => {
                    let limit = m.get_one("limit").copied().unwrap_or(20);
                    (table::Ask::History { limit }, m)
                }
                Some(("optimize", m)) => {
                    let order = m.get_many::<String>("zorder").into_iter().flatten();
                    let order = order.map(|c| c.trim().to_owned()).collect();
                    (table::Ask::Optimize { order }, m)
                }
                Some(("vacuum", m)) => {
                    let ask = table::Ask::Vacuum {
                        retain_hours: m.get_one("retain-hours").copied(),
                        dry_run: m.get_flag("dry-run"),
                    };
                    (ask, m)
                }
                Some(("restore", m)) => {
                    let version = m.get_one("version").copied().unwrap_or_default();
                    (table::Ask::Restore { version }, m)
                }
                Some(("check", m)) => (table::Ask::Check, m),
                Some(("repair", m)) => {
                    let accept_loss = m.get_flag("accept-loss");
                    (table::Ask::Repair { accept_loss }, m)
                }
                _ => anyhow::bail!("history, optimize, vacuum, restore, check or repair"),
            };
            runtime()?.block_on(table::run(
                &text(m, "uri"),
                &text(m, "table"),
                ask,
                &text(m, "format"),
            ))
        }
        Some(("process", m)) => {
            let date = text(m, "date");
            let date = date
                .parse()
                .map_err(|_| anyhow::anyhow!("--date is YYYY-MM-DD, got {date}"))?;
            runtime()?.block_on(process::run(
                &text(m, "uri"),
                &text(m, "dataset"),
                date,
                m.get_flag("allow-empty"),
            ))
        }
        Some(("apply", m)) => {
            let files: Vec<String> = m
                .get_many::<String>("files")
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            runtime()?.block_on(apply::run(
                &text(m, "uri"),
                &files,
                m.get_flag("dry-run"),
                m.get_flag("yes"),
            ))
        }
        _ => anyhow::bail!("no such verb"),
    }
}
