//! Parameters that stand where the planner takes nothing but a literal: frames of windows, intervals, time zones, spans of
//! buckets, names of types. A bound value is spelled there as the literal that it is; while none is bound, one stands there
//! that every such place takes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Interval, NamedWindowDefinition,
    NamedWindowExpr, Select, Statement, UnaryOperator, Value, ValueWithSpan, VisitorMut,
    WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

use super::parameters::shown;
use crate::dataset::quoted_span;
use crate::fault::Fault;
use crate::sql::{placeholder, visit_mut};

/// What a place takes.
#[derive(Clone, Copy)]
enum Place {
    /// Rows or groups of a window's frame.
    Rows,
    /// A distance in the order of a window.
    Range,
    /// `INTERVAL ?`
    Interval,
    /// `INTERVAL ? DAY`
    Units,
    Zone,
    /// The width of a bucket.
    Span,
    /// A type's name.
    Type,
    /// A part of a time.
    Part,
    /// The sign behind ESCAPE.
    Escape,
}

impl Place {
    /// The type that drivers are to bind.
    fn data_type(self) -> DataType {
        match self {
            Place::Rows | Place::Units => DataType::Int64,
            _ => DataType::Utf8,
        }
    }

    fn sample(self) -> Expr {
        match self {
            Place::Rows | Place::Range => number("1"),
            Place::Interval => text("1 second"),
            Place::Units => text("1"),
            Place::Zone => text("UTC"),
            Place::Span => text("1 minute"),
            Place::Type => text("Utf8"),
            Place::Part => text("day"),
            Place::Escape => text("\\"),
        }
    }

    /// None: it takes no such value.
    fn literal(self, value: &ScalarValue) -> Option<Expr> {
        let said = value.try_as_str().flatten();
        let whole = || value.data_type().is_integer().then(|| value.to_string());
        let is_number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
        if value.is_null() {
            return None;
        }
        match self {
            Place::Rows => {
                let count = said.map(str::to_owned).or_else(whole)?;
                count.parse::<u64>().ok()?;
                Some(number(&count))
            }
            Place::Range => match said {
                Some(distance) if is_number(distance) => Some(number(distance)),
                Some(distance) => Some(interval(distance)),
                None if value.data_type().is_numeric() => Some(number(&value.to_string())),
                None => span(value).map(|distance| interval(&distance)),
            },
            Place::Interval => {
                let distance = said.map(str::to_owned);
                let distance = distance.or_else(|| span(value));
                let distance = distance.or_else(|| whole().map(|n| format!("{n} seconds")));
                distance.map(|distance| text(&distance))
            }
            Place::Units if value.data_type().is_numeric() => Some(text(&value.to_string())),
            Place::Span => match value {
                ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
                    let day = i64::from(i.days).checked_mul(86_400_000_000)?;
                    let micros = day.checked_add(i.nanoseconds / 1000)?;
                    Some(text(quoted_span(micros).trim_matches('\'')))
                }
                _ => said.map(text),
            },
            _ => said.map(text),
        }
    }
}

fn number(digits: &str) -> Expr {
    Expr::value(Value::Number(digits.to_owned(), false))
}

fn text(said: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(said.to_owned()))
}

