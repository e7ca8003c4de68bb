//! Which names columns and fields have in the files.
#![expect(clippy::unwrap_used, reason = "tests")]
use arrow::datatypes::DataType;

use super::*;

fn moves(renamed: &[(&str, &str)], dropped: &[&str]) -> ColumnMoves {
    let renamed = renamed
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    ColumnMoves {
        renamed: renamed.collect(),
        dropped: dropped.iter().map(|c| (*c).to_owned()).collect(),
    }
}

fn names(mapping: &Mapping) -> Vec<(&str, &str, i32)> {
    let columns = mapping.columns.iter();
    columns
        .map(|(own, c)| (own.as_str(), c.name.as_str(), c.id))
        .collect()
}

fn fresh() -> String {
    "new".to_owned()
}

fn columns(names: &[&str]) -> Fields {
    let fields = names.iter().map(|n| Field::new(*n, DataType::Int64, true));
    fields.collect()
}

fn altered(mapping: &Mapping, before: &[&str], after: &[&str], by: &ColumnMoves) -> Mapping {
    mapping.altered(before.iter().copied(), &columns(after), by, fresh)
}

#[test]
fn a_column_keeps_its_place_in_files_whatever_it_is_called_later() {
    let none = Mapping::default();
    let added = altered(&none, &["a"], &["a", "b"], &ColumnMoves::default());
    assert_eq!(added, none, "a table that only grows needs no mapping");
    assert_eq!(added.in_files("b"), Some("b"));
    let on = altered(&none, &["a", "b"], &["c", "b"], &moves(&[("a", "c")], &[]));
    assert_eq!(names(&on), [("b", "b", 2), ("c", "a", 1)]);
    // Two columns change places, and one that was dropped comes again under its name.
    let swap = moves(&[("b", "c"), ("c", "b")], &[]);
    let swapped = altered(&on, &["c", "b"], &["b", "c"], &swap);
    assert_eq!(names(&swapped), [("b", "a", 1), ("c", "b", 2)]);
    let again = altered(&swapped, &["b", "c"], &["b", "c"], &moves(&[], &["c"]));
    assert_eq!(names(&again), [("b", "a", 1), ("c", "col-new", 3)]);
    let grown = altered(&again, &["b", "c"], &["b"], &moves(&[], &["c"]));
    let grown = altered(&grown, &["b"], &["b", "a"], &ColumnMoves::default());
    assert_eq!(names(&grown), [("a", "col-new", 4), ("b", "a", 1)]);
    assert_eq!(grown.column_of("a"), Some("b"));
    assert_eq!(grown.in_files("c"), None);
}

#[test]
fn what_the_log_says_is_read_back_and_counts_only_with_the_feature() {
    let mut on = altered(
        &Mapping::default(),
        &["a", "b"],
        &["A"],
        &moves(&[("a", "A")], &["b"]),
    );
    let mut schema = json!({ "fields": [{ "name": "A", "metadata": {} }] });
    on.annotate(&mut schema).unwrap();
    let properties: BTreeMap<_, _> = on.properties().into_iter().collect();
    let property = |key: &str| properties.get(key).cloned();
    let v3 = json!({ "minReaderVersion": 3, "readerFeatures": ["columnMapping"] });
    for protocol in [&v3, &json!({ "minReaderVersion": 2 })] {
        assert_eq!(Mapping::read(&schema, protocol, property).unwrap(), on);
    }
    let without = json!({ "minReaderVersion": 3, "readerFeatures": ["timestampNtz"] });
    assert!(!Mapping::read(&schema, &without, property).unwrap().is_on());
    schema["fields"][0]["metadata"] = json!({});
    assert!(Mapping::read(&schema, &v3, property).is_err());
}

#[test]
fn a_name_that_delta_allows_only_mapped_has_another_one_in_the_files() {
    let plain = columns(&["a.b", "\u{f6}", "order", "x\"y"]);
    assert!(!Mapping::created(&plain, fresh).is_on());
    let made = Mapping::created(&columns(&["id", "\u{b0}C in"]), fresh);
    assert_eq!(
        names(&made),
        [("id", "id", 1), ("\u{b0}C in", "col-new", 2)]
    );
    let grown = altered(
        &Mapping::default(),
        &["id"],
        &["id", "a,b"],
        &ColumnMoves::default(),
    );
    assert_eq!(names(&grown), [("a,b", "col-new", 2), ("id", "id", 1)]);
    // A field keeps its name, and its number, whatever becomes of its column.
    let part = |data_type| Field::new("p q", data_type, true);
    let inner = DataType::Struct(vec![part(DataType::Int64)].into());
    let list = DataType::List(Field::new("element", inner, true).into());
    let outer: Fields = vec![Field::new(
        "s",
        DataType::Struct(vec![part(list)].into()),
        true,
    )]
    .into();
    let mut made = Mapping::created(&outer, fresh);
    let field = json!({ "name": "p q", "type": "long" });
    let list = json!({ "type": "array", "elementType": { "type": "struct", "fields": [field] } });
    let part = json!({ "name": "p q", "type": list });
    let mut schema =
        json!({ "fields": [{ "name": "s", "type": { "type": "struct", "fields": [part] } }] });
    let bare = schema.clone();
    made.annotate(&mut schema).unwrap();
    let outer_part = &schema["fields"][0]["type"]["fields"][0];
    let inner_part = &outer_part["type"]["elementType"]["fields"][0];
    assert_eq!(
        (number_of(outer_part), number_of(inner_part)),
        (Some(2), Some(3))
    );
    assert_eq!(name_in_files(inner_part), Some("p q"));
    let properties: BTreeMap<_, _> = made.properties().into_iter().collect();
    assert_eq!(properties[MAX_ID], "3");
    let v3 = json!({ "minReaderVersion": 3, "readerFeatures": ["columnMapping"] });
    let property = |key: &str| properties.get(key).cloned();
    let read = Mapping::read(&schema, &v3, property).unwrap();
    assert_eq!(read, made);
    let by = moves(&[("s", "t")], &[]);
    let mut renamed = read.altered(["s"].into_iter(), &columns(&["t"]), &by, fresh);
    let mut after = bare;
    after["fields"][0]["name"] = json!("t");
    renamed.annotate(&mut after).unwrap();
    assert_eq!(after["fields"][0]["type"], schema["fields"][0]["type"]);
    schema["fields"][0]["type"]["fields"][0]["metadata"][PHYSICAL_NAME] = json!("col-1");
    assert!(Mapping::read(&schema, &v3, property).is_err());
}

#[test]
fn a_column_is_found_by_name_or_by_number_as_the_table_says() {
    let mut mapping = altered(
        &Mapping::default(),
        &["a", "b"],
        &["b", "c"],
        &moves(&[("a", "b")], &["b"]),
    );
    let numbered = |name: &str, id: &str| {
        let metadata = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_owned())];
        Field::new(name, DataType::Int64, true).with_metadata(metadata.into())
    };
    let file = Schema::new(vec![numbered("b", "1"), numbered("a", "2")]);
    let places = |mapping: &Mapping, file: &Schema| mapping.places(["b", "c"].into_iter(), file);
    assert_eq!(places(&mapping, &file), Ok(vec![Some(1), None]));
    mapping.mode = Mode::Id;
    assert_eq!(places(&mapping, &file), Ok(vec![Some(0), None]));
    let plain = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
    assert!(places(&mapping, &plain).is_err());
    let own = Field::new("c", DataType::Int64, true);
    let written = mapping.to_files(&Schema::new(vec![own]).into()).unwrap();
    assert_eq!(written.field(0), &numbered("col-new", "3"));
}
