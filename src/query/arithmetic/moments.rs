//! Count, means, and sums of squares and products of pairs of floats: what variance, covariance and correlation are made of.
//!
//! They are kept around the running means, so that values which are large and close together lose no digits. Values can be taken
//! away again, but what a large value leaves behind is larger than the squares of the small ones, and NaN stays for good. So a
//! window's frame keeps its values, and the sums are made anew when most of them has been taken away, when one of them was no finite
//! number, and once in as many rows as the frame has.
//!
//! Sources: B. P. Welford, "Note on a method for calculating corrected sums of squares and products", 1962; for the merge,
//! T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

use std::collections::VecDeque;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Float64Type;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;

/// Of the largest sum of squares, what has to be left for the digits to be trusted.
const TRUSTED: f64 = 1e-6;

/// All of them are zero without a pair. A sum over a value that is no finite number is NaN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) mean_x: f64,
    pub(super) mean_y: f64,
    /// The sum of the squares of the distances from the mean.
    pub(super) xx: f64,
    pub(super) yy: f64,
    /// The sum of the products of both distances.
    pub(super) xy: f64,
}

impl Moments {
    pub(super) fn add(&mut self, x: f64, y: f64) {
        self.count += 1;
        let count = self.count as f64;
        let (from_x, from_y) = (x - self.mean_x, y - self.mean_y);
        self.mean_x += from_x / count;
        self.mean_y += from_y / count;
        self.xx += from_x * (x - self.mean_x);
        self.yy += from_y * (y - self.mean_y);
        self.xy += from_x * (y - self.mean_y);
        self.undefined(!x.is_finite(), !y.is_finite());
    }

    /// A pair of finite numbers that was added.
    fn take_away(&mut self, x: f64, y: f64) {
        if self.count <= 1 {
            *self = Moments::default();
            return;
        }
        self.count -= 1;
        let count = self.count as f64;
        let (from_x, from_y) = (x - self.mean_x, y - self.mean_y);
        self.mean_x -= from_x / count;
        self.mean_y -= from_y / count;
        self.xx -= from_x * (x - self.mean_x);
        self.yy -= from_y * (y - self.mean_y);
        self.xy -= from_x * (y - self.mean_y);
    }

    /// With the pairs of another one.
    pub(super) fn merge(&mut self, other: &Moments) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        let share = others / (own + others);
        let (from_x, from_y) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        // Means that are no finite numbers make the sums NaN, which they are already.
        let (x, y) = (self.xx.is_nan(), self.yy.is_nan());
        let undefined = (x || other.xx.is_nan(), y || other.yy.is_nan());
        self.count += other.count;
        self.mean_x += from_x * share;
        self.mean_y += from_y * share;
        self.xx += other.xx + from_x * from_x * own * share;
        self.yy += other.yy + from_y * from_y * own * share;
        self.xy += other.xy + from_x * from_y * own * share;
        self.undefined(undefined.0, undefined.1);
    }

    /// The squares of finite numbers may be too large, too.
    fn is_finite(&self) -> bool {
        self.xx.is_finite() && self.yy.is_finite() && self.xy.is_finite()
    }

    /// An infinity times zero is NaN, and times anything else it is not.
    fn undefined(&mut self, x: bool, y: bool) {
        if x {
            (self.xx, self.xy) = (f64::NAN, f64::NAN);
        }
        if y {
            (self.yy, self.xy) = (f64::NAN, f64::NAN);
        }
    }
}

/// The pairs of two columns in which neither is null; of one column, each value with itself.
pub(super) fn pairs(values: &[ArrayRef]) -> Result<impl Iterator<Item = (f64, f64)> + '_> {
    let (Some(x), Some(y)) = (values.first(), values.last()) else {
        return internal_err!("a pair has two values");
    };
    let x = x.as_primitive::<Float64Type>();
    let y = y.as_primitive::<Float64Type>();
    let both = x.iter().zip(y.iter());
    Ok(both.filter_map(|(x, y)| x.zip(y)))
}

