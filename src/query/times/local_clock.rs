//! What the clock of a time's own zone shows, for casts to a TIMESTAMP without a zone: Arrow's cast gives the clock of UTC, and its casts to a
//! day, a time of day and a text the local one.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::zone::{Zone, ZoneClock};

const NAME: &str = "local_clock";

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(LocalClock(Signature::user_defined(Volatility::Immutable)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalClock(Signature);

impl ScalarUDFImpl for LocalClock {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(time) = args.args.first() else {
            return exec_err!("{NAME} takes a time");
        };
        let scalar = matches!(time, ColumnarValue::Scalar(_));
        let times = time.to_array(if scalar { 1 } else { args.number_rows })?;
        let made = local_clock(&times)?;
        Ok(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
            false => ColumnarValue::Array(made),
        })
    }
}

fn local_clock(times: &ArrayRef) -> Result<ArrayRef> {
    let zone = match times.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        other => return exec_err!("{NAME} takes a time with a zone, not {other}"),
    };
    let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    let times = cast(times, &micros)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let Some(zone) = zone.as_deref().map(Zone::named).transpose()?.flatten() else {
        return Ok(Arc::new(times.clone().with_timezone_opt::<Arc<str>>(None)));
    };
    let mut clock = ZoneClock::new(zone);
    let locals = times.iter().map(|at| {
        let Some(at) = at else { return Ok(None) };
        match clock.local(at) {
            Some(local) => Ok(Some(local)),
            None => exec_err!("a time beyond the calendar, microseconds={at}"),
        }
    });
    let locals: PrimitiveArray<TimestampMicrosecondType> = locals.collect::<Result<_>>()?;
    Ok(Arc::new(locals))
}