fn interval(distance: &str) -> Expr {
    Expr::Interval(Interval {
        value: Box::new(text(distance)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// An interval or a duration as text.
fn span(value: &ScalarValue) -> Option<String> {
    let value = match value.data_type() {
        DataType::Duration(_) | DataType::Interval(_) => {
            let exact = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
            value.cast_to(&exact).ok()?
        }
        _ => return None,
    };
    match value {
        ScalarValue::IntervalMonthDayNano(Some(i)) => Some(format!(
            "{} months {} days {} nanoseconds",
            i.months, i.days, i.nanoseconds
        )),
        _ => None,
    }
}

/// Spells them out. Returns the types of those, and of the ones that the statement casts itself: they may be bound to
/// anything, and any driver can bind a text.
///
/// # Errors
/// INVALID_ARGUMENT `parameters`: a value that its place does not take.
pub(super) fn spell_out(
    statement: &mut Statement,
    values: Option<&[ScalarValue]>,
) -> Result<BTreeMap<usize, DataType>, Fault> {
    let mut speller = Speller {
        values,
        types: BTreeMap::new(),
        fault: None,
    };
    let _ = visit_mut(statement, &mut speller);
    speller.fault.map_or(Ok(speller.types), Err)
}

struct Speller<'a> {
    values: Option<&'a [ScalarValue]>,
    types: BTreeMap<usize, DataType>,
    fault: Option<Fault>,
}

impl Speller<'_> {
    fn spell(&mut self, expr: &mut Expr, place: Place) {
        if let Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } = expr
        {
            return self.spell(expr, place);
        }
        let Some(n) = placeholder(expr) else {
            return;
        };
        self.types.entry(n).or_insert_with(|| place.data_type());
        match self.values {
            None => *expr = place.sample(),
            // Too few are refused elsewhere.
            Some(values) => match values.get(n - 1).map(|v| (v, place.literal(v))) {
                Some((_, Some(literal))) => *expr = literal,
                Some((value, None)) => {
                    let fault = Fault::invalid(
                        "parameters",
                        format!(
                            "parameter {n} cannot stand where it does, value={}, type={}; bind what a literal there could be, such as {}",
                            shown(value),
                            value.data_type(),
                            place.sample()
                        ),
                    );
                    self.fault.get_or_insert(fault);
                }
                None => {}
            },
        }
    }

    fn frame(&mut self, window: &mut WindowSpec) {
        let Some(frame) = &mut window.window_frame else {
            return;
        };
        let place = match frame.units {
            WindowFrameUnits::Rows | WindowFrameUnits::Groups => Place::Rows,
            WindowFrameUnits::Range => Place::Range,
        };
        let ends = [Some(&mut frame.start_bound), frame.end_bound.as_mut()];
        for end in ends.into_iter().flatten() {
            if let WindowFrameBound::Preceding(Some(distance))
            | WindowFrameBound::Following(Some(distance)) = end
            {
                self.spell(distance, place);
            }
        }
    }

    fn escape(&mut self, sign: &mut Option<ValueWithSpan>) {
        if let Some(value) = sign {
            let mut expr = Expr::Value(value.clone());
            self.spell(&mut expr, Place::Escape);
            if let Expr::Value(spelled) = expr {
                *value = spelled;
            }
        }
    }
}

/// The argument that has to be a literal, and what it says.
fn literal_argument(function: &str) -> Option<(usize, Place)> {
    match function {
        "time_bucket_gapfill" => Some((0, Place::Span)),
        "arrow_cast" | "arrow_try_cast" => Some((1, Place::Type)),
        "date_part" | "datepart" => Some((0, Place::Part)),
        _ => None,
    }
}

impl VisitorMut for Speller<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for NamedWindowDefinition(_, window) in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = window {
                self.frame(window);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(call) => {
                if let Some(WindowType::WindowSpec(window)) = &mut call.over {
                    self.frame(window);
                }
                let name = call.name.to_string().to_ascii_lowercase();
                if let Some((at, place)) = literal_argument(&name)
                    && let FunctionArguments::List(list) = &mut call.args
                    && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) =
                        list.args.get_mut(at)
                {
                    self.spell(argument, place);
                }
            }
            Expr::Interval(interval) => {
                let place = match interval.leading_field {
                    Some(_) => Place::Units,
                    None => Place::Interval,
                };
                self.spell(&mut interval.value, place);
            }
            Expr::AtTimeZone { time_zone, .. } => self.spell(time_zone, Place::Zone),
            Expr::Like { escape_char, .. }
            | Expr::ILike { escape_char, .. }
            | Expr::SimilarTo { escape_char, .. } => self.escape(escape_char),
            Expr::Cast { expr, .. } => {
                if let Some(n) = placeholder(expr) {
                    self.types.entry(n).or_insert(DataType::Utf8);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
