#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Date32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;

use crate::query::tests::{answer, engine_over, holds};
use crate::query::{Engine, QueryContext};

fn micros(text: &str) -> i64 {
    let at = chrono::DateTime::parse_from_rfc3339(text).unwrap();
    at.timestamp_micros()
}

/// Instants, one of them in the year 9999, and local times: one that a change of the clock leaves out, and one that it repeats.
async fn engine() -> Engine {
    let instants = [
        "2026-03-29T12:00:00Z",
        "2026-10-25T00:30:00Z",
        "9999-12-30T12:00:00Z",
    ];
    let locals = [
        "2026-03-29T02:30:00Z",
        "2026-10-25T02:30:00Z",
        "9999-12-31T00:00:00Z",
    ];
    let of = |texts: [&str; 3]| TimestampMicrosecondArray::from(texts.map(micros).to_vec());
    let times = RecordBatch::try_from_iter([
        ("ts", Arc::new(of(instants).with_timezone("UTC")) as _),
        ("n", Arc::new(of(locals)) as _),
        (
            "d",
            Arc::new(Date32Array::from(vec![20_541, 20_751, 2_932_895])) as _,
        ),
    ]);
    engine_over(vec![("lab.t", times.unwrap())]).await
}

#[tokio::test]
async fn every_year_can_be_worked_with() {
    holds(&engine().await, &[
        ("SELECT count(*) FROM lab.t WHERE ts < '9999-12-31' AND n > '0001-01-01'", "3"),
        ("SELECT count(*) FROM lab.t WHERE ts < DATE '9999-12-31' AND d < '9999-12-31'", "3"),
        ("SELECT CAST(date_trunc('month', max(d)) AS DATE), date_trunc('year', DATE '0001-05-05') FROM lab.t", "9999-12-01,0001-01-01T00:00:00"),
        ("SELECT count(*) FROM lab.t WHERE ts IN (TIMESTAMP '9999-12-30 12:00:00', DATE '2026-01-01')", "1"),
        // The column is not brought to the nanoseconds of now().
        ("SELECT count(*) FROM lab.t WHERE ts > now() + INTERVAL '1000 days'", "1"),
        ("SELECT count(*) FROM lab.t WHERE coalesce(ts, now()) > '9000-01-01'", "1"),
        ("SELECT CAST('9999-12-31' AS TIMESTAMP), extract(year FROM TIMESTAMP '9999-12-31')", "9999-12-31T00:00:00,9999"),
        ("SELECT date_trunc('year', max(ts)), date_trunc('day', max(n)) FROM lab.t", "9999-01-01T00:00:00Z,9999-12-31T00:00:00"),
        ("SELECT date_bin(INTERVAL '1 hour', max(ts)), date_bin(INTERVAL '1 month', max(ts)) FROM lab.t", "9999-12-30T12:00:00Z,9999-12-01T00:00:00Z"),
        ("SELECT max(ts) + INTERVAL '1 day', max(ts) - INTERVAL '9000 years' FROM lab.t", "9999-12-31T12:00:00Z,0999-12-30T12:00:00Z"),
    ])
    .await;
}

