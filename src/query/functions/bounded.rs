//! Functions whose result may be larger, or take longer, than their arguments let expect (`repeat`, `range`, `levenshtein`),
//! wrapped: the result of each call is estimated before it is made, what goes over a limit is an error that names function and
//! limit, large batches are made piece by piece with a look at the clock between, and what comes out is counted in the memory
//! of queries for as long as it lives.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, make_array, new_empty_array};
use arrow::buffer::Buffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, StructFieldMapping,
};

use super::call::Call;
use crate::fault::{Fault, Kind};
use crate::query::errors::external;
use crate::query::limits::QueryLimits;
use crate::threads::step_aside;

/// What one row of a call comes to, at most.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub bytes: u64,
    /// Steps of a few nanoseconds.
    pub steps: u64,
}

impl Cost {
    pub(super) fn bytes(bytes: u64) -> Cost {
        Cost { bytes, steps: 0 }
    }
}

pub(super) type Estimate = fn(&Call, usize) -> Cost;

/// Steps of one value: about a second.
const STEPS_MAX: u64 = 1 << 28;
/// Steps between two looks at the clock.
const STEPS_AT_ONCE: u64 = 1 << 25;
/// Bytes that are made between two looks.
const BYTES_AT_ONCE: u64 = 8 << 20;
/// A call beyond these leaves its thread's other queries to another thread.
const STEPS_ASIDE: u64 = 1 << 22;
const BYTES_ASIDE: u64 = 4 << 20;
/// Results below are not counted: they are bounded by the rows of a batch.
const COUNTED_BYTES: usize = 64 * 1024;

/// A function and the estimate of what it makes. Everything else is the function's own.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: Arc<ScalarUDF>,
    estimate: Estimate,
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

pub(super) fn bounded(inner: Arc<ScalarUDF>, estimate: Estimate) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Bounded { inner, estimate }))
}

fn too_large(name: &str, what: &str, bytes: u64, setting: &str, limit: u64) -> DataFusionError {
    external(Fault::new(
        Kind::Exhausted,
        "value_too_large",
        format!(
            "{what} too large, function={name}, bytes={bytes}, limit={limit}; ask for less, or raise query.{setting}"
        ),
    ))
}

impl Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn call(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let options = args.config_options.clone();
        let limits = QueryLimits::of(&options);
        let (value_bytes, batch_bytes) =
            limits.map_or((64 << 20, 256 << 20), |l| (l.value_bytes, l.batch_bytes));
        let call = Call::of(&args)?;
        // A batch may have no rows, as a branch of CASE that no row takes.
        if call.rows == 0 {
            let none = new_empty_array(args.return_field.data_type());
            return Ok(ColumnarValue::Array(none));
        }
        let mut total = Cost::default();
        // Rows after which a piece ends.
        let mut ends = Vec::new();
        let mut piece = Cost::default();
        for row in 0..call.rows {
            let cost = (self.estimate)(&call, row);
            if cost.bytes > value_bytes {
                let name = self.name();
                return Err(too_large(
                    name,
                    "the value is",
                    cost.bytes,
                    "value_bytes_max",
                    value_bytes,
                ));
            }
            if cost.steps > STEPS_MAX {
                return Err(external(Fault::new(
                    Kind::Exhausted,
                    "value_too_large",
                    format!(
                        "the arguments are too long, function={}, steps={}, limit={STEPS_MAX}; shorten them, with left() for instance",
                        self.name(),
                        cost.steps
                    ),
                )));
            }
            let grown = Cost {
                bytes: piece.bytes.saturating_add(cost.bytes),
                steps: piece.steps.saturating_add(cost.steps),
            };
            if row > 0 && (grown.bytes > BYTES_AT_ONCE || grown.steps > STEPS_AT_ONCE) {
                ends.push(row);
                piece = cost;
            } else {
                piece = grown;
            }
            total.bytes = total.bytes.saturating_add(cost.bytes);
            total.steps = total.steps.saturating_add(cost.steps);
        }
        if let Some(limits) = limits {
            limits.check().map_err(external)?;
        }
        let aside = total.steps > STEPS_ASIDE || total.bytes > BYTES_ASIDE;
        let result = if !aside {
            self.inner.invoke_with_args(args)?
        } else if ends.is_empty() {
            step_aside(|| self.inner.invoke_with_args(args))?
        } else {
            ends.push(call.rows);
            step_aside(|| self.in_pieces(args, &ends, limits, batch_bytes))?
        };
        match limits {
            Some(limits) => self.counted(result, limits),
            None => Ok(result),
        }
    }

    fn in_pieces(
        &self,
        args: ScalarFunctionArgs,
        ends: &[usize],
        limits: Option<&QueryLimits>,
        batch_bytes: u64,
    ) -> Result<ColumnarValue> {
        let (mut pieces, mut made): (Vec<ArrayRef>, u64) = (Vec::new(), 0);
        let reserved = limits.map(|l| l.reserve("values of functions"));
        // Pieces, and then the whole beside them.
        let reserve = |bytes: u64| match &reserved {
            Some(reserved) => reserved.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX)),
            None => Ok(()),
        };
        let mut from = 0;
        for end in ends {
            if let Some(limits) = limits {
                limits.check().map_err(external)?;
            }
            let rows = end - from;
            let sliced = args.args.iter().map(|value| match value {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, rows)),
                scalar => scalar.clone(),
            });
            let piece = self.inner.invoke_with_args(ScalarFunctionArgs {
                args: sliced.collect(),
                arg_fields: args.arg_fields.clone(),
                number_rows: rows,
                return_field: args.return_field.clone(),
                config_options: args.config_options.clone(),
            })?;
            let piece = piece.into_array(rows)?;
            let bytes = piece.to_data().get_slice_memory_size().unwrap_or(0) as u64;
            reserve(bytes)?;
            made += bytes;
            if made > batch_bytes {
                let name = self.name();
                return Err(too_large(
                    name,
                    "a batch of values is",
                    made,
                    "batch_bytes_max",
                    batch_bytes,
                ));
            }
            pieces.push(piece);
            from = *end;
        }
        reserve(made)?;
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&pieces)?))
    }

    /// The result, counted in the memory of queries: a column while it lives, a constant while its plan does.
    fn counted(&self, result: ColumnarValue, limits: &QueryLimits) -> Result<ColumnarValue> {
        let failed = |e: DataFusionError| e.context(format!("function={}", self.name()));
        match result {
            ColumnarValue::Array(array) => {
                let bytes = array.get_array_memory_size();
                if bytes < COUNTED_BYTES {
                    return Ok(ColumnarValue::Array(array));
                }
                let reservation = limits.reserve("values of functions");
                reservation.try_grow(bytes).map_err(failed)?;
                Ok(ColumnarValue::Array(owned(&array, &Arc::new(reservation))?))
            }
            ColumnarValue::Scalar(scalar) => {
                let bytes = scalar.size();
                if bytes >= COUNTED_BYTES {
                    limits.constants.try_grow(bytes).map_err(failed)?;
                }
                Ok(ColumnarValue::Scalar(scalar))
            }
        }
    }
}

