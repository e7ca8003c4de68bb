//! The catalogue of one statement: a snapshot's tables and views by name. Views are planned when a statement names them, so
//! that a statement which reads none pays for none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::TableType;
use futures::future::BoxFuture;

use super::broken_view::Broken;
use super::errors::fault_of;
use super::functions::of_caller;
use super::information_schema::{self, InformationSchema};
use super::limits::QueryLimits;
use super::prepare::Session;
use super::provider::SnapshotTable;
use super::table_functions::{self, Newest};
use super::{CATALOG, PUBLIC, SYSTEM, stored, view};
use crate::catalog::defined::{StoredView, VIEWS_DEEP};
use crate::catalog::view::{Snapshot, TableView};
use crate::fault::Fault;
use crate::types::TableName;

/// What the statements of one engine share, and the snapshot of one of them.
#[derive(Clone)]
pub(super) struct World {
    /// What is the same for all statements. It is large: it is copied once a statement.
    pub base: Arc<SessionState>,
    /// The statement's, for its functions and for the optimizer.
    pub limits: Option<QueryLimits>,
    /// Who asks.
    pub principal: Arc<str>,
    pub snapshot: Snapshot,
    pub system: Arc<MemorySchemaProvider>,
    /// Tables beside the snapshot's, with their columns, for the resolution of names.
    pub others: Arc<Vec<(String, Vec<String>)>>,
    pub newest: Arc<Newest>,
    /// A table of this one statement.
    pub described: Option<Arc<dyn TableProvider>>,
    /// Views that are being planned around this.
    pub depth: usize,
    /// Has the statement read a stored view?
    pub expanded: Arc<AtomicBool>,
}

/// Its name, which no table can have.
pub(super) const DESCRIBED: &str = "deltaplane.described";

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World(read_point={})", self.snapshot.read_point)
    }
}

impl World {
    /// For one statement, which may be the query of a view.
    pub(super) fn into_session(self) -> Session {
        Session {
            state: self.session_state(),
            snapshot: self.snapshot,
            others: self.others,
            parameters: 0,
            expanded: self.expanded,
        }
    }

    /// A session in which the snapshot's names mean its tables.
    fn session_state(&self) -> SessionState {
        let this = Arc::new(self.clone());
        let (catalog, listed) = (MemoryCatalogProvider::new(), MemoryCatalogProvider::new());
        let tables = self.snapshot.tables.values();
        let defined = &self.snapshot.defined;
        let views = defined.views.values();
        let schemas: BTreeSet<&str> = tables
            .map(|view| view.name.schema())
            .chain(views.map(|view| view.name.schema()))
            .chain(defined.schemas.values().map(String::as_str))
            .chain([PUBLIC])
            .collect();
        for name in schemas {
            let schema = Arc::new(SnapshotSchema {
                name: name.to_owned(),
                world: this.clone(),
            });
            let _ = listed.register_schema(name, schema.clone());
            let _ = catalog.register_schema(name, schema);
        }
        let _ = listed.register_schema(SYSTEM, self.system.clone());
        let _ = catalog.register_schema(SYSTEM, self.system.clone());
        // Not by a builder: it registers every function again, a sixth of a short statement's time.
        let mut state = SessionState::clone(&self.base);
        if let Some(limits) = &self.limits {
            let options = state.config_mut().options_mut();
            options.extensions.insert(limits.clone());
        }
        // What now() says throughout the statement; without it now() fails where it is compared with a column.
        state.mark_start_execution();
        table_functions::register(&mut state, &self.snapshot, &self.newest);
        of_caller::register(&mut state, &self.principal, &self.snapshot.schema);
        let functions = state.table_functions().clone();
        let (snapshot, system) = (self.snapshot.clone(), self.system.clone());
        let own = InformationSchema::new(snapshot, system, catalogs(listed), functions);
        let _ = catalog.register_schema(information_schema::NAME, Arc::new(own));
        state.register_catalog_list(catalogs(catalog));
        state
    }
}

impl World {
    /// A stored view as a table, in a world of its own within this one.
    async fn planned(&self, view: &StoredView) -> Result<Arc<dyn TableProvider>, Fault> {
        let work = async {
            self.expanded.store(true, Ordering::Relaxed);
            // Names are what they were when it was created.
            let schema = view.schema.as_str().into();
            let snapshot = self.snapshot.without_temporary().in_schema(&schema);
            let (statement, snapshot) = stored::query(view, snapshot).await?;
            let inner = World {
                snapshot,
                depth: self.depth + 1,
                ..self.clone()
            };
            stored::provider(view, &inner.into_session(), statement).await
        };
        work.await.map_err(|mut fault: Fault| {
            fault.message = format!("view {}: {}", view.name, fault.message);
            fault
        })
    }
}

