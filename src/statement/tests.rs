#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::dataset::{Contract, RuleKind, from_toml};
use crate::query::QueryContext;

pub(super) fn created(sql: &str) -> Contract {
    match Change::parse(&QueryContext::new("tests"), sql).unwrap() {
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
        "CREATE TABLE IF NOT EXISTS t (Id BIGINT NOT NULL, x DOUBLE CHECK (X >= -1 AND x <= 2.5), y BIGINT CHECK (y BETWEEN -9223372036854775808 AND 9007199254740992), z DOUBLE CHECK (z >= 0.30000000000000004), s STRING, \
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
    assert_eq!(c.rules.len(), 4);
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
        (
            "CREATE TABLE t (a BIGINT, CHECK (a >= 9007199254740993))",
            "at most 15 digits",
        ),
        (
            "CREATE TABLE t (a DECIMAL(20, 4), CHECK (a <= 9999999999999999.0001))",
            "at most 15 digits",
        ),
        ("CREATE TABLE t_quarantine (a BIGINT)", "reserved"),
        ("CREATE TABLE system.t (a BIGINT)", "reserved"),
        ("CREATE TABLE t (_seq BIGINT)", "reserved"),
        (
            "CREATE TABLE t (a BIGINT) PARTITIONED BY (b)",
            "no such column",
        ),
        ("CREATE TABLE \"x \" (a BIGINT)", "invalid name"),
        (
            "CREATE TABLE t (a BIGINT) TBLPROPERTIES ('deltaplane.colour'='red')",
            "unknown property",
        ),
        ("CREATE TABLE t (a BIGINT", "Expected"),
    ] {
        let fault = Change::parse(&QueryContext::new("tests"), sql).unwrap_err();
        assert!(fault.to_string().contains(word), "{sql}: {fault}");
    }
    assert_eq!(
        Change::parse(&QueryContext::new("tests"), "SELECT 1").unwrap(),
        None
    );
}

#[test]
fn any_names_survive_the_way_through_ddl() {
    let sql = r#"CREATE TABLE "a.b"."c""d e" ("id, nr" BIGINT NOT NULL, "x""y" STRING, "a:b" DOUBLE, "a_b" DOUBLE,
        "s;t" STRUCT<"p ""q": INT, "r>": ARRAY<STRUCT<"<": INT>>>, "{z}" STRING,
        UNIQUE ("id, nr", "{z}"), UNIQUE ("s"), "s" STRING, CHECK ("a:b" >= 0), CHECK (a_b >= 0), CHECK ("{z}" IN ('a;b')), PRIMARY KEY ("id, nr", "x""y"))
        PARTITIONED BY ("{z}")"#;
    let created = |sql: &str| match Change::parse(&QueryContext::new("tests"), sql).unwrap() {
        Some(Change::Create { contract, .. }) => *contract,
        other => panic!("{other:?}"),
    };
    let contract = created(sql);
    assert_eq!(contract.key, ["id, nr", "x\"y"]);
    assert_eq!(contract.table.to_string(), r#""a.b"."c""d e""#);
    assert_eq!(created(&contract.to_ddl()), contract);
    let properties = contract.to_properties();
    assert!(properties.contains_key("delta.constraints.range_a:b"));
    assert!(properties.contains_key("delta.constraints.range_a_b"));
    let again = crate::dataset::Contract::from_properties(
        contract.table.clone(),
        contract.partition_by.clone(),
        &properties,
    );
    assert_eq!(again.unwrap(), contract);
}

#[test]
fn quotes_in_texts_survive_the_way_through_ddl() {
    let sql = "CREATE TABLE public.w (a STRING COMMENT 'it''s') TBLPROPERTIES ('deltaplane.unit.a'='l''eau')";
    let Some(Change::Create { contract, .. }) =
        Change::parse(&QueryContext::new("tests"), sql).unwrap()
    else {
        panic!("not a create");
    };
    assert_eq!(contract.columns[0].description.as_deref(), Some("it's"));
    let Some(Change::Create {
        contract: again, ..
    }) = Change::parse(&QueryContext::new("tests"), &contract.to_ddl()).unwrap()
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
    let read = |sql: &str| {
        told(
            Change::parse(&QueryContext::new("tests"), sql)
                .unwrap()
                .unwrap(),
        )
    };
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
#[test]
fn a_name_without_a_schema_is_of_the_sessions() {
    let mut caller = QueryContext::new("ann");
    caller.schema = "building".into();
    let read = |sql: &str| Change::parse(&caller, sql).unwrap();
    for sql in STATEMENTS {
        let bare = sql.replace("a.b", "b").replace(" ON a.c", " ON c");
        let full = sql
            .replace("a.b", "building.b")
            .replace(" ON a.c", " ON building.c");
        let (bare, full) = (read(&bare), read(&full));
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
            let fault = Change::parse(&QueryContext::new("tests"), &text).unwrap_err();
            let place = format!("at Line: {line}, Column: {column}");
            assert!(
                fault.message.contains(&place),
                "{text}: {fault}, not {place}"
            );
        }
    }
}
