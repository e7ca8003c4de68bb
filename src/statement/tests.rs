#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::dataset::{RuleKind, from_toml};
use crate::query::Caller;

fn created(sql: &str) -> Contract {
    match Change::parse(sql).unwrap() {
        Some(Change::Create { contract, .. }) => *contract,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_ddl_of_a_contract_reads_back_as_the_contract() {
    let contract = from_toml(include_str!("../../data/reactor/dataset.toml"))
        .unwrap()
        .tables
        .remove(0);
    let ddl = contract.to_ddl();
    assert_eq!(created(&ddl), contract, "{ddl}");
}

#[test]
fn a_users_table_takes_checks_that_are_rules_and_partitions() {
    let c = created(
        "CREATE TABLE IF NOT EXISTS t (Id BIGINT NOT NULL, x DOUBLE CHECK (X >= -1 AND x <= 2.5), s STRING, \
         CHECK (s IN ('a', 'b')), PRIMARY KEY (id)) PARTITIONED BY (s);",
    );
    assert_eq!(c.table.to_string(), "public.t");
    assert_eq!(
        (c.key, c.partition_by),
        (vec!["Id".to_owned()], vec!["s".to_owned()])
    );
    assert_eq!(
        c.rules[0].kind,
        RuleKind::Range {
            min: Some(-1.0),
            max: Some(2.5)
        }
    );
    assert_eq!(c.rules.len(), 2);
}

#[test]
fn bad_ddl_is_refused_with_its_reason() {
    for (sql, word) in [
        ("CREATE TABLE t (a UNSIGNED_THING)", "unknown type"),
        (
            "CREATE TABLE t (a BIGINT, CHECK (a * 2 > 3))",
            "no rule kind",
        ),
        ("CREATE TABLE t (a BIGINT, CHECK (b > 3))", "rule kind"),
        ("CREATE TABLE t_quarantine (a BIGINT)", "reserved"),
        ("CREATE TABLE system.t (a BIGINT)", "reserved"),
        ("CREATE TABLE t (_seq BIGINT)", "reserved"),
        (
            "CREATE TABLE t (a BIGINT) PARTITIONED BY (b)",
            "no such column",
        ),
        ("CREATE TABLE \"../x\" (a BIGINT)", "invalid name"),
        (
            "CREATE TABLE t (a BIGINT) TBLPROPERTIES ('deltaplane.colour'='red')",
            "unknown property",
        ),
        ("CREATE TABLE t (a BIGINT", "Expected"),
    ] {
        let fault = Change::parse(sql).unwrap_err();
        assert!(fault.to_string().contains(word), "{sql}: {fault}");
    }
    assert_eq!(Change::parse("SELECT 1").unwrap(), None);
}

#[test]
fn quotes_in_texts_survive_the_way_through_ddl() {
    let sql = "CREATE TABLE public.w (a STRING COMMENT 'it''s') TBLPROPERTIES ('deltaplane.unit.a'='l''eau')";
    let Some(Change::Create { contract, .. }) = Change::parse(sql).unwrap() else {
        panic!("not a create");
    };
    assert_eq!(contract.columns[0].description.as_deref(), Some("it's"));
    let Some(Change::Create {
        contract: again, ..
    }) = Change::parse(&contract.to_ddl()).unwrap()
    else {
        panic!("not a create");
    };
    assert_eq!(again, contract);
}

/// One statement of each kind.
const STATEMENTS: [&str; 26] = [
    "INSERT INTO a.b (x, y) REPLACE WHERE x = 'k' SELECT x, 1 FROM a.c WHERE y = 'a  b'",
    "UPDATE a.b SET x = 1 WHERE y = 2",
    "DELETE FROM a.b WHERE y = 2",
    "MERGE INTO a.b USING a.c s ON b.x = s.x WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
    "TRUNCATE TABLE a.b",
    "CREATE TABLE a.b (x BIGINT NOT NULL, y STRING COMMENT 'it''s') USING DELTA PARTITIONED BY (y) TBLPROPERTIES ('deltaplane.unit.x' = 'm')",
    "CREATE TABLE a.b (x, y) PARTITIONED BY (y) AS SELECT 1, 'a  b'",
    "CREATE OR REPLACE TABLE a.b AS SELECT 1 AS x",
    "CREATE TABLE a.b (LIKE a.c INCLUDING ALL)",
    "DROP TABLE IF EXISTS a.b",
    "ALTER TABLE a.b ADD COLUMN c INT",
    "ALTER TABLE a.b RENAME TO c",
    "ALTER TABLE IF EXISTS a.b ADD COLUMN IF NOT EXISTS c INT",
    "COMMENT ON COLUMN a.b.c IS 'it''s'",
    "CREATE OR REPLACE MATERIALIZED VIEW a.b WITH (delay = '2s') AS SELECT count(*) AS n FROM a.c GROUP BY tumble(ts, '1 minute')",
    "DROP MATERIALIZED VIEW IF EXISTS a.b",
    "REFRESH MATERIALIZED VIEW a.b FOR DATE '2025-08-01'",
    "ALTER MATERIALIZED VIEW a.b SET (delay = '5s')",
    "CREATE ALERT a.b ON a.c BY (x) DEADMAN '30s' LABELS (severity = 'page')",
    "DROP ALERT IF EXISTS a.b",
    "RESTORE TABLE a.b TO VERSION AS OF 3",
    "REPLAY QUARANTINE a.b SET x = -1 WHERE y = 2 DRY RUN",
    "OPTIMIZE a.b ZORDER BY (x, y)",
    "VACUUM a.b RETAIN 168 HOURS DRY RUN",
    "CHECK TABLE a.b",
    "REPAIR TABLE a.b ACCEPT LOSS",
];

/// dbt puts a comment before every statement that it sends.
#[test]
fn comments_before_within_and_behind_a_statement_change_nothing() {
    let read = |sql: &str| told(Change::parse(sql).unwrap().unwrap());
    for sql in STATEMENTS {
        let plain = read(sql);
        // A view keeps the text of its query: only its head can hold comments unseen.
        let within = sql.replacen(' ', " /* DROP /* TABLE */ x */ -- y\n", 2);
        for text in [
            format!("/* {{\"app\": \"dbt\"}} */\n{sql}"),
            format!("-- dbt\n\n\t{sql};"),
            format!("{sql}; -- the end"),
            format!("{sql} /* the end */ ;"),
            within,
        ] {
            assert_eq!(read(&text), plain, "{text}");
        }
    }
}

/// A name without a schema is of the session's, in every kind of statement.
#[tokio::test]
async fn a_name_without_a_schema_is_of_the_sessions() {
    let mut caller = Caller::new("ann");
    caller.schema = "building".into();
    let read = async |sql: &str| {
        let sql = sql.to_owned();
        let work = async move { Change::parse(&sql).unwrap() };
        caller.clone().run(work).await
    };
    for sql in STATEMENTS {
        let bare = sql.replace("a.b", "b").replace(" ON a.c", " ON c");
        let full = sql
            .replace("a.b", "building.b")
            .replace(" ON a.c", " ON building.c");
        let (bare, full) = (read(&bare).await, read(&full).await);
        assert_eq!(told(bare.unwrap()), told(full.unwrap()), "{sql}");
    }
}

/// Without the whole text, which an alert keeps for places in errors.
fn told(change: Change) -> Change {
    match change {
        Change::Alert(mut alert) => {
            if let AlertChange::Create { text, .. } = &mut *alert {
                text.clear();
            }
            Change::Alert(alert)
        }
        change => change,
    }
}

#[test]
fn errors_have_the_line_and_column_of_the_whole_text() {
    for (sql, place) in [
        ("CREATE TABLE t (\n  a BIGINT,\n  b 5\n)", (3, 5)),
        ("CREATE TABLE t (a BIGINT)\nPARTITIONED (a)", (2, 13)),
        ("CREATE TABLE t (a BIGINT)\nPARTITIONED BY (a, 1)", (2, 20)),
        (
            "CREATE TABLE t (a BIGINT) PARTITIONED BY (a)\n nonsense",
            (2, 2),
        ),
        ("CREATE TABLE t (a BIGINT) TBLPROPERTIES ('x'\n 1)", (2, 2)),
        ("CREATE TABLE t (a BIGINT) USING\nparquet", (2, 1)),
        ("DROP TABLE\n 5", (2, 2)),
        ("ALTER TABLE t\n ADD COLUMN 5", (2, 13)),
        ("INSERT\n t SELECT 1", (2, 2)),
        ("INSERT INTO t\nSELECT 1 FROM )", (2, 15)),
        ("INSERT INTO t REPLACE WHERE a\n> 1 SELECT 1", (2, 1)),
        ("UPDATE t\nSET 5", (2, 5)),
        ("DELETE FROM t\nWHERE )", (2, 7)),
        ("MERGE INTO t USING s ON true\nWHEN 5", (2, 6)),
        ("CREATE MATERIALIZED VIEW v AS\nSELECT 1 FROM )", (2, 15)),
        ("CREATE ALERT v EVERY\n 5 AS SELECT 1", (2, 2)),
        ("RESTORE t TO\n 5", (2, 2)),
        ("REPLAY QUARANTINE t\nWHERE )", (2, 7)),
        ("REPLAY QUARANTINE t SET a =\n b", (2, 2)),
        ("OPTIMIZE t\nWHERE x", (2, 1)),
        ("VACUUM t RETAIN\n soon", (2, 2)),
        ("CHECK TABLE t\nnow", (2, 1)),
    ] {
        let (line, column) = place;
        for (text, line) in [
            (sql.to_owned(), line),
            (format!("/* ü\n*/\n{sql}"), line + 2),
            (format!("-- ü\n{sql}"), line + 1),
        ] {
            let fault = Change::parse(&text).unwrap_err();
            let place = format!("at Line: {line}, Column: {column}");
            assert!(
                fault.message.contains(&place),
                "{text}: {fault}, not {place}"
            );
        }
    }
}

/// Contracts of every shape that a `dataset.toml` can say and [`Contract::validate_self`] takes.
mod whole {
    use proptest::prelude::*;

    use crate::dataset::{
        Action, Column, ColumnType, Contract, EpochUnit, Rule, RuleKind, UnknownColumns,
    };
    use crate::types::TableName;

    /// Texts with what SQL, JSON and shells trip over.
    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec![
                "a", "B", "'", "''", "\"", "\\", "\n", "%", "ü", "--", ";", ",", "(", "{", "1",
            ]),
            0..8,
        )
        .prop_map(|parts| parts.concat())
    }

    fn bound() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-1000i32..1000).prop_map(f64::from),
            -1e300..1e300f64,
            Just(0.1),
            Just(-1e-9),
        ]
    }

    fn action() -> impl Strategy<Value = Action> {
        prop::sample::select(vec![
            Action::Reject,
            Action::Null,
            Action::Clamp,
            Action::Warn,
            Action::Fail,
        ])
    }

    fn column_type() -> impl Strategy<Value = ColumnType> {
        prop::sample::select(vec![
            ColumnType::Boolean,
            ColumnType::Byte,
            ColumnType::Short,
            ColumnType::Int,
            ColumnType::Long,
            ColumnType::Float,
            ColumnType::Double,
            ColumnType::String,
            ColumnType::Binary,
            ColumnType::Date,
            ColumnType::Timestamp,
            ColumnType::TimestampNtz,
            ColumnType::Decimal {
                precision: 10,
                scale: 2,
            },
        ])
    }

    fn column(name: String) -> impl Strategy<Value = Column> {
        let zone = prop::option::of(Just("Europe/Berlin".to_owned()));
        let unit = prop::option::of(prop::sample::select(vec![
            EpochUnit::S,
            EpochUnit::Ms,
            EpochUnit::Us,
            EpochUnit::Ns,
        ]));
        (
            column_type(),
            any::<bool>(),
            prop::option::of(text()),
            prop::option::of(text()),
            prop::option::of(text()),
            zone,
            unit,
            prop::option::of(Just("_ingest_ts".to_owned())),
        )
            .prop_map(
                move |(data_type, required, unit, description, default, zone, time, from)| {
                    let time_of_day = data_type == ColumnType::Timestamp;
                    Column {
                        required,
                        unit,
                        description,
                        default: default.map(serde_json::Value::String),
                        timezone: zone.filter(|_| time_of_day),
                        time_unit: time.filter(|_| time_of_day),
                        from,
                        ..Column::new(name.clone(), data_type)
                    }
                },
            )
    }

    /// A rule for a column, if the kind drawn fits it.
    fn rule(
        column: &Column,
        kind: u8,
        low: f64,
        high: f64,
        words: Vec<String>,
        action: Action,
    ) -> Option<Rule> {
        let kind = match (kind, column.data_type) {
            (0, t) if t.is_number() => RuleKind::Range {
                min: Some(low.min(high)),
                max: Some(low.max(high)),
            },
            (1, t) if t.is_number() => RuleKind::Range {
                min: Some(low),
                max: None,
            },
            (2, t) if t.is_number() => RuleKind::Range {
                min: None,
                max: Some(high),
            },
            (3, ColumnType::String) => RuleKind::Enum { values: words },
            (4, ColumnType::String) => RuleKind::Regex {
                pattern: r"^[a-z']+\d*$".to_owned(),
            },
            (5, ColumnType::Timestamp) => RuleKind::MaxFuture { micros: 10_000_000 },
            (6, ColumnType::Timestamp) => RuleKind::MaxLate { micros: 60_000_000 },
            (7, ColumnType::String) => RuleKind::Referential {
                table: TableName::new("d", "dim").ok()?,
                column: "id".to_owned(),
            },
            (8, _) => RuleKind::Unique {
                columns: vec![column.name.clone(), "c0".to_owned()],
            },
            (9, _) => RuleKind::Monotonic {
                by: vec!["c0".to_owned()],
            },
            (10, ColumnType::String) => RuleKind::MaxLength { chars: 3 },
            _ => return None,
        };
        Some(Rule::new(&column.name, kind, action))
    }

    pub(super) fn contract() -> impl Strategy<Value = Contract> {
        let columns = (1usize..6)
            .prop_flat_map(|n| (0..n).map(|i| column(format!("c{i}"))).collect::<Vec<_>>());
        let draws = prop::collection::vec(
            (
                0usize..6,
                0u8..11,
                bound(),
                bound(),
                prop::collection::vec(text(), 1..3),
                action(),
            ),
            0..8,
        );
        let switches = (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            prop::sample::select(vec![
                UnknownColumns::Reject,
                UnknownColumns::Ignore,
                UnknownColumns::Add,
            ]),
            action(),
        );
        let kept = (
            prop::option::of(Just("3d".to_owned())),
            prop::option::of(Just("interval 7 days".to_owned())),
        );
        (columns, draws, switches, kept, 1u32..9).prop_map(
            |(
                columns,
                draws,
                (event, partition, system, unknown, on_violation),
                (retention, removed_files),
                version,
            )| {
                let name = TableName::new("d", "t").unwrap();
                let mut contract = Contract::plain(name, columns);
                for (at, kind, low, high, words, action) in draws {
                    let column = contract.columns[at % contract.columns.len()].clone();
                    let mut next = contract.clone();
                    next.rules
                        .extend(rule(&column, kind, low, high, words, action));
                    if next.validate_self().is_ok() {
                        contract = next;
                    }
                }
                let times = contract
                    .columns
                    .iter()
                    .filter(|c| c.data_type == ColumnType::Timestamp);
                contract.event_time = times.map(|c| c.name.clone()).next().filter(|_| event);
                if partition {
                    contract.partition_by = vec![contract.columns[0].name.clone()];
                }
                if contract.event_time.is_some() {
                    contract.partition_by.push("event_date".to_owned());
                    contract.key = vec!["c0".to_owned()];
                    contract.retention = retention;
                }
                if let Some(kept) = removed_files {
                    let property = "delta.deletedFileRetentionDuration";
                    contract.delta.insert(property.to_owned(), kept);
                }
                contract.on_violation = on_violation;
                contract.system_columns = system;
                contract.version = version;
                contract.unknown_columns = unknown;
                contract
            },
        )
    }
}

