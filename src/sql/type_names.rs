//! Names of types that other databases and drivers use, as the one spelling that CREATE TABLE and CAST both know.

use datafusion::sql::sqlparser::ast::{
    BinaryLength, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo,
};

/// Gives a type its usual name. A length, a precision and a scale stay. Types without another name stay as they are.
pub fn usual_type(data_type: &mut DataType) {
    let usual = match &*data_type {
        DataType::Int2(_) | DataType::Int16 => DataType::SmallInt(None),
        DataType::MediumInt(_) | DataType::Integer(_) | DataType::Int4(_) | DataType::Int32 => {
            DataType::Int(None)
        }
        DataType::Int8(_) | DataType::Int64 => DataType::BigInt(None),
        DataType::Float4 | DataType::Float32 => DataType::Real,
        DataType::Float8 | DataType::Float64 => DataType::DoublePrecision,
        // Binary digits, as in PostgreSQL.
        DataType::Float(ExactNumberInfo::Precision(1..=24)) => DataType::Real,
        DataType::Float(ExactNumberInfo::Precision(25..=53)) => DataType::DoublePrecision,
        DataType::Dec(info) => DataType::Decimal(*info),
        DataType::CharVarying(length)
        | DataType::CharacterVarying(length)
        | DataType::Nvarchar(length) => DataType::Varchar(*length),
        DataType::Character(length) => DataType::Char(*length),
        DataType::Clob(length)
        | DataType::CharLargeObject(length)
        | DataType::CharacterLargeObject(length) => texts(*length),
        DataType::TinyText | DataType::MediumText | DataType::LongText => DataType::Text,
        DataType::TinyBlob | DataType::MediumBlob | DataType::LongBlob => DataType::Bytea,
        DataType::Blob(None)
        | DataType::Bytes(None)
        | DataType::Binary(None)
        | DataType::Varbinary(None | Some(BinaryLength::Max)) => DataType::Bytea,
        DataType::Datetime(digits) => DataType::TimestampNtz(*digits),
        DataType::Custom(name, arguments) => match custom(&name.to_string(), arguments) {
            Some(usual) => usual,
            None => return,
        },
        _ => return,
    };
    *data_type = usual;
}

/// Texts of at most so many characters.
fn texts(length: Option<u64>) -> DataType {
    match length {
        None => DataType::Text,
        Some(length) => {
            DataType::Varchar(Some(CharacterLength::IntegerLength { length, unit: None }))
        }
    }
}

/// A name that sqlparser has no word for.
fn custom(name: &str, arguments: &[String]) -> Option<DataType> {
    let number = |at: usize| {
        arguments
            .get(at)
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    if arguments.len() > 2 || (0..arguments.len()).any(|at| number(at).is_none()) {
        return None;
    }
    let length = number(0).map(|length| CharacterLength::IntegerLength { length, unit: None });
    let name = name.to_ascii_uppercase();
    Some(match (name.as_str(), arguments.len()) {
        ("BYTE", 0) => DataType::TinyInt(None),
        ("SHORT", 0) => DataType::SmallInt(None),
        ("LONG", 0) => DataType::BigInt(None),
        ("NUMBER", 0) => DataType::Decimal(ExactNumberInfo::None),
        ("NUMBER", 1) => DataType::Decimal(ExactNumberInfo::Precision(number(0)?)),
        ("NUMBER", 2) => DataType::Decimal(ExactNumberInfo::PrecisionAndScale(
            number(0)?,
            i64::try_from(number(1)?).ok()?,
        )),
        ("VARCHAR2" | "NVARCHAR2", 0 | 1) => DataType::Varchar(length),
        ("NCHAR", 0 | 1) => DataType::Char(length),
        ("BPCHAR", 0) => DataType::Text,
        ("BPCHAR", 1) => DataType::Char(length),
        ("NCLOB" | "NTEXT", 0) => DataType::Text,
        ("DATETIME2", 0 | 1) => DataType::TimestampNtz(number(0)),
        ("SMALLDATETIME", 0) => DataType::TimestampNtz(None),
        ("DATETIMEOFFSET", 0 | 1) => DataType::Timestamp(number(0), TimezoneInfo::WithTimeZone),
        ("TIMESTAMP_LTZ", 0 | 1) => DataType::Timestamp(number(0), TimezoneInfo::WithTimeZone),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use datafusion::sql::sqlparser::ast::Expr;

    use super::*;
    use crate::sql::parse_own_expr;

    #[test]
    fn types_have_one_usual_name() {
        for (text, usual) in [
            ("CHARACTER VARYING(10)", "VARCHAR(10)"),
            ("nvarchar(7)", "VARCHAR(7)"),
            ("VARCHAR2(3)", "VARCHAR(3)"),
            ("CLOB", "TEXT"),
            ("CLOB(20)", "VARCHAR(20)"),
            ("LONGTEXT", "TEXT"),
            ("CHARACTER(2)", "CHAR(2)"),
            ("bpchar", "TEXT"),
            ("INT8", "BIGINT"),
            ("INT4", "INT"),
            ("INT2", "SMALLINT"),
            ("FLOAT8", "DOUBLE PRECISION"),
            ("FLOAT(53)", "DOUBLE PRECISION"),
            ("FLOAT(24)", "REAL"),
            ("LONG", "BIGINT"),
            ("NUMBER(10, 2)", "DECIMAL(10,2)"),
            ("DATETIME", "TIMESTAMP_NTZ"),
            ("DATETIME2(3)", "TIMESTAMP_NTZ(3)"),
            ("DATETIMEOFFSET", "TIMESTAMP WITH TIME ZONE"),
            ("LONGBLOB", "BYTEA"),
            ("STRING", "STRING"),
            ("GEOMETRY", "GEOMETRY"),
            ("NUMBER", "DECIMAL"),
        ] {
            let Expr::Cast { mut data_type, .. } =
                parse_own_expr(&format!("CAST(x AS {text})")).unwrap()
            else {
                panic!("{text}");
            };
            usual_type(&mut data_type);
            assert_eq!(data_type.to_string(), usual, "{text}");
        }
    }
}
