//! The names of types in queries, where the engine takes them for others than tables have.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Statement, TimezoneInfo, TypedString};

use crate::sql::{each_expr_mut, usual_type};

/// Times have the microseconds of tables: in nanoseconds, which the engine takes for `TIMESTAMP`, the years before 1677 and after 2262 are
/// errors. The names that CREATE TABLE knows are known in CAST as well.
pub(in crate::query) fn engine_types(statement: &mut Statement) {
    each_expr_mut(statement, |expr| match expr {
        Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) => {
            rename(data_type);
        }
        _ => {}
    });
}

fn rename(data_type: &mut DataType) {
    usual_type(data_type);
    match data_type {
        DataType::Timestamp(precision @ None, _) => *precision = Some(6),
        DataType::TimestampNtz { .. } => {
            *data_type = DataType::Timestamp(Some(6), TimezoneInfo::WithoutTimeZone);
        }
        DataType::Binary(_) | DataType::Varbinary(_) => *data_type = DataType::Bytea,
        _ => {}
    }
}
