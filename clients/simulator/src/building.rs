//! Eight rooms of a building, a reading each half second, by the profile of the room.
//!
//! The kitchen may start to cook at each tick, also while it cooks: as in the system that this stands for, it then cooks practically
//! always. `bursts` makes it start about twice in a hundred minutes and not while it cooks.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::telemetry::{Clock, Telemetry, round, times_array, ts_field};

pub const ROOMS: usize = 8;
pub const TICK_MICROS: i64 = 500_000;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

/// One reading but for room and time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    temperature: f64,
    humidity: f64,
    co2: f64,
    light: i64,
    people: i64,
    motion: bool,
    energy: f64,
    air: f64,
}

pub struct Building {
    rng: SmallRng,
    clock: Clock,
    next: usize,
    time: i64,
    /// Event time of the first tick: meetings begin with each hour of run time.
    began: Option<i64>,
    cooking_until: i64,
    bursts: bool,
    schema: SchemaRef,
}

impl Building {
    pub fn new(seed: u64, clock: Clock, bursts: bool) -> Self {
        let measure = |name: &str, data_type| Field::new(name, data_type, true);
        Building {
            rng: SmallRng::seed_from_u64(seed),
            clock,
            next: 0,
            time: 0,
            began: None,
            cooking_until: i64::MIN,
            bursts,
            schema: Arc::new(Schema::new(vec![
                Field::new("room_id", DataType::Utf8, false),
                ts_field(),
                measure("temperature", DataType::Float64),
                measure("humidity", DataType::Float64),
                measure("co2_ppm", DataType::Int64),
                measure("light_lux", DataType::Int64),
                measure("occupancy_count", DataType::Int64),
                measure("motion_detected", DataType::Boolean),
                measure("energy_kwh", DataType::Float64),
                measure("air_quality_index", DataType::Int64),
            ])),
        }
    }

    /// `value` give or take a share of it.
    fn about(&mut self, value: f64, share: f64) -> f64 {
        value * (1.0 + self.rng.random_range(-share..=share))
    }

    fn whole(&mut self, low: i64, high: i64) -> i64 {
        self.rng.random_range(low..=high)
    }

    fn chance(&mut self, p: f64) -> bool {
        self.rng.random_bool(p)
    }