/// A buffer that gives back what it was charged when its last user lets go of it.
struct Counted {
    buffer: Buffer,
    _charge: Arc<MemoryReservation>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

/// The same array, whose large buffers hold on to the charge. Nothing is copied.
fn owned(array: &ArrayRef, charge: &Arc<MemoryReservation>) -> Result<ArrayRef> {
    Ok(make_array(owned_data(array.to_data(), charge)?))
}

fn owned_data(
    data: arrow::array::ArrayData,
    charge: &Arc<MemoryReservation>,
) -> Result<arrow::array::ArrayData> {
    let buffers = data.buffers().iter().map(|buffer| {
        if buffer.len() < COUNTED_BYTES / 16 {
            return buffer.clone();
        }
        Buffer::from(Bytes::from_owner(Counted {
            buffer: buffer.clone(),
            _charge: charge.clone(),
        }))
    });
    let buffers = buffers.collect();
    let children = data.child_data().iter().cloned();
    let children = children.map(|child| owned_data(child, charge));
    let children = children.collect::<Result<_>>()?;
    let built = data.into_builder().buffers(buffers).child_data(children);
    Ok(built.build()?)
}

/// The bytes of constant texts that `simplify` would join.
fn constant_bytes(args: &[Expr]) -> u64 {
    let texts = args.iter().map(|arg| match arg {
        Expr::Literal(
            ScalarValue::Utf8(Some(t))
            | ScalarValue::LargeUtf8(Some(t))
            | ScalarValue::Utf8View(Some(t)),
            _,
        ) => t.len() as u64,
        _ => 0,
    });
    texts.sum()
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        fixed_size(self.name(), field.data_type())?;
        Ok(field)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.call(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let bytes = constant_bytes(&args);
        let limits = info.config_options();
        let most = QueryLimits::of(limits).map_or(64 << 20, |l| l.value_bytes);
        if bytes > most {
            return Err(too_large(
                self.name(),
                "the value is",
                bytes,
                "value_bytes_max",
                most,
            ));
        }
        self.inner.simplify(args, info)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.inner.inner().preimage(args, literal, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(input)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> Result<Option<Vec<Interval>>> {
        self.inner.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner.inner().strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.inner.inner().struct_field_mapping(literals)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.inner().placement(args)
    }
}

/// Bytes or elements of a type that has them always, however short the value.
const FIXED_SIZE_MAX: i32 = 65_536;
/// Types within a type; Arrow's readers take 64 levels of a schema.
const NESTED_MAX: usize = 50;

/// Refuses a type whose every value takes much.
fn fixed_size(function: &str, data_type: &DataType) -> Result<()> {
    fixed_size_within(function, data_type, 0)
}

/// `depth`: of types around it.
fn fixed_size_within(function: &str, data_type: &DataType, depth: usize) -> Result<()> {
    if depth > NESTED_MAX {
        return Err(external(Fault::invalid(
            "invalid_query",
            format!(
                "the type nests too deep, function={function}, limit={NESTED_MAX}; clients do not read such types"
            ),
        )));
    }
    match data_type {
        DataType::FixedSizeBinary(size) | DataType::FixedSizeList(_, size)
            if *size > FIXED_SIZE_MAX || *size < 0 =>
        {
            Err(external(Fault::invalid(
                "invalid_query",
                format!(
                    "the type is too large, function={function}, size={size}, limit={FIXED_SIZE_MAX}; use a list or binary without a size"
                ),
            )))
        }
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => {
            fixed_size_within(function, item.data_type(), depth + 1)
        }
        DataType::Struct(fields) => fields
            .iter()
            .try_for_each(|field| fixed_size_within(function, field.data_type(), depth + 1)),
        _ => Ok(()),
    }
}
