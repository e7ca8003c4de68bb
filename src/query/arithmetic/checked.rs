//! `+`, `-`, `*`, `/`, `%`, `^` and the sign as functions that end with an error where the result does not fit its type. Floats are
//! left in their one form. DataFusion's `^` fits always, and its optimizer deletes operands that it finds twice, also where they are
//! null: of a function it knows nothing to delete.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, PrimitiveArray};
use arrow::compute::kernels::numeric::{add, div, mul, neg, rem, sub};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field,
    FieldRef, Float32Type, Float64Type,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::floats::scalar_in_one_form;
use super::overflow::out_of_range;
use super::quotient::quotient;
use super::xor::xor;
use crate::fault::Fault;
use crate::floats::{one_form, one_form_32, one_form_64};
use crate::query::errors::external;
use crate::query::times::{is_zoned, shifted};

/// The operators here, and the sign.
pub(super) const OPERATORS: [Operator; 6] = [
    Operator::BitwiseXor,
    Operator::Plus,
    Operator::Minus,
    Operator::Multiply,
    Operator::Divide,
    Operator::Modulo,
];

fn symbol(op: Operator) -> &'static str {
    match op {
        Operator::BitwiseXor => "^",
        Operator::Plus => "+",
        Operator::Minus => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        _ => "%",
    }
}

/// Bytes of a name up to which it is made when it is asked for.
const SHORT_NAME_BYTES: usize = 128;

/// Bytes of a name up to which it is whole.
const NAME_BYTES: usize = 1024;