#[tokio::test]
async fn texts_and_numbers_become_times_as_constants_and_as_columns() {
    holds(&engine().await, &[
        ("SELECT to_timestamp(s) FROM (VALUES ('2026-01-01T00:00:00+08:00'), (NULL), ('9999-01-01T00:00:00Z')) v(s)", "2025-12-31T16:00:00Z;;9999-01-01T00:00:00Z"),
        ("SELECT to_timestamp('2026-01-01T00:00:00+08:00'), to_timestamp('9999-12-31')", "2025-12-31T16:00:00Z,9999-12-31T00:00:00Z"),
        ("SELECT to_timestamp(s, '%Y/%m/%d %H:%M') FROM (VALUES ('2026/01/02 03:04')) v(s)", "2026-01-02T03:04:00Z"),
        ("SELECT to_timestamp_seconds(s), to_timestamp_millis(s), to_timestamp_micros(s), to_timestamp_nanos(s) FROM (VALUES ('2026-01-01 01:02:03.5')) v(s)",
            "2026-01-01T01:02:03Z,2026-01-01T01:02:03.500Z,2026-01-01T01:02:03.500Z,2026-01-01T01:02:03.500Z"),
        ("SELECT to_timestamp(17), to_timestamp(1.5), to_timestamp(-0.25), to_timestamp(CAST(1.25 AS DOUBLE)), to_timestamp(253402300799)",
            "1970-01-01T00:00:17Z,1970-01-01T00:00:01.500Z,1969-12-31T23:59:59.750Z,1970-01-01T00:00:01.250Z,9999-12-31T23:59:59Z"),
        ("SELECT to_timestamp(v / 4e0) FROM (VALUES (6), (NULL)) t(v)", "1970-01-01T00:00:01.500Z;"),
        ("SELECT count(*) FROM lab.t WHERE ts > to_timestamp('9000-01-01') AND to_timestamp(ts) = ts", "1"),
        ("SELECT arrow_typeof(to_timestamp(s)) FROM (VALUES ('2026-01-01')) v(s)", "Timestamp(µs, \"UTC\")"),
    ])
    .await;
    let engine = engine().await;
    for beyond in [
        "to_timestamp(CAST('NaN' AS DOUBLE))",
        "to_timestamp(v * 1e300)",
        "to_timestamp(v * 9223372036854775807)",
    ] {
        let sql = format!("SELECT {beyond} FROM (VALUES (1)) t(v)");
        assert!(answer(&engine, &sql).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn a_local_time_is_an_instant_whatever_the_clock_does() {
    holds(&engine().await, &[
        (
            "SELECT n AT TIME ZONE 'Europe/Berlin' FROM lab.t ORDER BY n",
            "2026-03-29T03:30:00+02:00;2026-10-25T02:30:00+01:00;9999-12-31T00:00:00+01:00",
        ),
        ("SELECT ts AT TIME ZONE 'Europe/Berlin' FROM lab.t ORDER BY ts LIMIT 1", "2026-03-29T14:00:00+02:00"),
        ("SELECT TIMESTAMP '2026-03-29 02:30:00' AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'UTC'", "2026-03-29T01:30:00Z"),
        // A comparison brings one side to the other's zone.
        ("SELECT count(*) FROM lab.t WHERE n = (ts AT TIME ZONE 'Europe/Berlin') OR n < (ts AT TIME ZONE 'Europe/Berlin')", "1"),
        ("SELECT ts AT TIME ZONE 'Europe/Berlin' + INTERVAL '-1 day' FROM lab.t ORDER BY ts LIMIT 1", "2026-03-28T14:00:00+01:00"),
        ("SELECT (TIMESTAMP '2026-03-28 02:30:00' AT TIME ZONE 'Europe/Berlin') + INTERVAL '1 day'", "2026-03-29T03:30:00+02:00"),
        ("SELECT (TIMESTAMP '2026-03-30 02:30:00' AT TIME ZONE 'Europe/Berlin') - INTERVAL '1 day 1 hour'", "2026-03-29T01:30:00+01:00"),
        ("SELECT date_trunc('day', ts AT TIME ZONE 'Europe/Berlin') FROM lab.t ORDER BY ts LIMIT 2", "2026-03-29T00:00:00+01:00;2026-10-25T00:00:00+02:00"),
    ])
    .await;
}

#[tokio::test]
async fn buckets_begin_at_local_midnight() {
    let first = "FROM lab.t ORDER BY ts LIMIT 1";
    let midnight = "2026-03-29T00:00:00+01:00";
    for call in [
        "time_bucket('1 day', ts, 'Europe/Berlin')",
        "time_bucket('1 day', ts AT TIME ZONE 'Europe/Berlin')",
        "time_bucket(INTERVAL '1 day', ts, 'Europe/Berlin')",
        "tumble(ts, '1 day', 'Europe/Berlin')",
        "tumble(ts AT TIME ZONE 'Europe/Berlin', '1 day')",
        "date_bin(INTERVAL '1 day', ts AT TIME ZONE 'Europe/Berlin')",
    ] {
        holds(
            &engine().await,
            &[(&format!("SELECT {call} {first}"), midnight)],
        )
        .await;
    }
    holds(&engine().await, &[
        (
            "SELECT unnest(hop(ts, '1 day', '2 days', 'Europe/Berlin')) FROM lab.t WHERE ts < '2026-04-01'",
            "2026-03-28T00:00:00+01:00;2026-03-29T00:00:00+01:00",
        ),
        (
            "SELECT time_bucket_gapfill('1 day', ts, 'Europe/Berlin', TIMESTAMP '2026-03-28' AT TIME ZONE 'Europe/Berlin', TIMESTAMP '2026-03-31' AT TIME ZONE 'Europe/Berlin') AS t, count(*) FROM lab.t WHERE ts < '2026-04-01' GROUP BY 1 ORDER BY 1",
            "2026-03-28T00:00:00+01:00,;2026-03-29T00:00:00+01:00,1;2026-03-30T00:00:00+02:00,",
        ),
        ("SELECT time_bucket('1 day', ts) FROM lab.t ORDER BY ts LIMIT 1", "2026-03-29T00:00:00Z"),
    ])
    .await;
    let engine = engine().await;
    for (sql, part) in [
        (
            "SELECT time_bucket('1 day', n, 'Europe/Berlin') FROM lab.t",
            "a time without a zone is local already",
        ),
        (
            "SELECT time_bucket('1 day', ts, 'Mars/Olympus') FROM lab.t",
            "no such time zone",
        ),
        (
            "SELECT time_bucket(INTERVAL '200000000 days', ts) FROM lab.t",
            "longer than a time can be",
        ),
        (
            "SELECT ts AT TIME ZONE 'Mars' FROM lab.t",
            "no such time zone",
        ),
        (
            "SELECT time_bucket(INTERVAL '-1 day', ts) FROM lab.t",
            "above zero",
        ),
    ] {
        let Err(fault) = answer(&engine, sql).await else {
            panic!("no error: {sql}");
        };
        assert_eq!(fault.kind, crate::fault::Kind::Invalid, "{fault}");
        assert!(fault.message.contains(part), "{fault}");
    }
}

#[tokio::test]
async fn the_time_between_two_times_has_parts() {
    let between = "(TIMESTAMP '2026-01-02 01:30:01.5' - TIMESTAMP '2026-01-01 00:00:00')";
    let of_rows = "(ts - (ts - INTERVAL '1 day 1 hour 30 minutes 1.007007 seconds'))";
    holds(
        &engine().await,
        &[
            (
                &format!("SELECT extract(day FROM {between}), extract(hour FROM {between}), extract(minute FROM {between}), extract(second FROM {between}), extract(epoch FROM {between})"),
                "1,1,30,1,91801.5",
            ),
            (
                &format!("SELECT date_part('hour', {of_rows}), date_part('minute', {of_rows}), date_part('epoch', {of_rows}) FROM lab.t WHERE d < '2026-06-01'"),
                "1,30,91801.007007",
            ),
            ("SELECT extract(epoch FROM (TIMESTAMP '2026-01-01 00:00:00' - TIMESTAMP '2026-01-01 00:00:01.25'))", "-1.25"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_day_that_an_interval_moves_is_a_time() {
    let engine = engine().await;
    holds(&engine, &[
        ("SELECT DATE '2026-11-02' - INTERVAL '12 hours', DATE '2026-11-02' + INTERVAL '36 hours'", "2026-11-01T12:00:00,2026-11-03T12:00:00"),
        ("SELECT INTERVAL '90 minutes' + DATE '2026-11-02', DATE '2026-01-31' + INTERVAL '1 month'", "2026-11-02T01:30:00,2026-02-28T00:00:00"),
        ("SELECT d + INTERVAL '1 hour' * 12, d - (ts - (ts - INTERVAL '6 hours')) FROM lab.t ORDER BY d LIMIT 1", "2026-03-29T12:00:00,2026-03-28T18:00:00"),
        ("SELECT arrow_typeof(d + INTERVAL '1 day'), arrow_typeof(d + 1), max(d) + INTERVAL '1 second' FROM lab.t GROUP BY d ORDER BY d LIMIT 1", "Timestamp(µs),Date32,2026-03-29T00:00:01"),
        // The day of the row, 2026-03-29, and its time 12:00.
        ("SELECT count(*) FROM lab.t WHERE ts >= d + INTERVAL '12 hours' AND ts < d + INTERVAL '43201 seconds'", "2"),
        ("SELECT count(*) FROM lab.t WHERE d > DATE '2026-03-30' - INTERVAL '25 hours'", "3"),
        ("SELECT count(*) FROM lab.t WHERE d > DATE '2026-03-30' - INTERVAL '24 hours'", "2"),
        ("SELECT count(*) FROM lab.t WHERE d BETWEEN DATE '2026-03-30' - INTERVAL '1 day' AND '2026-12-31'", "2"),
        ("SELECT count(*) FROM lab.t a JOIN lab.t b ON b.d = a.d + INTERVAL '210 days'", "1"),
        ("SELECT x FROM (SELECT d + INTERVAL '1 hour' AS x FROM lab.t UNION ALL SELECT d FROM lab.t) u ORDER BY x LIMIT 2", "2026-03-29T00:00:00;2026-03-29T01:00:00"),
        ("SELECT d + INTERVAL '1 hour', count(*) FROM lab.t GROUP BY d + INTERVAL '1 hour' ORDER BY 1 LIMIT 1", "2026-03-29T01:00:00,1"),
    ])
    .await;
    let early = answer(
        &engine,
        "SELECT current_date - INTERVAL '12 hours' < current_date",
    )
    .await;
    assert_eq!(early.as_deref(), Ok("true"));
}

#[tokio::test]
async fn times_are_written_without_seconds_too() {
    holds(&engine().await, &[
        ("SELECT TIMESTAMP '2026-11-01 10:20', CAST('2026-11-01T10:20Z' AS TIMESTAMP), TIMESTAMP '2026-11-01 10:20+02'", "2026-11-01T10:20:00,2026-11-01T10:20:00,2026-11-01T10:20:00"),
        ("SELECT count(*) FROM lab.t WHERE ts > '2026-03-29 11:59' AND ts <= '2026-03-29T12:00Z' AND n >= '2026-03-29 02:30'", "1"),
        ("SELECT count(*) FROM lab.t WHERE ts IN ('2026-03-29 12:00', '2026-10-25 02:30+02:00') AND ts BETWEEN '2026-01-01 00:00' AND '2026-12-31 00:00'", "2"),
        ("SELECT CAST(s AS TIMESTAMP), TRY_CAST(s AS DATE) FROM (VALUES ('2026-11-01 10:20'), ('2026-11-01T10:20:30'), (NULL)) v(s)", "2026-11-01T10:20:00,2026-11-01;2026-11-01T10:20:30,2026-11-01;,"),
        ("SELECT to_timestamp('2026-11-01 10:20'), to_timestamp(s) FROM (VALUES ('2026-11-01T10:20+02')) v(s)", "2026-11-01T10:20:00Z,2026-11-01T08:20:00Z"),
        ("SELECT '2026-03-29 02:30' AT TIME ZONE 'Europe/Berlin', TRY_CAST('2026-03-29 2x:30' AS TIMESTAMP)", "2026-03-29T03:30:00+02:00,"),
    ])
    .await;
    let engine = engine().await;
    for wrong in [
        "2026-03-29 25:30",
        "2026-03-29 10:2",
        "2026-03-29 10:20 noon",
    ] {
        let sql = format!("SELECT CAST('{wrong}' AS TIMESTAMP)");
        assert!(answer(&engine, &sql).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn a_text_beside_a_time_is_one_if_it_can_be() {
    holds(&engine().await, &[
        ("SELECT coalesce(nullif(d, '2026-03-29'), '2000-01-01') FROM lab.t ORDER BY d LIMIT 1", "2000-01-01"),
        ("SELECT coalesce(nullif(ts, '2026-03-29 12:00'), '2000-01-01 10:20') FROM lab.t ORDER BY ts LIMIT 1", "2000-01-01T10:20:00Z"),
        ("SELECT arrow_typeof(coalesce(d, '2000-01-01')), arrow_typeof(coalesce(d, '2000-01-01 10:20')), arrow_typeof(coalesce('2000-01-01', n)) FROM lab.t LIMIT 1", "Date32,Timestamp(µs),Timestamp(µs)"),
        ("SELECT arrow_typeof(CASE WHEN d > '2026-06-01' THEN '2000-01-01' ELSE d END), CASE WHEN d > '2026-06-01' THEN '2000-01-01' ELSE d END FROM lab.t ORDER BY ts LIMIT 2", "Date32,2026-03-29;Date32,2000-01-01"),
        ("SELECT coalesce(nullif(d, '2026-03-29'), '2000-01-01') + INTERVAL '1 hour' FROM lab.t ORDER BY d LIMIT 1", "2000-01-01T01:00:00"),
        ("SELECT greatest(d, '2026-05-05'), least(ts, '2026-03-29 12:30', NULL) FROM lab.t ORDER BY ts LIMIT 1", "2026-05-05,2026-03-29T12:00:00Z"),
        // What is no time makes a text of the time.
        ("SELECT coalesce(d, 'none') FROM lab.t ORDER BY ts LIMIT 2", "2026-03-29;2026-10-25"),
    ])
    .await;
}

#[tokio::test]
async fn a_day_and_a_time_without_zone_are_what_is_written() {
    const LATE: &str = "'2026-01-01T23:30:00-05:00'";
    let engine = engine().await;
    holds(&engine, &[
        (&format!("SELECT CAST({LATE} AS DATE), DATE {LATE} AS b, TRY_CAST({LATE} AS DATE) AS c, to_date({LATE}) AS d"), "2026-01-01,2026-01-01,2026-01-01,2026-01-01"),
        (&format!("SELECT CAST({LATE} AS TIMESTAMP), TIMESTAMP {LATE} AS b, CAST({LATE} AS TIMESTAMP(3)), date_trunc('day', {LATE})"), "2026-01-01T23:30:00,2026-01-01T23:30:00,2026-01-01T23:30:00,2026-01-01T00:00:00"),
        ("SELECT CAST(s AS DATE), TRY_CAST(s AS DATE), to_date(s), CAST(s AS TIMESTAMP) FROM (VALUES ('2026-01-02 02:00+09'), ('2026-01-01T23:30Z'), ('2026-01-01'), (NULL)) v(s)", "2026-01-02,2026-01-02,2026-01-02,2026-01-02T02:00:00;2026-01-01,2026-01-01,2026-01-01,2026-01-01T23:30:00;2026-01-01,2026-01-01,2026-01-01,2026-01-01T00:00:00;,,,"),
        ("SELECT CAST('2026-01-01 23:30:00 America/New_York' AS TIMESTAMP), CAST('2026-01-01 23:30:00,5-05' AS TIMESTAMP)", "2026-01-01T23:30:00,2026-01-01T23:30:00.500"),
        (&format!("SELECT DATE '2026-01-01' = {LATE}, DATE '2026-01-01' IN ({LATE}), TIMESTAMP '2026-01-01 23:30' = {LATE}"), "true,true,true"),
        ("SELECT count(*) FROM lab.t WHERE d = '2026-03-29T23:30:00-05:00' AND n = '2026-03-29 02:30+09:00'", "1"),
        ("SELECT count(*) FROM lab.t JOIN (VALUES ('2026-03-29T23:30:00-05:00')) v(s) ON d = s", "1"),
        (&format!("SELECT coalesce(CAST(NULL AS TIMESTAMP), {LATE}), d FROM lab.t WHERE d < '2026-05-01' UNION ALL SELECT {LATE} AS c, {LATE} AS d ORDER BY d"), "2026-01-01T23:30:00,2026-01-01;2026-01-01T23:30:00,2026-03-29"),
        // A moment is moved by its offset.
        (&format!("SELECT CAST({LATE} AS TIMESTAMPTZ), to_timestamp({LATE})"), "2026-01-02T04:30:00Z,2026-01-02T04:30:00Z"),
        ("SELECT count(*) FROM lab.t WHERE ts = '2026-03-29T07:00:00-05:00'", "1"),
        ("SELECT TRY_CAST('2026-01-01T23:30:00 rubbish' AS DATE), TRY_CAST('2026-02-30T23:30:00Z' AS TIMESTAMP)", ","),
    ])
    .await;
    for (sql, expected) in [
        ("SELECT CAST(? AS DATE)", "2026-01-01"),
        ("SELECT TRY_CAST(? AS DATE)", "2026-01-01"),
        ("SELECT CAST(? AS TIMESTAMP)", "2026-01-01T23:30:00"),
        ("SELECT DATE '2026-01-01' = ?", "true"),
        ("SELECT TIMESTAMP '2026-01-01 23:30' = ?", "true"),
    ] {
        let late = vec![ScalarValue::from("2026-01-01T23:30:00-05:00")];
        let asked = QueryContext::new("tests");
        let found = engine.query(&asked, sql, Some(late)).await.unwrap();
        let rows = found.collect().await.unwrap();
        let value = array_value_to_string(rows[0].column(0), 0).unwrap();
        assert_eq!(value, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_time_in_a_zone_becomes_what_its_clock_shows() {
    const BERLIN: &str =
        "FROM (SELECT ts AT TIME ZONE 'Europe/Berlin' AS t FROM lab.t) q ORDER BY t LIMIT 2";
    holds(&engine().await, &[
        (&format!("SELECT t::timestamp, t::date, t::time {BERLIN}"), "2026-03-29T14:00:00,2026-03-29,14:00:00;2026-10-25T02:30:00,2026-10-25,02:30:00"),
        (&format!("SELECT TRY_CAST(t AS TIMESTAMP), CAST(t AS TIMESTAMP(0)), t::timestamptz {BERLIN}"), "2026-03-29T14:00:00,2026-03-29T14:00:00,2026-03-29T12:00:00Z;2026-10-25T02:30:00,2026-10-25T02:30:00,2026-10-25T00:30:00Z"),
        ("SELECT (TIMESTAMPTZ '2026-11-01 23:30:00Z' AT TIME ZONE 'Europe/Berlin')::timestamp, (TIMESTAMPTZ '2026-11-01 23:30:00Z' AT TIME ZONE '+05:30')::timestamp", "2026-11-02T00:30:00,2026-11-02T05:00:00"),
        ("SELECT count(*) FROM lab.t WHERE (ts AT TIME ZONE 'Europe/Berlin')::timestamp = '2026-03-29 14:00'", "1"),
        ("SELECT ts::timestamp, CAST(NULL AS TIMESTAMPTZ) AT TIME ZONE 'Europe/Berlin' FROM lab.t ORDER BY ts LIMIT 1", "2026-03-29T12:00:00,"),
    ])
    .await;
}
