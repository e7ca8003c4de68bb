//! Quarantined rows on their way back: the JSON of `raw` as batches that can be judged again. The inverse of what
//! `apply` writes there, up to types that JSON has no word for, which come back as text and are cast row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, NullArray,
    RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::datatypes::{Field, Schema};
use serde_json::value::RawValue;

use crate::dataset::{ColumnType, Contract};
use crate::fault::Fault;
use crate::types::SameName;

/// Rows of one shape: each column of one type.
pub struct Shape {
    /// Positions among the rows that were given.
    pub rows: Vec<usize>,
    pub batch: RecordBatch,
}

/// What became of the texts.
#[derive(Default)]
pub struct Restored {
    pub shapes: Vec<Shape>,
    /// Positions of texts that are no JSON object: input that never was a row.
    pub unreadable: Vec<usize>,
}

/// A value that takes the place of the one that was sent, or stands in where none was; none is null.
pub type Override = (String, Option<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Null,
    Integer,
    Float,
    Boolean,
    Text,
}

#[derive(Clone, Debug)]
struct Value {
    form: Form,
    /// Numbers as they are written, so that a double keeps its last bit; texts unquoted.
    text: String,
}

impl Value {
    fn null() -> Self {
        Value {
            form: Form::Null,
            text: String::new(),
        }
    }

    fn of(raw: &RawValue) -> Self {
        let written = raw.get();
        let form = match written.as_bytes().first() {
            Some(b'n') => Form::Null,
            Some(b't' | b'f') => Form::Boolean,
            Some(b'"') => {
                let text = serde_json::from_str(written).unwrap_or_else(|_| written.to_owned());
                return Value {
                    form: Form::Text,
                    text,
                };
            }
            Some(b'-' | b'0'..=b'9') if written.parse::<i64>().is_ok() => Form::Integer,
            Some(b'-' | b'0'..=b'9') if written.contains(['.', 'e', 'E']) => Form::Float,
            // Beyond BIGINT, or nested: as text.
            _ => Form::Text,
        };
        Value {
            form,
            text: written.to_owned(),
        }
    }
}

/// # Errors
/// `Internal`: the parts do not fit together.
pub fn restore(
    contract: &Contract,
    texts: &[&str],
    overrides: &[Override],
) -> Result<Restored, Fault> {
    let mut out = Restored::default();
    // Column by column, in the order of their names; a row that lacks a column is of another shape than one with a null there.
    let mut names: BTreeMap<String, Vec<Option<Value>>> = BTreeMap::new();
    for (row, text) in texts.iter().enumerate() {
        let Ok(object) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
            out.unreadable.push(row);
            continue;
        };
        let mut set = |name: String, value: Value| {
            let column = names.entry(name).or_default();
            column.resize(row, None);
            column.push(Some(value));
        };
        for (name, value) in object {
            if !overrides.iter().any(|(o, _)| replaces(contract, o, &name)) {
                set(name, Value::of(value));
            }
        }
        for (name, value) in overrides {
            let value = value.as_ref().map_or_else(Value::null, |text| Value {
                form: Form::Text,
                text: text.clone(),
            });
            set(name.clone(), value);
        }
    }
    for column in names.values_mut() {
        column.resize(texts.len(), None);
    }
    let mut shapes: BTreeMap<Vec<Option<Form>>, Vec<usize>> = BTreeMap::new();
    let mixed: Vec<Option<Form>> = names.values().map(|c| only_form(c)).collect();
    for row in (0..texts.len()).filter(|row| out.unreadable.binary_search(row).is_err()) {
        let shape = names
            .values()
            .zip(&mixed)
            .map(|(column, only)| match &column[row] {
                None => None,
                // A null goes with whatever the column holds elsewhere.
                Some(value) if value.form == Form::Null => Some(only.unwrap_or(Form::Null)),
                Some(value) => Some(value.form),
            });
        shapes.entry(shape.collect()).or_default().push(row);
    }
    for (shape, rows) in shapes {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for ((name, values), form) in names.iter().zip(&shape) {
            let Some(form) = form else { continue };
            let values: Vec<Option<&str>> = rows
                .iter()
                .map(|row| match &values[*row] {
                    Some(value) if value.form != Form::Null => Some(&*value.text),
                    _ => None,
                })
                .collect();
            let array = array(contract, name, *form, &values);
            fields.push(Field::new(name, array.data_type().clone(), true));
            columns.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|e| Fault::internal(format!("quarantined rows: {e}")))?;
        out.shapes.push(Shape { rows, batch });
    }
    Ok(out)
}

