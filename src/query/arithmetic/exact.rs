//! The exact sum of floats, from which values can be taken away again: what a window's frame needs. A running sum of floats keeps
//! the errors of values that have left the frame, and what was once infinite or NaN stays so for good.
//!
//! Finite values are kept as one whole number of units of 2^-1074, the least float, in limbs of 32 bits with room for carries.
//! Infinities and NaN are counted.
//!
//! Source: R. M. Neal, "Fast exact summation using small and large superaccumulators", 2015 (the small one, with other limbs).

/// Bits of a limb.
const BITS: u32 = 32;
/// The largest finite float is below 2^2098 units; one limb more takes carries.
const LIMBS: usize = 67;
/// Values that limbs take before carries have to be brought on: each adds less than 2^32 to one of 63 bits.
const BETWEEN_CARRIES: u32 = 1 << 30;

#[derive(Clone, Debug)]
pub(super) struct ExactSum {
    /// Lowest first; of any sign.
    limbs: [i64; LIMBS],
    since_carry: u32,
    /// Values in the sum that are no finite numbers.
    nans: u64,
    infinities: u64,
    negative_infinities: u64,
}

impl Default for ExactSum {
    fn default() -> Self {
        ExactSum {
            limbs: [0; LIMBS],
            since_carry: 0,
            nans: 0,
            infinities: 0,
            negative_infinities: 0,
        }
    }
}

impl ExactSum {
    pub(super) fn add(&mut self, value: f64) {
        self.count(value, true);
    }

    /// A value that was added.
    pub(super) fn take_away(&mut self, value: f64) {
        self.count(value, false);
    }

    fn count(&mut self, value: f64, more: bool) {
        if value.is_finite() {
            self.units(if more { value } else { -value });
            return;
        }
        let counter = if value.is_nan() {
            &mut self.nans
        } else if value > 0.0 {
            &mut self.infinities
        } else {
            &mut self.negative_infinities
        };
        *counter = match more {
            true => *counter + 1,
            false => counter.saturating_sub(1),
        };
    }

    fn units(&mut self, value: f64) {
        let bits = value.to_bits();
        let exponent = u32::try_from(bits >> 52 & 0x7ff).unwrap_or(0);
        let fraction = bits & ((1 << 52) - 1);
        // Those without an exponent have no leading one.
        let (mantissa, shift) = match exponent {
            0 => (fraction, 0),
            exponent => (fraction | 1 << 52, exponent - 1),
        };
        let shifted = u128::from(mantissa) << (shift % BITS);
        let first = (shift / BITS) as usize;
        for (part, limb) in self.limbs.iter_mut().skip(first).take(3).enumerate() {
            let part = i64::from((shifted >> (part * BITS as usize)) as u32);
            *limb += if value < 0.0 { -part } else { part };
        }
        self.since_carry += 1;
        if self.since_carry >= BETWEEN_CARRIES {
            carry(&mut self.limbs);
            self.since_carry = 0;
        }
    }

    /// The float nearest to the sum.
    pub(super) fn value(&self) -> f64 {
        if self.nans > 0 || (self.infinities > 0 && self.negative_infinities > 0) {
            return f64::NAN;
        }
        if self.infinities > 0 {
            return f64::INFINITY;
        }
        if self.negative_infinities > 0 {
            return f64::NEG_INFINITY;
        }
        let mut limbs = self.limbs;
        carry(&mut limbs);
        let negative = limbs[LIMBS - 1] < 0;
        if negative {
            for limb in &mut limbs {
                *limb = -*limb;
            }
            carry(&mut limbs);
        }
        let size = nearest(&limbs);
        // There is no -0.0.
        if negative { -size } else { size }
    }
}

/// Brings all limbs but the last, which has the sign, to 32 bits.
fn carry(limbs: &mut [i64; LIMBS]) {
    let mut over = 0;
    for limb in limbs.iter_mut().take(LIMBS - 1) {
        let whole = *limb + over;
        over = whole >> BITS;
        *limb = whole & i64::from(u32::MAX);
    }
    limbs[LIMBS - 1] += over;
}

