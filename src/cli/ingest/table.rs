//! What the server says before a file is looked at: the table's contract, and what was loaded into it before.

use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::AsArray;
use deltaplane_client::SqlClient;

use super::loads::Loads;
use crate::dataset::{Column, Contract, EVENT_DATE, RESERVED_COLUMNS};
use crate::query::QueryContext;
use crate::statement::Change;
use crate::types::{SameName, TableName};

/// A server that does not answer is waited for before the first row: it may be on its way up again.
const SERVER_AWAY: Duration = Duration::from_secs(10);

pub(super) struct Table {
    pub contract: Contract,
    pub loads: Loads,
}

impl Table {
    /// # Errors
    /// There is no such table, or it is a view; the server does not answer.
    pub(super) async fn read(uri: &str, table: &TableName) -> anyhow::Result<Self> {
        let show = format!("SHOW CREATE TABLE {table}");
        let (_, rows) = SqlClient::read_again(uri, &show, SERVER_AWAY)
            .await
            .map_err(crate::cli::sql::readable)?;
        let text = rows.iter().find(|b| b.num_rows() > 0);
        let text = text.and_then(|b| b.column(0).as_string_opt::<i32>());
        let ddl = text.map(|t| t.value(0));
        let ddl = ddl.context("the server shows no statement for it")?;
        let contract = match Change::parse(&QueryContext::server(), ddl)? {
            Some(Change::Create { contract, .. }) => *contract,
            Some(Change::View(_)) => {
                bail!("it is a materialized view: load the table that it reads")
            }
            _ => bail!("not a CREATE TABLE: {ddl}"),
        };
        let loads = Loads::read(uri, &contract.table.to_string(), SERVER_AWAY)
            .await
            .map_err(crate::cli::sql::readable)?;
        Ok(Table { contract, loads })
    }

    /// The column that takes the values of a sent one: by its name, or by the one that it says it comes under.
    pub(super) fn column(&self, sent: &str) -> Option<&Column> {
        let columns = &self.contract.columns;
        let named = columns.iter().find(|c| c.name.is_same_name(sent));
        named.or_else(|| columns.iter().find(|c| c.comes_under(sent)))
    }

    /// Is it a column that the server fills? A file that was exported from such a table has it.
    pub(super) fn fills(&self, sent: &str) -> bool {
        let is = |name: &str| name.is_same_name(sent);
        RESERVED_COLUMNS.into_iter().any(is)
            || (is(EVENT_DATE)
                && self.contract.event_time.is_some()
                && self.column(EVENT_DATE).is_none())
    }
}
