//! The whole: opens a data directory, recovers it, and serves. Order of a start: lock, log, tables, claim, doors. Order of
//! a stop: doors, streams, flush, trim to an empty log, lock.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alert::Alerts;
use crate::catalog::checkpoint;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::parked::{ParkedState, Stage, guarded};
use crate::catalog::recover::{LastProcess, Recovery};
use crate::catalog::running::{self, Work};
use crate::catalog::temporary::{self, TemporaryMemory};
use crate::catalog::visible::{Effects, Visible};
use crate::catalog::{Registry, Shared};
use crate::clock::{SharedClock, SystemClock};
use crate::cold::Lake;
use crate::config::{Config, Resolved};
use crate::fault::{Fault, Kind};
use crate::flight;
use crate::flush;
use crate::memory;
use crate::query::{Engine, EngineConfig, Queries};
use crate::server_state::{Admin, Status};
use crate::sql::TextLimits;
use crate::statement::transaction::{self, Transactions};
use crate::sync::RwLock;
use crate::types::Lsn;
use crate::upkeep::Upkeep;
use crate::upkeep::journal::Journal;
use crate::view::{self, Views};
use crate::wal::{self, GroupHook};
use crate::web::{self, Readiness};

/// A server that takes calls. Dropping it without [`Running::shutdown`] is a crash: the log keeps what was acked.
pub struct Running {
    shared: Arc<Shared>,
    flight: SocketAddr,
    http: SocketAddr,
    readiness: Readiness,
    doors: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    upkeep: Arc<Upkeep>,
    views: Arc<Views>,
    alerts: Arc<Alerts>,
    /// The server's parts hold it weakly, so that they can end.
    _reader: Arc<dyn crate::catalog::lookup::RowReader>,
    _memory: memory::Watch,
    /// Held for as long as the directory is ours.
    _lock: File,
}

pub struct Server;

impl Server {
    /// # Errors
    /// The directory is locked by another server or cannot be written; the log is damaged or older than its tables; a port is taken.
    pub async fn start(resolved: Resolved) -> Result<Running, Fault> {
        Self::start_with(resolved, Arc::new(SystemClock)).await
    }

    pub async fn start_with(resolved: Resolved, clock: SharedClock) -> Result<Running, Fault> {
        Self::start_over(resolved, clock, None).await
    }

