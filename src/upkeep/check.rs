//! `CHECK TABLE`: every file of the newest version, read whole and compared with what the Delta log says of it.

use super::{Upkeep, part_name};
use crate::cold::check;
use crate::fault::Fault;
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

impl Upkeep {
    /// Reads the whole table; queries and commits go on, and the files stay for as long as it reads.
    ///
    /// # Errors
    /// NOT_FOUND. What is wrong with files is no error, but the answer.
    pub async fn check(&self, name: &TableName) -> Result<Checked, Fault> {
        let (table, part) = self.find(name)?;
        let view = table.files(|cold| cold.part(part).view()).await;
        let mut problems = Vec::new();
        // One at a time: each is in memory whole.
        for file in view.each() {
            if let Some(problem) = check::problem(file).await {
                problems.push((file.path().to_owned(), problem));
            }
        }
        problems.sort();
        Ok(Checked {
            table: part_name(&table, part),
            version: view.version(),
            files: view.files().len(),
            rows: view.rows(),
            bytes: view.bytes(),
            problems,
        })
    }
}
