//! What `--help` shows below the options: how a verb is typed, so that no other page is needed for the first use.

use clap::Command;

const TOP: &str = "First use:
  deltaplane demo                      all of it at once, in a fresh folder; Ctrl-C ends
  deltaplane serve                     then, in another terminal:
  deltaplane apply reactor             creates the tables of a dataset
  deltaplane-sim reactor               streams into them
  deltaplane sql \"SELECT count(*), avg(PE) FROM reactor.raw\"

Exit codes: 0 done, 1 failed, 2 wrong usage, 99 nothing to do.";

const VERBS: [(&str, &str); 11] = [
    (
        "demo",
        "A folder in the system's temporary one is taken unless --data-dir names another, and stays. Ports that are taken are replaced by free ones.

Examples:
  deltaplane demo
  deltaplane demo --for 30s --rate 1000",
    ),
    (
        "serve",
        "Without an option: Flight on 127.0.0.1:32010, console on http://127.0.0.1:8090/. `deltaplane config` prints every setting, its value and where that comes from.",
    ),
    (
        "sql",
        "Examples:
  deltaplane sql \"SHOW TABLES\"
  deltaplane sql \"SHOW CREATE TABLE reactor.raw\"
  deltaplane sql \"SELECT alert, instance, since FROM system.alerts WHERE state = 'firing'\"
  deltaplane sql --format csv \"SELECT * FROM reactor.raw LIMIT 10\" > rows.csv
  deltaplane sql < statement.sql
  deltaplane sql                       a prompt",
    ),
    (
        "tail",
        "Rows come when they are committed (commit.interval). Each has _change_type, _commit_version, _commit_timestamp and _commit_row behind the table's columns; docs/feed.md says what UPDATE and others do. A cut connection or a server that starts again leaves no gap and no double.

Examples:
  deltaplane tail reactor.raw
  deltaplane tail building.raw --where \"room_id = 'room_1'\" --format csv
  deltaplane tail reactor.raw --from-version 12 --limit 100
  deltaplane tail reactor.raw_quarantine --from-version 0 --format table",
    ),
    (
        "ingest",
        "A file is known by its content: a run again adds nothing and exits with 99, a run that was cut goes on, a text file that has grown brings only the rest. A folder with a _delta_log is read as a Delta table. Rows that break a rule are in <table>_quarantine; if all do, the exit code is 1. docs/files.md says what becomes of values.

Examples:
  deltaplane ingest reactor.raw data/reactor/sample.csv
  deltaplane ingest energy.raw DIR     a tree of files, as deltaplane-sim energy --files DIR writes it
  deltaplane ingest satellite.raw DIR --set satellite_name={stem} --set timestamp_ns={now_ns}",
    ),
    (
        "apply",
        "Bundled datasets: reactor, satellite, building, energy, vehicle. data/README.md says how one is declared. What cannot stand is told with file and line, and nothing is created then; 99 if all is as the files say.

Examples:
  deltaplane apply reactor building
  deltaplane apply my/dataset.toml --dry-run
  deltaplane apply my/dataset.toml --yes",
    ),
    (
        "process",
        "A run again gives the same rows: late ones appear, what has vanished from the input vanishes. Views over what it writes store the day. Exit codes: 0 done, 1 failed (run it again), 99 the day has no rows.

Example, as a scheduler runs it:
  deltaplane process energy --date 2025-08-01",
    ),
    (
        "table",
        "docs/upkeep.md says what the server does by itself.

Examples:
  deltaplane table history building.raw --limit 5
  deltaplane table optimize building.raw --zorder room_id,temperature
  deltaplane table vacuum building.raw --dry-run
  deltaplane table restore building.raw --version 12
  deltaplane table check building.raw",
    ),
    (
        "log",
        "A server must not have the log open. A damaged log is only read: `salvage` writes a new one beside it.

Examples:
  deltaplane log check deltaplane-data
  deltaplane log salvage deltaplane-data --to salvaged-wal",
    ),
    (
        "check",
        "A server must not have the directory open. Nothing is changed.

Examples:
  deltaplane check --data-dir deltaplane-data
  deltaplane check --data-dir deltaplane-data --deep",
    ),
    (
        "quarantine",
        "Examples:
  deltaplane quarantine list building.raw
  deltaplane quarantine show building.raw --rule range:temperature
  deltaplane quarantine replay building.raw --set temperature=21     rows that pass now move to the table, each once",
    ),
];

/// The command with its examples.
pub(super) fn with_examples(command: Command) -> Command {
    let add = |command: Command, (verb, text): (&'static str, &'static str)| {
        // Another order of the verbs, or one less, is no reason to fail at start.
        if command.find_subcommand(verb).is_none() {
            return command;
        }
        command.mut_subcommand(verb, |c| c.after_help(text))
    };
    VERBS.into_iter().fold(command.after_help(TOP), add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_belongs_to_a_verb_and_the_command_line_holds_together() {
        let command = with_examples(super::super::command());
        for (verb, _) in VERBS {
            assert!(command.find_subcommand(verb).is_some(), "{verb}");
        }
        command.debug_assert();
    }
}
