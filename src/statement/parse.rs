//! Text to [`Change`]: which statement it is, and the reader of each.

use super::change::Change;
use super::{alerts, alter, ddl, define, dml, insert, replay, restore, temporary, upkeep, views};
use crate::fault::Fault;
use crate::query::QueryContext;
use crate::sql::{self, Kind, first_word};

impl Change {
    /// What the text changes, as `caller` names it; none if it is a query, or nothing that is known here.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for DDL that does not parse or a contract that contradicts itself.
    pub fn parse(caller: &QueryContext, sql: &str) -> Result<Option<Change>, Fault> {
        // Most statements are queries: they are read once, by the planner.
        let first = first_word(sql);
        let query = match first.as_str() {
            "select" | "values" | "explain" | "subscribe" => true,
            // `WITH .. INSERT INTO ..`
            "with" => {
                let text = sql.to_ascii_lowercase();
                let changes = ["insert", "update", "delete", "merge"];
                !changes.iter().any(|word| text.contains(word))
            }
            _ => false,
        };
        if query {
            return Ok(None);
        }
        let read = |schema: &str| Change::read(caller, sql, schema);
        let Some(change) = read(&caller.schema)? else {
            return Ok(None);
        };
        temporary::routed(caller, change, read).map(Some)
    }

    /// [`Change::parse`] where each name without a schema is one of `schema`.
    fn read(caller: &QueryContext, sql: &str, schema: &str) -> Result<Option<Change>, Fault> {
        let statement = sql::parse(sql)?;
        let table = || statement.cursor("table", schema);
        Ok(Some(match statement.kind() {
            Kind::Query | Kind::Subscribe | Kind::Log => return Ok(None),
            Kind::Insert => Change::Insert(Box::new(insert::parse(table())?)),
            Kind::Rows => Change::Rows(Box::new(dml::parse(statement.into_tokens(), schema)?)),
            Kind::CreateTable => ddl::create(caller, table())?,
            Kind::DropTable => ddl::drop_table(statement.into_tokens(), schema)?,
            Kind::AlterTable => alter::parse(statement.into_tokens(), schema)?,
            Kind::Comment => alter::comment(statement.into_tokens(), schema)?,
            Kind::StoredView => {
                let head = statement.cursor("view", schema);
                Change::Define(Box::new(define::view(head, schema)?))
            }
            Kind::Schema => {
                let head = statement.cursor("schema", schema);
                Change::Define(Box::new(define::schema(head)?))
            }
            Kind::View => {
                let head = statement.cursor("view", schema);
                Change::View(Box::new(views::parse(head)?))
            }
            Kind::Alert => {
                let head = statement.cursor("alert", schema);
                Change::Alert(Box::new(alerts::parse(sql, head)?))
            }
            Kind::Restore => Change::Restore(restore::parse(table())?),
            Kind::Replay => Change::Replay(Box::new(replay::parse(table())?)),
            Kind::Upkeep => Change::Upkeep(upkeep::parse(table())?),
        }))
    }
}
