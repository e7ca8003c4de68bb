//! Brings what is compared, and what stands in one column, to a type that loses nothing, before DataFusion's coercion does it.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRewriter};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions::core::coalesce;
use datafusion::logical_expr::expr::{InList, InSubquery, ScalarFunction, SetComparison};
use datafusion::logical_expr::expr_schema::cast_subquery;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator, Values, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::utils::NamePreserver;

use super::common_type_of::{
    as_decimal, chosen_type, common_type, compared_type, of_written_decimal, read_as_times,
};
use super::kinds::{check_arguments, check_keys, check_kinds, shown};
use super::long_chains::shortened;
use super::unions::united;
use super::window_defaults::widened;
use crate::fault::Fault;
use crate::query::errors::external;

/// Functions whose arguments are values of one kind, and whose result is one of them, or all of them as a list.
const CHOOSING: [&str; 8] = [
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "make_array",
    "nullif",
    "nvl",
    "nvl2",
];

const BIT_OPERATORS: [Operator; 5] = [
    Operator::BitwiseAnd,
    Operator::BitwiseOr,
    Operator::BitwiseXor,
    Operator::BitwiseShiftLeft,
    Operator::BitwiseShiftRight,
];

#[derive(Debug)]
pub(super) struct CommonType;

impl AnalyzerRule for CommonType {
    fn name(&self) -> &str {
        "common_type"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Union(union) => united(union),
            LogicalPlan::Values(values) => listed(values),
            LogicalPlan::Join(join) => {
                check_keys(&join)?;
                inner(LogicalPlan::Join(join))
            }
            other => inner(other),
        })?;
        Ok(plan.data)
    }
}

fn inner(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let mut rewriter = Rewriter { schema: &schema };
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.rewrite(&mut rewriter)?;
        Ok(if expr.transformed {
            expr.update_data(|e| name.restore(e))
        } else {
            expr
        })
    })?;
    // Also when nothing changed here: what is below may have other types now.
    plan.map_data(LogicalPlan::recompute_schema)
}

/// VALUES whose columns have the types that are written there. DataFusion has brought them to its own types, which for a decimal
/// beside a floating-point number is DECIMAL(30,15): constants that can be written as decimals are, or all are a DOUBLE.
fn listed(values: Values) -> Result<Transformed<LogicalPlan>> {
    let empty = DFSchema::empty();
    let rewriter = Rewriter { schema: &empty };
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (n, (relation, field)) in values.schema.iter().enumerate() {
        let written = values.values.iter().filter_map(|row| {
            let expr = row.get(n)?;
            Some(match expr {
                // A null is given the column's type.
                Expr::Literal(value, _) if value.is_null() => lit(ScalarValue::Null),
                Expr::Cast(cast) if cast.field.data_type() == field.data_type() => {
                    cast.expr.as_ref().clone()
                }
                _ => expr.clone(),
            })
        });
        let written: Vec<Expr> = written.collect();
        let types = rewriter.types(&written)?;
        let mut column = None;
        if field.data_type().is_decimal() && common_type(&types) == Some(DataType::Float64) {
            let decimals = exact(&written, &types).map(|exact| rewriter.widest(exact));
            column = Some(match decimals.transpose()?.flatten() {
                Some(decimals) => decimals,
                None => (
                    rewriter.all_cast(written, &DataType::Float64)?,
                    DataType::Float64,
                ),
            });
        }
        let (column, type_) = column.unzip();
        let type_ = type_.unwrap_or_else(|| field.data_type().clone());
        let field = field.as_ref().clone().with_data_type(type_);
        fields.push((relation.cloned(), Arc::new(field)));
        columns.push(column);
    }
    if columns.iter().all(Option::is_none) {
        return inner(LogicalPlan::Values(values));
    }
    let mut rows = values.values;
    for (n, column) in columns.into_iter().enumerate() {
        for (row, expr) in rows.iter_mut().zip(column.into_iter().flatten()) {
            if let Some(place) = row.get_mut(n) {
                *place = expr;
            }
        }
    }
    let metadata = values.schema.metadata().clone();
    let values = inner(LogicalPlan::Values(Values {
        schema: Arc::new(DFSchema::new_with_metadata(fields, metadata)?),
        values: rows,
    }))?;
    Ok(Transformed::yes(values.data))
}

