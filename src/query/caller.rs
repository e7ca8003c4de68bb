//! Who asks, and in which schema names without one are looked for. Carried along the task of a request, because each
//! statement that the request leads to (the query inside an INSERT, too) shares it. Work that the server does for itself has
//! no caller.

use std::sync::Arc;

use super::PUBLIC;

#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Arc<str>,
    /// Where unqualified names are looked for.
    pub schema: Arc<str>,
    /// The id that the client knows its query by; none: the engine gives one.
    pub query: Option<Arc<str>>,
}

impl Caller {
    pub fn new(principal: &str) -> Self {
        Caller {
            principal: principal.into(),
            schema: PUBLIC.into(),
            query: None,
        }
    }

    /// Runs a future, and everything that it awaits, in this caller's name.
    pub async fn run<F: Future>(self, work: F) -> F::Output {
        CALLER.scope(self, work).await
    }

    /// The caller of the present task: the server itself outside of a request.
    pub fn current() -> Caller {
        CALLER
            .try_with(Clone::clone)
            .unwrap_or_else(|_| Caller::new("server"))
    }
}

tokio::task_local! {
    static CALLER: Caller;
}

/// The schema of names that are written without one.
pub fn default_schema() -> Arc<str> {
    CALLER
        .try_with(|c| c.schema.clone())
        .unwrap_or_else(|_| PUBLIC.into())
}
