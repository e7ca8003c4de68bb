#![expect(clippy::unwrap_used, reason = "tests")]

use arrow::array::{
    FixedSizeListArray, Float64Array, GenericListArray, Int32Array, Int64Array, LargeListViewArray,
    ListViewArray, NullArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::util::display::array_value_to_string;

use super::super::findings::Room;
use super::super::{Keys, Origin, References, Scope, Source};
use super::*;
use crate::dataset::Contract;
use crate::types::TableName;

fn contract(types: &[(&str, &str)]) -> Contract {
    let leaf = |text: &str| text.parse().map_err(|()| text.to_owned());
    let columns = types.iter().map(|(name, text)| {
        let (text, required) = match text.strip_suffix("!") {
            Some(text) => (text, true),
            None => (*text, false),
        };
        let mut column = Column::new(*name, ColumnType::read(text, &leaf).unwrap());
        column.required = required;
        column
    });
    let table = TableName::new("public", "t").unwrap();
    let contract = Contract::plain(table, columns.collect());
    contract.validate_self().unwrap();
    contract
}

/// The accepted rows as text, and the reasons of those that are not.
fn judged(contract: Contract, sent: &RecordBatch) -> Result<(Vec<String>, Vec<String>), Fault> {
    let validator = Validator::new(Arc::new(contract));
    let origin = Origin {
        ingest_ts: 5,
        source: &Source::new("p"),
        seq: 1,
    };
    let scope = Scope {
        keys: None::<&Keys>,
        lateness: true,
        bytes_max: 1 << 20,
    };
    let validated = validator.judge(sent, &origin, &References::new(), scope)?;
    let reasons = validated.verdict().rejected.iter();
    let reasons = reasons.map(|r| r.reason.clone()).collect();
    let verdict = validated.verdict().clone();
    let (applied, ..) = validated.into_parts();
    let again = validator.replay(sent, &origin, &verdict).unwrap();
    let (accepted, rejected) = applied.into_sides();
    assert_eq!(
        again.into_sides(),
        (accepted.clone(), rejected.clone()),
        "a replay of the log"
    );
    // What was rejected comes back from its JSON as it was sent.
    if let Some(rejected) = &rejected {
        let raw = rejected.column_by_name("raw").unwrap().as_string::<i32>();
        let texts: Vec<&str> = raw.iter().flatten().collect();
        let restored = super::super::restore(validator.contract(), &texts, &[]).unwrap();
        assert!(restored.unreadable.is_empty(), "{texts:?}");
        for shape in restored.shapes {
            let scope = Scope {
                keys: None::<&Keys>,
                lateness: true,
                bytes_max: 1 << 20,
            };
            let back = validator
                .judge(&shape.batch, &origin, &References::new(), scope)
                .unwrap();
            assert_eq!(back.verdict().accepted(), 0, "{texts:?}");
        }
    }
    let rows = accepted.map_or_else(Vec::new, |rows| {
        let row = |row| {
            let cells = rows.columns().iter();
            let cells = cells.map(|c| array_value_to_string(c, row).unwrap());
            cells.collect::<Vec<_>>().join("|")
        };
        (0..rows.num_rows()).map(row).collect()
    });
    Ok((rows, reasons))
}

fn one(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("c", column)]).unwrap()
}

fn accepted(data_type: &str, column: ArrayRef) -> Vec<String> {
    let (rows, reasons) = judged(contract(&[("c", data_type)]), &one(column)).unwrap();
    assert_eq!(reasons, Vec::<String>::new());
    rows
}

fn reasons(data_type: &str, column: ArrayRef) -> (usize, Vec<String>) {
    let (rows, reasons) = judged(contract(&[("c", data_type)]), &one(column)).unwrap();
    (rows.len(), reasons)
}

