//! The exclusive or of whole numbers, of which either may be one number for all rows.

use std::ops::BitXor;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray, downcast_integer,
};
use arrow::compute::kernels::bitwise::{bitwise_xor, bitwise_xor_scalar};
use arrow::datatypes::ArrowNativeTypeOp;
use arrow::error::ArrowError;

/// `left ^ right` of two columns of one type, null where either is.
///
/// # Errors
/// They are no whole numbers of one type, or not as long as each other.
pub(super) fn xor(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    fn of<T>(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError>
    where
        T: ArrowPrimitiveType,
        T::Native: ArrowNativeTypeOp + BitXor<Output = T::Native>,
    {
        let ((l, l_is_one), (r, r_is_one)) = (left.get(), right.get());
        let (l, r): (&PrimitiveArray<T>, &PrimitiveArray<T>) = (l.as_primitive(), r.as_primitive());
        let made = match (l_is_one, r_is_one) {
            (false, true) => with_one(l, r)?,
            (true, false) => with_one(r, l)?,
            _ => bitwise_xor(l, r)?,
        };
        Ok(Arc::new(made))
    }
    fn with_one<T>(
        values: &PrimitiveArray<T>,
        one: &PrimitiveArray<T>,
    ) -> Result<PrimitiveArray<T>, ArrowError>
    where
        T: ArrowPrimitiveType,
        T::Native: BitXor<Output = T::Native>,
    {
        match one.iter().next().flatten() {
            Some(value) => bitwise_xor_scalar(values, value),
            None => Ok(PrimitiveArray::new_null(values.len())),
        }
    }
    macro_rules! typed {
        ($t:ty) => {
            of::<$t>(left, right)
        };
    }
    let types = (left.get().0.data_type(), right.get().0.data_type());
    if types.0 != types.1 {
        let what = format!("{} ^ {}", types.0, types.1);
        return Err(ArrowError::InvalidArgumentError(what));
    }
    downcast_integer! {
        types.0 => (typed),
        other => Err(ArrowError::InvalidArgumentError(format!("{other} ^ {other}"))),
    }
}
