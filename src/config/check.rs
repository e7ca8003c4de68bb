//! What a value must be, whatever the others are. How values must go together is a matter of [`follow`](super::follow).

use super::Config;

/// A value that cannot stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub setting: &'static str,
    pub problem: String,
}

/// Offsets of texts and lists are 32 bits.
const VALUES_MAX: u64 = 1 << 30;

impl Config {
    pub(super) fn check(&self) -> Result<(), Conflict> {
        let (limits, upkeep, alerts) = (&self.limits, &self.upkeep, &self.alerts);
        for (setting, is_positive) in [
            (
                "server.shutdown_timeout",
                !self.server.shutdown_timeout.is_zero(),
            ),
            ("commit.interval", !self.commit.interval.is_zero()),
            ("commit.checkpoint_every", self.commit.checkpoint_every > 0),
            ("log.producers_max", self.log.producers_max > 0),
            ("upkeep.interval", !upkeep.interval.is_zero()),
            (
                "upkeep.target_file_bytes",
                upkeep.target_file_bytes.get() > 0,
            ),
            ("upkeep.bytes_per_second", upkeep.bytes_per_second.get() > 0),
            ("alerts.timeout", !alerts.timeout.is_zero()),
            ("alerts.parallel", alerts.parallel > 0),
            ("alerts.webhook_timeout", !alerts.webhook_timeout.is_zero()),
            ("query.timeout", !self.query.timeout.is_zero()),
            ("limits.batch_bytes_max", limits.batch_bytes_max.get() > 0),
            ("limits.connections_max", limits.connections_max > 0),
            (
                "limits.connection_streams_max",
                limits.connection_streams_max > 0,
            ),
            (
                "limits.http_connections_max",
                limits.http_connections_max > 0,
            ),
            ("limits.connection_idle", !limits.connection_idle.is_zero()),
            ("limits.message_idle", !limits.message_idle.is_zero()),
            ("limits.batch_rows_max", limits.batch_rows_max > 0),
            ("limits.columns_max", limits.columns_max > 0),
            ("limits.nesting_max", limits.nesting_max > 0),
        ] {
            if !is_positive {
                return Err(Conflict {
                    setting,
                    problem: "must be more than zero".to_owned(),
                });
            }
        }
        if upkeep.min_files < 2 {
            return Err(Conflict {
                setting: "upkeep.min_files",
                problem: "must be 2 or more".to_owned(),
            });
        }
        // Beyond these the stacks of query threads are too small.
        for (setting, value, most) in [
            ("query.terms_max", self.query.terms_max, 20_000),
            ("query.nesting_max", self.query.nesting_max, 200),
            ("query.relations_max", self.query.relations_max, 2_000),
            ("query.parameters_max", self.query.parameters_max, 1_000_000),
        ] {
            if value == 0 || value > most {
                return Err(Conflict {
                    setting,
                    problem: format!("must be 1 to {most}"),
                });
            }
        }
        for (setting, value) in [
            ("query.value_bytes_max", self.query.value_bytes_max),
            ("query.batch_bytes_max", self.query.batch_bytes_max),
        ] {
            if value.get() > VALUES_MAX {
                return Err(Conflict {
                    setting,
                    problem: "must not be larger than 1GiB".to_owned(),
                });
            }
        }
        Ok(())
    }
}