fn refused(data_type: &str, column: ArrayRef) -> String {
    let fault = judged(contract(&[("c", data_type)]), &one(column)).unwrap_err();
    fault.to_string()
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn item(data_type: DataType) -> Arc<Field> {
    nullable("item", data_type)
}

#[test]
fn a_list_of_every_layout_becomes_an_array() {
    let values = || -> ArrayRef { Arc::new(Int64Array::from(vec![9, 1, 2, 3, 9])) };
    // The first and the last value belong to no list, and the null list hides one.
    let nulls = Some(NullBuffer::from(vec![true, false, true]));
    let expected = ["[1.0]", "", "[3.0]"];
    let small = ListArray::new(
        item(DataType::Int64),
        OffsetBuffer::new(vec![1, 2, 3, 4].into()),
        values(),
        nulls.clone(),
    );
    let large = GenericListArray::<i64>::new(
        item(DataType::Int64),
        OffsetBuffer::new(vec![1, 2, 3, 4].into()),
        values(),
        nulls.clone(),
    );
    let view = ListViewArray::new(
        item(DataType::Int64),
        vec![1, 2, 3].into(),
        vec![1, 1, 1].into(),
        values(),
        nulls.clone(),
    );
    let large_view = LargeListViewArray::new(
        item(DataType::Int64),
        vec![1, 2, 3].into(),
        vec![1, 1, 1].into(),
        values(),
        nulls.clone(),
    );
    let fixed = FixedSizeListArray::new(item(DataType::Int64), 1, values().slice(1, 3), nulls);
    let layouts: [ArrayRef; 5] = [
        Arc::new(small),
        Arc::new(large),
        Arc::new(view),
        Arc::new(large_view),
        Arc::new(fixed),
    ];
    for list in layouts {
        let name = list.data_type().to_string();
        assert_eq!(accepted("ARRAY<DOUBLE>", list.clone()), expected, "{name}");
        let tail = accepted("ARRAY<DOUBLE>", list.slice(2, 1));
        assert_eq!(tail, expected[2..], "{name} sliced");
        // A value that no list has breaks nothing.
        let bounded = accepted("ARRAY<TINYINT NOT NULL>", list);
        assert_eq!(bounded, ["[1]", "", "[3]"], "{name}");
    }
    let repeated = ListViewArray::new(
        item(DataType::Int64),
        vec![1, 0, 1].into(),
        vec![2, 0, 3].into(),
        values(),
        None,
    );
    let expected = ["[1, 2]", "[]", "[1, 2, 3]"];
    assert_eq!(accepted("ARRAY<BIGINT>", Arc::new(repeated)), expected);
    let empty = ListArray::new_null(item(DataType::Null), 2);
    assert_eq!(accepted("ARRAY<DATE>", Arc::new(empty)), ["", ""]);
    assert_eq!(accepted("ARRAY<DATE>", Arc::new(NullArray::new(1))), [""]);
}

#[test]
fn an_element_that_does_not_fit_rejects_its_row_with_the_path() {
    let lists = |rows: Vec<Option<Vec<Option<i64>>>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows))
    };
    let sent = lists(vec![
        Some(vec![Some(1), Some(300)]),
        Some(vec![]),
        None,
        Some(vec![Some(5), None]),
        Some(vec![Some(-129), Some(400)]),
    ]);
    assert_eq!(
        reasons("ARRAY<TINYINT>", sent.clone()),
        (
            3,
            vec![
                "c.element 300 is not a TINYINT".to_owned(),
                "c.element -129 is not a TINYINT".to_owned()
            ]
        )
    );
    assert_eq!(
        reasons("ARRAY<BIGINT NOT NULL>", sent.clone()),
        (4, vec!["c.element is required and null".to_owned()])
    );
    let doubles = ListArray::from_iter_primitive::<Float64Type, _, _>([
        Some(vec![Some(2.0)]),
        Some(vec![Some(2.5)]),
    ]);
    assert_eq!(
        reasons("ARRAY<INT>", Arc::new(doubles)),
        (1, vec!["c.element 2.5 is not an INT".to_owned()])
    );
    assert!(refused("ARRAY<BOOLEAN>", sent.clone()).contains("column=c.element, sent=Int64"));
    assert!(refused("STRUCT<a INT>", sent.clone()).contains("expected=STRUCT<a: INT>"));
    assert!(refused("DOUBLE", sent).contains("incompatible_type"));
    let flat: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert!(refused("ARRAY<INT>", flat).contains("incompatible_type"));
}

fn position(lat: Vec<Option<f64>>, lon: Vec<Option<i32>>, valid: Vec<bool>) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new("LON", DataType::Int32, true),
        Field::new("lat", DataType::Float64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(lon)),
        Arc::new(Float64Array::from(lat)),
    ];
    Arc::new(StructArray::new(
        fields,
        columns,
        Some(NullBuffer::from(valid)),
    ))
}