    /// What a room says at a time. Profiles: the smart building's simulator, room by room.
    fn reading(&mut self, room: usize) -> Reading {
        let running = self.time - self.began.unwrap_or(self.time);
        let hour = self.time.div_euclid(HOUR).rem_euclid(24);
        let working = (9..18).contains(&hour);
        // (temperature, humidity, co2, energy) as value and spread; light and people as ranges; motion; air.
        let (t, h, c, e, light, people, motion, air) = match room {
            0 => (
                (19.0, 0.01),
                (35.0, 0.03),
                (450.0, 0.05),
                (2.3, 0.08),
                (0, 0),
                (0, 0),
                Some(false),
                Air::Between(90, 100),
            ),
            1 if running.rem_euclid(HOUR) < 15 * 60 * SECOND => (
                (23.5, 0.05),
                (55.0, 0.08),
                (1200.0, 0.15),
                (1.5, 0.20),
                (400, 600),
                (6, 12),
                Some(true),
                Air::ByCo2(50.0, 20.0),
            ),
            1 => (
                (21.0, 0.03),
                (45.0, 0.05),
                (500.0, 0.10),
                (0.3, 0.15),
                (0, 100),
                (0, 0),
                Some(self.chance(0.1)),
                Air::ByCo2(50.0, 20.0),
            ),
            2 => (
                (20.5, 0.01),
                (50.0, 0.02),
                (400.0, 0.03),
                (0.05, 0.10),
                (0, 0),
                (0, 0),
                Some(false),
                Air::Between(85, 95),
            ),
            3 if working => {
                let turn = std::f64::consts::TAU * running as f64 / (120 * 60 * SECOND) as f64;
                (
                    (22.0 + 1.5 * turn.sin(), 0.0),
                    (48.0, 0.05),
                    (800.0, 0.12),
                    (1.2, 0.10),
                    (350, 500),
                    (5, 8),
                    Some(true),
                    Air::ByCo2(60.0, 15.0),
                )
            }
            3 => (
                (20.0, 0.02),
                (45.0, 0.03),
                (450.0, 0.08),
                (0.4, 0.10),
                (0, 50),
                (0, 0),
                Some(self.chance(0.05)),
                Air::ByCo2(60.0, 15.0),
            ),
            4 => {
                let per_tick = 0.02 * TICK_MICROS as f64 / (60 * SECOND) as f64;
                let starts = match self.bursts {
                    true => self.time >= self.cooking_until && self.chance(per_tick),
                    false => self.chance(0.02),
                };
                if starts {
                    self.cooking_until = self.time + self.whole(300, 900) * SECOND;
                }
                if self.time < self.cooking_until {
                    (
                        (28.0, 0.10),
                        (70.0, 0.12),
                        (1000.0, 0.20),
                        (3.5, 0.25),
                        (300, 500),
                        (1, 3),
                        Some(true),
                        Air::ByCo2(40.0, 18.0),
                    )
                } else {
                    (
                        (21.0, 0.03),
                        (50.0, 0.05),
                        (550.0, 0.10),
                        (0.6, 0.15),
                        (100, 300),
                        (0, 1),
                        Some(self.chance(0.3)),
                        Air::ByCo2(40.0, 18.0),
                    )
                }
            }
            5 => {
                let air = if self.chance(0.1) {
                    Air::Between(30, 50)
                } else {
                    Air::Between(55, 75)
                };
                (
                    (22.0, 0.15),
                    (45.0, 0.20),
                    (900.0, 0.30),
                    (1.8, 0.40),
                    (200, 700),
                    (0, 4),
                    Some(self.chance(0.6)),
                    air,
                )
            }
            6 => {
                let used = self.chance(0.25);
                let (c, e, light, people) = if used {
                    (600.0, 0.8, (250, 400), (1, 3))
                } else {
                    (450.0, 0.3, (0, 100), (0, 0))
                };
                (
                    (21.5, 0.02),
                    (47.0, 0.04),
                    (c, 0.10),
                    (e, 0.15),
                    light,
                    people,
                    Some(used),
                    Air::Between(75, 90),
                )
            }
            _ => {
                let (c, e, light, people) = if working {
                    (650.0, 0.7, (400, 450), (1, 1))
                } else {
                    (420.0, 0.2, (0, 0), (0, 0))
                };
                (
                    (21.0, 0.01),
                    (45.0, 0.02),
                    (c, 0.05),
                    (e, 0.08),
                    light,
                    people,
                    Some(working),
                    Air::Between(85, 98),
                )
            }
        };
        let co2 = self.about(c.0, c.1).round();
        Reading {
            temperature: round(self.about(t.0, t.1), 2),
            humidity: round(self.about(h.0, h.1), 2),
            co2,
            light: self.whole(light.0, light.1),
            people: self.whole(people.0, people.1),
            motion: motion.unwrap_or(false),
            energy: round(self.about(e.0, e.1), 3),
            air: match air {
                Air::Between(low, high) => self.whole(low, high) as f64,
                Air::ByCo2(least, share) => (100.0 - co2 / share).max(least).floor(),
            },
        }
    }
}

/// How a room's air quality comes about.
enum Air {
    Between(i64, i64),
    /// 100 - co2 / share, at least so much.
    ByCo2(f64, f64),
}

impl Telemetry for Building {
    fn natural_rate(&self) -> f64 {
        ROOMS as f64 * 1e6 / TICK_MICROS as f64
    }

    fn burst(&self) -> usize {
        ROOMS
    }

    fn batch(&mut self, rows: usize, now: i64) -> anyhow::Result<RecordBatch> {
        let (mut rooms, mut times, mut readings) = (
            Vec::with_capacity(rows),
            Vec::with_capacity(rows),
            Vec::with_capacity(rows),
        );
        for _ in 0..rows {
            let room = self.next % ROOMS;
            self.next += 1;
            if room == 0 {
                self.time = self.clock.tick(now);
                self.began.get_or_insert(self.time);
            }
            rooms.push(room);
            times.push(self.time);
            readings.push(self.reading(room));
        }
        const NAMES: [&str; ROOMS] = [
            "room_1", "room_2", "room_3", "room_4", "room_5", "room_6", "room_7", "room_8",
        ];
        let float = |of: fn(&Reading) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(readings.iter().map(of)))
        };
        let whole = |of: fn(&Reading) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(readings.iter().map(of)))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(
                rooms.iter().map(|r| NAMES[*r]),
            )),
            times_array(times),
            float(|r| r.temperature),
            float(|r| r.humidity),
            whole(|r| r.co2 as i64),
            whole(|r| r.light),
            whole(|r| r.people),
            Arc::new(
                readings
                    .iter()
                    .map(|r| Some(r.motion))
                    .collect::<BooleanArray>(),
            ),
            float(|r| r.energy),
            whole(|r| r.air as i64),
        ];
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

#[cfg(test)]
mod tests;
