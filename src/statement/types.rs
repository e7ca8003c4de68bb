//! A column's type as SQL spells it: the type that the table keeps, and the length that the spelling asks for.
//!
//! Delta has one type for texts, so that `VARCHAR(n)` is a STRING with a rule. A spelling that promises something which the
//! table could not keep (an unsigned number, a length of bytes, nanoseconds) is refused with the type to use instead.

use datafusion::sql::sqlparser::ast::{
    CharLengthUnits, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo,
};

use super::nested_types;
use crate::dataset::{ColumnType, Error};
use crate::fault::Fault;
use crate::sql::{parse_type, usual_type};

/// Digits of a second's fraction that a timestamp keeps.
const FRACTION_MAX: u64 = 6;

/// The column's type, and the most characters of a text in it.
///
/// # Errors
/// INVALID_ARGUMENT `invalid_contract`, with what to say instead.
pub(super) fn column_type(
    column: &str,
    given: &DataType,
) -> Result<(ColumnType, Option<u32>), Fault> {
    let refused = |way_out: &str| {
        let error = Error::Type {
            column: column.to_owned(),
            given: given.to_string(),
        };
        Err(Fault::invalid(
            "invalid_contract",
            format!("{error}; {way_out}"),
        ))
    };
    let plain = |data_type: ColumnType| Ok((data_type, None));
    let mut usual = given.clone();
    usual_type(&mut usual);
    match &usual {
        DataType::TinyInt(_) => plain(ColumnType::Byte),
        DataType::SmallInt(_) => plain(ColumnType::Short),
        DataType::Int(_) => plain(ColumnType::Int),
        DataType::BigInt(_) => plain(ColumnType::Long),
        DataType::Real | DataType::Float(ExactNumberInfo::None) => plain(ColumnType::Float),
        DataType::DoublePrecision | DataType::Double(ExactNumberInfo::None) => {
            plain(ColumnType::Double)
        }
        DataType::Float(_) | DataType::Double(_) => {
            refused("say FLOAT or DOUBLE, or DECIMAL(precision, scale) for exact decimals")
        }
        DataType::Numeric(info) | DataType::Decimal(info) => {
            let (precision, scale) = match info {
                ExactNumberInfo::None => {
                    return refused("say its precision and scale, such as DECIMAL(18,3)");
                }
                ExactNumberInfo::Precision(precision) => (*precision, 0),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
            };
            let text = format!("decimal({precision},{scale})");
            match text.parse() {
                Ok(decimal) => plain(decimal),
                Err(()) => refused("a precision is 1 to 38, a scale 0 to the precision"),
            }
        }
        DataType::Varchar(length) => text_of(length.as_ref(), None).or_else(&refused),
        // Alone it means one character.
        DataType::Char(length) => text_of(length.as_ref(), Some(1)).or_else(&refused),
        DataType::String(Some(length)) => characters(*length).or_else(&refused),
        DataType::Text => plain(ColumnType::String),
        DataType::Bytea => plain(ColumnType::Binary),
        DataType::Binary(_) | DataType::Blob(_) | DataType::Bytes(_) | DataType::Varbinary(_) => {
            refused("a length of bytes is not kept: say BINARY")
        }
        DataType::Timestamp(digits, zone) => {
            if digits.is_some_and(|digits| digits > FRACTION_MAX) {
                return refused("a timestamp keeps microseconds: say TIMESTAMP");
            }
            match zone {
                TimezoneInfo::WithoutTimeZone => plain(ColumnType::TimestampNtz),
                TimezoneInfo::None | TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => {
                    plain(ColumnType::Timestamp)
                }
            }
        }
        DataType::TimestampNtz(digits) => match digits {
            Some(digits) if *digits > FRACTION_MAX => {
                refused("a timestamp keeps microseconds: say TIMESTAMP_NTZ")
            }
            _ => plain(ColumnType::TimestampNtz),
        },
        DataType::Datetime64(..) => {
            refused("say TIMESTAMP, which is an instant, or TIMESTAMP_NTZ, which has no zone")
        }
        DataType::Time(..) | DataType::Interval { .. } => {
            refused("use a STRING, or a BIGINT of microseconds")
        }
        DataType::Uuid | DataType::JSON | DataType::JSONB | DataType::Enum(..) => {
            refused("use STRING, with a CHECK if its form matters")
        }
        DataType::Array(_) | DataType::Map(..) | DataType::Struct(..) => {
            nested(&given.to_string()).map_or_else(|problem| refused(&problem), plain)
        }
        DataType::Tuple(_) | DataType::Nested(_) => {
            refused("say STRUCT<name type, ..>, which names its fields")
        }
        DataType::Custom(name, arguments) if name.to_string() == nested_types::FOLDED => {
            let text = arguments.first().map(String::as_str).unwrap_or_default();
            let given = text.chars().take(200).collect();
            match nested(text) {
                Ok(data_type) => plain(data_type),
                Err(problem) => {
                    let error = Error::Nested {
                        column: column.to_owned(),
                        given,
                        problem,
                    };
                    Err(Fault::invalid("invalid_contract", error.to_string()))
                }
            }
        }
        other => {
            let text = other.to_string();
            if text.to_ascii_uppercase().contains("UNSIGNED") || text.starts_with('U') {
                return refused("Delta has no unsigned types: use the next larger signed one");
            }
            // Words of Delta's and of TOML's that SQL has none for.
            let own = text.to_ascii_lowercase().replace(' ', "").parse();
            own.map_or_else(|()| refused("use one of these"), plain)
        }
    }
}

