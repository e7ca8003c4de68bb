//! Percentiles of times in nanoseconds, by nearest rank: each is one of the times that were measured.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Percentiles {
    pub count: usize,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    #[serde(rename = "p99.9")]
    pub p99_9: u64,
    pub max: u64,
}

impl Percentiles {
    /// `None` where there is no time.
    pub(super) fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let at = |thousandths: usize| {
            let rank = (nanos.len() * thousandths).div_ceil(1000).max(1);
            nanos.get(rank - 1).copied()
        };
        Some(Percentiles {
            count: nanos.len(),
            p50: at(500)?,
            p90: at(900)?,
            p99: at(990)?,
            p99_9: at(999)?,
            max: at(1000)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nanos: impl IntoIterator<Item = u64>) -> Option<[u64; 5]> {
        let p = Percentiles::of(nanos.into_iter().collect())?;
        Some([p.p50, p.p90, p.p99, p.p99_9, p.max])
    }

    #[test]
    fn a_percentile_is_the_least_time_that_so_many_do_not_exceed() {
        assert_eq!(of([]), None);
        assert_eq!(of([7]), Some([7; 5]));
        assert_eq!(of([9, 1]), Some([1, 9, 9, 9, 9]));
        assert_eq!(of((1..=100).rev()), Some([50, 90, 99, 100, 100]));
        assert_eq!(of(1..=1000), Some([500, 900, 990, 999, 1000]));
        assert_eq!(of(1..=10_001), Some([5001, 9001, 9901, 9991, 10_001]));
        // One outlier of a thousand is the maximum and no percentile; two of them are the last percentile as well.
        let outliers = |n| std::iter::repeat_n(1, 1000 - n).chain(std::iter::repeat_n(50, n));
        assert_eq!(of(outliers(1)), Some([1, 1, 1, 1, 50]));
        assert_eq!(of(outliers(2)), Some([1, 1, 1, 50, 50]));
    }
}
