//! Every default, limit and address of the server, in one table.
//!
//! `settings!` below is the only list: the structs, the TOML keys, the environment variables, the flags, the help
//! and the output of `deltaplane config` are derived from it. Where a value comes from is decided in [`sources`],
//! which default gives way to a value that was set in `follow`, and how it is written in `size`. This module
//! reads no clock and opens no socket.

mod check;
mod follow;
pub mod size;
pub mod sources;
pub mod webhooks;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use size::Value;
pub use size::{ByteSize, Duration};
pub use sources::{Error, Sources};
pub use webhooks::{Form, Webhook};

/// One row of the table of settings.
pub struct Setting {
    pub section: &'static str,
    pub key: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    /// The command line's word for it, without the dashes; settings that are rarely touched have none.
    pub flag: Option<&'static str>,
    /// The value's form, such as `SIZE` or `ADDR:PORT`.
    pub form: &'static str,
    /// TOML writes the value without quotes.
    pub bare: bool,
    set: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

impl Setting {
    /// `section.key`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// `DELTAPLANE_<SECTION>_<KEY>`.
    pub fn variable(&self) -> String {
        format!("DELTAPLANE_{}_{}", self.section, self.key).to_ascii_uppercase()
    }

    /// A flag that takes no value.
    pub fn is_switch(&self) -> bool {
        self.form == <bool as Value>::FORM
    }

    pub fn show(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

macro_rules! settings {
    (@flag) => { None };
    (@flag $flag:literal) => { Some($flag) };
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty = $default:literal $(, flag $flag:literal)?;
            )*
        }
    )+) => {
        /// What the server is told. Made by [`Sources::resolve`]; the default is what stands in the table of settings.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $( $(#[doc = $section_doc])+ pub $section: $Section, )+
            /// Where alerts are told, by name. From the file alone: a statement names one and never says where it leads.
            pub webhooks: BTreeMap<String, Webhook>,
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $key: $type, )*
            }
        )+

        /// The sections of the file, in the order in which they are shown.
        pub const SECTIONS: &[&str] = &[$(stringify!($section)),+];

        /// All settings, section by section.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting {
                section: stringify!($section),
                key: stringify!($key),
                default: $default,
                help: concat!($($doc),+),
                flag: settings!(@flag $($flag)?),
                form: <$type as Value>::FORM,
                bare: <$type as Value>::BARE,
                set: |config, text| {
                    config.$section.$key = <$type as Value>::parse(text)?;
                    Ok(())
                },
                show: |config| <$type as Value>::show(&config.$section.$key),
            },
        )*)+];

        impl Default for Config {
            fn default() -> Self {
                Config {
                    $($section: $Section {
                        $($key: <$type as Value>::parse($default).expect("each default parses, as a test shows"),)*
                    },)+
                    webhooks: BTreeMap::new(),
                }
            }
        }
    };
}