/// A nested type, whose inner types have the spellings that columns have.
fn nested(text: &str) -> Result<ColumnType, String> {
    let leaf = |text: &str| {
        let given = parse_type(text).map_err(|fault| fault.message.to_string())?;
        match column_type("", &given) {
            Ok((data_type, None)) => Ok(data_type),
            Ok((_, Some(_))) => Err(format!(
                "{text}: a length within a nested type is not kept; say STRING"
            )),
            Err(_) => Err(format!("{text} is no type that a column can have")),
        }
    };
    ColumnType::read(text, &leaf)
}

fn text_of(
    length: Option<&CharacterLength>,
    alone: Option<u64>,
) -> Result<(ColumnType, Option<u32>), &'static str> {
    match length {
        Some(CharacterLength::IntegerLength {
            unit: Some(CharLengthUnits::Octets),
            ..
        }) => Err("a length counts characters here: leave OCTETS out"),
        Some(CharacterLength::IntegerLength { length, .. }) => characters(*length),
        Some(CharacterLength::Max) => Ok((ColumnType::String, None)),
        None => alone.map_or(Ok((ColumnType::String, None)), characters),
    }
}

fn characters(length: u64) -> Result<(ColumnType, Option<u32>), &'static str> {
    match u32::try_from(length) {
        Ok(length) if length > 0 => Ok((ColumnType::String, Some(length))),
        _ => Err("a length is 1 to 4294967295 characters: say STRING for texts of any length"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use datafusion::sql::sqlparser::ast::Statement;

    use super::*;
    use crate::sql::parse_one;

    fn read(text: &str) -> Result<(ColumnType, Option<u32>), Fault> {
        let statement = parse_one(&format!("CREATE TABLE t (c {text})")).unwrap();
        let Statement::CreateTable(table) = statement else {
            panic!("{statement}");
        };
        column_type("c", &table.columns[0].data_type)
    }

    #[test]
    fn the_spellings_of_other_databases_are_known() {
        let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
        for (text, expected, length) in [
            ("INT2", ColumnType::Short, None),
            ("INT4", ColumnType::Int, None),
            ("INTEGER", ColumnType::Int, None),
            ("INT8", ColumnType::Long, None),
            ("BIGINT", ColumnType::Long, None),
            ("LONG", ColumnType::Long, None),
            ("FLOAT4", ColumnType::Float, None),
            ("REAL", ColumnType::Float, None),
            ("FLOAT(24)", ColumnType::Float, None),
            ("FLOAT(53)", ColumnType::Double, None),
            ("FLOAT8", ColumnType::Double, None),
            ("DOUBLE PRECISION", ColumnType::Double, None),
            ("NUMERIC(10, 2)", decimal(10, 2), None),
            ("DECIMAL(5)", decimal(5, 0), None),
            ("NUMBER(10, 2)", decimal(10, 2), None),
            ("BOOL", ColumnType::Boolean, None),
            ("TEXT", ColumnType::String, None),
            ("VARCHAR", ColumnType::String, None),
            ("VARCHAR(3)", ColumnType::String, Some(3)),
            ("CHARACTER VARYING(10)", ColumnType::String, Some(10)),
            ("NVARCHAR(7)", ColumnType::String, Some(7)),
            ("CLOB", ColumnType::String, None),
            ("CLOB(9)", ColumnType::String, Some(9)),
            ("NTEXT", ColumnType::String, None),
            ("VARCHAR2(7)", ColumnType::String, Some(7)),
            ("BPCHAR(7)", ColumnType::String, Some(7)),
            ("NCHAR", ColumnType::String, Some(1)),
            ("CHAR(2)", ColumnType::String, Some(2)),
            ("CHAR", ColumnType::String, Some(1)),
            ("STRING", ColumnType::String, None),
            ("BYTEA", ColumnType::Binary, None),
            ("BLOB", ColumnType::Binary, None),
            ("DATE", ColumnType::Date, None),
            ("TIMESTAMP(3)", ColumnType::Timestamp, None),
            ("TIMESTAMPTZ", ColumnType::Timestamp, None),
            ("TIMESTAMP WITH TIME ZONE", ColumnType::Timestamp, None),
            (
                "TIMESTAMP WITHOUT TIME ZONE",
                ColumnType::TimestampNtz,
                None,
            ),
            ("TIMESTAMP_NTZ", ColumnType::TimestampNtz, None),
            ("DATETIME", ColumnType::TimestampNtz, None),
            ("DATETIME(3)", ColumnType::TimestampNtz, None),
            ("DATETIME2(6)", ColumnType::TimestampNtz, None),
            ("DATETIMEOFFSET", ColumnType::Timestamp, None),
            ("TIMESTAMP_LTZ", ColumnType::Timestamp, None),
            (
                "DATETIMEOFFSET[]",
                ColumnType::Array(Box::new(crate::dataset::ElementType {
                    element: ColumnType::Timestamp,
                    nullable: true,
                })),
                None,
            ),
        ] {
            assert_eq!(read(text).unwrap(), (expected, length), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_the_type_to_use() {
        for (text, word) in [
            ("INT UNSIGNED", "signed"),
            ("UBIGINT", "signed"),
            ("NUMERIC", "precision"),
            ("DECIMAL(39,2)", "1 to 38"),
            ("DECIMAL(5,6)", "1 to 38"),
            ("VARCHAR(0)", "STRING"),
            ("VARCHAR(9 OCTETS)", "characters"),
            ("BINARY(16)", "BINARY"),
            ("TIMESTAMP(9)", "microseconds"),
            ("NUMBER", "precision"),
            ("DATETIME2(7)", "microseconds"),
            ("DateTime64(3)", "TIMESTAMP_NTZ"),
            ("TIME", "BIGINT"),
            ("UUID", "STRING"),
            ("JSON", "STRING"),
            ("INT[3]", "length"),
            ("VARCHAR(3)[]", "STRING"),
            ("INT UNSIGNED[]", "no type"),
            ("GEOMETRY", "known"),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!(&*fault.reason, "invalid_contract", "{text}");
            assert!(fault.message.contains(word), "{text}: {fault}");
            assert!(fault.message.contains("column=c"), "{fault}");
        }
    }
}
