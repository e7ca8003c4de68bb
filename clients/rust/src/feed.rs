//! A table's rows as they are committed, each once: a subscription that outlives cuts of the connection and restarts of the
//! server.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::Code;

use crate::sql::{SqlClient, code, may_pass};

/// The server shows a sign of life every 10 seconds; without one for so long the connection is given up.
const SILENCE: Duration = Duration::from_secs(35);
const CONNECT: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A place in a table's past: the first row that has not been read. Kept somewhere safe together with what was made of the
/// rows, it is where another program goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub version: i64,
    pub row: i64,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the version that is committed next.
    #[default]
    Now,
    /// With the table's first.
    Beginning,
    At(Position),
}

/// The rows of one table or view as they are committed, in order, each once.
///
/// Every row bears `_change_type` (`insert`, `delete`), `_commit_version`, `_commit_timestamp` and `_commit_row` behind the
/// table's own columns. After `ALTER TABLE` the batches have the new columns.
pub struct Subscription {
    uri: String,
    table: String,
    condition: Option<String>,
    start: Start,
    give_up_after: Option<Duration>,
    rows: Option<BoxStream<'static, anyhow::Result<RecordBatch>>>,
    reconnects: u64,
}

impl Subscription {
    /// Connects at the first [`Self::next`]. `table`: `schema.table`.
    pub fn new(uri: impl Into<String>, table: impl Into<String>) -> Self {
        Subscription {
            uri: uri.into(),
            table: table.into(),
            condition: None,
            start: Start::Now,
            give_up_after: None,
            rows: None,
            reconnects: 0,
        }
    }

    #[must_use]
    pub fn starting(self, start: Start) -> Self {
        Subscription { start, ..self }
    }

    /// Only rows that meet a condition of SQL's over the table's columns.
    #[must_use]
    pub fn filtered(self, condition: impl Into<String>) -> Self {
        Subscription {
            condition: Some(condition.into()),
            ..self
        }
    }

    /// How long a server may be away; without it, for ever.
    #[must_use]
    pub fn giving_up_after(self, patience: Duration) -> Self {
        Subscription {
            give_up_after: Some(patience),
            ..self
        }
    }

    /// The first row that has not been returned; none before the server has said where "now" is.
    pub fn position(&self) -> Option<Position> {
        match self.start {
            Start::Now => None,
            Start::Beginning => Some(Position { version: 0, row: 0 }),
            Start::At(position) => Some(position),
        }
    }

    /// How often it had to connect again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// The next rows, one or more, all of one version. Waits for them; may be dropped while it waits, and asked again.
    ///
    /// # Errors
    /// What connecting again does not mend, with the server's gRPC code and text: no such table or column, a version whose
    /// files or log entries are gone. Or the server was away for longer than [`Self::giving_up_after`].
    pub async fn next(&mut self) -> anyhow::Result<RecordBatch> {
        let mut since = None;
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.step().await {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => {
                    (since, pause) = (None, PAUSE_MIN);
                    continue;
                }
                Err(error) => error,
            };
            self.rows = None;
            match code(&error) {
                // Other columns: the same place again, now.
                Some(Code::Aborted) => continue,
                Some(code) if !may_pass(code) => return Err(error),
                _ => {}
            }
            let since = *since.get_or_insert_with(Instant::now);
            if let Some(patience) = self.give_up_after
                && since.elapsed() >= patience
            {
                return Err(error.context(format!(
                    "the server was away for longer than {patience:?}, feed of {}",
                    self.table
                )));
            }
            tracing::warn!(table = %self.table, error = %format!("{error:#}"), "the feed was cut; connecting again");
            self.reconnects += 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One message. None: it had no rows.
    async fn step(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                let connect = async {
                    let mut client = SqlClient::connect(&self.uri).await?;
                    client.run(&self.statement()).await
                };
                let answer = tokio::time::timeout(CONNECT, connect).await;
                let answer = answer.map_err(|_| anyhow!("no answer within {CONNECT:?}"))??;
                self.rows.insert(answer.batches)
            }
        };
        let batch = tokio::time::timeout(SILENCE, rows.next())
            .await
            .map_err(|_| anyhow!("no sign of life within {SILENCE:?}"))?
            .context("the stream ended")??;
        let (position, is_progress) = place(&batch)?;
        let Some(position) = position else {
            return Ok(None);
        };
        self.start = Start::At(position);
        Ok((!is_progress).then_some(batch))
    }

    fn statement(&self) -> String {
        let from = match self.start {
            Start::Now => "NOW".to_owned(),
            Start::Beginning => "START".to_owned(),
            Start::At(Position { version, row }) => format!("VERSION {version} ROW {row}"),
        };
        let condition = self.condition.as_ref();
        let condition = condition.map_or_else(String::new, |c| format!(" WHERE {c}"));
        format!(
            "SUBSCRIBE {} FROM {from}{condition} WITH PROGRESS",
            self.table
        )
    }
}

