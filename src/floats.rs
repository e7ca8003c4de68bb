//! The one form of a floating-point number: 0.0 for either zero, and one NaN, with the sign that puts it above all numbers.
//!
//! Arrow orders floats by their bits (IEEE 754, `totalOrder`). There -0.0 is below 0.0, and a NaN is above or below all numbers by
//! its sign; x86 gives the lower one as the result of `0.0 / 0.0`. In their one form floats are ordered as SQL has it.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

/// Values that are looked at without a branch.
const STRIDE: usize = 16;

pub fn one_form_64(value: f64) -> f64 {
    // Adding 0.0 turns -0.0 into 0.0 and changes no other number.
    if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    }
}

pub fn one_form_32(value: f32) -> f32 {
    if value.is_nan() {
        f32::NAN
    } else {
        value + 0.0
    }
}

/// As whole numbers, zeros below zero and what is no number are found without a branch, and without a unit for floats.
fn differs_64(values: &[f64]) -> bool {
    const SIGN: u64 = 1 << 63;
    const INFINITE: u64 = f64::INFINITY.to_bits();
    let may_differ = |v: &f64| {
        let bits = v.to_bits();
        (bits == SIGN) | (bits & !SIGN > INFINITE)
    };
    let differs = |v: &f64| one_form_64(*v).to_bits() != v.to_bits();
    let (strides, rest) = values.as_chunks::<STRIDE>();
    let found = |stride: &[f64; STRIDE]| {
        stride.iter().fold(false, |any, v| any | may_differ(v)) && stride.iter().any(differs)
    };
    strides.iter().any(found) || rest.iter().any(differs)
}

fn differs_32(values: &[f32]) -> bool {
    const SIGN: u32 = 1 << 31;
    const INFINITE: u32 = f32::INFINITY.to_bits();
    let may_differ = |v: &f32| {
        let bits = v.to_bits();
        (bits == SIGN) | (bits & !SIGN > INFINITE)
    };
    let differs = |v: &f32| one_form_32(*v).to_bits() != v.to_bits();
    let (strides, rest) = values.as_chunks::<STRIDE>();
    let found = |stride: &[f32; STRIDE]| {
        stride.iter().fold(false, |any, v| any | may_differ(v)) && stride.iter().any(differs)
    };
    strides.iter().any(found) || rest.iter().any(differs)
}

/// The values in their one form, within nested values too; those of other types as they are. Copies only what has another form.
pub fn one_form(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            if differs_64(values.values()) {
                return Arc::new(values.unary::<_, Float64Type>(one_form_64));
            }
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            if differs_32(values.values()) {
                return Arc::new(values.unary::<_, Float32Type>(one_form_32));
            }
        }
        other if other.is_nested() && holds_floats(other) => {
            if let Some(changed) = nested_one_form(array) {
                return changed;
            }
        }
        _ => {}
    }
    array.clone()
}

/// Is every float of the column in its one form, within nested values too? What stands where a value is null counts as well.
pub fn is_in_one_form(array: &ArrayRef) -> bool {
    Arc::ptr_eq(&one_form(array), array)
}

/// Are there floats in values of the type?
pub fn holds_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => holds_floats(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| holds_floats(f.data_type())),
        _ => false,
    }
}

/// None: all of it is in its one form.
fn nested_one_form(array: &ArrayRef) -> Option<ArrayRef> {
    let data = array.to_data();
    let mut changed = false;
    let children = data.child_data().iter().map(|child| {
        let child = make_array(child.clone());
        let own = one_form(&child);
        changed |= !Arc::ptr_eq(&child, &own);
        own.to_data()
    });
    let children: Vec<ArrayData> = children.collect();
    if !changed {
        return None;
    }
    // The same lengths and offsets around other floats.
    let made = data.into_builder().child_data(children).build().ok()?;
    Some(make_array(made))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use arrow::array::{Float32Array, Float64Array};

    use super::*;

    #[test]
    fn there_is_one_zero_and_one_nan_and_other_numbers_stay() {
        let numbers = [1.5, -1.5, 0.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324];
        for number in numbers {
            assert_eq!(one_form_64(number).to_bits(), number.to_bits());
        }
        assert_eq!(one_form_64(-0.0).to_bits(), 0.0f64.to_bits());
        for nan in [-f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), f64::NAN] {
            assert_eq!(one_form_64(nan).to_bits(), f64::NAN.to_bits());
            assert!(one_form_64(nan).total_cmp(&f64::INFINITY).is_gt());
        }
        let same: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0)]));
        assert!(Arc::ptr_eq(&one_form(&same), &same), "a copy");
        for at in [0, STRIDE - 1, STRIDE, 3 * STRIDE + 1] {
            let mut values = vec![1.0f32; 4 * STRIDE];
            values[at] = -0.0;
            let array: ArrayRef = Arc::new(Float32Array::from(values));
            let changed = one_form(&array);
            let changed = changed.as_primitive::<Float32Type>().value(at);
            assert_eq!(changed.to_bits(), 0.0f32.to_bits(), "place {at}");
        }
    }
}