proptest::proptest! {
    #[test]
    fn everything_a_contract_says_can_be_said_in_ddl_and_comes_back(contract in whole::contract()) {
        contract.validate_self().unwrap();
        let ddl = contract.to_ddl();
        proptest::prop_assert_eq!(&created(&ddl), &contract, "{}", ddl);
        // What `SHOW CREATE TABLE` prints of a table is what made it.
        proptest::prop_assert_eq!(created(&ddl).to_ddl(), ddl);
    }

    #[test]
    fn everything_a_contract_says_stands_in_delta_properties_and_comes_back(contract in whole::contract()) {
        let back = Contract::from_properties(contract.table.clone(), contract.partition_by.clone(), &contract.to_properties());
        proptest::prop_assert_eq!(back.unwrap(), contract);
    }

    /// No change, no statement; and the statement of a change leads there.
    #[test]
    fn apply_of_the_same_contract_has_nothing_to_do(contract in whole::contract()) {
        proptest::prop_assert_eq!(created(&contract.to_ddl()).alter_statement(&contract).unwrap(), None);
    }
}

#[test]
fn every_table_of_every_bundled_dataset_comes_back_from_ddl_and_delta_properties() {
    let files = [
        include_str!("../../data/reactor/dataset.toml"),
        include_str!("../../data/satellite/dataset.toml"),
        include_str!("../../data/building/dataset.toml"),
        include_str!("../../data/energy/dataset.toml"),
        include_str!("../../data/vehicle/dataset.toml"),
    ];
    for contract in files.iter().flat_map(|f| from_toml(f).unwrap().tables) {
        assert_eq!(created(&contract.to_ddl()), contract);
        let properties = contract.to_properties();
        let (name, parts) = (contract.table.clone(), contract.partition_by.clone());
        assert_eq!(
            Contract::from_properties(name, parts, &properties).unwrap(),
            contract
        );
    }
}
