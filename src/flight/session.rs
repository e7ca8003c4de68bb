//! Sessions: a cookie, the options that a client has set with it, and what it has opened since. Nobody needs one; a client that
//! sets an option gets one. One that has ended is refused, and its transactions, prepared statements and temporary tables are gone with it: a
//! client that goes on would otherwise find itself in another schema without a word.
//!
//! Bounded in number and idle time. arrow-flight 59 has no types for these messages, so they stand here as Flight.proto has them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::TimeUnit;
use parking_lot::Mutex;
use tonic::metadata::MetadataMap;

use super::timestamps;
use crate::catalog::temporary::{TemporaryMemory, TemporaryTables};
use crate::clock::{Clock, Micros, SystemClock};
use crate::fault::{Fault, Kind};
use crate::query::{CATALOG, OfSession, PUBLIC, QueryContext, SessionLife};
use crate::system_table::{Columns, SystemTable};

/// The cookie's name, as the specification suggests it.
const COOKIE: &str = "arrow_flight_session_id";

#[derive(Clone, PartialEq, prost::Message)]
pub struct StringListValue {
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionOptionValue {
    /// None: the option is unset.
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    pub option_value: Option<OptionValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OptionValue {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    List(StringListValue),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

/// Why an option was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ErrorValue {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OptionError {
    #[prost(enumeration = "ErrorValue", tag = "1")]
    pub value: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSessionOptionsResult {
    /// Options that were not set; empty: all were.
    #[prost(map = "string, message", tag = "1")]
    pub errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseSessionResult {
    /// 1: closed.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

pub const CLOSED: i32 = 1;

#[derive(Clone, Debug)]
struct Session {
    principal: Arc<str>,
    options: Options,
    began: Micros,
    used: Instant,
    life: Arc<SessionLife>,
}

/// What a session says of its statements; none: the default.
#[derive(Clone, Debug, Default)]
struct Options {
    schema: Option<Arc<str>>,
    timestamps: Option<TimeUnit>,
}

/// What a request sets. Inside, none: back to the default.
#[derive(Default)]
struct Changes {
    schema: Option<Option<Arc<str>>>,
    timestamps: Option<Option<TimeUnit>>,
}

impl Options {
    fn change(&mut self, changes: Changes) {
        let Changes { schema, timestamps } = changes;
        self.schema = schema.unwrap_or(self.schema.take());
        self.timestamps = timestamps.unwrap_or(self.timestamps);
    }
}

/// One session as `system.sessions` shows it.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// The beginning of the id: the whole is as good as a password.
    pub id: String,
    pub principal: Arc<str>,
    pub schema: Arc<str>,
    pub began: Micros,
    pub idle_ms: u64,
    pub temporary_tables: usize,
    pub temporary_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub count: usize,
    pub idle: Duration,
}

pub struct Sessions {
    limits: Limits,
    temporary: Arc<TemporaryMemory>,
    open: Mutex<HashMap<String, Session>>,
}

/// The session id in a request's cookies.
fn id_of(headers: &MetadataMap) -> Option<&str> {
    let cookies = headers.get_all("cookie").into_iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name.trim() == COOKIE).then(|| value.trim().trim_matches('"')))
        // What is left of a cookie that was cleared.
        .filter(|id| !id.is_empty())
}

/// The header that gives a client its session.
pub fn set_cookie(id: &str) -> String {
    format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict")
}

/// The header that takes it away again.
pub fn clear_cookie() -> String {
    format!("{COOKIE}=; Path=/; Max-Age=0")
}

impl Sessions {
    /// `temporary`: what the temporary tables of all sessions take.
    pub fn new(limits: Limits, temporary: Arc<TemporaryMemory>) -> Self {
        Sessions {
            limits,
            temporary,
            open: Mutex::default(),
        }
    }

    /// The caller of a request, with what its session says, and its headers before that.
    ///
    /// # Errors
    /// UNAUTHENTICATED `session_ended`: the request names a session that is not there, or is another's. INVALID_ARGUMENT: a
    /// header says what cannot be done.
    pub fn caller(&self, principal: &str, headers: &MetadataMap) -> Result<QueryContext, Fault> {
        let mut caller = self.caller_in_session(principal, headers)?;
        caller.timestamps = timestamps::asked(headers)?.unwrap_or(caller.timestamps);
        Ok(caller)
    }

    fn caller_in_session(
        &self,
        principal: &str,
        headers: &MetadataMap,
    ) -> Result<QueryContext, Fault> {
        let mut caller = QueryContext::new(principal);
        let Some(id) = id_of(headers) else {
            return Ok(caller);
        };
        let mut open = self.open.lock();
        let own = open.get_mut(id).filter(|s| *s.principal == *principal);
        let session = own.ok_or_else(|| {
            Fault::new(
                Kind::Unauthenticated,
                "session_ended",
                "the session of this call was closed, was silent for longer than limits.session_idle, or is of a server that was restarted; connect again, or set the session's options anew",
            )
        })?;
        session.used = Instant::now();
        caller.session = OfSession::new(&session.life);
        if let Some(schema) = &session.options.schema {
            caller.schema = schema.clone();
        }
        caller.timestamps = session.options.timestamps.unwrap_or(caller.timestamps);
        Ok(caller)
    }

    /// Sets options; `known` says whether there is such a schema. Returns what was not set, and the id of a session that had
    /// to be made.
    pub fn set(
        &self,
        principal: &str,
        headers: &MetadataMap,
        request: SetSessionOptionsRequest,
        known: impl Fn(&str) -> Option<String>,
    ) -> (SetSessionOptionsResult, Option<String>) {
        let mut errors = HashMap::new();
        let mut changes = Changes::default();
        for (name, value) in request.session_options {
            let text = match value.option_value {
                None => None,
                Some(OptionValue::Text(text)) if text.is_empty() => None,
                Some(OptionValue::Text(text)) => Some(text),
                Some(_) => {
                    errors.insert(name, ErrorValue::InvalidValue);
                    continue;
                }
            };
            let fits = match (&*name.to_ascii_lowercase(), text) {
                ("catalog", None) => true,
                ("catalog", Some(text)) => text.eq_ignore_ascii_case(CATALOG),
                ("schema", None) => {
                    changes.schema = Some(None);
                    true
                }
                ("schema", Some(text)) => match known(&text) {
                    Some(own) => {
                        changes.schema = Some(Some(own.into()));
                        true
                    }
                    None => false,
                },
                (timestamps::OPTION, None) => {
                    changes.timestamps = Some(None);
                    true
                }
                (timestamps::OPTION, Some(text)) => {
                    let unit = timestamps::unit_of(&text);
                    changes.timestamps = unit.map(Some).or(changes.timestamps);
                    unit.is_some()
                }
                _ => {
                    errors.insert(name, ErrorValue::InvalidName);
                    continue;
                }
            };
            if !fits {
                errors.insert(name, ErrorValue::InvalidValue);
            }
        }
        let made = self.put(principal, headers, changes);
        let errors = errors
            .into_iter()
            .map(|(name, e)| (name, OptionError { value: e.into() }))
            .collect();
        (SetSessionOptionsResult { errors }, made)
    }

    /// Keeps options in the caller's session. A new session's id, if there was none.
    fn put(&self, principal: &str, headers: &MetadataMap, changes: Changes) -> Option<String> {
        let mut open = self.open.lock();
        let now = Instant::now();
        open.retain(|_, s| now.duration_since(s.used) < self.limits.idle);
        if let Some(session) = id_of(headers).and_then(|id| open.get_mut(id))
            && *session.principal == *principal
        {
            session.used = now;
            session.options.change(changes);
            return None;
        }
        while open.len() >= self.limits.count.max(1) {
            let oldest = open.iter().min_by_key(|(_, s)| s.used);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            open.remove(&id);
        }
        let id = crate::ids::random_id().simple().to_string();
        let mut options = Options::default();
        options.change(changes);
        let session = Session {
            principal: principal.into(),
            options,
            began: SystemClock.now(),
            used: now,
            life: Arc::new(SessionLife::new(TemporaryTables::new(&self.temporary))),
        };
        open.insert(id.clone(), session);
        Some(id)
    }

    /// Ends the caller's session. What was opened in it is over.
    ///
    /// # Errors
    /// NOT_FOUND: there is none, or no more.
    pub fn close(&self, principal: &str, headers: &MetadataMap) -> Result<(), Fault> {
        let mut open = self.open.lock();
        let own = id_of(headers).filter(|id| {
            open.get(*id)
                .is_some_and(|session| *session.principal == *principal)
        });
        match own.and_then(|id| open.remove(id)) {
            Some(_) => Ok(()),
            None => Err(Fault::new(
                Kind::NotFound,
                "session_not_found",
                "no session; it was closed or has expired, and none is needed",
            )),
        }
    }

    /// Lets go of sessions that were silent for too long.
    pub fn expire(&self) {
        let idle = self.limits.idle;
        self.open.lock().retain(|_, s| s.used.elapsed() < idle);
    }

    pub fn list(&self) -> Vec<SessionStatus> {
        let open = self.open.lock();
        let status = open.iter().map(|(id, s)| {
            let (temporary_tables, temporary_bytes) = s.life.temporary().held();
            SessionStatus {
                temporary_tables,
                temporary_bytes,
                id: id.chars().take(8).collect(),
                principal: s.principal.clone(),
                schema: s.options.schema.clone().unwrap_or_else(|| PUBLIC.into()),
                began: s.began,
                idle_ms: u64::try_from(s.used.elapsed().as_millis()).unwrap_or(u64::MAX),
            }
        });
        let mut all: Vec<SessionStatus> = status.collect();
        all.sort_by_key(|s| s.began);
        all
    }

    /// `system.sessions`.
    pub fn table(self: &Arc<Self>) -> SystemTable {
        let columns = Columns::<SessionStatus>::default()
            .text("id", |s| &s.id)
            .text("principal", |s| &s.principal)
            .text("schema", |s| &s.schema)
            .instant("began", |s| s.began)
            .long("idle_ms", |s| s.idle_ms)
            .long("temporary_tables", |s| s.temporary_tables as u64)
            .long("temporary_bytes", |s| s.temporary_bytes as u64);
        let sessions = self.clone();
        SystemTable::new("sessions", columns, move || sessions.list())
    }
}

/// A caller's options as GetSessionOptions answers: the defaults, too, so that a client need not set what it asks for.
pub fn options(caller: &QueryContext) -> GetSessionOptionsResult {
    let text = |text: &str| SessionOptionValue {
        option_value: Some(OptionValue::Text(text.to_owned())),
    };
    GetSessionOptionsResult {
        session_options: HashMap::from([
            ("catalog".to_owned(), text(CATALOG)),
            ("schema".to_owned(), text(&caller.schema)),
            (
                timestamps::OPTION.to_owned(),
                text(timestamps::name_of(caller.timestamps)),
            ),
        ]),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
