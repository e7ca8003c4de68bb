//! What the statements of an engine have in common, and the way from a statement's text to its tree and a session to plan it in.

use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::Statement;

use super::context::QueryContext;
use super::limits::QueryLimits;
use super::prepare::Session;
use super::table_functions::Newest;
use super::world::World;
use super::{describe, history, versions};
use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::sql;

/// What the statements of an engine have in common.
pub(super) struct Shared {
    pub(super) state: Arc<SessionState>,
    pub(super) system: Arc<MemorySchemaProvider>,
    /// Tables beside the snapshot's, with their columns, for the resolution of names.
    pub(super) others: Arc<Vec<(String, Vec<String>)>>,
    pub(super) newest: Arc<Newest>,
}

impl Shared {
    /// The statement of `caller` as a query, and all that it may read. `own`: the server has written the text.
    pub(super) async fn read(
        &self,
        caller: &QueryContext,
        text: &str,
        own: bool,
        snapshot: Snapshot,
        limits: Option<&QueryLimits>,
    ) -> Result<(Session, Statement), Fault> {
        let tokens = if own {
            sql::tokens_of_own(text)?
        } else {
            sql::tokenize(text)?
        };
        let said = sql::Statement::new(text, tokens);
        if said.kind() == sql::Kind::Log {
            let asked = history::parse(said.cursor("table", &snapshot.schema))?;
            let table = history::answer(&asked, &snapshot)?;
            let session = self.session(caller, snapshot, Some(Arc::new(table)), limits);
            let statement = sql::parse_own("SELECT * FROM \"deltaplane.described\"")?;
            return Ok((session, statement));
        }
        let tokens = describe::as_known(said.into_tokens());
        let parameters = sql::parameters(&tokens);
        let parsed = if own {
            sql::parse_own_tokens(tokens)?
        } else {
            sql::parse_tokens(tokens)?
        };
        let mut statement = describe::as_query(parsed, &snapshot)?;
        let snapshot = versions::resolve(&mut statement, snapshot).await?;
        let mut session = self.session(caller, snapshot, None, limits);
        session.parameters = parameters;
        Ok((session, statement))
    }

    /// `described`: a table of this one statement.
    pub(super) fn session(
        &self,
        caller: &QueryContext,
        snapshot: Snapshot,
        described: Option<Arc<dyn TableProvider>>,
        limits: Option<&QueryLimits>,
    ) -> Session {
        let world = World {
            base: self.state.clone(),
            limits: limits.cloned(),
            principal: caller.principal.clone(),
            described,
            depth: 0,
            expanded: Arc::default(),
            snapshot,
            system: self.system.clone(),
            others: self.others.clone(),
            newest: self.newest.clone(),
        };
        world.into_session()
    }
}
