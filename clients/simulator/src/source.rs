//! Which dataset's devices, and what is particular about them.

use chrono::NaiveDate;

use crate::telemetry::{Clock, Telemetry};
use crate::{building, energy, reactor, satellite, vehicle};

const MILLI: i64 = 1_000;
const SECOND: i64 = 1_000_000;

#[derive(Clone, Debug, PartialEq)]
pub enum Dataset {
    Reactor {
        source: reactor::Source,
    },
    Satellite {
        first: usize,
        satellites: usize,
        rows_per_profile: usize,
    },
    Building {
        /// The kitchen cooks now and then, not practically always.
        bursts: bool,
    },
    Energy {
        date: NaiveDate,
        rows_per_device: usize,
    },
    Vehicle {
        entities: usize,
    },
}

impl Dataset {
    pub fn name(&self) -> &'static str {
        match self {
            Dataset::Reactor { .. } => "reactor",
            Dataset::Satellite { .. } => "satellite",
            Dataset::Building { .. } => "building",
            Dataset::Energy { .. } => "energy",
            Dataset::Vehicle { .. } => "vehicle",
        }
    }

    /// The seed of the system's own run, where it has one.
    pub fn seed(&self) -> u64 {
        match self {
            Dataset::Satellite { .. } => satellite::SEED,
            _ => 42,
        }
    }

    /// `now` is when event times begin unless `start` says so; both in microseconds since 1970. With a start they go on at
    /// the devices' own pace, however fast they are sent.
    ///
    /// # Errors
    /// A replay's file cannot be read.
    pub fn open(
        &self,
        seed: u64,
        now: i64,
        start: Option<i64>,
    ) -> anyhow::Result<Box<dyn Telemetry>> {
        let clock =
            |step: i64| start.map_or(Clock::live(now), |start| Clock::simulated(start, step));
        Ok(match self {
            Dataset::Reactor { source } => Box::new(reactor::Generator::new(
                source.clone(),
                seed,
                clock(100 * MILLI),
            )?),
            Dataset::Satellite {
                first,
                satellites,
                rows_per_profile,
            } => Box::new(satellite::Fleet::new(
                *first,
                *satellites,
                *rows_per_profile,
                seed,
                start,
            )),
            Dataset::Building { bursts } => {
                let clock = start.map_or(Clock::live_millis(now), |start| {
                    Clock::simulated(start, building::TICK_MICROS)
                });
                Box::new(building::Building::new(seed, clock, *bursts))
            }
            Dataset::Energy {
                date,
                rows_per_device,
            } => Box::new(energy::Fleet::new(*date, *rows_per_device)),
            Dataset::Vehicle { entities } => {
                let clock = start.map_or(Clock::live_millis(now), |start| {
                    Clock::simulated(start, 5 * SECOND)
                });
                Box::new(vehicle::Vehicles::new(*entities, seed, clock))
            }
        })
    }
}