struct Rewriter<'a> {
    schema: &'a DFSchema,
}

impl TreeNodeRewriter for Rewriter<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Between(between) => self.between(between),
            Expr::InList(list) => self.in_list(list),
            Expr::Case(case) => self.case(case),
            Expr::ScalarFunction(function) if CHOOSING.contains(&function.name()) => {
                self.choosing(function)
            }
            Expr::ScalarFunction(function) => {
                check_arguments(&function, self.schema)?;
                Ok(Transformed::no(Expr::ScalarFunction(function)))
            }
            Expr::InSubquery(within) => self.in_subquery(within),
            Expr::SetComparison(comparison) => self.set_comparison(comparison),
            cast @ (Expr::Cast(_) | Expr::TryCast(_)) => Ok(of_written_decimal(cast)),
            Expr::WindowFunction(function) => widened(function, self.schema),
            other => Ok(Transformed::no(other)),
        }
    }
}

impl Rewriter<'_> {
    fn types<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> Result<Vec<DataType>> {
        let types = exprs.into_iter().map(|e| e.get_type(self.schema));
        types.collect()
    }

    fn cast(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        expr.cast_to(to, self.schema)
    }

    fn all_cast(&self, exprs: Vec<Expr>, to: &DataType) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|e| self.cast(e, to)).collect()
    }

    /// Decimals and nulls in the decimal that holds all of them; none if there is none.
    fn widest(&self, exprs: Vec<Expr>) -> Result<Option<(Vec<Expr>, DataType)>> {
        let types = self.types(&exprs)?;
        match widest_decimal(&types) {
            Some((precision, scale)) => {
                let type_ = DataType::Decimal128(precision, scale);
                Ok(Some((self.all_cast(exprs, &type_)?, type_)))
            }
            None => Ok(None),
        }
    }

    /// Values that are compared with one another, in the type in which they are; none if that is the engine's.
    fn compared(&self, exprs: Vec<Expr>) -> Result<(Vec<Expr>, bool)> {
        let types = self.types(&exprs)?;
        check_kinds(&types, |n| shown(exprs.get(n)))?;
        let Some(common) = compared_type(&types) else {
            return Ok((exprs, false));
        };
        if common == DataType::Float64
            && let Some(exact) = exact(&exprs, &types)
        {
            return Ok((exact, true));
        }
        Ok((self.all_cast(exprs, &common)?, true))
    }

    fn binary(&self, binary: BinaryExpr) -> Result<Transformed<Expr>> {
        let BinaryExpr { left, op, right } = binary;
        let sides = vec![shortened(*left, self.schema)?, *right];
        if BIT_OPERATORS.contains(&op) {
            self.check_bits(op, &sides)?;
        }
        // Comparisons, and patterns, whose sides are texts.
        let (sides, changed) = if op.supports_propagation() {
            self.compared(sides)?
        } else if matches!(op, Operator::Plus | Operator::Minus)
            && let Some(exact) = exact(&sides, &self.types(&sides)?)
        {
            (exact, true)
        } else if op == Operator::Minus {
            let times = self.types(&sides)?;
            match common_type(&times) {
                Some(common) if times.iter().all(|t| matches!(t, DataType::Timestamp(..))) => {
                    (self.all_cast(sides, &common)?, true)
                }
                _ => (sides, false),
            }
        } else {
            (sides, false)
        };
        let [left, right] = two(sides)?;
        let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
        Ok(Transformed::new_transformed(expr, changed))
    }

    /// Bits of a number with a fraction are nobody's wish: the engine would cut the fraction off.
    fn check_bits(&self, op: Operator, sides: &[Expr]) -> Result<()> {
        for data_type in self.types(sides)? {
            if data_type.is_floating() || data_type.is_decimal() {
                let name = if data_type.is_decimal() {
                    "DECIMAL"
                } else {
                    "DOUBLE"
                };
                return Err(external(Fault::invalid(
                    "invalid_query",
                    format!("{op} takes whole numbers, found {name}; cast the value to BIGINT"),
                )));
            }
        }
        Ok(())
    }

    fn between(&self, between: Between) -> Result<Transformed<Expr>> {
        let Between {
            expr,
            negated,
            low,
            high,
        } = between;
        let (mut parts, changed) = self.compared(vec![*expr, *low, *high])?;
        let (Some(high), Some(low), Some(expr)) = (parts.pop(), parts.pop(), parts.pop()) else {
            return datafusion::common::internal_err!("BETWEEN has three parts");
        };
        let expr = Expr::Between(Between::new(
            Box::new(expr),
            negated,
            Box::new(low),
            Box::new(high),
        ));
        Ok(Transformed::new_transformed(expr, changed))
    }

    fn in_list(&self, list: InList) -> Result<Transformed<Expr>> {
        let InList {
            expr,
            list,
            negated,
        } = list;
        let mut all = vec![*expr];
        all.extend(list);
        let (mut all, changed) = self.compared(all)?;
        let expr = all.remove(0);
        let floating = self.types([&expr])?.iter().any(DataType::is_floating)
            || self.types(&all)?.iter().any(DataType::is_floating);
        // The engine compares the bits of floating-point numbers with values that are not constants: -0.0 is not 0.0 then.
        if floating && all.iter().any(|e| !matches!(e, Expr::Literal(..))) {
            let unsigned_zero = |e: Expr| e + lit(0.0);
            let list = all.into_iter().map(unsigned_zero).collect();
            let list = InList::new(Box::new(unsigned_zero(expr)), list, negated);
            return Ok(Transformed::yes(Expr::InList(list)));
        }
        let expr = Expr::InList(InList::new(Box::new(expr), all, negated));
        Ok(Transformed::new_transformed(expr, changed))
    }

    fn case(&self, mut case: Case) -> Result<Transformed<Expr>> {
        let mut changed = false;
        if let Some(base) = case.expr.take() {
            let mut all = vec![*base];
            all.extend(case.when_then_expr.iter().map(|(when, _)| (**when).clone()));
            let (mut all, cast) = self.compared(all)?;
            changed |= cast;
            case.expr = Some(Box::new(all.remove(0)));
            for ((when, _), cast) in case.when_then_expr.iter_mut().zip(all) {
                **when = cast;
            }
        }
        let branches = case.when_then_expr.iter().map(|(_, then)| &**then);
        let branches: Vec<&Expr> = branches.chain(case.else_expr.as_deref()).collect();
        let types = self.types(branches.iter().copied())?;
        check_kinds(&types, |n| shown(branches.get(n).copied()))?;
        let joined = || {
            let mut types = types.iter();
            let first = types.next()?.clone();
            types.try_fold(first, |so_far, next| type_union_coercion(&so_far, next))
        };
        if types.iter().any(|t| Some(t) != types.first())
            && let Some(common) = read_as_times(branches.iter().copied(), &types)
                .or_else(|| common_type(&types))
                .or_else(joined)
        {
            changed = true;
            for (_, then) in &mut case.when_then_expr {
                **then = self.cast((**then).clone(), &common)?;
            }
            if let Some(other) = case.else_expr.take() {
                case.else_expr = Some(Box::new(self.cast(*other, &common)?));
            }
        }
        Ok(Transformed::new_transformed(Expr::Case(case), changed))
    }

    fn choosing(&self, mut function: ScalarFunction) -> Result<Transformed<Expr>> {
        // The first argument of `nvl2` is only asked whether it is null.
        let asked = usize::from(function.name() == "nvl2").min(function.args.len());
        let chosen = function.args.split_off(asked);
        let types = self.types(&chosen)?;
        check_kinds(&types, |n| shown(chosen.get(n)))?;
        // DataFusion's `nvl` takes bytes for text.
        if matches!(function.name(), "nvl" | "ifnull") && types.iter().any(DataType::is_binary) {
            function.func = coalesce();
        }
        let common = read_as_times(&chosen, &types)
            .or_else(|| chosen_type(&types))
            .or_else(|| of_texts(function.name(), &types));
        let changed = common.is_some();
        function.args.extend(match common {
            Some(common) => self.all_cast(chosen, &common)?,
            None => chosen,
        });
        Ok(Transformed::new_transformed(
            Expr::ScalarFunction(function),
            changed,
        ))
    }

    /// # Errors
    /// A value and the rows of a subquery that it is compared with are a time and a number.
    fn check_rows(&self, expr: &Expr, types: &[DataType]) -> Result<()> {
        check_kinds(types, |n| match n {
            0 => shown(Some(expr)),
            _ => "the subquery".to_owned(),
        })
    }

    fn in_subquery(&self, within: InSubquery) -> Result<Transformed<Expr>> {
        let InSubquery {
            expr,
            subquery,
            negated,
        } = within;
        let rows = subquery.subquery.schema().fields();
        let Some(of_rows) = rows.first().map(|f| f.data_type().clone()) else {
            let whole = InSubquery::new(expr, subquery, negated);
            return Ok(Transformed::no(Expr::InSubquery(whole)));
        };
        let types = [expr.get_type(self.schema)?, of_rows];
        self.check_rows(&expr, &types)?;
        let Some(common) = compared_type(&types) else {
            let whole = InSubquery::new(expr, subquery, negated);
            return Ok(Transformed::no(Expr::InSubquery(whole)));
        };
        let expr = Box::new(self.cast(*expr, &common)?);
        let subquery = cast_subquery(subquery, &common)?;
        let whole = InSubquery::new(expr, subquery, negated);
        Ok(Transformed::yes(Expr::InSubquery(whole)))
    }

    fn set_comparison(&self, mut comparison: SetComparison) -> Result<Transformed<Expr>> {
        let rows = comparison.subquery.subquery.schema().fields();
        let of_rows = rows.first().map(|f| f.data_type().clone());
        let of_expr = comparison.expr.get_type(self.schema)?;
        let types = of_rows.map(|of_rows| [of_expr, of_rows]);
        if let Some(types) = &types {
            self.check_rows(&comparison.expr, types)?;
        }
        let Some(common) = types.and_then(|types| compared_type(&types)) else {
            return Ok(Transformed::no(Expr::SetComparison(comparison)));
        };
        comparison.expr = Box::new(self.cast(*comparison.expr, &common)?);
        comparison.subquery = cast_subquery(comparison.subquery, &common)?;
        Ok(Transformed::yes(Expr::SetComparison(comparison)))
    }
}