#[test]
fn a_struct_is_matched_by_the_names_of_its_fields() {
    let sent = position(
        vec![Some(1.5), None, Some(3.0)],
        vec![Some(7), Some(70_000), Some(9)],
        vec![true, false, true],
    );
    let rows = accepted(
        "STRUCT<lat DOUBLE NOT NULL, lon SMALLINT, alt DOUBLE>",
        sent.clone(),
    );
    assert_eq!(
        rows,
        ["{lat: 1.5, lon: 7, alt: }", "", "{lat: 3.0, lon: 9, alt: }"],
        "what a null hides is not looked at"
    );
    let sent = position(
        vec![Some(1.5), None, Some(3.0)],
        vec![Some(7), Some(8), Some(70_000)],
        vec![true; 3],
    );
    assert_eq!(
        reasons("STRUCT<lat DOUBLE NOT NULL, lon SMALLINT>", sent.clone()),
        (
            1,
            vec![
                "c.lat is required and null".to_owned(),
                "c.lon 70000 is not a SMALLINT".to_owned()
            ]
        )
    );
    let unknown = refused("STRUCT<lat DOUBLE>", sent.clone());
    assert!(
        unknown.contains("unknown field, column=c, field=LON"),
        "{unknown}"
    );
    let missing = refused(
        "STRUCT<lat DOUBLE, lon INT, alt INT NOT NULL>",
        sent.clone(),
    );
    assert!(
        missing.contains("required field missing, column=c, field=alt"),
        "{missing}"
    );
    let mut ignoring = contract(&[("c", "STRUCT<lat DOUBLE>")]);
    ignoring.unknown_columns = UnknownColumns::Ignore;
    let (rows, _) = judged(ignoring, &one(sent)).unwrap();
    assert_eq!(rows, ["{lat: 1.5}", "{lat: }", "{lat: 3.0}"]);
}

fn map(keys: Vec<Option<&str>>, values: Vec<Option<i64>>, offsets: Vec<i32>) -> ArrayRef {
    let pair = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Int64, true),
    ]);
    let keys: Vec<&str> = keys.into_iter().flatten().collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(keys)),
        Arc::new(Int64Array::from(values)),
    ];
    let entries = StructArray::new(pair.clone(), columns, None);
    let entries_field = Arc::new(Field::new("entries", DataType::Struct(pair), false));
    let offsets = OffsetBuffer::new(offsets.into());
    Arc::new(MapArray::new(entries_field, offsets, entries, None, false))
}

#[test]
fn a_map_has_each_key_once_and_no_key_that_is_null() {
    let keys = vec![Some("a"), Some("b"), Some("a"), Some("7"), Some("7")];
    let values = vec![Some(1), None, Some(3), Some(4), Some(5)];
    let sent = map(keys, values, vec![0, 2, 2, 3, 5]);
    assert_eq!(
        reasons("MAP<STRING, DOUBLE>", sent.clone()),
        (3, vec!["c has the key 7 twice".to_owned()])
    );
    let first = sent.slice(0, 3);
    let rows = accepted("MAP<STRING, TINYINT>", first.clone());
    assert_eq!(rows, ["{a: 1, b: }", "{}", "{a: 3}"]);
    assert_eq!(
        reasons("MAP<STRING, INT NOT NULL>", first.clone()),
        (2, vec!["c.value is required and null".to_owned()])
    );
    // Keys that are cast, and one that cannot be.
    let last = map(
        vec![Some("7"), Some("x"), Some("8")],
        vec![Some(1); 3],
        vec![0, 2, 3],
    );
    assert_eq!(
        reasons("MAP<INT, INT>", last),
        (1, vec!["c.key x is not an INT".to_owned()])
    );
    // A list of pairs, as data frames have maps.
    let pair = Fields::from(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a"), None])),
        Arc::new(Int64Array::from(vec![1, 2])),
    ];
    let pairs = StructArray::new(pair.clone(), columns, None);
    let list = ListArray::new(
        item(DataType::Struct(pair)),
        OffsetBuffer::new(vec![0, 1, 2].into()),
        Arc::new(pairs),
        None,
    );
    assert_eq!(
        reasons("MAP<STRING, INT>", Arc::new(list)),
        (1, vec!["c.key is required and null".to_owned()])
    );
}