/// The float nearest to limbs that are not negative, the even one of two.
fn nearest(limbs: &[i64; LIMBS]) -> f64 {
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else {
        return 0.0;
    };
    // Three limbs hold a float's digits; whether anything is below them decides a tie.
    let lowest = top.saturating_sub(2);
    let (below, leading) = limbs.split_at(lowest);
    let mut digits = 0u128;
    for limb in leading.iter().take(top - lowest + 1).rev() {
        digits = (digits << BITS) | u128::try_from(*limb).unwrap_or(0);
    }
    let length = 128 - digits.leading_zeros();
    if length <= 53 {
        // These are the lowest limbs, or the third of them would be 0. Below 2^53 a float's bits count its units.
        return f64::from_bits(u64::try_from(digits).unwrap_or(0));
    }
    let dropped = length - 53;
    let half = 1u128 << (dropped - 1);
    let rest = digits & ((1u128 << dropped) - 1);
    let mut kept = digits >> dropped;
    let odd = kept & 1 == 1;
    let sticky = below.iter().any(|limb| *limb != 0);
    if rest > half || (rest == half && (odd || sticky)) {
        kept += 1;
    }
    let (kept, dropped) = match kept >> 53 {
        0 => (kept, dropped),
        _ => (kept >> 1, dropped + 1),
    };
    // kept is in 2^52..2^53, in units of 2^(dropped + 32 * lowest - 1074).
    let exponent = u64::from(dropped) + BITS as u64 * lowest as u64 + 1;
    if exponent >= 0x7ff {
        return f64::INFINITY;
    }
    let fraction = u64::try_from(kept).unwrap_or(0) & ((1 << 52) - 1);
    f64::from_bits(exponent << 52 | fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        for value in values {
            sum.add(*value);
        }
        sum.value()
    }

    #[test]
    fn sums_are_exact_and_rounded_once() {
        let least = f64::from_bits(1);
        let cases: &[(&[f64], f64)] = &[
            (&[], 0.0),
            (&[1e300, 1.0, -1e300], 1.0),
            (&[0.1; 10], 1.0),
            (&[f64::MAX, f64::MAX], f64::INFINITY),
            (&[f64::MAX, f64::MAX, -f64::MAX], f64::MAX),
            (&[-f64::MAX, -f64::MAX], f64::NEG_INFINITY),
            (&[least, least], 2.0 * least),
            (&[-least], -least),
            (&[f64::MIN_POSITIVE, -least], f64::MIN_POSITIVE - least),
            (&[1.0, f64::EPSILON / 2.0], 1.0),
            (&[1.0, f64::EPSILON / 2.0, least], 1.0 + f64::EPSILON),
            (
                &[1.0 + f64::EPSILON, f64::EPSILON / 2.0],
                1.0 + 2.0 * f64::EPSILON,
            ),
            (&[9007199254740992.0, 1.0, 1.0], 9007199254740994.0),
            (&[-1.5, 0.25], -1.25),
        ];
        for (values, expected) in cases {
            assert_eq!(sum(values).to_bits(), expected.to_bits(), "{values:?}");
        }
    }

    #[test]
    fn what_is_taken_away_leaves_nothing_behind() {
        let mut sum = ExactSum::default();
        for value in [1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 3.0] {
            sum.add(value);
        }
        assert!(sum.value().is_nan());
        sum.take_away(f64::NAN);
        assert!(sum.value().is_nan());
        sum.take_away(f64::NEG_INFINITY);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.take_away(f64::INFINITY);
        sum.take_away(1e300);
        sum.take_away(0.1);
        assert_eq!(sum.value(), 3.0);
    }

    proptest! {
        #[test]
        fn a_sum_of_two_is_that_of_the_processor(a in any::<f64>(), b in any::<f64>()) {
            let (found, expected) = (sum(&[a, b]), a + b);
            prop_assert!(found == expected || (found.is_nan() && expected.is_nan()), "{found} {expected}");
        }

        #[test]
        fn the_order_decides_nothing(mut values in prop::collection::vec(any::<f64>(), 0..20), more in any::<f64>()) {
            let mut forth = ExactSum::default();
            values.iter().for_each(|v| forth.add(*v));
            forth.add(more);
            forth.take_away(more);
            values.reverse();
            prop_assert_eq!(forth.value().to_bits(), sum(&values).to_bits());
        }
    }
}