    /// `lake`: where the tables are, in the place of what the settings say; a test gives one whose store fails.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_over(
        resolved: Resolved,
        clock: SharedClock,
        lake: Option<Lake>,
    ) -> Result<Running, Fault> {
        Self::start_on(resolved, clock, lake, Arc::new(wal::RealDisk)).await
    }

    /// `disk`: where the log is written; a test gives one that is slow.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_on(
        resolved: Resolved,
        clock: SharedClock,
        lake: Option<Lake>,
        disk: Arc<dyn wal::Disk>,
    ) -> Result<Running, Fault> {
        let config = Arc::new(resolved.config);
        if !config.server.is_loopback() && !config.server.allow_remote {
            return Err(Fault::invalid(
                "auth_required",
                format!(
                    "refusing to listen on {} without authentication; listen on 127.0.0.1, or say --allow-remote-without-auth if the network is trusted",
                    config.server.listen
                ),
            ));
        }
        // Doors first: a taken port should not cost a recovery.
        let flight = bind(config.server.listen, "--listen").await?;
        let http = bind(config.server.http, "--http").await?;
        let lock = lock_directory(&config.server.data_dir)?;
        let watch = memory::give_back_above(config.memory_kept())
            .map_err(|e| Fault::internal(format!("no thread for the memory: {e}")))?;
        let readiness = Readiness::starting();
        let shared = recover(config.clone(), clock, lake, disk).await?;
        for table in shared.tables() {
            if !table.is_parked()
                && let Err(fault) =
                    guarded("a replay", crate::ingest::replay::resume(&shared, &table)).await
            {
                let now = shared.clock.now();
                table.park(ParkedState::new(Stage::Requeue, &fault, now));
            }
            flush::spawn(shared.clone(), table);
        }
        try_suspects(&shared).await;
        crate::catalog::parking::watch(shared.clone());

        view::recover(&shared).await;
        let limits = flight::session::Limits {
            count: config.limits.sessions_max,
            idle: config.limits.session_idle,
        };
        let temporary = TemporaryMemory::new(temporary::Limits {
            bytes: config.limits.temporary_bytes_max.as_usize(),
            session_bytes: config.limits.temporary_session_bytes_max.as_usize(),
            tables: config.limits.temporary_tables_max,
        });
        let sessions = Arc::new(flight::Sessions::new(limits, temporary));
        let transactions = Arc::new(Transactions::new(transaction::Limits {
            count: config.limits.transactions_max,
            bytes: config.limits.transaction_bytes_max.as_usize(),
            idle: config.limits.transaction_idle,
        }));
        let journal = Arc::new(Journal::new(shared.clock.clone()));
        let queries = Queries::default();
        let source = Arc::new(Status::new(
            shared.clone(),
            queries.clone(),
            sessions.clone(),
            journal.clone(),
        ));
        TextLimits {
            bytes: config.query.text_bytes_max.as_usize(),
            tokens: config.query.tokens_max,
            terms: config.query.terms_max,
            nesting: config.query.nesting_max,
            relations: config.query.relations_max,
            parameters: config.query.parameters_max,
        }
        .install();
        let engine = Engine::new(
            EngineConfig {
                threads: config.query_threads(),
                memory_bytes: config.memory.query_bytes_max.as_usize(),
                upkeep_bytes: config.memory.upkeep_bytes_max.as_usize(),
                timeout: config.query.timeout,
                spill_dir: config.server.data_dir.join("spill"),
                spill_bytes: config.query.spill_bytes_max.get(),
                value_bytes: config.query.value_bytes_max.get(),
                batch_bytes: config.query.batch_bytes_max.get(),
            },
            source.clone(),
        )?;
        let engine = Arc::new(engine);
        let reader: Arc<dyn crate::catalog::lookup::RowReader> =
            Arc::new(crate::server_state::EngineReader::new(engine.clone()));
        shared.lookups.set_reader(&reader);
        let doors = CancellationToken::new();
        let wire = flight::wire::Wire::new(flight::wire::Limits::of(&config));
        let (flight_addr, http_addr) = (local_addr(&flight)?, local_addr(&http)?);
        let upkeep = Upkeep::new(shared.clone(), engine.clone(), journal);
        upkeep.spawn();
        let views = Views::new(shared.clone(), engine.clone());
        source.set_views(&views);
        let alerts = Alerts::new(shared.clone(), engine.clone(), &http_addr.to_string());
        source.set_alerts(&alerts);
        let admin = Arc::new(Admin::new(
            shared.clone(),
            engine.clone(),
            upkeep.clone(),
            views.clone(),
            alerts.clone(),
        ));
        let service = flight::FlightSqlServer::new(flight::Parts {
            engine,
            admin: admin.clone(),
            put: admin,
            sessions,
            transactions,
            queries,
            limits: config.limits.clone(),
            prepared_bytes_max: config.memory.prepared_bytes_max,
        });
        let flight_task = tokio::spawn(flight::transport::serve(
            flight,
            service.into_service(),
            wire.clone(),
            doors.clone(),
        ));
        let web_limits = web::Limits {
            connections_max: config.limits.http_connections_max,
            head: config.limits.message_idle,
            connection_age: config.limits.connection_idle,
        };
        let web_task = web::spawn(
            http,
            web::Parts {
                status: source,
                wire,
                readiness: readiness.clone(),
                flight: flight_addr,
                limits: web_limits,
            },
            doors.clone(),
        );
        let view_task = views.spawn();
        log_health::watch(shared.clone(), readiness.clone());
        alerts.spawn();
        Ok(Running {
            alerts,
            shared,
            flight: flight_addr,
            http: http_addr,
            readiness,
            doors,
            upkeep,
            tasks: vec![flight_task, web_task, view_task],
            views,
            _reader: reader,
            _memory: watch,
            _lock: lock,
        })
    }
}

impl Running {
    pub fn flight_addr(&self) -> SocketAddr {
        self.flight
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn upkeep(&self) -> &Arc<Upkeep> {
        &self.upkeep
    }

    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }
}