/// Is `sent` the column `set`, by its name or by the one that it says it comes under?
fn replaces(contract: &Contract, set: &str, sent: &str) -> bool {
    set.is_same_name(sent)
        || contract.columns.iter().any(|c| {
            c.name.is_same_name(set) && contract.column(sent).is_none() && c.comes_under(sent)
        })
}

/// The one form that a column has beside nulls; none if it has several or nothing but nulls.
fn only_form(column: &[Option<Value>]) -> Option<Form> {
    let mut forms = column
        .iter()
        .flatten()
        .map(|v| v.form)
        .filter(|f| *f != Form::Null);
    let first = forms.next()?;
    forms.all(|f| f == first).then_some(first)
}

fn array(contract: &Contract, name: &str, form: Form, values: &[Option<&str>]) -> ArrayRef {
    let columns = || contract.columns.iter();
    let named = columns().find(|c| c.name.is_same_name(name));
    let due = named
        .or_else(|| columns().find(|c| c.comes_under(name)))
        .map(|c| &c.data_type);
    let values = values.iter().copied();
    match (form, due) {
        (Form::Null, _) => Arc::new(NullArray::new(values.len())),
        (Form::Integer, _) => Arc::new(
            values
                .map(|v| v.and_then(|v| v.parse::<i64>().ok()))
                .collect::<Int64Array>(),
        ),
        // Only a FLOAT could have been sent to a FLOAT column.
        (Form::Float, Some(ColumnType::Float)) => Arc::new(
            values
                .map(|v| v.and_then(|v| v.parse::<f32>().ok()))
                .collect::<Float32Array>(),
        ),
        (Form::Float, _) => Arc::new(
            values
                .map(|v| v.and_then(|v| v.parse::<f64>().ok()))
                .collect::<Float64Array>(),
        ),
        (Form::Boolean, _) => Arc::new(
            values
                .map(|v| v.map(|v| v == "true"))
                .collect::<BooleanArray>(),
        ),
        (Form::Text, Some(ColumnType::Binary)) => {
            let bytes: Vec<Option<Vec<u8>>> = values.map(|v| v.and_then(from_hex)).collect();
            Arc::new(bytes.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        (Form::Text, _) => Arc::new(values.collect::<StringArray>()),
    }
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits = digits.filter(|d| d.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Array, AsArray, TimestampMicrosecondArray, UInt8Array};
    use arrow::datatypes::{Float64Type, Int64Type};
    use proptest::prelude::*;

    use super::super::findings::Findings;
    use super::super::{Origin, Rejected, Validator, Verdict};
    use super::*;
    use crate::dataset::Column;
    use crate::types::TableName;

    fn contract() -> Contract {
        let columns = vec![
            Column::new("id", ColumnType::String),
            Column::new("n", ColumnType::Long),
            Column::new("v", ColumnType::Double),
            Column::new("small", ColumnType::Float),
            Column::new("on", ColumnType::Boolean),
            Column::new("blob", ColumnType::Binary),
            Column::new("ts", ColumnType::Timestamp),
            Column::new(
                "price",
                ColumnType::Decimal {
                    precision: 10,
                    scale: 2,
                },
            ),
        ];
        Contract::plain(TableName::new("public", "t").unwrap(), columns)
    }

    fn validator(contract: Contract) -> Validator {
        Validator::new(Arc::new(contract))
    }

    fn origin() -> Origin<'static> {
        Origin {
            ingest_ts: 5,
            source: Box::leak(Box::new(crate::validate::Source::new("p"))),
            seq: 1,
        }
    }

    /// The texts of `raw` when every row of the batch is rejected.
    fn raw_of(sent: &RecordBatch) -> Vec<String> {
        let verdict = Verdict {
            rows: u32::try_from(sent.num_rows()).unwrap(),
            rejected: (0..u32::try_from(sent.num_rows()).unwrap())
                .map(|row| Rejected {
                    row,
                    rules: vec!["range:v".to_owned()],
                    reason: String::new(),
                    column: String::new(),
                    value: String::new(),
                })
                .collect(),
            ..Verdict::empty()
        };
        let applied = validator(contract()).replay(sent, &origin(), &verdict);
        let rejected = applied.unwrap().rejected.unwrap();
        let raw = rejected.column_by_name("raw").unwrap().as_string::<i32>();
        raw.iter().map(|t| t.unwrap().to_owned()).collect()
    }

    /// The accepted rows of a batch that breaks nothing.
    fn accepted(sent: &RecordBatch) -> RecordBatch {
        let verdict = Verdict {
            rows: u32::try_from(sent.num_rows()).unwrap(),
            ..Verdict::empty()
        };
        let applied = validator(contract()).replay(sent, &origin(), &verdict);
        applied.unwrap().accepted.unwrap()
    }

    proptest! {
        /// A row that was quarantined and comes back is the row that was sent, to the last bit.
        #[test]
        fn back_from_quarantine_is_as_sent(rows in prop::collection::vec((
            prop::option::of(".{0,20}"), prop::option::of(any::<i64>()),
            prop::option::of(any::<f64>().prop_filter("not a NaN", |v| !v.is_nan())),
            prop::option::of(-1e30f32..1e30), prop::option::of(any::<bool>()),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
            prop::option::of(0i64..4_000_000_000_000_000), prop::option::of(-99_999_999i128..99_999_999)), 1..20)) {
            let sent = RecordBatch::try_from_iter([
                ("id", Arc::new(rows.iter().map(|r| r.0.clone()).collect::<StringArray>()) as ArrayRef),
                ("n", Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>())),
                ("v", Arc::new(rows.iter().map(|r| r.2).collect::<Float64Array>())),
                ("small", Arc::new(rows.iter().map(|r| r.3).collect::<Float32Array>())),
                ("on", Arc::new(rows.iter().map(|r| r.4).collect::<BooleanArray>())),
                ("blob", Arc::new(rows.iter().map(|r| r.5.as_deref()).collect::<BinaryArray>())),
                ("ts", Arc::new(rows.iter().map(|r| r.6).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
                ("price", Arc::new(rows.iter().map(|r| r.7).collect::<arrow::array::Decimal128Array>().with_precision_and_scale(10, 2).unwrap())),
            ]).unwrap();
            let raw = raw_of(&sent);
            let texts: Vec<&str> = raw.iter().map(String::as_str).collect();
            let restored = restore(&contract(), &texts, &[]).unwrap();
            prop_assert!(restored.unreadable.is_empty());
            let expected = accepted(&sent);
            let mut seen = 0;
            for shape in restored.shapes {
                let back = accepted(&shape.batch);
                for (at, row) in shape.rows.iter().enumerate() {
                    prop_assert_eq!(back.slice(at, 1), expected.slice(*row, 1));
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, sent.num_rows());
        }
    }

    #[test]
    fn columns_that_hold_several_forms_are_told_apart_and_what_is_no_row_is_named() {
        let texts = [
            r#"{"id":"a","v":1.5}"#,
            r#"{"id":"b","v":"NaN"}"#,
            "ts,id,v",
            r#"{"id":null,"v":2}"#,
            r#"{"id":"d"}"#,
        ];
        let restored = restore(&contract(), &texts, &[]).unwrap();
        assert_eq!(restored.unreadable, vec![2]);
        let mut rows: Vec<Vec<usize>> = restored.shapes.iter().map(|s| s.rows.clone()).collect();
        rows.sort();
        assert_eq!(rows, vec![vec![0], vec![1], vec![3], vec![4]]);
        let last = restored.shapes.iter().find(|s| s.rows == [4]).unwrap();
        assert!(
            last.batch.column_by_name("v").is_none(),
            "not sent is not null"
        );
    }

    #[test]
    fn an_override_takes_the_place_of_what_was_sent_under_any_of_its_names() {
        let mut contract = contract();
        contract.columns[2].from = Some("value".to_owned());
        let texts = [
            r#"{"id":"a","VALUE":99.0,"n":7}"#,
            r#"{"id":"b","v":1.0,"n":8}"#,
        ];
        let overrides = [
            ("v".to_owned(), Some("20.5".to_owned())),
            ("N".to_owned(), None),
        ];
        let restored = restore(&contract, &texts, &overrides).unwrap();
        assert_eq!(restored.shapes.len(), 1);
        let batch = &restored.shapes[0].batch;
        let columns = validator(contract)
            .conform(batch, 0, &mut Findings::ignored(batch))
            .unwrap();
        let v = columns[2].as_primitive::<Float64Type>();
        assert_eq!(v.values().to_vec(), vec![20.5, 20.5]);
        assert_eq!(columns[1].as_primitive::<Int64Type>().null_count(), 2);
    }

    #[test]
    fn unsigned_and_narrow_numbers_come_back_through_the_cast_that_they_took() {
        let sent = RecordBatch::try_from_iter([(
            "n",
            Arc::new(UInt8Array::from(vec![7, 255])) as ArrayRef,
        )])
        .unwrap();
        let raw = raw_of(&sent);
        let texts: Vec<&str> = raw.iter().map(String::as_str).collect();
        let restored = restore(&contract(), &texts, &[]).unwrap();
        assert_eq!(accepted(&restored.shapes[0].batch), accepted(&sent));
    }
}
