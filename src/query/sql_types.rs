//! Arrow's types as SQL has them: their names, and the digits of their values.

use arrow::datatypes::{DataType, TimeUnit};

use crate::types::shown_name;

/// A SQL name of an Arrow type.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "VOID".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".to_owned(),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("DECIMAL({p},{s})"),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("ARRAY<{}>", type_name(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields = fields.iter();
            let fields =
                fields.map(|f| format!("{}: {}", shown_name(f.name()), type_name(f.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let both = pair.iter().map(|f| type_name(f.data_type()));
                format!("MAP<{}>", both.collect::<Vec<_>>().join(", "))
            }
            other => format!("MAP<{}>", type_name(other)),
        },
        other => other.to_string(),
    }
}

/// Decimal digits of a number, and those behind the point where their count is fixed.
pub(super) fn numeric(data_type: &DataType) -> Option<(u8, Option<i8>)> {
    match data_type {
        DataType::Int8 => Some((3, Some(0))),
        DataType::Int16 => Some((5, Some(0))),
        DataType::Int32 => Some((10, Some(0))),
        DataType::Int64 => Some((19, Some(0))),
        DataType::Float32 => Some((7, None)),
        DataType::Float64 => Some((15, None)),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => Some((*p, Some(*s))),
        _ => None,
    }
}

/// Digits of a second's fraction.
pub(super) fn fraction_digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}