settings! {
    /// Where the server lives and listens.
    server: Server {
        /// folder of the log and, unless storage.tables says otherwise, of the tables
        data_dir: PathBuf = "./deltaplane-data", flag "data-dir";
        /// address of Flight SQL and ingest
        listen: SocketAddr = "127.0.0.1:32010", flag "listen";
        /// address of the console, /healthz, /readyz and /metrics
        http: SocketAddr = "127.0.0.1:8090", flag "http";
        /// let anyone who reaches the address read and write
        allow_remote: bool = "false", flag "allow-remote-without-auth";
        /// how long a stop may take; what is not committed by then stays in the log and is named
        shutdown_timeout: Duration = "30s";
        /// start with all views and alerts suspended, until they are resumed one by one
        safe: bool = "false", flag "safe";
    }
    /// The write-ahead log.
    log: Log {
        /// folder of the log, if it has a disk of its own; empty: <data_dir>/wal
        dir: Option<PathBuf> = "", flag "log-dir";
        /// size of one segment, preallocated
        segment_bytes: ByteSize = "64MiB";
        /// size of the whole log; when it is full, producers are pushed back
        bytes_max: ByteSize = "4GiB", flag "log-bytes-max";
        /// bytes of all producers that may wait for the disk at once
        queue_bytes_max: ByteSize = "256MiB";
        /// how long a batch waits for room before it is refused with log_full
        admission_timeout: Duration = "10s";
        /// named producers that are remembered
        producers_max: usize = "100000";
        /// a named producer that was silent for so long may be forgotten
        producer_idle: Duration = "7d";
    }
    /// Where the Delta tables are.
    storage: Storage {
        /// folder or object store URL (s3://bucket/prefix) of the tables; empty: <data_dir>/tables
        tables: Option<String> = "", flag "tables";
    }
    /// When hot rows become Delta versions.
    commit: Commit {
        /// time between two commits of one table
        interval: Duration = "10s", flag "commit-interval";
        /// hot bytes of one table that make it commit earlier
        bytes: ByteSize = "64MiB";
        /// commits between two Delta checkpoints of one table
        checkpoint_every: usize = "50";
    }
    /// What the server does for its tables when nobody asks.
    upkeep: Upkeep {
        /// compaction, vacuum and retention run by themselves
        enabled: bool = "true";
        /// time between two looks at all tables
        interval: Duration = "1min";
        /// size that data files are made to have; smaller than three quarters of it is small
        target_file_bytes: ByteSize = "128MiB";
        /// small files of about one size in one partition that are made into one
        min_files: usize = "16";
        /// a partition that got no file for so long is made whole, however few small files it has
        settle: Duration = "10min";
        /// speed at which compaction reads, so that it leaves the disk to the log
        bytes_per_second: ByteSize = "64MiB";
        /// time between two vacuums of one table
        vacuum_interval: Duration = "1h";
        /// how long removed files are kept, where delta.deletedFileRetentionDuration does not say
        file_retention: Duration = "7d";
        /// how long log entries are kept, where delta.logRetentionDuration does not say
        log_retention: Duration = "7d";
        /// a file that no version ever had goes after so long
        orphan_age: Duration = "1d";
        /// VACUUM .. RETAIN refuses less than this, and less than query.timeout; 0s lets it do anything
        retain_min: Duration = "1h";
    }
    /// What the process may hold in memory.
    memory: Memory {
        /// rows that are durable and not yet committed, all tables together; the last eighth is for tables that hold less than that
        hot_bytes_max: ByteSize = "1GiB", flag "hot-bytes-max";
        /// all queries together; beyond it they spill to disk or fail
        query_bytes_max: ByteSize = "1GiB", flag "query-bytes-max";
        /// compaction; beyond it it spills to disk
        upkeep_bytes_max: ByteSize = "64MiB";
        /// what clients have sent and is not admitted yet, all connections together; when it is spent, flow control holds them back
        wire_bytes_max: ByteSize = "512MiB";
        /// prepared statements with the rows bound to them; the least recently used goes first
        prepared_bytes_max: ByteSize = "64MiB";
    }
    /// What one query may take.
    query: Query {
        /// a query that runs longer is ended with DEADLINE_EXCEEDED
        timeout: Duration = "5min", flag "query-timeout";
        /// threads that run queries; 0: one for each core
        threads: usize = "0", flag "query-threads";
        /// disk that all queries together may spill to
        spill_bytes_max: ByteSize = "8GiB";
        /// text of one statement
        text_bytes_max: ByteSize = "1MiB";
        /// words, names, values and signs of one statement
        tokens_max: usize = "200000";
        /// operators in one expression, such as the ORs of a condition
        terms_max: usize = "10000";
        /// parentheses, functions and subqueries within each other
        nesting_max: usize = "50";
        /// SELECTs, joins and set operations of one statement
        relations_max: usize = "1000";
        /// parameters of one statement
        parameters_max: usize = "65535";
        /// one value that a function makes (a text, a list), and all constants of a statement together
        value_bytes_max: ByteSize = "64MiB";
        /// what one call of a function makes for one batch of rows
        batch_bytes_max: ByteSize = "256MiB";
    }
    /// What one request may carry.
    limits: Limits {
        /// one batch of an ingest stream, decoded
        batch_bytes_max: ByteSize = "16MiB";
        /// what one batch may become in memory: columns that are cast or filled, rejected rows and why they are
        batch_memory_max: ByteSize = "256MiB";
        /// batches of one ingest stream that are sent and not yet acked
        inflight_bytes_max: ByteSize = "64MiB";
        /// one gRPC message as it arrives
        message_bytes_max: ByteSize = "64MiB";
        /// one gRPC message of any call but DoPut: statements, tickets, actions
        request_bytes_max: ByteSize = "4MiB";
        /// what one connection has sent and is not admitted yet
        connection_bytes_max: ByteSize = "256MiB";
        /// connections to Flight that may be open at once
        connections_max: usize = "10000";
        /// calls that one connection may have open at once
        connection_streams_max: usize = "1000";
        /// connections to the console and /metrics that may be open at once
        http_connections_max: usize = "256";
        /// a connection without calls for so long is closed; clients connect again by themselves
        connection_idle: Duration = "10min";
        /// a message that is half there and does not get on for so long ends its call
        message_idle: Duration = "30s";
        /// rows of one batch of an ingest stream
        batch_rows_max: usize = "1048576";
        /// dictionaries of one stream, decoded, all together
        dictionary_bytes_max: ByteSize = "64MiB";
        /// columns of one stream's schema, nested ones counted
        columns_max: usize = "4096";
        /// levels of nested types in one stream's schema
        nesting_max: usize = "32";
        /// transactions that may be open at once
        transactions_max: usize = "1000";
        /// rows that all open transactions together may hold until they commit
        transaction_bytes_max: ByteSize = "256MiB";
        /// a transaction that was silent for so long is rolled back
        transaction_idle: Duration = "5min";
        /// sessions that are remembered; beyond it the one least used goes
        sessions_max: usize = "10000";
        /// a session that was silent for so long is forgotten
        session_idle: Duration = "1h";
        /// rows that the temporary tables of all sessions together may hold
        temporary_bytes_max: ByteSize = "256MiB";
        /// rows that the temporary tables of one session may hold
        temporary_session_bytes_max: ByteSize = "128MiB";
        /// temporary tables of one session
        temporary_tables_max: usize = "100";
        /// how long CREATE, ALTER and DROP wait for a statement that holds the table, before they give up with table_busy
        ddl_timeout: Duration = "10s";
    }
    /// Alerts. Where they are told is a table of its own, [alerts.webhooks.NAME]: url, and optionally form, repeat, bearer_token
    /// or bearer_token_file, headers.
    alerts: Alerts {
        /// alerts that may be defined
        count_max: usize = "1000";
        /// instances of one alert that may be pending or firing at once; beyond it the evaluation is an error
        instances_max: usize = "10000";
        /// keys of one DEADMAN, each with each of its sources
        keys_max: usize = "200000";
        /// evaluations that run at once; half of them, and at least one, may take longer than a second
        parallel: usize = "4";
        /// an alert's query that runs longer is an error
        timeout: Duration = "30s";
        /// how long a resolved instance stays in system.alerts
        resolved_for: Duration = "1d";
        /// a webhook that does not answer for so long is tried again
        webhook_timeout: Duration = "10s";
        /// longest pause between two tries of one webhook
        retry_max: Duration = "5min";
        /// a notification that could not be delivered for so long is given up
        retry_for: Duration = "1d";
        /// address of this server as receivers are to link to it; empty: the console's
        external_url: Option<String> = "";
    }
    /// Who may do what. Nothing to set yet: loopback is open, other addresses are refused unless asked for.
    auth: Auth {
    }
}

