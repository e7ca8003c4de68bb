#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::dataset::{RuleKind, from_toml};

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