/// Behind the batch's last row; and is that one the server's word on how far it is?
fn place(batch: &RecordBatch) -> anyhow::Result<(Option<Position>, bool)> {
    let Some(last) = batch.num_rows().checked_sub(1) else {
        return Ok((None, false));
    };
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .with_context(|| format!("the server sent no {name}"))
    };
    let kind = column("_change_type")?;
    let kind = kind
        .as_string_opt::<i32>()
        .context("_change_type is no text")?;
    let number = |name: &str| -> anyhow::Result<Option<i64>> {
        let column = column(name)?.as_primitive_opt::<Int64Type>();
        let column = column.with_context(|| format!("{name} is no BIGINT"))?;
        Ok(column.is_valid(last).then(|| column.value(last)))
    };
    let version = number("_commit_version")?.context("a row without a version")?;
    Ok(match number("_commit_row")? {
        Some(row) => (
            Some(Position {
                version,
                row: row + 1,
            }),
            false,
        ),
        None => {
            let next = Position {
                version: version + 1,
                row: 0,
            };
            (Some(next), kind.value(last) == "progress")
        }
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(kind: &str, version: i64, rows: &[Option<i64>]) -> RecordBatch {
        let count = rows.len();
        RecordBatch::try_from_iter([
            (
                "_change_type",
                Arc::new(StringArray::from(vec![kind; count])) as ArrayRef,
            ),
            (
                "_commit_version",
                Arc::new(Int64Array::from(vec![version; count])) as ArrayRef,
            ),
            (
                "_commit_row",
                Arc::new(Int64Array::from(rows.to_vec())) as ArrayRef,
            ),
        ])
        .unwrap()
    }

    #[test]
    fn the_place_is_behind_the_last_row_or_behind_a_whole_version() {
        let at = |version, row| Some(Position { version, row });
        let rows = batch("insert", 5, &[Some(2), Some(7)]);
        assert_eq!(place(&rows).unwrap(), (at(5, 8), false));
        let progress = batch("progress", 5, &[None]);
        assert_eq!(place(&progress).unwrap(), (at(6, 0), true));
        assert_eq!(
            place(&batch("insert", 5, &[])).unwrap(),
            (None, false),
            "an empty batch says nothing"
        );
    }

    #[test]
    fn the_statement_begins_where_the_last_one_was_cut() {
        let mut feed = Subscription::new("http://x", "a.b").filtered("n > 1");
        assert_eq!(
            feed.statement(),
            "SUBSCRIBE a.b FROM NOW WHERE n > 1 WITH PROGRESS"
        );
        feed = feed.starting(Start::At(Position { version: 3, row: 9 }));
        assert_eq!(
            feed.statement(),
            "SUBSCRIBE a.b FROM VERSION 3 ROW 9 WHERE n > 1 WITH PROGRESS"
        );
        assert_eq!(feed.position(), Some(Position { version: 3, row: 9 }));
    }
}
