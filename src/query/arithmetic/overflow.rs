//! The error of a result that does not fit its type.

use arrow::datatypes::DataType;

use crate::fault::Fault;

/// Its reason.
pub(in crate::query) const OVERFLOW: &str = "numeric_overflow";

/// A result that does not fit its type.
pub(super) fn out_of_range(type_: &DataType, operation: &str) -> Fault {
    let way_out = match type_ {
        whole if whole.is_integer() => "; cast a value to DECIMAL(38, 0) or DOUBLE",
        decimal if decimal.is_decimal() => "; cast a value to DOUBLE",
        _ => "",
    };
    let name = type_name(type_);
    Fault::invalid(
        OVERFLOW,
        format!("{name} out of range, operation={operation}{way_out}"),
    )
}

/// SQL's name of a type.
fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            "unsigned integer"
        }
        DataType::Interval(_) => "INTERVAL",
        DataType::Duration(_) => "duration",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Timestamp(..) => "TIMESTAMP",
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => return format!("DECIMAL({p}, {s})"),
        other => return other.to_string(),
    };
    name.to_owned()
}
