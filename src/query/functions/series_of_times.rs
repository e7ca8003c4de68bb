//! `FROM generate_series(from, until, INTERVAL '1 hour')`, and `range`: DataFusion's table function takes constants in nanoseconds
//! alone. The function of the same name, which gives a list, takes any time, and queries.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, Ident, Statement, TableAlias, TableFactor,
    TypedString,
};

use crate::fault::Fault;
use crate::sql::{parse_own, parts, printed};

/// # Errors
/// INTERNAL: what is written here is no query.
pub(super) fn write_out(factor: &mut TableFactor) -> Result<(), Fault> {
    let TableFactor::Table {
        name,
        alias,
        args: Some(args),
        ..
    } = factor
    else {
        return Ok(());
    };
    let function = match parts(name).as_slice() {
        [one] if one.eq_ignore_ascii_case("generate_series") => "generate_series",
        [one] if one.eq_ignore_ascii_case("range") => "range",
        _ => return Ok(()),
    };
    let values = args.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    });
    let Some([from, until, step]) = values
        .collect::<Option<Vec<_>>>()
        .and_then(|values| <[&Expr; 3]>::try_from(values).ok())
    else {
        return Ok(());
    };
    // Of written days it makes times.
    let is_day = |value: &Expr| {
        matches!(
            value,
            Expr::TypedString(TypedString {
                data_type: DataType::Date,
                ..
            })
        )
    };
    if !matches!(step, Expr::Interval(_)) || (is_day(from) && is_day(until)) {
        return Ok(());
    }
    let [from, until, step] = [from, until, step].map(printed);
    let query = format!("SELECT unnest({function}({from}, {until}, {step})) AS value");
    let Statement::Query(subquery) = parse_own(&query)? else {
        return Ok(());
    };
    let alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', function),
        columns: Vec::new(),
        at: None,
    });
    *factor = TableFactor::Derived {
        lateral: false,
        subquery,
        alias: Some(alias),
        sample: None,
    };
    Ok(())
}
