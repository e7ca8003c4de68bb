//! `FROM generate_series(from, until, INTERVAL '1 hour')`, and `range`: DataFusion's table function takes constants in nanoseconds
//! alone. `times_between` takes any times, and queries.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, Ident, Statement, TableAlias, TableFactor,
    Visitor,
};

use super::times_between;
use crate::fault::Fault;
use crate::sql::{parse_own, parts, printed, visit};

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
    if !is_interval(step) {
        return Ok(());
    }
    let [from, until, step] = [from, until, step].map(printed);
    let whole = function == "generate_series";
    let series = times_between::NAME;
    let query = format!("SELECT unnest({series}({from}, {until}, {step}, {whole})) AS value");
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

/// Is an interval written in it? `INTERVAL '6 hours' * 2`, `'1 day'::interval`
fn is_interval(step: &Expr) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Interval(_)
                | Expr::Cast {
                    data_type: DataType::Interval { .. },
                    ..
                } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    visit(step, &mut Finder).is_break()
}