fn catalogs(only: MemoryCatalogProvider) -> Arc<dyn CatalogProviderList> {
    let list = MemoryCatalogProviderList::new();
    let _ = list.register_catalog(CATALOG.to_owned(), Arc::new(only));
    Arc::new(list)
}

#[derive(Debug)]
struct SnapshotSchema {
    name: String,
    world: Arc<World>,
}

impl SnapshotSchema {
    fn views(&self) -> impl Iterator<Item = &TableView> {
        let tables = self.world.snapshot.tables.values();
        tables.filter(|view| view.name.schema() == self.name)
    }

    fn described(&self, name: &str) -> Option<&Arc<dyn TableProvider>> {
        let asked = self.name == PUBLIC && name == DESCRIBED;
        self.world.described.as_ref().filter(|_| asked)
    }

    fn view(&self, name: &str) -> Option<&TableView> {
        self.views().find(|view| view.name.table() == name)
    }

    fn stored(&self) -> impl Iterator<Item = &Arc<StoredView>> {
        let views = self.world.snapshot.defined.views.values();
        views.filter(|view| view.name.schema() == self.name)
    }

    fn stored_view(&self, name: &str) -> Option<&Arc<StoredView>> {
        self.stored().find(|view| view.name.table() == name)
    }

    /// Why no more views are planned within each other here.
    fn too_deep(&self, name: &TableName) -> Option<Fault> {
        (self.world.depth >= VIEWS_DEEP).then(|| {
            Fault::invalid(
                "views_too_deep",
                format!(
                    "views read each other too deep, view={name}, limit={VIEWS_DEEP}; let one read a table"
                ),
            )
        })
    }
}

impl SnapshotSchema {
    /// Under one lifetime, for the compiler's sake (`scan`).
    fn provider<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>>> {
        Box::pin(async move {
            if let Some(described) = self.described(name) {
                return Ok(Some(described.clone()));
            }
            let Some(view) = self.view(name) else {
                let Some(view) = self.stored_view(name) else {
                    return Ok(None);
                };
                let made = match self.too_deep(&view.name) {
                    Some(fault) => Err(fault),
                    None => self.world.planned(view).await,
                };
                return Ok(Some(made.unwrap_or_else(|fault| {
                    Arc::new(Broken {
                        schema: view.columns_schema(),
                        fault,
                    })
                })));
            };
            if view.progress.is_none() {
                return Ok(Some(Arc::new(SnapshotTable::new(view.clone()))));
            }
            let world = &self.world;
            if let Some(fault) = self.too_deep(&view.name) {
                return Ok(Some(Arc::new(Broken {
                    schema: view.schema.clone(),
                    fault,
                })));
            }
            let inner = World {
                depth: world.depth + 1,
                snapshot: world.snapshot.without_temporary(),
                ..(**world).clone()
            };
            let state = inner.session_state();
            let made = view::provider(&state, view, &inner.snapshot, &world.others).await;
            // A view that cannot be planned fails the query that reads it, and no list of tables.
            Ok(Some(made.unwrap_or_else(|error| {
                Arc::new(Broken {
                    schema: view.schema.clone(),
                    fault: fault_of(error),
                })
            })))
        })
    }
}

#[async_trait]
impl SchemaProvider for SnapshotSchema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.views().map(|v| v.name.table().to_owned());
        let views = self.stored().map(|v| v.name.table().to_owned());
        tables.chain(views).collect()
    }

    fn table<'a, 'b, 'c>(
        &'a self,
        name: &'b str,
    ) -> BoxFuture<'c, Result<Option<Arc<dyn TableProvider>>>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.provider(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.view(name).is_some()
            || self.stored_view(name).is_some()
            || self.described(name).is_some()
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let table = self.view(name).map(|view| match view.progress {
            None if view.is_temporary() => TableType::Temporary,
            None => TableType::Base,
            Some(_) => TableType::View,
        });
        Ok(table.or_else(|| self.stored_view(name).map(|_| TableType::View)))
    }
}
