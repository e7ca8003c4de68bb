//! `deltaplane bench ingest`: what a row costs on its way from a client to Delta, beside what the machine can do at most with the
//! same bytes, in one run.
//!
//! The server is a process of its own (`process`), so that its CPU time and memory are told apart from the clients' (`machine`).
//! The clients (`load`) are the producers of `deltaplane-client`, and send in a closed loop or by a clock (`schedule`). What is
//! printed, and the JSON document, are made in `report`.

mod load;
mod machine;
mod options;
mod percentiles;
mod process;
mod raw;
mod report;
mod rows;
mod schedule;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ArgMatches;
use deltaplane_client::SqlClient;
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use load::Load;
use machine::Usage;
pub(super) use options::command;
use options::{Length, Options};
use percentiles::Percentiles;
use process::{ServerProcess, TableBytes, Workspace};
use report::{Figures, Report};
use rows::Rows;

/// # Errors
/// Options that do not go together, or something went wrong on the way; nothing is left running or on the disk.
pub(super) async fn run(matches: &ArgMatches) -> anyhow::Result<Outcome> {
    let options = Options::read(matches)?;
    options.resolve()?;
    // Before anything is measured: a file that cannot be written would cost the figures.
    let json = options.json.as_ref().map(|path| {
        File::create(path).with_context(|| format!("cannot write to {}", path.display()))
    });
    let json = json.transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Whichever way it ends, the server's process ends with the future that holds it.
    let report = tokio::select! {
        report = measure(options) => report?,
        _ = terminate.recv() => anyhow::bail!("ended by a signal"),
        _ = interrupt.recv() => anyhow::bail!("ended by a signal"),
    };
    print!("{}", report.text());
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &report)?;
    }
    Ok(Outcome::Done)
}

/// What the processes had used, and the server had written, at one moment.
struct Sample {
    server: Usage,
    client: Usage,
    log_bytes: u64,
    log_groups: u64,
    commits: u64,
    tables: TableBytes,
}

impl Sample {
    fn take(
        server: &ServerProcess,
        workspace: &Workspace,
        table: [&str; 2],
    ) -> anyhow::Result<Self> {
        let metrics = server.metrics()?;
        // A counter that has counted nothing yet is not there.
        let count = |name: &str| metrics.get(name).copied().unwrap_or(0.0) as u64;
        Ok(Sample {
            log_bytes: count("deltaplane_log_written_bytes_total"),
            log_groups: count("deltaplane_log_groups_total"),
            commits: count("deltaplane_commits_total"),
            tables: workspace.table_bytes(table)?,
            server: server.usage(),
            client: Usage::of(std::process::id()),
        })
    }
}

async fn measure(options: Options) -> anyhow::Result<Report> {
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let workspace = Workspace::within(&dir)?;
    let rows = Arc::new(Rows::new(&options)?);
    let table = rows::table(&options);
    let raw_put = raw::do_put(rows.pool()?, options.streams).await?;

    let server = ServerProcess::start(&workspace, &options.settings)?;
    let mut client = SqlClient::connect(&server.uri()).await?;
    for statement in rows::statements(&options)? {
        client.update(&statement).await?;
    }
    let mut load = Load::connect(&server.uri(), &options, &rows).await?;
    if !options.warm_up.is_zero() {
        load.run(Length::Time(options.warm_up)).await?;
        server.commit_all(&mut client, table).await?;
        server.views_caught_up(&mut client).await?;
    }

    let before = Sample::take(&server, &workspace, table)?;
    let sent = load.run(options.length).await?;
    let client_cpu = Usage::of(std::process::id()).cpu;
    server.commit_all(&mut client, table).await?;
    let committed = sent.began.elapsed();
    server.views_caught_up(&mut client).await?;
    let in_views = (options.views > 0).then(|| sent.began.elapsed());
    let after = Sample::take(&server, &workspace, table)?;
    let window = load.window;
    let reconnects = load.close().await?;
    drop(server);

    let log_bytes = after.log_bytes - before.log_bytes;
    let log_groups = after.log_groups - before.log_groups;
    let parquet_bytes = after.tables.parquet.saturating_sub(before.tables.parquet);
    let written = log_bytes + parquet_bytes;
    let group = usize::try_from(log_bytes / log_groups.max(1))?;
    let path = workspace.path().to_owned();
    let (append, append_groups) = tokio::task::spawn_blocking(move || {
        let append = raw::append(&path, raw::SYNC_BYTES, written)?;
        anyhow::Ok((append, raw::append(&path, group, log_bytes)?))
    })
    .await??;

    let cpu = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
    let delta_log_bytes = after
        .tables
        .delta_log
        .saturating_sub(before.tables.delta_log);
    Ok(Report::new(
        options,
        Figures {
            window,
            rows: sent.rows,
            batches: sent.batches,
            acked: sent.acked,
            committed,
            in_views,
            latency: Percentiles::of(sent.latencies),
            late: Percentiles::of(sent.late),
            server_cpu: cpu(after.server.cpu, before.server.cpu),
            client_cpu: cpu(client_cpu, before.client.cpu),
            server_resident_bytes: after.server.resident_bytes,
            server_resident_bytes_max: after.server.resident_bytes_max,
            client_resident_bytes_max: after.client.resident_bytes_max,
            log_bytes,
            log_groups,
            commits: after.commits - before.commits,
            parquet_bytes,
            delta_log_bytes,
            view_bytes: after.tables.views.saturating_sub(before.tables.views),
            reconnects,
            raw_put,
            append,
            append_groups,
        },
    ))
}
