//! Values within texts of JSON: `j -> 'key'` and `j ->> 'key'` as in PostgreSQL, and functions. A text that is no JSON, or has
//! nothing at the place, gives NULL.
//!
//! The crate `datafusion-functions-json` has the same functions. Its parser changes a feature of `ahash`, which builds the whole
//! tree anew.

mod path;
mod scan;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder,
    StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

pub(super) use path::keys_of;
use scan::{Key, each, find, text_of};

/// What is made of the value at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Gives {
    /// Itself, as JSON.
    Json,
    /// A text without its quotes, and anything else as JSON; of `null` nothing.
    AsText,
    Str,
    Int,
    Float,
    Bool,
    Length,
    Names,
    IsThere,
}

impl Gives {
    const ALL: [Gives; 9] = [
        Gives::Json,
        Gives::AsText,
        Gives::Str,
        Gives::Int,
        Gives::Float,
        Gives::Bool,
        Gives::Length,
        Gives::Names,
        Gives::IsThere,
    ];

    fn name(self) -> &'static str {
        match self {
            Gives::Json => "json_get_json",
            Gives::AsText => "json_as_text",
            Gives::Str => "json_get_str",
            Gives::Int => "json_get_int",
            Gives::Float => "json_get_float",
            Gives::Bool => "json_get_bool",
            Gives::Length => "json_length",
            Gives::Names => "json_object_keys",
            Gives::IsThere => "json_contains",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Gives::Json | Gives::AsText | Gives::Str => DataType::Utf8,
            Gives::Int | Gives::Length => DataType::Int64,
            Gives::Float => DataType::Float64,
            Gives::Bool | Gives::IsThere => DataType::Boolean,
            Gives::Names => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    gives: Gives,
    signature: Signature,
}

fn function(gives: Gives) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Function {
        gives,
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    Gives::ALL.into_iter().map(function).collect()
}

/// Plans `->` and `->>`.
#[derive(Debug)]
pub struct JsonPlanner {
    json: Arc<ScalarUDF>,
    text: Arc<ScalarUDF>,
}

impl Default for JsonPlanner {
    fn default() -> Self {
        JsonPlanner {
            json: function(Gives::Json),
            text: function(Gives::AsText),
        }
    }
}

impl ExprPlanner for JsonPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match expr.op {
            BinaryOperator::Arrow => &self.json,
            BinaryOperator::LongArrow => &self.text,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(
            function.call(vec![expr.left, expr.right]),
        ))
    }
}

/// The keys of a call, by row.
enum Keys<'a> {
    Names(&'a StringArray),
    Indexes(&'a arrow::array::Int64Array),
}

impl Keys<'_> {
    /// None: the key is null.
    fn at(&self, row: usize) -> Option<Key<'_>> {
        match self {
            Keys::Names(names) => names.is_valid(row).then(|| Key::Name(names.value(row))),
            Keys::Indexes(all) => all.is_valid(row).then(|| Key::Index(all.value(row))),
        }
    }
}

impl Function {
    fn made(&self, arrays: &[ArrayRef]) -> Result<ArrayRef> {
        let Some((texts, keys)) = arrays.split_first() else {
            return exec_err!("{} takes a text", self.name());
        };
        let texts = texts.as_string::<i32>();
        let keys: Vec<Keys<'_>> = keys
            .iter()
            .map(|keys| match keys.data_type() {
                DataType::Int64 => Keys::Indexes(keys.as_primitive::<Int64Type>()),
                _ => Keys::Names(keys.as_string::<i32>()),
            })
            .collect();
        let found = |row: usize| {
            let text = texts.is_valid(row).then(|| texts.value(row))?;
            let keys: Vec<Key<'_>> = keys.iter().map(|k| k.at(row)).collect::<Option<_>>()?;
            find(text, keys)
        };
        let rows = 0..texts.len();
        Ok(match self.gives {
            Gives::Json | Gives::AsText | Gives::Str => {
                let mut out = StringBuilder::new();
                for found in rows.map(found) {
                    match found.map(|json| (json, json.starts_with('"'))) {
                        Some((json, true)) if self.gives != Gives::Json => {
                            out.append_option(text_of(json));
                        }
                        Some((json, _)) if self.gives == Gives::Json => out.append_value(json),
                        Some((json, false)) if self.gives == Gives::AsText && json != "null" => {
                            out.append_value(json);
                        }
                        _ => out.append_null(),
                    }
                }
                Arc::new(out.finish())
            }
            Gives::Int => {
                let mut out = Int64Builder::new();
                rows.for_each(|row| out.append_option(found(row).and_then(|j| j.parse().ok())));
                Arc::new(out.finish())
            }
            Gives::Float => {
                let mut out = Float64Builder::new();
                rows.for_each(|row| out.append_option(found(row).and_then(|j| j.parse().ok())));
                Arc::new(out.finish())
            }
            Gives::Bool => {
                let mut out = BooleanBuilder::new();
                rows.for_each(|row| out.append_option(found(row).and_then(|j| j.parse().ok())));
                Arc::new(out.finish())
            }
            Gives::IsThere => {
                let mut out = BooleanBuilder::new();
                rows.for_each(|row| {
                    out.append_option(texts.is_valid(row).then(|| found(row).is_some()));
                });
                Arc::new(out.finish())
            }
            Gives::Length => {
                let mut out = Int64Builder::new();
                for row in rows {
                    let mut count = 0;
                    let counted = found(row).and_then(|json| each(json, |_, _| count += 1));
                    out.append_option(counted.map(|()| count));
                }
                Arc::new(out.finish())
            }
            Gives::Names => {
                let mut out = ListBuilder::new(StringBuilder::new());
                for row in rows {
                    let object = found(row).filter(|json| json.starts_with('{'));
                    let listed = object.and_then(|json| {
                        each(json, |name, _| {
                            out.values().append_option(name.and_then(text_of));
                        })
                    });
                    out.append(listed.is_some());
                }
                Arc::new(out.finish())
            }
        })
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.gives.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.data_type())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let usage = || {
            plan_err!(
                "{} takes a text of JSON, and keys that are texts or whole numbers",
                self.name()
            )
        };
        let is_text = |t: &DataType| t.is_string() || t.is_null();
        let [text, keys @ ..] = types else {
            return usage();
        };
        if !is_text(text) {
            return usage();
        }
        let mut out = vec![DataType::Utf8];
        for key in keys {
            out.push(match key {
                key if is_text(key) => DataType::Utf8,
                key if key.is_integer() => DataType::Int64,
                _ => return usage(),
            });
        }
        Ok(out)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_value = |a: &ColumnarValue| matches!(a, ColumnarValue::Scalar(_));
        let constant = args.args.iter().all(is_value);
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|a| a.to_array(rows));
        let made = self.made(&arrays.collect::<Result<Vec<_>>>()?)?;
        if constant {
            let value = ScalarValue::try_from_array(&made, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(made))
    }
}
