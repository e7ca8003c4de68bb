//! A file is looked at whole before a row of it is sent: what is wrong with it is said with its line, and nothing of it is in the
//! table then. What of it was loaded before is found here, too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use indicatif::ProgressBar;

use super::Set;
use super::columnar;
use super::content::{Prefix, Survey, survey};
use super::csv::{self, Form, Header};
use super::json::{self, Columns};
use super::loads::Load;
use super::source::{Format, Range, text};
use super::table::Table;
use crate::cold::ForeignTable;

/// How a part of a source is read.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// CSV without quotes, in blocks.
    Lines {
        header: Header,
        /// Rows of each block.
        rows: Vec<u64>,
    },
    /// CSV with quotes, row by row.
    Quoted {
        header: Header,
        forms: Vec<Form>,
    },
    Json {
        columns: Columns,
    },
    Parquet,
    Arrow,
    Delta(Arc<ForeignTable>),
}

/// What one producer brings: a file, or what has come to it since it was loaded.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub layout: Layout,
    /// Of a file of text.
    pub range: Range,
    pub rows: u64,
    pub load: Load,
    /// Rows that the server has of it.
    pub loaded: u64,
    /// It is to be loaded whatever was loaded before.
    pub again: bool,
}

/// A source that can be loaded.
#[derive(Debug)]
pub(super) struct Checked {
    pub path: PathBuf,
    pub set: Vec<Set>,
    pub parts: Vec<Part>,
}

/// Threads that look at blocks.
pub(super) const AHEAD: usize = 2;

/// What a line says about rows that were loaded from a last line that was not whole.
const NOT_WHOLE: &str = "its beginning was loaded before it was whole: the last row that was loaded was cut in the middle of a line. Delete the rows of that load, and load all of it with --again";

/// # Errors
/// With the line, and what to do.
pub(super) async fn check(
    path: PathBuf,
    set: Vec<Set>,
    table: &Table,
    again: bool,
    bar: &ProgressBar,
) -> anyhow::Result<Checked> {
    if path.is_dir() {
        return delta(path, set, table, again).await;
    }
    if path.metadata().context("cannot open it")?.len() == 0 {
        bail!("line 1: the file is empty; write it again, or leave it out");
    }
    let format = Format::of(&path).context("its name does not say what it is")?;
    let mut set = set;
    let mut suffix = values_set(&set);
    // Before folders of partitions were columns, a file in one was known without them.
    let named: Vec<Set> = set.iter().filter(|s| !s.of_folder).cloned().collect();
    let without = values_set(&named);
    let lengths: BTreeSet<u64> = match format.is_text() {
        true => [&suffix, &without]
            .into_iter()
            .flat_map(|s| table.loads.lengths(s))
            .collect(),
        false => BTreeSet::new(),
    };
    let whole = Range::whole(&path)?;
    let survey = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || survey(&path, &lengths, whole.end))
    };
    // Where nothing was loaded before, the lines are looked at meanwhile.
    let mut looked = match table.loads.is_empty() {
        true => Some(look(&path, format, whole, table, bar).await?),
        false => None,
    };
    let survey = survey.await??;
    if !again && !is_known(&survey, &suffix, table) && is_known(&survey, &without, table) {
        (set, suffix) = (named, without);
    }
    let mut parts = Vec::new();
    for Span { load, range } in spans(&survey, &suffix, table, again)? {
        let (layout, rows) = match looked.take() {
            Some(looked) => looked,
            None => look(&path, format, range, table, bar).await?,
        };
        parts.push(part(table, load, again, layout, range, rows));
    }
    Ok(Checked { path, set, parts })
}

/// How a part of a file is read, and how many rows it has.
async fn look(
    path: &Path,
    format: Format,
    range: Range,
    table: &Table,
    bar: &ProgressBar,
) -> anyhow::Result<(Layout, u64)> {
    Ok(match format {
        Format::Csv => csv::check(path, range, table, bar).await?,
        Format::Json => {
            let reader = text(path, range, bar)?;
            let (columns, rows) =
                tokio::task::block_in_place(|| json::check(reader, path, range, table))?;
            (Layout::Json { columns }, rows)
        }
        Format::Parquet => (Layout::Parquet, columnar::parquet(path)?.1),
        Format::Arrow => {
            let rows = tokio::task::block_in_place(|| columnar::arrow_rows(path))?;
            (Layout::Arrow, rows)
        }
    })
}

