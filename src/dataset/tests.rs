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
