//! Answers to GetSqlInfo and GetXdbcTypeInfo. Drivers read them once and cache them; a missing one is a NullPointerException
//! in JDBC 18, so all ids of the specification are given.

use std::collections::BTreeMap;

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

/// A value of the dense union that GetSqlInfo answers with.
enum Value {
    Text(&'static str),
    Bool(bool),
    Int(i32),
    Long(i64),
    Words(&'static str),
    NoMap,
}

/// What this server says; every other id of the specification gets its kind's zero.
fn known(id: u32) -> Option<Value> {
    Some(match id {
        0 => Value::Text("deltaplane"),
        1 => Value::Text(env!("CARGO_PKG_VERSION")),
        2 => Value::Text("59.3.2"),
        // Cancel, bulk ingest, ingest in a transaction.
        9..=11 => Value::Bool(true),
        4 | 502 | 506 | 515 | 516 | 518 | 520 | 521 | 523 | 524 | 532 | 539 => Value::Bool(true),
        // Transactions without savepoints, read committed, of rows and of DDL that takes effect at once; bound batches.
        8 => Value::Int(1),
        562 => Value::Int(2),
        564 => Value::Int(1 << 2),
        563 | 572 => Value::Bool(true),
        // Results are read once, forward.
        567 => Value::Int(1 << 1),
        569 => Value::Int(1 << 1),
        // Case is ignored and kept.
        503 | 505 => Value::Int(1),
        504 => Value::Text("\""),
        // Nulls sort high.
        507 => Value::Int(0),
        508 => Value::Words("ASOF LOCF TBLPROPERTIES PARTITIONED"),
        509 => Value::Words(
            "abs acos asin atan atan2 ceil cos degrees exp floor ln log log10 mod pi power radians random round sign sin sqrt tan trunc",
        ),
        510 => Value::Words(
            "ascii btrim char_length chr concat initcap left length lower lpad ltrim md5 repeat replace reverse right rpad rtrim split_part strpos substr trim upper",
        ),
        511 => Value::Words("version"),
        512 => {
            Value::Words("current_date current_time date_bin date_part date_trunc now to_timestamp")
        }
        513 => Value::Text("\\"),
        529 => Value::Text("schema"),
        530 => Value::Text("procedure"),
        531 => Value::Text("catalog"),
        // Group by anything, outer joins in full, the usual subqueries and unions.
        522 => Value::Int(3),
        525 | 526 => Value::Int(7),
        528 => Value::Int(6),
        538 => Value::Int(15),
        540 => Value::Int(3),
        _ => return None,
    })
}

fn zero(id: u32) -> Value {
    match id {
        8
        | 100
        | 101
        | 503
        | 505
        | 507
        | 522
        | 525
        | 526
        | 528
        | 533..=535
        | 538
        | 540
        | 562
        | 564
        | 567..=571 => Value::Int(0),
        541..=555 | 557..=561 => Value::Long(0),
        0..=2 | 6 | 7 | 504 | 513 | 514 | 529..=531 => Value::Text(""),
        508..=512 => Value::Words(""),
        517 => Value::NoMap,
        _ => Value::Bool(false),
    }
}

/// Ids of the specification: 0 to 11, 100, 101, 500 to 576.
pub(super) fn sql_info(transaction_idle_ms: i32) -> Result<SqlInfoData, FlightError> {
    let mut builder = SqlInfoDataBuilder::new();
    for id in (0..=11).chain([100, 101]).chain(500..=576) {
        let said = match id {
            101 => Some(Value::Int(transaction_idle_ms)),
            _ => known(id),
        };
        match said.unwrap_or_else(|| zero(id)) {
            Value::Text(text) => builder.append(id, text),
            Value::Bool(yes) => builder.append(id, yes),
            Value::Int(n) => builder.append(id, n),
            Value::Long(n) => builder.append(id, n),
            Value::Words(list) => builder.append(
                id,
                list.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<String>>(),
            ),
            Value::NoMap => builder.append(id, BTreeMap::<i32, Vec<i32>>::new()),
        }
    }
    builder.build()
}

pub(super) fn xdbc_types() -> Result<XdbcTypeInfoData, FlightError> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    let quoted = |q: &str| Some(q.to_owned());
    let rows = [
        ("BIGINT", XdbcDataType::XdbcBigint, 19, None, None, Some(10)),
        ("INT", XdbcDataType::XdbcInteger, 10, None, None, Some(10)),
        (
            "SMALLINT",
            XdbcDataType::XdbcSmallint,
            5,
            None,
            None,
            Some(10),
        ),
        (
            "TINYINT",
            XdbcDataType::XdbcTinyint,
            3,
            None,
            None,
            Some(10),
        ),
        ("FLOAT", XdbcDataType::XdbcReal, 24, None, None, Some(2)),
        ("DOUBLE", XdbcDataType::XdbcDouble, 53, None, None, Some(2)),
        (
            "DECIMAL",
            XdbcDataType::XdbcDecimal,
            38,
            None,
            None,
            Some(10),
        ),
        ("BOOLEAN", XdbcDataType::XdbcBit, 1, None, None, None),
        (
            "STRING",
            XdbcDataType::XdbcVarchar,
            i32::MAX,
            quoted("'"),
            None,
            None,
        ),
        (
            "BINARY",
            XdbcDataType::XdbcVarbinary,
            i32::MAX,
            quoted("X'"),
            None,
            None,
        ),
        // Code 1: a date, in the table of date-time types; the specification's enum calls it after its interval sibling.
        (
            "DATE",
            XdbcDataType::XdbcDate,
            10,
            quoted("'"),
            Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
            None,
        ),
        (
            "TIMESTAMP",
            XdbcDataType::XdbcTimestamp,
            26,
            quoted("'"),
            Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            None,
        ),
    ];
    for (name, data_type, size, prefix, subcode, radix) in rows {
        let text = prefix.is_some();
        builder.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            column_size: Some(size),
            literal_suffix: prefix.as_ref().map(|_| "'".to_owned()),
            literal_prefix: prefix,
            create_params: (name == "DECIMAL")
                .then(|| vec!["precision".to_owned(), "scale".to_owned()]),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: text,
            searchable: Searchable::Full,
            unsigned_attribute: radix.map(|_| false),
            fixed_prec_scale: false,
            auto_increment: Some(false),
            local_type_name: Some(name.to_owned()),
            minimum_scale: None,
            maximum_scale: None,
            // Date and time types are told apart by their subcode.
            sql_data_type: if subcode.is_some() {
                XdbcDataType::XdbcDatetime
            } else {
                data_type
            },
            datetime_subcode: subcode,
            num_prec_radix: radix,
            interval_precision: None,
        });
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    #[test]
    fn every_id_of_the_specification_is_answered() {
        let all = super::sql_info(0).unwrap().record_batch([]).unwrap();
        assert_eq!(all.num_rows(), 91);
        assert_eq!(
            super::xdbc_types()
                .unwrap()
                .record_batch(None)
                .unwrap()
                .num_rows(),
            12
        );
    }
}
