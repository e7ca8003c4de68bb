//! Nested arrays under another type of the same values: the inner names of lists and maps, and what may be null in them, differ
//! between Arrow, Delta and a query's result, and mean no other values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::nullif;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Do two types differ at most in what their lists and maps call their parts, and in what may be null within them?
pub fn same_values(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => same_values(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.name() == b.name() && same_values(a.data_type(), b.data_type()))
        }
        (DataType::Map(a, _), DataType::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (DataType::Struct(a), DataType::Struct(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|(a, b)| same_values(a.data_type(), b.data_type()))
            }
            _ => false,
        },
        _ => a == b,
    }
}

/// The same values as an array of `due`, of which [`same_values`] is true. Nothing is copied.
///
/// # Errors
/// The types differ in more than that; a null where `due` has none.
pub fn retyped(array: &ArrayRef, due: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == due {
        return Ok(array.clone());
    }
    match (array.data_type(), due) {
        (DataType::List(_), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            let values = retyped(list.values(), element.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            let made = ListArray::try_new(element.clone(), offsets, values, nulls)?;
            Ok(Arc::new(made))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            Ok(Arc::new(retyped_struct(array.as_struct(), fields)?))
        }
        (DataType::Map(..), DataType::Map(entries, ordered)) => {
            let map = array.as_map();
            let DataType::Struct(pair) = entries.data_type() else {
                return Err(unlike(array.data_type(), due));
            };
            let made = MapArray::try_new(
                entries.clone(),
                map.offsets().clone(),
                retyped_struct(map.entries(), pair)?,
                map.nulls().cloned(),
                *ordered,
            )?;
            Ok(Arc::new(made))
        }
        (given, due) => Err(unlike(given, due)),
    }
}

fn retyped_struct(
    array: &StructArray,
    fields: &arrow::datatypes::Fields,
) -> Result<StructArray, ArrowError> {
    if array.num_columns() != fields.len() {
        return Err(unlike(array.data_type(), &DataType::Struct(fields.clone())));
    }
    let columns = array.columns().iter().zip(fields);
    let columns = columns.map(|(column, field)| retyped(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = array.nulls().cloned();
    StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())
}

/// The values without those that a null around them hides.
///
/// # Errors
/// None is known.
pub fn without_hidden(
    values: &ArrayRef,
    around: Option<&NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    match around.filter(|n| n.null_count() > 0) {
        Some(nulls) if !values.data_type().is_null() => {
            nullif(values, &BooleanArray::new(!nulls.inner(), None))
        }
        _ => Ok(values.clone()),
    }
}

/// May a struct of this type, or one within it, be null while a field of it cannot be?
pub fn hides_fields(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields
            .iter()
            .any(|f| !f.is_nullable() || hides_fields(f.data_type())),
        DataType::List(item) => hides_fields(item.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            // A map's entries are never null.
            DataType::Struct(pair) => pair.iter().any(|f| hides_fields(f.data_type())),
            _ => false,
        },
        _ => false,
    }
}

/// The same values, in which the fields of a null struct are null. Parquet's reader gives fields that are never null some value
/// there, and whoever takes a field out of a struct would find it.
///
/// # Errors
/// None is known.
pub fn with_null_fields(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !hides_fields(array.data_type()) {
        return Ok(array.clone());
    }
    match array.data_type() {
        DataType::Struct(_) => Ok(Arc::new(struct_with_null_fields(array.as_struct())?)),
        DataType::List(element) => {
            let list = array.as_list::<i32>();
            let values = with_null_fields(list.values())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            let made = ListArray::try_new(element.clone(), offsets, values, nulls)?;
            Ok(Arc::new(made))
        }
        DataType::Map(entries, ordered) => {
            let map = array.as_map();
            let made = MapArray::try_new(
                entries.clone(),
                map.offsets().clone(),
                struct_with_null_fields(map.entries())?,
                map.nulls().cloned(),
                *ordered,
            )?;
            Ok(Arc::new(made))
        }
        _ => Ok(array.clone()),
    }
}

fn struct_with_null_fields(array: &StructArray) -> Result<StructArray, ArrowError> {
    let columns = array.columns().iter();
    let columns = columns.map(|column| with_null_fields(&without_hidden(column, array.nulls())?));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let (fields, nulls) = (array.fields().clone(), array.nulls().cloned());
    StructArray::try_new_with_length(fields, columns, nulls, array.len())
}

fn unlike(given: &DataType, due: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!("values of {given} are no values of {due}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Int64Array, MapBuilder, StringBuilder};
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    #[test]
    fn a_field_of_a_null_struct_is_null() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
        let inner = Arc::new(Field::new("n", DataType::Int64, false));
        let nulls = Some(NullBuffer::from(vec![true, false]));
        let made = StructArray::new(vec![inner].into(), vec![number], nulls);
        let within = Arc::new(Field::new("element", made.data_type().clone(), true));
        let list: ArrayRef = Arc::new(ListArray::new(
            within,
            arrow::buffer::OffsetBuffer::new(vec![0, 2].into()),
            Arc::new(made),
            None,
        ));
        let read = with_null_fields(&list).unwrap();
        let fields = read.as_list::<i32>().values().as_struct();
        let numbers = fields.column(0).as_primitive::<Int64Type>();
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(7), None]);
        assert_eq!(read.data_type(), list.data_type());
    }

    #[test]
    fn names_and_nullability_change_and_values_do_not() {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            None,
        ]));
        let due = |nullable| {
            let element = Field::new("element", DataType::Int64, nullable);
            DataType::List(Arc::new(element))
        };
        for nullable in [true, false] {
            assert!(same_values(list.data_type(), &due(nullable)));
            let made = retyped(&list, &due(nullable)).unwrap();
            assert_eq!(made.data_type(), &due(nullable));
            assert_eq!(
                made.as_list::<i32>().values(),
                list.as_list::<i32>().values()
            );
        }
        let holed: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(
            vec![None],
        )]));
        assert!(
            retyped(&holed, &due(false)).is_err(),
            "a null where none is"
        );
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        assert!(retyped(&numbers, &due(true)).is_err());
        assert!(!same_values(&DataType::Int64, &due(true)));

        let mut map = MapBuilder::new(
            None,
            StringBuilder::new(),
            arrow::array::Int64Builder::new(),
        );
        map.keys().append_value("a");
        map.values().append_value(1);
        map.append(true).unwrap();
        let map: ArrayRef = Arc::new(map.finish());
        let pair = vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Int64, false),
        ];
        let entries = Field::new("key_value", DataType::Struct(pair.into()), false);
        let due = DataType::Map(Arc::new(entries), false);
        assert!(same_values(map.data_type(), &due));
        assert_eq!(retyped(&map, &due).unwrap().data_type(), &due);
    }
}
