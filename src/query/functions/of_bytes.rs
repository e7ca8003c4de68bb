//! Functions that DataFusion has for texts alone, over bytes as well: `coalesce` and `octet_length`. `coalesce` takes texts beside times, too.

use std::sync::Arc;

use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use crate::query::rules::chosen_type;

/// The functions that [`of_bytes`] stands in the place of.
pub(super) const NAMES: [&str; 2] = ["coalesce", "octet_length"];

/// `inner`: one of DataFusion's [`NAMES`].
pub(super) fn of_bytes(inner: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    Arc::new(match inner.name() {
        "coalesce" => ScalarUDF::from(Coalesce(inner)),
        _ => ScalarUDF::from(Length {
            inner,
            signature: Signature::user_defined(Volatility::Immutable),
        }),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce(Arc<ScalarUDF>);

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let bytes = types.iter().any(DataType::is_binary);
        let chosen = chosen_type(types).filter(|_| bytes);
        match chosen.or_else(|| beside_texts(types)) {
            Some(chosen) => Ok(vec![chosen; types.len()]),
            None => self.0.coerce_types(types),
        }
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.0.simplify(args, context)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.0.invoke_with_args(args)
    }

    fn short_circuits(&self) -> bool {
        self.0.short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.0.conditional_arguments(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}

/// The type of times that stand beside texts: until it is known whether the texts can be read as times (`rules/common_type`), they
/// are taken for some. None: other values are among them, or no text.
fn beside_texts(types: &[DataType]) -> Option<DataType> {
    let (texts, others): (Vec<&DataType>, Vec<&DataType>) =
        types.iter().partition(|t| t.is_string());
    let times: Vec<DataType> = others
        .into_iter()
        .filter(|t| !t.is_null())
        .cloned()
        .collect();
    if texts.is_empty() || !times.iter().all(DataType::is_temporal) {
        return None;
    }
    chosen_type(&times).or_else(|| times.first().cloned())
}

/// Of a text what DataFusion counts, of bytes all of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let [DataType::Binary] = types {
            return Ok(types.to_vec());
        }
        let fields = types
            .iter()
            .map(|t| Arc::new(Field::new("argument", t.clone(), true)));
        let fields: Vec<FieldRef> = fields.collect();
        let fields = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(fields.iter().map(|f| f.data_type().clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Binary] => Ok(DataType::Int32),
            _ => self.inner.return_type(types),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(bytes)] if bytes.data_type() == &DataType::Binary => {
                Ok(ColumnarValue::Array(length(bytes)?))
            }
            [ColumnarValue::Scalar(ScalarValue::Binary(bytes))] => {
                let bytes = bytes.as_ref().map(|b| i32::try_from(b.len()));
                match bytes.transpose() {
                    Ok(length) => Ok(ColumnarValue::Scalar(ScalarValue::Int32(length))),
                    Err(_) => exec_err!("{} of more than 2 GiB", self.name()),
                }
            }
            _ => self.inner.invoke_with_args(args),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
