//! The server under measurement: `deltaplane serve` of this binary, as a process of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use deltaplane_client::SqlClient;

use super::machine::Usage;
use crate::config::SETTINGS;

/// How long views may take until they have all rows, after the last one was committed.
const VIEWS_WAIT: Duration = Duration::from_secs(300);
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// A folder that is removed at the end, with all that is in it.
pub(super) struct Workspace(PathBuf);

impl Workspace {
    /// A new folder within `dir`, which is created if it is not there.
    pub(super) fn within(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(format!("deltaplane-bench-{}", std::process::id()));
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::create_dir(&path))
            .with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(Workspace(path.canonicalize()?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Bytes of all files of the tables.
    pub(super) fn table_bytes(&self, table: [&str; 2]) -> anyhow::Result<TableBytes> {
        let mut bytes = TableBytes::default();
        let schema = self.data().join("tables").join(table[0]);
        for entry in std::fs::read_dir(&schema)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == table[1] {
                bytes.delta_log = folder_bytes(&entry.path().join("_delta_log"))?;
                bytes.parquet = folder_bytes(&entry.path())? - bytes.delta_log;
            } else if name.to_string_lossy().starts_with("by_") {
                bytes.views += folder_bytes(&entry.path())?;
            }
        }
        Ok(bytes)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!(
                "deltaplane: {} could not be removed: {error}",
                self.0.display()
            );
        }
    }
}

/// Bytes of files, of replaced ones too while they are there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TableBytes {
    pub parquet: u64,
    pub delta_log: u64,
    pub views: u64,
}

fn folder_bytes(dir: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A file may go between the list and the look at it.
        let Ok(meta) = entry.metadata() else { continue };
        total += if meta.is_dir() {
            folder_bytes(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(total)
}

/// Ends with this value, by a kill: what it wrote is not needed any more.
pub(super) struct ServerProcess {
    process: Child,
    flight: String,
    http: String,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl ServerProcess {
    /// Starts it on free ports of this machine, and waits until it is ready.
    ///
    /// # Errors
    /// It ended instead; its own words are on standard error.
    pub(super) fn start(
        workspace: &Workspace,
        settings: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DELTAPLANE_") {
                command.env_remove(name);
            }
        }
        for (name, value) in settings {
            let setting = SETTINGS.iter().find(|s| s.name() == *name);
            let setting = setting.with_context(|| format!("no setting {name}"))?;
            command.env(setting.variable(), value);
        }
        let mut process = command
            .arg("serve")
            .arg("--data-dir")
            .arg(workspace.data())
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .env("DELTAPLANE_LOG", "warn")
            // No file of settings that lies around here is read.
            .current_dir(workspace.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let out = process.stdout.take();
        let mut server = ServerProcess {
            process,
            flight: String::new(),
            http: String::new(),
        };
        let mut line = String::new();
        if let Some(out) = out {
            BufReader::new(out).read_line(&mut line)?;
        }
        let Some((flight, http)) = addresses(&line) else {
            let _ = server.process.kill();
            bail!(
                "the server did not become ready, {}",
                server.process.wait()?
            );
        };
        (server.flight, server.http) = (flight, http);
        Ok(server)
    }

    pub(super) fn uri(&self) -> String {
        format!("http://{}", self.flight)
    }

    pub(super) fn usage(&self) -> Usage {
        Usage::of(self.process.id())
    }

    /// The figures of `/metrics`, by name with labels.
    pub(super) fn metrics(&self) -> anyhow::Result<HashMap<String, f64>> {
        let mut stream = TcpStream::connect(&self.http)?;
        stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.http
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Ok(answer.lines().filter_map(value).collect())
    }

    /// Waits until every row of the table that was acked is in a Delta version, without waiting for the commit interval.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn commit_all(
        &self,
        client: &mut SqlClient,
        table: [&str; 2],
    ) -> anyhow::Result<()> {
        // A statement that changes rows commits those that are hot first, and no row has such a time.
        let [schema, name] = table;
        let none = format!("DELETE FROM {schema}.{name} WHERE ts < TIMESTAMP '1971-01-01'");
        client.update(&none).await?;
        let hot = format!("deltaplane_hot_rows{{table=\"{schema}.{name}\"}}");
        match self.metrics()?.get(&hot) {
            Some(0.0) => Ok(()),
            hot => bail!("rows are not committed that ought to be, hot={hot:?}"),
        }
    }

    /// Waits until the views have seen the newest version of their table.
    ///
    /// # Errors
    /// The server's, or they do not within some minutes.
    pub(super) async fn views_caught_up(&self, client: &mut SqlClient) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let lag = "SELECT CAST(coalesce(sum(lag_versions), 0) AS BIGINT) FROM system.views";
            let (_, batches) = client.query(lag).await?;
            let first = batches.first().context("system.views gave no row")?;
            let lag = first.column(0).as_primitive::<Int64Type>().value(0);
            if lag == 0 {
                return Ok(());
            }
            if began.elapsed() > VIEWS_WAIT {
                bail!(
                    "views are {lag} versions behind their table, {VIEWS_WAIT:?} after its last commit"
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Of Flight and of HTTP, from the line that `serve` prints when it is ready.
fn addresses(line: &str) -> Option<(String, String)> {
    let behind = |mark: &str| {
        let (_, address) = line.split_once(mark)?;
        let (address, _) = address.split_once('/')?;
        Some(address.to_owned())
    };
    Some((behind("arrow-flight-sql://")?, behind("console http://")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_stand_in_the_line_that_says_ready() {
        let line = "deltaplane is ready: jdbc:arrow-flight-sql://127.0.0.1:4011/?useEncryption=false  console http://127.0.0.1:4012/\n";
        let both = ("127.0.0.1:4011".to_owned(), "127.0.0.1:4012".to_owned());
        assert_eq!(addresses(line), Some(both));
        assert_eq!(addresses(""), None);
    }
}
