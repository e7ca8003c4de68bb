#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn reactor() -> Contract {
    from_toml(include_str!("../../data/reactor/dataset.toml"))
        .unwrap()
        .tables
        .remove(0)
}

#[test]
fn a_contract_comes_back_from_delta_properties_as_it_was() {
    let contract = reactor();
    let properties = contract.to_properties();
    let back = Contract::from_properties(
        contract.table.clone(),
        contract.partition_by.clone(),
        &properties,
    )
    .unwrap();
    assert_eq!(back, contract);
    assert_eq!(
        properties["delta.constraints.range_AT"],
        "`AT` IS NULL OR `AT` BETWEEN 1.81 AND 37.11"
    );
}

#[test]
fn bad_contracts_are_refused_with_the_name_of_what_is_wrong() {
    let table = |columns: &str, rest: &str| {
        format!("dataset = \"d\"\n[[table]]\nname = \"t\"\ncolumns = [{columns}]\n{rest}\n")
    };
    let cases = [
        (
            table("{ name = \"a\", type = \"uint8\" }", ""),
            "unknown type, column=a",
        ),
        (
            table("{ name = \"_seq\", type = \"long\" }", ""),
            "reserved name",
        ),
        (
            table(
                "{ name = \"a\", type = \"long\" }, { name = \"A\", type = \"long\" }",
                "",
            ),
            "declared twice",
        ),
        (
            table("{ name = \"a\", type = \"long\" }", "event_time = \"ts\""),
            "no such column",
        ),
        (
            table("{ name = \"a\", type = \"string\", range = [0, 1] }", ""),
            "a range needs a number",
        ),
        (
            table("{ name = \"a\", type = \"double\", range = [2, 1] }", ""),
            "bounds are empty",
        ),
        (
            table("{ name = \"a\", type = \"long\", colour = 1 }", ""),
            "unknown field",
        ),
        (table("", ""), "without columns"),
    ];
    for (text, expected) in cases {
        let error = from_toml(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let head = "dataset = \"d\"\n\n[[table]]\nname = \"t\"\n";
    let long = "columns = [\n  { name = \"a\", type = \"long\" },\n  { name = \"s\", type = \"string\" },\n]\n";
    let dim = "\n[[table]]\nname = \"dim\"\ncolumns = [{ name = \"id\", type = \"string\" }]\n";
    let cases = [
        ("dataset = \" d\"".to_owned(), 1, "invalid name"),
        (
            "dataset = \"d\"\ncolour = 1".to_owned(),
            2,
            "unknown field `colour`, expected one of",
        ),
        ("dataset = \"d\"\n[[table]\n".to_owned(), 2, ""),
        (
            format!("{head}columns = [\n  {{ name = \"a\", type = \"uint8\" }},\n]"),
            6,
            "unknown type, column=a, type=uint8; known: boolean",
        ),
        (
            format!("{head}columns = [\n  {{ name = \"a\", typ = \"long\" }},\n]"),
            6,
            "unknown field `typ`, expected one of",
        ),
        (
            format!("{head}columns = [\n  {{ name = \"a\" }},\n]"),
            6,
            "missing field `type`",
        ),
        (
            format!("{head}columns = [\n  {{ name = \"_seq\", type = \"long\" }},\n]"),
            6,
            "reserved name",
        ),
        (
            format!(
                "{head}columns = [\n  {{ name = \"a\", type = \"long\" }},\n  {{ name = \"A\", type = \"long\" }},\n]"
            ),
            7,
            "declared twice",
        ),
        (
            format!("{head}columns = [\n  {{ name = \"a \", type = \"long\" }},\n]"),
            6,
            "invalid name",
        ),
        (
            format!("{head}{long}event_time = \"ts\""),
            9,
            "no such column, table=d.t, column=ts, in=event_time; columns: a, s",
        ),
        (format!("{head}key = [\"b\"]\n{long}"), 5, "in=key"),
        (
            format!("{head}partition_by = [\"b\"]\n{long}"),
            5,
            "in=partition_by",
        ),
        (
            format!(
                "{head}{long}rules = [\n  {{ column = \"a\", min = 0 }},\n  {{ column = \"b\", min = 0 }},\n]"
            ),
            11,
            "column=b, in=rules; columns: a, s",
        ),
        (
            format!("{head}{long}rules = [\n  {{ column = \"a\", min = 2, max = 1 }},\n]"),
            10,
            "the bounds are empty, min=2, max=1",
        ),
        (
            format!("{head}{long}rules = [\n  {{ column = \"s\", regex = \"[a\" }},\n]"),
            10,
            "unclosed character class",
        ),
        (
            format!("{head}{long}rules = [\n  {{ column = \"a\", action = \"warn\" }},\n]"),
            10,
            "a rule has one of min/max, enum",
        ),
        (
            format!(
                "{head}{long}rules = [\n  {{ column = \"a\", min = 0, action = \"drop\" }},\n]"
            ),
            10,
            "unknown variant `drop`, expected one of",
        ),
        (
            format!(
                "{head}{long}rules = [\n  {{ column = \"a\", min = 0 }},\n  {{ column = \"a\", max = 9, action = \"warn\" }},\n]"
            ),
            11,
            "there are two of this name",
        ),
        (
            format!("{head}{long}rules = [\n  {{ column = \"s\", in = \"rooms\" }},\n]{dim}"),
            10,
            "there is no table rooms; tables: t, dim",
        ),
        (
            format!("{head}{long}rules = [\n  {{ column = \"s\", in = \"dim\" }},\n]{dim}"),
            10,
            "dim has no column s; columns: id; write in = \"dim.<column>\"",
        ),
        (
            format!("{head}{long}{dim}{dim}"),
            15,
            "table declared twice, table=d.dim",
        ),
        (
            format!("dataset = \"d\"\n[[table]]\nname = \"t_quarantine\"\n{long}"),
            3,
            "reserved name",
        ),
        (
            format!("dataset = \"system\"\n[[table]]\nname = \"t\"\n{long}"),
            3,
            "reserved name",
        ),
        (
            format!("{head}{long}retention = \"three days\""),
            4,
            "property=retention: three days",
        ),
        (
            format!("{head}{long}\n[[process]]\ntable = \"gold\"\nday = \"a\"\nsql = \"SELECT 1\""),
            11,
            "not declared, table=gold; tables: t",
        ),
        (
            format!(
                "{head}partition_by = [\"s\"]\n{long}\n[[process]]\ntable = \"t\"\nday = \"a\"\nsql = \"SELECT 1\""
            ),
            13,
            "day=a is not one of partition_by=s",
        ),
    ];
    for (text, line, expected) in cases {
        let error = from_toml(&text).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("line {line}: ")) && error.contains(expected),
            "{error}, not line {line}: {expected}, of\n{text}"
        );
    }
}