/// Times beside texts that are none are texts: as a day, a text would lose the time behind it. What is compared has to be of one kind.
fn of_texts(function: &str, types: &[DataType]) -> Option<DataType> {
    let compares = matches!(function, "greatest" | "least" | "nullif" | "make_array");
    let beside = types.iter().any(DataType::is_temporal) && types.iter().any(DataType::is_string);
    let all = |t: &DataType| t.is_temporal() || t.is_string() || t.is_null();
    (!compares && beside && types.iter().all(all)).then_some(DataType::Utf8)
}

/// The digits, and those behind the point, of a decimal that holds all decimals of `types`; none without one, or if it had too many.
fn widest_decimal(types: &[DataType]) -> Option<(u8, i8)> {
    let decimals = types.iter().filter_map(|t| match t {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    });
    let (precision, scale) = decimals.reduce(|a, b| {
        let scale = a.1.max(b.1);
        let before = (i16::from(a.0) - i16::from(a.1)).max(i16::from(b.0) - i16::from(b.1));
        let precision = u8::try_from(before + i16::from(scale)).unwrap_or(u8::MAX);
        (precision, scale)
    })?;
    (precision <= DECIMAL128_MAX_PRECISION).then_some((precision, scale))
}

/// Decimals and nulls beside constants that can be written as decimals; none if another value is among them.
fn exact(exprs: &[Expr], types: &[DataType]) -> Option<Vec<Expr>> {
    // The widest decides how many digits a constant may have.
    let (precision, scale) = widest_decimal(types)?;
    let exact = exprs.iter().zip(types).map(|(expr, data_type)| {
        if matches!(data_type, DataType::Decimal128(..) | DataType::Null) {
            Some(expr.clone())
        } else {
            as_decimal(expr, precision, scale)
        }
    });
    exact.collect()
}

fn two(sides: Vec<Expr>) -> Result<[Expr; 2]> {
    sides
        .try_into()
        .map_err(|_| datafusion::common::DataFusionError::Internal("two sides".to_owned()))
}