impl Server {
    /// Whether each address can be reached from this machine only.
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().is_loopback() && self.http.ip().is_loopback()
    }
}

impl Config {
    /// The folder of the log.
    pub fn log_dir(&self) -> PathBuf {
        self.log
            .dir
            .clone()
            .unwrap_or_else(|| self.server.data_dir.join("wal"))
    }

    /// Root of the tables: a folder, or an object store's URL.
    pub fn tables_root(&self) -> String {
        self.storage.tables.clone().unwrap_or_else(|| {
            self.server
                .data_dir
                .join("tables")
                .to_string_lossy()
                .into_owned()
        })
    }

    /// Threads that run queries, one or more.
    pub fn query_threads(&self) -> usize {
        match self.query.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// Bytes that the process may have in memory before it gives back what is free: three quarters of what the limits allow together.
    pub fn memory_kept(&self) -> u64 {
        let Memory {
            hot_bytes_max,
            query_bytes_max,
            upkeep_bytes_max,
            wire_bytes_max,
            prepared_bytes_max,
        } = &self.memory;
        let limits = [
            hot_bytes_max,
            query_bytes_max,
            upkeep_bytes_max,
            wire_bytes_max,
            prepared_bytes_max,
            &self.log.queue_bytes_max,
        ];
        let sum = limits
            .into_iter()
            .fold(0u64, |sum, limit| sum.saturating_add(limit.get()));
        sum / 4 * 3
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Not the default, because that would contradict this setting, which was set.
    Follows(&'static str),
    File {
        path: PathBuf,
        line: usize,
    },
    Variable(String),
    Flag(String),
    /// Set by the program itself: `demo` and tests.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Follows(name) => write!(f, "follows {name}"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Program => f.write_str("set by this command"),
        }
    }
}

/// A checked configuration that can say where each value comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub config: Config,
    /// By `section.key`; each setting has one.
    pub origins: BTreeMap<String, Origin>,
    /// For the log once it is set up: variables that look like settings and are none.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// Sets values in the program's own name, `(section.key, value)`; checked like any others.
    ///
    /// # Errors
    /// - as [`Sources::resolve`]
    pub fn with(mut self, values: &[(&str, &str)]) -> Result<Self, Error> {
        for (name, text) in values {
            sources::set(&mut self, name, text, Origin::Program)?;
        }
        sources::settle(&mut self)?;
        Ok(self)
    }

    /// The configuration as a file that would give it again, with each value's origin behind it.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for section in SECTIONS {
            out.push_str(&format!("[{section}]\n"));
            for setting in SETTINGS.iter().filter(|s| s.section == *section) {
                let shown = setting.show(&self.config);
                let value = if setting.bare {
                    shown
                } else {
                    toml::Value::String(shown).to_string()
                };
                let line = format!("{} = {value}", setting.key);
                let origin = self
                    .origins
                    .get(&setting.name())
                    .unwrap_or(&Origin::Default);
                out.push_str(&format!("{line:<40} # {origin}\n"));
            }
            out.push('\n');
        }
        // As remarks: what they hold is secret, also where the address is.
        for (name, webhook) in &self.config.webhooks {
            out.push_str(&format!("# [alerts.webhooks.{name}] {webhook}\n"));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

impl Default for Resolved {
    fn default() -> Self {
        Resolved {
            config: Config::default(),
            origins: SETTINGS
                .iter()
                .map(|setting| (setting.name(), Origin::Default))
                .collect(),
            warnings: Vec::new(),
        }
    }
}
