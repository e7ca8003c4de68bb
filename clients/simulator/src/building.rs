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
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;

    /// One row of the profiles' table: room (from 0), when it holds, and the bounds of each value.
    struct Profile {
        room: usize,
        temp: (f64, f64),
        humidity: (f64, f64),
        co2: (f64, f64),
        light: (i64, i64),
        people: (i64, i64),
        energy: (f64, f64),
    }

    fn around(value: f64, percent: f64) -> (f64, f64) {
        let by = value * percent / 100.0;
        (value - by, value + by)
    }

    /// Do the readings stay within the profile, and reach out to its ends?
    fn keeps(profile: &Profile, rows: &[Reading]) {
        let room = profile.room + 1;
        assert!(rows.len() > 200, "room {room}: {} rows", rows.len());
        // Half a unit of the last decimal is rounding.
        let check =
            |what: &str, (low, high): (f64, f64), half: f64, of: &dyn Fn(&Reading) -> f64| {
                let least = rows.iter().map(of).fold(f64::INFINITY, f64::min);
                let most = rows.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
                assert!(
                    least >= low - half && most <= high + half,
                    "room {room} {what}: {least}..{most}, not {low}..{high}"
                );
                let reach = 0.9 * (high - low) - 2.0 * half;
                assert!(most - least >= reach, "room {room} {what}: {least}..{most}");
            };
        let span = |(low, high): (i64, i64)| (low as f64, high as f64);
        check("temperature", profile.temp, 0.005, &|r| r.temperature);
        check("humidity", profile.humidity, 0.005, &|r| r.humidity);
        check("co2", profile.co2, 0.5, &|r| r.co2);
        check("energy", profile.energy, 0.0005, &|r| r.energy);
        check("light", span(profile.light), 0.0, &|r| r.light as f64);
        check("people", span(profile.people), 0.0, &|r| r.people as f64);
    }

    fn share(rows: &[Reading], of: impl Fn(&Reading) -> bool) -> f64 {
        rows.iter().filter(|r| of(r)).count() as f64 / rows.len() as f64
    }

    fn air(rows: &[Reading], of: impl Fn(&Reading) -> (f64, f64)) {
        for r in rows {
            let (low, high) = of(r);
            assert!((low..=high).contains(&r.air), "{r:?}: air is {low}..{high}");
        }
    }

    /// Readings of a room over two hours: the first from 08:00 UTC, the second from 09:00. Ticks 0 to 1799 of each hour are a meeting.
    fn two_hours(bursts: bool) -> Vec<[Reading; ROOMS]> {
        // A Monday.
        let start = 1_785_744_000 * SECOND;
        assert_eq!(start.div_euclid(HOUR) % 24, 8);
        let mut building = Building::new(7, Clock::simulated(start, TICK_MICROS), bursts);
        (0..2 * 7200)
            .map(|tick| {
                building.time = start + tick * TICK_MICROS;
                building.began.get_or_insert(start);
                std::array::from_fn(|room| building.reading(room))
            })
            .collect()
    }

    #[test]
    fn each_row_of_the_profiles_table_holds() {
        let ticks = two_hours(true);
        let rows = |room: usize, when: &dyn Fn(usize, &Reading) -> bool| -> Vec<Reading> {
            let own = ticks.iter().map(|t| t[room]).enumerate();
            own.filter(|(tick, r)| when(*tick, r))
                .map(|(_, r)| r)
                .collect()
        };
        let always = |_: usize, _: &Reading| true;
        let working = |tick: usize, _: &Reading| tick >= 7200;
        let resting = |tick: usize, _: &Reading| tick < 7200;
        let none = (0, 0);
        let profile = |room, temp, humidity, co2, light, people, energy| Profile {
            room,
            temp,
            humidity,
            co2,
            light,
            people,
            energy,
        };

        let p = profile(
            0,
            around(19.0, 1.0),
            around(35.0, 3.0),
            around(450.0, 5.0),
            none,
            none,
            around(2.3, 8.0),
        );
        let server = rows(0, &always);
        keeps(&p, &server);
        assert!(server.iter().all(|r| !r.motion));
        air(&server, |_| (90.0, 100.0));

        let meeting = rows(1, &|tick, _| tick % 7200 < 1800);
        let p = profile(
            1,
            around(23.5, 5.0),
            around(55.0, 8.0),
            around(1200.0, 15.0),
            (400, 600),
            (6, 12),
            around(1.5, 20.0),
        );
        keeps(&p, &meeting);
        assert!(meeting.iter().all(|r| r.motion));
        let by_co2 = |least: f64, by: f64| {
            move |r: &Reading| {
                let air = (100.0 - r.co2 / by).max(least).floor();
                (air, air)
            }
        };
        air(&meeting, by_co2(50.0, 20.0));
        let idle = rows(1, &|tick, _| tick % 7200 >= 1800);
        let p = profile(
            1,
            around(21.0, 3.0),
            around(45.0, 5.0),
            around(500.0, 10.0),
            (0, 100),
            none,
            around(0.3, 15.0),
        );
        keeps(&p, &idle);
        assert!((share(&idle, |r| r.motion) - 0.1).abs() < 0.02);
        air(&idle, by_co2(50.0, 20.0));

        let p = profile(
            2,
            around(20.5, 1.0),
            around(50.0, 2.0),
            around(400.0, 3.0),
            none,
            none,
            around(0.05, 10.0),
        );
        let closet = rows(2, &always);
        keeps(&p, &closet);
        assert!(closet.iter().all(|r| !r.motion));
        air(&closet, |_| (85.0, 95.0));

        // From the first to the second hour of run time, sin of a period of two hours goes from 0 down to -1 and back.
        let p = profile(
            3,
            (20.5, 22.0),
            around(48.0, 5.0),
            around(800.0, 12.0),
            (350, 500),
            (5, 8),
            around(1.2, 10.0),
        );
        let office = rows(3, &working);
        keeps(&p, &office);
        assert!(office.iter().all(|r| r.motion));
        air(&office, by_co2(60.0, 15.0));
        let p = profile(
            3,
            around(20.0, 2.0),
            around(45.0, 3.0),
            around(450.0, 8.0),
            (0, 50),
            none,
            around(0.4, 10.0),
        );
        let office = rows(3, &resting);
        keeps(&p, &office);
        assert!((share(&office, |r| r.motion) - 0.05).abs() < 0.015);
        air(&office, by_co2(60.0, 15.0));

        // 25.2 and above only occur while the kitchen cooks, 21.63 and below only while it does not.
        let cooking = rows(4, &|_, r| r.temperature > 23.0);
        let p = profile(
            4,
            around(28.0, 10.0),
            around(70.0, 12.0),
            around(1000.0, 20.0),
            (300, 500),
            (1, 3),
            around(3.5, 25.0),
        );
        keeps(&p, &cooking);
        assert!(cooking.iter().all(|r| r.motion));
        air(&cooking, by_co2(40.0, 18.0));
        let kitchen = rows(4, &|_, r| r.temperature <= 23.0);
        let p = profile(
            4,
            around(21.0, 3.0),
            around(50.0, 5.0),
            around(550.0, 10.0),
            (100, 300),
            (0, 1),
            around(0.6, 15.0),
        );
        keeps(&p, &kitchen);
        assert!((share(&kitchen, |r| r.motion) - 0.3).abs() < 0.03);
        air(&kitchen, by_co2(40.0, 18.0));

        let p = profile(
            5,
            around(22.0, 15.0),
            around(45.0, 20.0),
            around(900.0, 30.0),
            (200, 700),
            (0, 4),
            around(1.8, 40.0),
        );
        let lab = rows(5, &always);
        keeps(&p, &lab);
        assert!((share(&lab, |r| r.motion) - 0.6).abs() < 0.02);
        assert!((share(&lab, |r| r.air <= 50.0) - 0.1).abs() < 0.015);
        air(&lab, |r| {
            if r.air <= 50.0 {
                (30.0, 50.0)
            } else {
                (55.0, 75.0)
            }
        });

        let used = rows(6, &|_, r| r.motion);
        let p = profile(
            6,
            around(21.5, 2.0),
            around(47.0, 4.0),
            around(600.0, 10.0),
            (250, 400),
            (1, 3),
            around(0.8, 15.0),
        );
        keeps(&p, &used);
        let empty = rows(6, &|_, r| !r.motion);
        let p = profile(
            6,
            around(21.5, 2.0),
            around(47.0, 4.0),
            around(450.0, 10.0),
            (0, 100),
            none,
            around(0.3, 15.0),
        );
        keeps(&p, &empty);
        assert!((used.len() as f64 / ticks.len() as f64 - 0.25).abs() < 0.02);
        air(&used, |_| (75.0, 90.0));
        air(&empty, |_| (75.0, 90.0));

        let p = profile(
            7,
            around(21.0, 1.0),
            around(45.0, 2.0),
            around(650.0, 5.0),
            (400, 450),
            (1, 1),
            around(0.7, 8.0),
        );
        let boss = rows(7, &working);
        keeps(&p, &boss);
        assert!(boss.iter().all(|r| r.motion));
        air(&boss, |_| (85.0, 98.0));
        let p = profile(
            7,
            around(21.0, 1.0),
            around(45.0, 2.0),
            around(420.0, 5.0),
            none,
            none,
            around(0.2, 8.0),
        );
        let boss = rows(7, &resting);
        keeps(&p, &boss);
        assert!(boss.iter().all(|r| !r.motion));
        air(&boss, |_| (85.0, 98.0));
    }

    #[test]
    fn the_kitchen_cooks_practically_always_as_it_does_today_and_in_bursts_if_asked() {
        let cooks = |ticks: Vec<[Reading; ROOMS]>| {
            let kitchen: Vec<Reading> = ticks.iter().map(|t| t[4]).collect();
            share(&kitchen, |r| r.temperature > 23.0)
        };
        let today = cooks(two_hours(false));
        assert!(today > 0.98, "{today}");
        let bursts = cooks(two_hours(true));
        assert!((0.02..0.5).contains(&bursts), "{bursts}");
    }

    #[test]
    fn a_batch_holds_every_room_at_one_time_each_tick_and_whole_milliseconds() {
        let mut building = Building::new(7, Clock::live_millis(1_000_500), false);
        let batch = building.batch(8 * 3, 1_000_700).unwrap();
        let times = batch
            .column(1)
            .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        for tick in 0..3 {
            let of = &times.values()[tick * 8..tick * 8 + 8];
            assert!(of.iter().all(|t| *t == of[0] && t % 1000 == 0));
        }
        let co2 = batch.column(4).as_primitive::<Int64Type>();
        assert!(co2.values().iter().all(|v| (300..=5000).contains(v)));
    }
}