/// A Delta table, at its newest version.
async fn delta(
    path: PathBuf,
    set: Vec<Set>,
    table: &Table,
    again: bool,
) -> anyhow::Result<Checked> {
    let theirs = ForeignTable::open(&path).await?;
    let (id, version) = (theirs.id().to_owned(), theirs.version());
    let source = format!("delta-{id}-v{version}{}", values_set(&set));
    let other = table.loads.of_delta(&id);
    if let Some(other) = other
        && !again
        && table.loads.newest(&source).is_none()
    {
        bail!(
            "another version of this Delta table is loaded already, by {}, and this is version {version}: its rows would be there twice. Delete them first, and load this version whole with --again",
            other.load.producer()
        );
    }
    let mut rows = 0;
    for file in theirs.files() {
        let read = columnar::parquet(file);
        rows += read.with_context(|| file.display().to_string())?.1;
    }
    let range = Range {
        base: 0,
        end: u64::MAX,
        first_line: 1,
    };
    let layout = Layout::Delta(Arc::new(theirs));
    let parts = vec![part(
        table,
        Load::new(source, 0),
        again,
        layout,
        range,
        rows,
    )];
    Ok(Checked { path, set, parts })
}

/// Which load brings the rows: one that was cut goes on, and a whole one is made again only on demand.
fn part(table: &Table, load: Load, again: bool, layout: Layout, range: Range, rows: u64) -> Part {
    let mut load = load;
    let mut loaded = table.loads.rows(&load);
    if again && loaded >= rows && loaded > 0 {
        load.generation += 1;
        loaded = table.loads.rows(&load);
    }
    Part {
        layout,
        range,
        rows,
        load,
        loaded,
        again,
    }
}

/// What `--set` says as it stands in a producer's name.
fn values_set(set: &[Set]) -> String {
    if set.is_empty() {
        return String::new();
    }
    let values: Vec<String> = set
        .iter()
        .map(|s| format!("{}={}", s.column, s.value))
        .collect();
    format!("-{:08x}", crc32c::crc32c(values.join("\n").as_bytes()))
}

/// A part of a file, and the load that brings it.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    load: Load,
    range: Range,
}

/// The parts of a file that may have to be loaded. A file that begins with one that was loaded is two parts: that one, which
/// may have been cut, and the rest.
fn spans(survey: &Survey, set: &str, table: &Table, again: bool) -> anyhow::Result<Vec<Span>> {
    let source = format!("{}{set}", survey.name);
    let whole = Range {
        base: 0,
        end: survey.length,
        first_line: 1,
    };
    let packed = survey.packed.as_ref().map(|name| format!("{name}{set}"));
    let own = table.loads.newest(&source);
    let own = own.or_else(|| table.loads.newest(packed.as_ref()?));
    if let Some(known) = own {
        let mut load = known.load.clone();
        let range = match again {
            true => {
                load.base = 0;
                whole
            }
            false => starting_at(survey, load.base),
        };
        return Ok(vec![Span { load, range }]);
    }
    if !again && let Some((load, prefix)) = longest_loaded(survey, set, table) {
        if !prefix.is_whole {
            bail!(
                "line {}: {NOT_WHOLE} (it was loaded as {})",
                prefix.line,
                load.producer()
            );
        }
        let before = Range {
            end: prefix.length,
            ..starting_at(survey, load.base)
        };
        let rest = Range {
            base: prefix.length,
            end: survey.length,
            first_line: prefix.line,
        };
        let rest = Span {
            load: Load::new(source, prefix.length),
            range: rest,
        };
        let before = Span {
            load,
            range: before,
        };
        return Ok(vec![before, rest]);
    }
    Ok(vec![Span {
        load: Load::new(source, 0),
        range: whole,
    }])
}

/// Was the file, or a beginning of it, loaded with these values?
fn is_known(survey: &Survey, set: &str, table: &Table) -> bool {
    let mut names = std::iter::once(&survey.name).chain(&survey.packed);
    names.any(|name| table.loads.newest(&format!("{name}{set}")).is_some())
        || longest_loaded(survey, set, table).is_some()
}

fn starting_at(survey: &Survey, base: u64) -> Range {
    let first_line = match base {
        0 => 1,
        _ => {
            let place = survey.prefixes.iter().find(|p| p.length == base);
            place.map_or(1, |p| p.line)
        }
    };
    Range {
        base,
        end: survey.length,
        first_line,
    }
}

/// The longest beginning of the file that was loaded as a file.
fn longest_loaded<'a>(survey: &'a Survey, set: &str, table: &Table) -> Option<(Load, &'a Prefix)> {
    let mut shorter = survey
        .prefixes
        .iter()
        .rev()
        .filter(|p| p.length < survey.length);
    shorter.find_map(|prefix| {
        let known = table.loads.newest(&format!("{}{set}", prefix.name))?;
        Some((known.load.clone(), prefix))
    })
}

/// The Delta table that a path lies in; none if it lies in none.
pub(super) fn delta_around(path: &Path) -> Option<PathBuf> {
    let whole = path.canonicalize().ok()?;
    let around = whole.ancestors().skip(1).find(|dir| is_delta(dir));
    around.map(Path::to_owned)
}

