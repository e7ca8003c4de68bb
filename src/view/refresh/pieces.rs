//! The times that a refresh computes, in pieces: each is computed at once and committed as one.

use super::Job;
use crate::cold::FileList;
use crate::dataset::{Bucket, Spans};
use crate::query::view::SPANS_MAX;

const HOUR: i64 = 3_600_000_000;

/// The spans in pieces that are computed at once, where the source has rows or the view has stored some.
pub(super) fn pieces(spans: &Spans, job: &Job<'_>, stored: &FileList) -> Vec<Spans> {
    let bucket = job.spec.bucket;
    let source = &job.source.cold;
    let of_source = source.files().iter().filter_map(|f| {
        let (min, max) = source.times(f, &job.spec.time_column).range()?;
        Some(bucket.touched(min, max))
    });
    let of_view = stored.files().iter().filter_map(|f| {
        let (min, max) = stored.times(f, &job.spec.start_column).range()?;
        Some((
            bucket.last_start(min),
            bucket.last_start(max).saturating_add(bucket.step),
        ))
    });
    let held = Spans::of(of_source.chain(of_view));
    let wanted = spans
        .iter()
        .flat_map(|(first, end)| held.clip(first, end).iter().collect::<Vec<_>>());
    split(Spans::of(wanted), bucket)
}

/// A day of a minute's buckets at a time, a month of an hour's.
fn split(spans: Spans, bucket: Bucket) -> Vec<Spans> {
    let most = bucket
        .step
        .saturating_mul(1_440)
        .clamp(HOUR, 31 * 24 * HOUR);
    let most = (most / bucket.step).max(1) * bucket.step;
    let mut out = Vec::new();
    let mut open: Vec<(i64, i64)> = Vec::new();
    let mut left = most;
    for (mut at, end) in spans.iter() {
        // Files that do not tell their times: one piece, whatever its length.
        let whole = end.saturating_sub(at) / most > 100_000;
        while at < end {
            let next = if whole {
                end
            } else {
                end.min(at.saturating_add(left))
            };
            open.push((at, next));
            left = left.saturating_sub(next.saturating_sub(at));
            at = next;
            if left <= 0 || open.len() >= SPANS_MAX {
                out.push(Spans::of(std::mem::take(&mut open)));
                left = most;
            }
        }
    }
    if !open.is_empty() {
        out.push(Spans::of(open));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_spans_and_no_more() {
        let bucket = Bucket {
            step: 60_000_000,
            size: 120_000_000,
        };
        let day = 24 * HOUR;
        let spans = Spans::of([(0, 3 * day), (4 * day, 4 * day + HOUR)]);
        let made = split(spans.clone(), bucket);
        assert_eq!(made.len(), 4);
        assert_eq!(
            Spans::of(made.iter().flat_map(|s| s.iter().collect::<Vec<_>>())),
            spans
        );
        let many = Spans::of((0..200).map(|n| (n * HOUR, n * HOUR + 60_000_000)));
        assert!(
            split(many, bucket)
                .iter()
                .all(|s| s.iter().count() <= SPANS_MAX)
        );
        let endless = Spans::of([(i64::MIN / 4, i64::MAX / 4)]);
        assert_eq!(split(endless.clone(), bucket), vec![endless]);
    }
}