async fn recover(
    config: Arc<Config>,
    clock: SharedClock,
    lake: Option<Lake>,
    disk: Arc<dyn wal::Disk>,
) -> Result<Arc<Shared>, Fault> {
    let lake = match lake {
        Some(lake) => lake,
        None => Lake::open(&config.tables_root()).await?,
    };
    let settings = wal::LogConfig {
        dir: config.log_dir(),
        segment_bytes: config.log.segment_bytes.get(),
        bytes_max: config.log.bytes_max.get(),
        queue_bytes_max: config.log.queue_bytes_max.get(),
        admission_timeout: config.log.admission_timeout,
    };
    let running = running::Running::open(&config.server.data_dir, config.server.safe);
    let suspended = running.suspended_rows().into_iter().filter_map(|number| {
        let fault = running.suspended(&Work::Rows(number))?;
        Some((number, fault))
    });
    let suspended: BTreeMap<u64, Fault> = suspended.collect();
    let (opener, mut replay) = wal::open(settings, disk.clone())?;
    let identity = identity::Identity::of(&config);
    identity.check((!opener.is_new()).then(|| opener.uuid()))?;
    let aside = wal::Aside::new(&config.log_dir(), opener.uuid(), disk.clone());
    let visible = Arc::new(Visible::default());
    let tail = replay.tail();
    let checkpoint = replay.take_checkpoint();
    let registry = {
        let uuid = opener.uuid().to_string();
        let mut recovery = Recovery::start(
            &lake,
            uuid,
            &visible,
            checkpoint.as_deref(),
            tail,
            &aside,
            LastProcess {
                now: clock.now(),
                running: running.clone(),
                suspended,
            },
        )
        .await?;
        let mut frames = 0u64;
        for frame in replay {
            recovery.frame(frame?).await?;
            frames += 1;
        }
        visible.set_read_point(tail);
        recovery.compare();
        recovery.claim().await;
        for incarnation in recovery.unclaimed() {
            // Of a table that was dropped: what stays is read and left out again by the next start.
            if let Err(error) = aside.remove(incarnation) {
                tracing::warn!(incarnation, %error, "parked rows of a dropped table were left behind");
            }
        }
        tracing::info!(frames, %tail, "log replayed");
        recovery.registry
    };
    let registry = Arc::new(RwLock::new(registry));
    let effects = Arc::new(Effects::default());
    let hook = Hook {
        registry: registry.clone(),
        visible: visible.clone(),
        effects: effects.clone(),
        flush_bytes: config.commit.bytes.as_usize(),
    };
    let log = opener.start(Arc::new(hook))?;
    identity.record(log.uuid())?;
    let hot_space = Arc::new(tokio::sync::Notify::new());
    let definitions = crate::catalog::defined::Definitions::open(
        &config.server.data_dir,
        disk,
        config.log.admission_timeout,
    );
    let definitions = Arc::new(definitions);
    Ok(Arc::new(Shared {
        config,
        clock,
        log,
        aside,
        lake,
        registry,
        visible,
        effects,
        running,
        streams: crate::catalog::streams::Streams::default(),
        lookups: crate::catalog::lookup::Lookups::default(),
        in_flight: crate::catalog::in_flight::InFlight::new(hot_space.clone()),
        hot_space,
        ddl: crate::catalog::ddl_lock::DdlLocks::default(),
        definitions,
        draining: CancellationToken::new(),
    }))
}

/// How long a start waits for the commit of one suspected table.
const SUSPECT_WAIT: Duration = Duration::from_secs(15);

/// Tables whose rows were being worked on when the last process ended: each commits alone, before anybody else is served. If the
/// process ends again, it is known which of them did it.
async fn try_suspects(shared: &Arc<Shared>) {
    for table in shared.tables() {
        let rows = Work::Rows(table.incarnation.get());
        if !shared.running.is_suspected(&rows) || table.is_parked() {
            continue;
        }
        let commit = flush::commit_within(shared, &table, Patience::of_own_work());
        match tokio::time::timeout(SUSPECT_WAIT, commit).await {
            Ok(Ok(_)) => {}
            Ok(Err(fault)) => {
                tracing::warn!(table = %table.name(), "commit failed, the rows stay hot: {fault}");
            }
            Err(_) => {
                tracing::warn!(table = %table.name(), "the commit takes long, the start goes on without it");
            }
        }
    }
}

/// What the log's writer thread does around each durable group.
struct Hook {
    registry: Arc<RwLock<Registry>>,
    visible: Arc<Visible>,
    effects: Arc<Effects>,
    flush_bytes: usize,
}

impl GroupHook for Hook {
    fn end(&self, durable: Lsn) {
        for table in self.visible.apply_group(
            &self.registry,
            self.effects.take(),
            durable,
            self.flush_bytes,
        ) {
            table.flush_now.notify_one();
        }
    }

    fn checkpoint(&self) -> Vec<u8> {
        let state = checkpoint::of(&self.registry.read(), |table| self.visible.kept_of(table));
        state.encode()
    }
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|e| {
        Fault::new(
            Kind::Unavailable,
            "address_unavailable",
            format!("cannot listen on {address}: {e}; stop what uses it, or give another address with {flag}"),
        )
    })
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, Fault> {
    listener
        .local_addr()
        .map_err(|e| Fault::internal(format!("no local address: {e}")))
}

/// One server a directory, by an advisory lock that dies with the process.
pub(crate) fn lock_directory(dir: &Path) -> Result<File, Fault> {
    let problem = |e: std::io::Error| {
        Fault::new(
            Kind::Precondition,
            "data_dir_unusable",
            format!(
                "cannot use the data directory {}: {e}; give one that can be written with --data-dir",
                dir.display()
            ),
        )
    };
    std::fs::create_dir_all(dir).map_err(problem)?;
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(problem)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Fault::new(
            Kind::Precondition,
            "data_dir_locked",
            format!(
                "another server uses the data directory {}; stop it, or give another one with --data-dir",
                dir.display()
            ),
        )),
        Err(e) => Err(problem(e.into())),
    }
}

pub(crate) mod identity;
mod log_health;
mod stop;

#[cfg(test)]
mod column_tests;
#[cfg(test)]
mod create_tests;
#[cfg(test)]
mod defined_tests;
#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod statement_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod transaction_tests;
#[cfg(test)]
mod unique_tests;
#[cfg(test)]
mod waiters_tests;