pub(super) fn is_delta(dir: &Path) -> bool {
    dir.join("_delta_log").is_dir()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::loads::Loads;
    use super::*;
    use crate::dataset::{Column, ColumnType, Contract};
    use crate::types::TableName;

    const SUM: &str = "0123456789abcdef";

    fn name(length: u64) -> String {
        format!("{length}-{SUM}")
    }

    fn table(known: &[(String, u64)]) -> Table {
        let columns = vec![Column::new("id", ColumnType::Long)];
        let known: Vec<(&str, u64)> = known.iter().map(|(n, rows)| (n.as_str(), *rows)).collect();
        Table {
            contract: Contract::plain(TableName::new("public", "t").unwrap(), columns),
            loads: Loads::of(&known),
        }
    }

    /// A file of 100 bytes whose beginnings of 10 and 40 bytes were asked for.
    fn file() -> Survey {
        let prefix = |length: u64, line| Prefix {
            name: name(length),
            length,
            line,
            is_whole: true,
        };
        Survey {
            name: name(100),
            length: 100,
            packed: None,
            prefixes: vec![prefix(10, 2), prefix(40, 5)],
        }
    }

    /// What is loaded: producer, from, to.
    fn loaded(known: &[(&str, u64)], again: bool, rows: u64) -> Vec<(String, u64, u64)> {
        let known: Vec<(String, u64)> = known
            .iter()
            .map(|(n, rows)| (format!("ingest/{n}"), *rows))
            .collect();
        let table = table(&known);
        let spans = spans(&file(), "", &table, again).unwrap().into_iter();
        let parts = spans.map(|span| {
            let layout = Layout::Parquet;
            part(&table, span.load, again, layout, span.range, rows)
        });
        let left = parts.filter(|p| p.loaded < p.rows);
        left.map(|p| (p.load.producer(), p.range.base, p.range.end))
            .collect()
    }

    #[test]
    fn a_file_brings_what_no_load_has_brought() {
        let own = |suffix: &str| format!("ingest/100-{SUM}{suffix}");
        let (whole, ten, forty) = (name(100), name(10), name(40));
        // Nothing is known; all is.
        assert_eq!(loaded(&[], false, 9), [(own(""), 0, 100)]);
        assert_eq!(loaded(&[(&whole, 9)], false, 9), []);
        // A load that was cut goes on.
        assert_eq!(loaded(&[(&whole, 5)], false, 9), [(own(""), 0, 100)]);
        // It has grown, from the longest beginning on; a beginning that was cut comes first.
        assert_eq!(
            loaded(&[(&ten, 9), (&forty, 9)], false, 9),
            [(own("@40"), 40, 100)]
        );
        assert_eq!(
            loaded(&[(&ten, 9), (&format!("{forty}@10"), 5)], false, 9),
            [
                (format!("ingest/{forty}@10"), 10, 40),
                (own("@40"), 40, 100)
            ]
        );
        // What had come was loaded, whole or not.
        let rest = format!("{whole}@40");
        assert_eq!(loaded(&[(&forty, 9), (&rest, 9)], false, 9), []);
        assert_eq!(
            loaded(&[(&forty, 9), (&rest, 5)], false, 9),
            [(own("@40"), 40, 100)]
        );
    }

    #[test]
    fn again_makes_a_load_of_its_own_and_goes_on_with_one_that_was_cut() {
        let own = |suffix: &str| format!("ingest/100-{SUM}{suffix}");
        let (whole, forty) = (name(100), name(40));
        assert_eq!(loaded(&[], true, 9), [(own(""), 0, 100)]);
        assert_eq!(loaded(&[(&forty, 9)], true, 9), [(own(""), 0, 100)]);
        assert_eq!(loaded(&[(&whole, 9)], true, 9), [(own("~2"), 0, 100)]);
        let second = format!("{whole}~2");
        for again in [true, false] {
            assert_eq!(
                loaded(&[(&whole, 9), (&second, 5)], again, 9),
                [(own("~2"), 0, 100)]
            );
        }
        assert_eq!(
            loaded(&[(&whole, 9), (&second, 9)], true, 9),
            [(own("~3"), 0, 100)]
        );
        assert_eq!(loaded(&[(&whole, 9), (&second, 9)], false, 9), []);
    }

    #[test]
    fn a_beginning_that_ended_within_a_line_is_refused() {
        let mut file = file();
        file.prefixes[1].is_whole = false;
        let table = table(&[(format!("ingest/{}", name(40)), 3)]);
        let error = spans(&file, "", &table, false).unwrap_err().to_string();
        assert!(
            error.starts_with("line 5: ") && error.contains("--again"),
            "{error}"
        );
    }

    #[test]
    fn a_packed_file_is_known_by_the_name_that_older_versions_gave_it() {
        let mut file = file();
        file.packed = Some(name(77));
        let table = table(&[(format!("ingest/{}", name(77)), 9)]);
        let spans = spans(&file, "", &table, false).unwrap();
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].load.producer(), format!("ingest/77-{SUM}"));
    }
}