/// Of the pairs in a window's frame, which leave it again.
#[derive(Debug)]
pub(super) struct Sliding {
    /// What the moments come to.
    finish: fn(&Moments) -> Option<f64>,
    /// The frame's, first in first out.
    pairs: VecDeque<(f64, f64)>,
    moments: Moments,
    /// The largest sums of squares since they were made anew.
    largest: (f64, f64),
    /// Pairs that were taken away since.
    gone: usize,
    /// They have to be made anew.
    stale: bool,
}

fn is_finite((x, y): (f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

impl Sliding {
    pub(super) fn new(finish: fn(&Moments) -> Option<f64>) -> Self {
        Sliding {
            finish,
            pairs: VecDeque::new(),
            moments: Moments::default(),
            largest: (0.0, 0.0),
            gone: 0,
            stale: false,
        }
    }

    fn add(&mut self, pair: (f64, f64)) {
        self.pairs.push_back(pair);
        self.stale |= !is_finite(pair);
        if !self.stale {
            self.moments.add(pair.0, pair.1);
            self.stale = !self.moments.is_finite();
            self.note_largest();
        }
    }

    fn note_largest(&mut self) {
        let (x, y) = self.largest;
        self.largest = (x.max(self.moments.xx), y.max(self.moments.yy));
    }

    fn take_away(&mut self) {
        let Some(pair) = self.pairs.pop_front() else {
            return;
        };
        self.gone += 1;
        self.stale |= !is_finite(pair) || self.gone > self.pairs.len();
        if !self.stale {
            self.moments.take_away(pair.0, pair.1);
            let left = |squares: f64, largest: f64| squares < largest * TRUSTED;
            let (x, y) = self.largest;
            self.stale = left(self.moments.xx, x) || left(self.moments.yy, y);
        }
    }

    fn anew(&mut self) {
        (self.moments, self.gone, self.largest) = (Moments::default(), 0, (0.0, 0.0));
        for (x, y) in &self.pairs {
            self.moments.add(*x, *y);
        }
        self.stale = !self.moments.is_finite();
        self.note_largest();
    }
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        pairs(values)?.for_each(|pair| self.add(pair));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        pairs(values)?.for_each(|_| self.take_away());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("the spread of a window's frame is not merged")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("the spread of a window's frame is not merged")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.stale {
            self.anew();
        }
        Ok(ScalarValue::Float64((self.finish)(&self.moments)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.pairs.capacity() * size_of::<(f64, f64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(f64, f64)]) -> Moments {
        let mut moments = Moments::default();
        pairs.iter().for_each(|(x, y)| moments.add(*x, *y));
        moments
    }

    #[test]
    fn merged_moments_are_those_of_all_pairs() {
        let far: Vec<(f64, f64)> = (0..100)
            .map(|n| (1.7e9 + f64::from(n), f64::from(n * n % 37)))
            .collect();
        let all = of(&far);
        for at in [0, 1, 50, 100] {
            let mut merged = of(&far[..at]);
            merged.merge(&of(&far[at..]));
            assert_eq!(merged.count, all.count);
            for (a, b) in [
                (merged.mean_x, all.mean_x),
                (merged.xx, all.xx),
                (merged.yy, all.yy),
                (merged.xy, all.xy),
            ] {
                assert!((a - b).abs() <= 1e-9 * b.abs(), "{at}: {a} {b}");
            }
        }
    }

    #[test]
    fn sums_over_what_is_no_finite_number_are_nan() {
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for before in [&[][..], &[(1.0, 2.0)], &[(1.0, 2.0), (3.0, 5.0)]] {
                let mut moments = of(before);
                moments.add(odd, 7.0);
                let mut merged = of(&[(1.0, 1.0)]);
                merged.merge(&moments);
                merged.merge(&of(&[(1.0, 9.0)]));
                for m in [moments, merged] {
                    assert!(m.xx.is_nan() && m.xy.is_nan() && m.yy.is_finite(), "{m:?}");
                }
            }
        }
    }
}
