//! `CHECK TABLE`: every file of the newest version, read to its end and compared with what the Delta log says of it.

use super::{Upkeep, part_name};
use crate::catalog::ddl_lock::Patience;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::cold::{PinnedFiles, check};
use crate::fault::{Fault, Kind};
use crate::types::TableName;

/// Problems that are told.
const TOLD: usize = 100;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked {
    pub table: TableName,
    pub version: i64,
    pub files: usize,
    pub rows: Option<usize>,
    pub bytes: u64,
    /// The file and what is wrong with it.
    pub problems: Vec<(String, String)>,
}

impl Checked {
    /// A line a problem.
    pub fn detail(&self) -> Option<String> {
        let mut lines: Vec<String> = self
            .problems
            .iter()
            .take(TOLD)
            .map(|(path, problem)| format!("{path} {problem}"))
            .collect();
        if self.problems.len() > TOLD {
            lines.push(format!("and {} more", self.problems.len() - TOLD));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// Checks that run at once, of all tables: each holds some megabytes, and reads as fast as the store gives.
pub(super) const AT_ONCE: usize = 2;

impl Upkeep {
    /// Reads the whole table; queries and commits go on, and the files stay for as long as it reads. It ends when nobody waits
    /// for it any more.
    ///
    /// # Errors
    /// NOT_FOUND; ABORTED `checks_busy` and `table_busy` after `query.timeout`; RESOURCE_EXHAUSTED `query_memory`. What is
    /// wrong with files is no error, but the answer.
    pub async fn check(&self, name: &TableName) -> Result<Checked, Fault> {
        let (table, part) = self.find(name)?;
        let patience = Patience::of_statement(&self.shared.config);
        let turn = tokio::time::timeout(patience.wait, self.checks.acquire()).await;
        let _turn = turn.map_err(|_| busy(name, patience))?;
        let view = table
            .files_within(patience, |cold| cold.part(part).view())
            .await?;
        self.engine.counted(read(&table, part, &view)).await
    }
}

async fn read(table: &Table, part: Part, view: &PinnedFiles) -> Result<Checked, Fault> {
    let mut problems = Vec::new();
    for file in view.each() {
        if let Some(problem) = check::problem(file).await {
            problems.push((file.path().to_owned(), problem));
        }
    }
    problems.sort();
    Ok(Checked {
        table: part_name(table, part),
        version: view.version(),
        files: view.files().len(),
        rows: view.rows(),
        bytes: view.bytes(),
        problems,
    })
}

fn busy(name: &TableName, patience: Patience) -> Fault {
    let Patience { wait, setting } = patience;
    Fault::new(
        Kind::Conflict,
        "checks_busy",
        format!(
            "{AT_ONCE} other CHECK TABLE statements run, table={name}, waited={wait:?}; run it again when one of them has ended, cancel one, or raise {setting}"
        ),
    )
}
