//! `t AT TIME ZONE 'Europe/Berlin'`: a time without a zone is a local time of it, and becomes an instant; an instant stays one and is
//! shown as the zone's local time. Arrow's cast ends with an error where a local time comes twice or not at all.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Statement, Value};

use super::local_clock;
use super::zone::{Zone, ZoneClock};
use crate::fault::Fault;
use crate::sql::{each_expr_mut, parse_own_expr};

const NAME: &str = "at_time_zone";

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(AtTimeZone(Signature::user_defined(Volatility::Immutable)))
}

/// Writes `t AT TIME ZONE 'z'` as a call of the function.
///
/// # Errors
/// INVALID_ARGUMENT: the zone is no constant.
pub(in crate::query) fn rewrite(statement: &mut Statement) -> Result<(), Fault> {
    let mut failed = None;
    each_expr_mut(statement, |expr| {
        let SqlExpr::AtTimeZone {
            timestamp,
            time_zone,
        } = expr
        else {
            return;
        };
        let constant = match &**time_zone {
            SqlExpr::Value(value) => matches!(value.value, Value::SingleQuotedString(_)),
            _ => false,
        };
        let made = match constant {
            true => parse_own_expr(&format!("{NAME}({timestamp}, {time_zone})")),
            false => Err(Fault::invalid(
                "invalid_query",
                format!(
                    "the zone of AT TIME ZONE is a constant text, such as 'Europe/Berlin', zone={time_zone}"
                ),
            )),
        };
        match made {
            Ok(call) => *expr = call,
            Err(fault) => failed = failed.take().or(Some(fault)),
        }
    });
    failed.map_or(Ok(()), Err)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtTimeZone(Signature);

fn wrong<T>() -> Result<T> {
    plan_err!("{NAME} takes a time and the name of a zone: ts AT TIME ZONE 'Europe/Berlin'")
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        wrong()
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let (Some(time), [_, Some(ScalarValue::Utf8(Some(zone)))]) =
            (args.arg_fields.first(), args.scalar_arguments)
        else {
            return wrong();
        };
        Zone::named(zone)?;
        let type_ = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.as_str().into()));
        Ok(Arc::new(Field::new(NAME, type_, time.is_nullable())))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, _] = types else {
            return wrong();
        };
        let zone = match time {
            DataType::Timestamp(_, zone) => zone.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => None,
            text if text.is_string() => None,
            _ => return wrong(),
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
        Ok(vec![time, DataType::Utf8])
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (Some(time), DataType::Timestamp(_, Some(zone))) =
            (args.args.first(), args.return_field.data_type())
        else {
            return wrong();
        };
        let scalar = matches!(time, ColumnarValue::Scalar(_));
        let times = time.to_array(if scalar { 1 } else { args.number_rows })?;
        let made = in_zone(&times, zone)?;
        Ok(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
            false => ColumnarValue::Array(made),
        })
    }
}

/// Microseconds, with a zone or without, as instants that are shown in a zone.
fn in_zone(times: &ArrayRef, zone: &Arc<str>) -> Result<ArrayRef> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let instants = match (times.timezone(), Zone::named(zone)?) {
        (None, Some(zone)) => {
            let clock = ZoneClock::new(zone);
            let made: PrimitiveArray<TimestampMicrosecondType> =
                times.try_unary(|local| match clock.instant(local) {
                    Some(instant) => Ok(instant),
                    None => exec_err!("a local time beyond the calendar, microseconds={local}"),
                })?;
            made
        }
        _ => times.clone(),
    };
    Ok(Arc::new(instants.with_timezone(zone.clone())))
}

/// Casts of local times to a zone, which coercion makes, become the function, and casts to no zone the clock of the time's own zone. Runs
/// behind coercion.
#[derive(Debug)]
pub(in crate::query) struct ZonedCasts {
    at_zone: Arc<ScalarUDF>,
    local_clock: Arc<ScalarUDF>,
}

impl Default for ZonedCasts {
    fn default() -> Self {
        ZonedCasts {
            at_zone: Arc::new(function()),
            local_clock: Arc::new(local_clock::function()),
        }
    }
}

impl AnalyzerRule for ZonedCasts {
    fn name(&self) -> &str {
        "zoned_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| self.rewritten(expr, &schema))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })
        });
        Ok(plan?.data)
    }
}

/// The time of a text that names no zone and no offset. Arrow's own cast to a zone fails in the hour that comes twice, and in the one that is left out.
fn local_time(text: &ScalarValue) -> Option<ScalarValue> {
    let told = text.try_as_str().flatten()?.trim();
    let behind_day = told.get(10..).unwrap_or_default();
    let own_offset = |c: char| matches!(c, '+' | '-') || c.is_alphabetic() && c != 'T';
    if behind_day.contains(own_offset) {
        return None;
    }
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    text.cast_to(&local).ok().filter(|time| !time.is_null())
}

impl ZonedCasts {
    /// A cast of a time with a zone to one without; none: it is another expression, or its zone is UTC.
    fn without_zone(&self, expr: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
        let (time, to) = match expr {
            Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
            _ => return Ok(None),
        };
        if let DataType::Timestamp(_, None) = to
            && let Ok(DataType::Timestamp(_, Some(zone))) = time.get_type(schema)
            && Zone::named(&zone)?.is_some()
        {
            let local = self.local_clock.call(vec![time.as_ref().clone()]);
            return local.cast_to(to, schema).map(Some);
        }
        Ok(None)
    }

    fn rewritten(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        if let Some(local) = self.without_zone(&expr, schema)? {
            return Ok(Transformed::yes(local));
        }
        let Expr::Cast(cast) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let to = cast.field.data_type();
        if let DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) = to
            && let Expr::Literal(text, _) = cast.expr.as_ref()
            && let Some(time) = local_time(text)
            && Zone::named(zone)?.is_some()
        {
            let call = self.at_zone.call(vec![lit(time), lit(zone.as_ref())]);
            return Ok(Transformed::yes(call));
        }
        if let DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) = to
            && let Ok(DataType::Timestamp(TimeUnit::Microsecond, None)) = cast.expr.get_type(schema)
            && Zone::named(zone)?.is_some()
        {
            let time = cast.expr.as_ref().clone();
            let call = self.at_zone.call(vec![time, lit(zone.as_ref())]);
            return Ok(Transformed::yes(call));
        }
        Ok(Transformed::no(expr))
    }
}
