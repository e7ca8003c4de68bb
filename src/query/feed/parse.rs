//! `SUBSCRIBE [TO] table [FROM {NOW | START | VERSION n [ROW m]}] [WHERE condition] [WITH PROGRESS]`

use crate::fault::Fault;
use crate::sql::{self, Cursor, Kind, first_word, printed};
use crate::types::TableName;

const FORM: &str = "SUBSCRIBE [TO] schema.table [FROM {NOW | START | VERSION n [ROW m]}] [WHERE condition] [WITH PROGRESS]";

/// The first row that is wanted: its version, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub version: i64,
    pub row: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subscription {
    pub table: TableName,
    /// None: the version that is committed next.
    pub from: Option<Place>,
    pub condition: Option<String>,
    /// Rows that say how far the feed is, also when there is nothing to tell.
    pub progress: bool,
}

/// None: the text is another statement. `schema`: that of a name without one.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub(super) fn parse(sql: &str, schema: &str) -> Result<Option<Subscription>, Fault> {
    if first_word(sql) != "subscribe" {
        return Ok(None);
    }
    let statement = sql::parse(sql)?;
    if statement.kind() != Kind::Subscribe {
        return Ok(None);
    }
    let read = subscription(statement.cursor("table", schema));
    read.map(Some).map_err(|mut fault| {
        if fault.reason == "syntax_error" {
            fault.message.push_str("; ");
            fault.message.push_str(FORM);
        }
        fault
    })
}

fn subscription(mut rest: Cursor<'_>) -> Result<Subscription, Fault> {
    rest.skip();
    rest.words(&["TO"]);
    let table = rest.name()?;
    let mut from = None;
    if rest.words(&["FROM"]) {
        if rest.words(&["VERSION"]) {
            let version = rest.number("a whole number after VERSION")?;
            let row = rest.words(&["ROW"]);
            let row = row.then(|| rest.number("a whole number after ROW"));
            let row = row.transpose()?.unwrap_or(0);
            from = Some(Place { version, row });
        } else if rest.words(&["START"]) {
            from = Some(Place { version: 0, row: 0 });
        } else if !rest.words(&["NOW"]) {
            return Err(rest.expected("NOW, START or VERSION after FROM"));
        }
    }
    let condition = rest.words(&["WHERE"]).then(|| rest.expression());
    let condition = condition.transpose()?.map(|c| printed(&c));
    let progress = rest.words(&["WITH"]);
    if progress && !rest.words(&["PROGRESS"]) {
        return Err(rest.expected("PROGRESS after WITH"));
    }
    rest.end()?;
    Ok(Subscription {
        table,
        from,
        condition,
        progress,
    })
}