#[test]
fn a_text_is_read_as_json_and_cast_by_the_same_rules() {
    let track = "ARRAY<STRUCT<t TIMESTAMP, v FLOAT, tag STRING, raw BINARY, at DATE>>";
    let sent = texts(&[
        Some(
            r#" [{"t":"2026-01-01T00:00:00Z","v":0.1,"tag":"a\n","raw":"0aFF","at":"2026-01-02"}] "#,
        ),
        Some(r#"[{"T":"2026-01-01 02:00:00+02:00","tag":{"x":[1]}},null]"#),
        Some("[]"),
        Some("null"),
        None,
    ]);
    assert_eq!(
        accepted(track, sent),
        [
            "[{t: 2026-01-01T00:00:00Z, v: 0.1, tag: a\n, raw: 0aff, at: 2026-01-02}]",
            "[{t: 2026-01-01T00:00:00Z, v: , tag: {\"x\":[1]}, raw: , at: }, ]",
            "[]",
            "",
            ""
        ]
    );
    let expected = ["{1: [true], 2: []}"];
    let sent = texts(&[Some(r#"{"1":[true],"2":[]}"#)]);
    assert_eq!(accepted("MAP<INT, ARRAY<BOOLEAN>>", sent), expected);
    for (data_type, text, reason) in [
        (
            "ARRAY<INT>",
            "{\"a\":1}",
            "c {\"a\":1} is not an ARRAY<INT>",
        ),
        ("ARRAY<INT>", "[1,", "c [1, is not an ARRAY<INT>"),
        ("ARRAY<INT>", "[1,2.5]", "c.element 2.5 is not an INT"),
        ("ARRAY<INT>", "[\"x\"]", "c.element x is not an INT"),
        (
            "ARRAY<ARRAY<INT>>",
            "[[1],2]",
            "c.element 2 is not an ARRAY<INT>",
        ),
        ("STRUCT<a INT>", "{\"a\":1,\"b\":2}", "c has no field b"),
        (
            "ARRAY<STRING>",
            r#"["\ud800"]"#,
            r#"c.element "\ud800" is not a STRING"#,
        ),
        (
            "STRUCT<a INT>",
            "{\"a\":1,\"A\":2}",
            "c has the field A twice",
        ),
        (
            "STRUCT<a STRUCT<b INT NOT NULL>>",
            "{\"a\":{}}",
            "c.a.b is required and null",
        ),
        (
            "STRUCT<a BINARY>",
            "{\"a\":\"0g\"}",
            "c.a 0g is not a BINARY",
        ),
        (
            "MAP<STRING, INT>",
            "{\"a\":1,\"a\":2}",
            "c has the key a twice",
        ),
        ("MAP<INT, INT>", "{\"x\":1}", "c.key x is not an INT"),
        (
            "ARRAY<DECIMAL(4,1)>",
            "[1234.5]",
            "c.element 1234.5 is not a DECIMAL(4,1)",
        ),
    ] {
        let sent = texts(&[Some(text), None]);
        assert_eq!(
            reasons(data_type, sent),
            (1, vec![reason.to_owned()]),
            "{text}"
        );
    }
}

#[test]
fn a_required_column_and_times_of_other_units() {
    let times = TimestampMillisecondArray::from(vec![1, 2]).with_timezone("Europe/Berlin");
    let list = ListArray::new(
        item(times.data_type().clone()),
        OffsetBuffer::new(vec![0, 2].into()),
        Arc::new(times),
        None,
    );
    assert_eq!(
        accepted("ARRAY<TIMESTAMP>!", Arc::new(list)),
        ["[1970-01-01T00:00:00.001Z, 1970-01-01T00:00:00.002Z]"]
    );
    let sent = texts(&[Some("[]"), None]);
    assert_eq!(
        reasons("ARRAY<INT>!", sent),
        (1, vec!["c is required and null".to_owned()])
    );
}

#[test]
fn what_few_bytes_would_become_is_bounded_before_it_is_made() {
    // One long text that is named by each of many views.
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 16)]));
    let rows = 1000;
    let views = ListViewArray::new(
        item(DataType::Utf8),
        vec![0; rows].into(),
        vec![1; rows].into(),
        long,
        None,
    );
    let fault = judged(contract(&[("c", "ARRAY<STRING>")]), &one(Arc::new(views))).unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.reason),
        (Kind::Exhausted, "batch_too_large")
    );
    // Many fields of objects that name none.
    let fields: Vec<String> = (0..900).map(|n| format!("f{n} DOUBLE")).collect();
    let wide = format!("ARRAY<STRUCT<{}>>", fields.join(", "));
    let sent = texts(&[Some(&format!("[{}{{}}]", "{},".repeat(2000)))]);
    let fault = judged(contract(&[("c", &wide)]), &one(sent)).unwrap_err();
    assert_eq!(&*fault.reason, "batch_too_large");
    let mut room = Room::new(10);
    assert!(!room.take(11));
}
