//! The rooms' readings, held against the table of their profiles.
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
    let check = |what: &str, (low, high): (f64, f64), half: f64, of: &dyn Fn(&Reading) -> f64| {
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