/// `left op right`, of one of [`OPERATORS`], whose operands have these types.
///
/// # Errors
/// The types have no such operation.
pub(super) fn operation(
    op: Operator,
    types: (&DataType, &DataType),
    operands: (&Expr, &Expr),
) -> Result<ScalarUDF> {
    Ok(ScalarUDF::from(Operation {
        op,
        type_: BinaryTypeCoercer::new(types.0, &op, types.1).get_result_type()?,
        long_name: long_name(operands.0, op, operands.1),
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

/// The name of a chain of operations; of a long one its begin, and a hash of all of it. Whoever asks for the type of an expression
/// makes the names of all expressions within it, so that a chain of some thousands would be planned for minutes.
fn long_name(left: &Expr, op: Operator, right: &Expr) -> Option<Arc<str>> {
    let mut name = name_of(left);
    let _ = write!(name, " {op} ");
    push_name(right, &mut name);
    if name.len() > NAME_BYTES {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let end = name.floor_char_boundary(NAME_BYTES / 2);
        name.truncate(end);
        let _ = write!(name, ".. #{:016x}", hasher.finish());
    }
    (name.len() > SHORT_NAME_BYTES).then(|| name.into())
}

/// `-value`
pub(super) fn negative() -> ScalarUDF {
    ScalarUDF::from(Negative(Signature::any(1, Volatility::Immutable)))
}

/// A float in its one form.
pub(super) fn canonical() -> ScalarUDF {
    ScalarUDF::from(Canonical(Signature::any(1, Volatility::Immutable)))
}

fn called<T: ScalarUDFImpl>(expr: &Expr) -> Option<&T> {
    match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<T>(),
        _ => None,
    }
}

/// The type of an operation's result, without a look at its operands: a chain of operations is as deep as it is long.
pub(super) fn type_of_operation(expr: &Expr) -> Option<&DataType> {
    called::<Operation>(expr).map(|operation| &operation.type_)
}

pub(super) fn is_canonical(expr: &Expr) -> bool {
    called::<Canonical>(expr).is_some()
}

/// What a float is made by, before it is brought to its one form: that does not change a column's name.
pub(in crate::query) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::ScalarFunction(call) if is_canonical(expr) => match call.args.as_slice() {
            [inner] => bare(inner),
            _ => expr,
        },
        other => other,
    }
}

/// Whether an expression is a call of a function of this file.
pub(super) fn is_own(expr: &Expr) -> bool {
    is_canonical(expr) || called::<Operation>(expr).is_some() || called::<Negative>(expr).is_some()
}

/// Appends what a column that is computed so is called. It is one text for all of them: with a text for each, a chain of operations
/// would be copied as often as it is long, each time that one of its names is asked for.
fn push_name(expr: &Expr, out: &mut String) {
    if let Some(name) = called::<Operation>(expr).and_then(|o| o.long_name.as_ref()) {
        return out.push_str(name);
    }
    match args_of(expr) {
        [left, right] if called::<Operation>(expr).is_some() => {
            push_name(left, out);
            push_operator(expr, out);
            push_name(right, out);
        }
        [value] if called::<Negative>(expr).is_some() => {
            out.push_str("(- ");
            push_name(value, out);
            out.push(')');
        }
        [value] if is_canonical(expr) => push_name(value, out),
        _ => {
            // Writing to a text does not fail.
            let _ = write!(out, "{}", expr.schema_name());
        }
    }
}

fn args_of(expr: &Expr) -> &[Expr] {
    match expr {
        Expr::ScalarFunction(call) => &call.args,
        _ => &[],
    }
}

fn push_operator(expr: &Expr, out: &mut String) {
    if let Some(operation) = called::<Operation>(expr) {
        let _ = write!(out, " {} ", operation.op);
    }
}

fn name_of(expr: &Expr) -> String {
    let mut name = String::new();
    push_name(expr, &mut name);
    name
}

/// Appends it as it is written within another operation: an operation in parentheses.
fn push_operand(expr: &Expr, out: &mut String) {
    match args_of(expr) {
        [left, right] if called::<Operation>(expr).is_some() => {
            out.push('(');
            push_operand(left, out);
            push_operator(expr, out);
            push_operand(right, out);
            out.push(')');
        }
        _ => {
            let _ = write!(out, "{expr}");
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Operation {
    op: Operator,
    type_: DataType,
    long_name: Option<Arc<str>>,
    signature: Signature,
}

impl Operation {
    fn kernel(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        let (l, r) = (left.get().0.data_type(), right.get().0.data_type());
        match self.op {
            Operator::Plus if is_zoned(l, r) => return shifted(left, right, false),
            Operator::Plus if is_zoned(r, l) => return shifted(right, left, false),
            Operator::Minus if is_zoned(l, r) => return shifted(left, right, true),
            _ => {}
        }
        let made = match self.op {
            Operator::BitwiseXor => return xor(left, right),
            Operator::Plus => add(left, right),
            Operator::Minus => sub(left, right),
            Operator::Multiply => mul(left, right),
            Operator::Divide => {
                let rounded = quotient(left, right, &self.type_);
                rounded.unwrap_or_else(|| div(left, right))
            }
            _ => rem(left, right),
        };
        fitting(made?)
    }
}

impl ScalarUDFImpl for Operation {
    fn name(&self) -> &str {
        symbol(self.op)
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => {
                let mut shown = String::new();
                push_operand(left, &mut shown);
                let _ = write!(shown, " {} ", self.op);
                push_operand(right, &mut shown);
                Ok(shown)
            }
            _ => exec_err!("{} takes two values", self.op),
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        if let Some(name) = &self.long_name {
            return Ok(name.to_string());
        }
        match args {
            [left, right] => {
                let mut name = name_of(left);
                let _ = write!(name, " {} ", self.op);
                push_name(right, &mut name);
                Ok(name)
            }
            _ => exec_err!("{} takes two values", self.op),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.type_.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        let field = Field::new(self.name(), self.type_.clone(), nullable);
        Ok(Arc::new(field))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return exec_err!("{} takes two values", self.op);
        };
        let made = apply(left, right, |l, r| self.kernel(l, r));
        made.map_err(|error| match of_arrow(&error) {
            Some(cause) => external(failed(cause, symbol(self.op), &self.type_)),
            None => error,
        })
    }

    /// What is checked keeps the order of its operands. An infinity and another one make a NaN, which is out of order.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        let [left, right] = inputs else {
            return Ok(SortProperties::Unordered);
        };
        let (l, r) = (left.sort_properties, right.sort_properties);
        if l == SortProperties::Singleton && r == SortProperties::Singleton {
            return Ok(SortProperties::Singleton);
        }
        let whole = |side: &ExprProperties| side.range.data_type().is_integer();
        if !whole(left) || !whole(right) {
            return Ok(SortProperties::Unordered);
        }
        Ok(match self.op {
            Operator::Plus => l.add(&r),
            Operator::Minus => l.sub(&r),
            _ => SortProperties::Unordered,
        })
    }
}

/// The cause within DataFusion's error.
fn of_arrow(error: &datafusion::common::DataFusionError) -> Option<&ArrowError> {
    match error.find_root() {
        datafusion::common::DataFusionError::ArrowError(cause, _) => Some(cause),
        _ => None,
    }
}

/// What an operation could not do, as an answer to its user.
fn failed(cause: &ArrowError, symbol: &str, type_: &DataType) -> Fault {
    match cause {
        ArrowError::DivideByZero => Fault::invalid(
            "division_by_zero",
            format!("division by zero, operation={symbol}; nullif(divisor, 0) gives NULL instead"),
        ),
        ArrowError::ArithmeticOverflow(what) if type_.is_integer() => {
            let what = what.trim_start_matches("Overflow happened on: ");
            out_of_range(type_, what)
        }
        ArrowError::ArithmeticOverflow(_) | ArrowError::ComputeError(_) => {
            out_of_range(type_, symbol)
        }
        other => Fault::invalid("invalid_query", format!("operation={symbol}: {other}")),
    }
}

/// Decimals with more digits than their type has are an overflow: Arrow's own limit is that of the integer beneath them.
fn fitting(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    fn digits<T: DecimalType>(array: &ArrayRef, precision: u8) -> Result<(), ArrowError> {
        let values: &PrimitiveArray<T> = array.as_primitive();
        let fits = values.validate_decimal_precision(precision);
        fits.map_err(|_| ArrowError::ArithmeticOverflow(String::new()))
    }
    match array.data_type() {
        DataType::Decimal32(p, _) => digits::<Decimal32Type>(&array, *p)?,
        DataType::Decimal64(p, _) => digits::<Decimal64Type>(&array, *p)?,
        DataType::Decimal128(p, _) => digits::<Decimal128Type>(&array, *p)?,
        DataType::Decimal256(p, _) => digits::<Decimal256Type>(&array, *p)?,
        DataType::Float64 => return Ok(owned_64(array)),
        DataType::Float32 => return Ok(owned_32(array)),
        _ => {}
    }
    Ok(array)
}

/// In place: nobody else has the result of an operation yet.
fn owned_64(array: ArrayRef) -> ArrayRef {
    let values = array.as_primitive::<Float64Type>().clone();
    drop(array);
    match values.unary_mut(one_form_64) {
        Ok(made) => Arc::new(made),
        Err(shared) => Arc::new(shared.unary::<_, Float64Type>(one_form_64)),
    }
}

fn owned_32(array: ArrayRef) -> ArrayRef {
    let values = array.as_primitive::<Float32Type>().clone();
    drop(array);
    match values.unary_mut(one_form_32) {
        Ok(made) => Arc::new(made),
        Err(shared) => Arc::new(shared.unary::<_, Float32Type>(one_form_32)),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Negative(Signature);

impl ScalarUDFImpl for Negative {
    fn name(&self) -> &str {
        "-"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value] => Ok(format!("(- {value})")),
            _ => exec_err!("- takes one value"),
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value] => Ok(format!("(- {})", name_of(value))),
            _ => exec_err!("- takes one value"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [value] => Ok(value.clone()),
            _ => exec_err!("- takes one value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [value] => Ok(value.clone()),
            _ => exec_err!("- takes one value"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return exec_err!("- takes one value");
        };
        let negated = |values: &dyn Array| {
            let made = neg(values).and_then(fitting);
            made.map_err(|cause| external(failed(&cause, "-", values.data_type())))
        };
        Ok(match value {
            ColumnarValue::Array(values) => ColumnarValue::Array(negated(values)?),
            ColumnarValue::Scalar(value) => {
                let made = negated(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Canonical(Signature);

impl ScalarUDFImpl for Canonical {
    fn name(&self) -> &str {
        "canonical"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value] => Ok(value.to_string()),
            _ => exec_err!("canonical takes one value"),
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value] => Ok(name_of(value)),
            _ => exec_err!("canonical takes one value"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [value] => Ok(value.clone()),
            _ => exec_err!("canonical takes one value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [value] => Ok(value.clone()),
            _ => exec_err!("canonical takes one value"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(ColumnarValue::Array(values)) => Ok(ColumnarValue::Array(one_form(&values))),
            Some(ColumnarValue::Scalar(value)) => {
                Ok(ColumnarValue::Scalar(scalar_in_one_form(value)))
            }
            None => exec_err!("canonical takes one value"),
        }
    }
}
