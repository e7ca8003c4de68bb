//! Which stored buckets of a view no longer hold at a query's read point: those that rows touch which its last refresh did
//! not see, be they committed since or hot.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;

use crate::catalog::view::{Snapshot, TableView};
use crate::clock::Micros;
use crate::cold::FileList;
use crate::dataset::{Bucket, Contract, Spans, ViewSpec};

const DAY: i64 = 86_400_000_000;

/// Window starts. Stored and right: below `frozen`, or below `open_from` and not in `dirty`.
/// What is frozen is what the last refresh has stored as frozen, not what this instant's clock would freeze: until the refresh
/// has stored a window for good, queries count its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    pub dirty: Spans,
    pub open_from: i64,
    /// Before this the source's rows may be gone by its retention: what is stored stays.
    pub frozen: i64,
}

impl Stale {
    /// `view` is a materialized view of the snapshot.
    pub fn of(view: &TableView, snapshot: &Snapshot) -> Option<Stale> {
        let spec = view.contract.as_ref()?.view.as_ref()?;
        let source = snapshot.tables.get(&spec.source.folded())?;
        let progress = view.progress.as_ref()?.over(&source.cold);
        let (open_from, frozen) = (progress.open_from, progress.frozen);
        let mut touched: Vec<_> = progress.unsettled.iter().collect();
        match &progress.source {
            Some(seen) => {
                let (now, seen): (&FileList, &FileList) = (&source.cold, seen);
                let changed = now.since(seen);
                let added = changed.added.iter().map(|f| (now, f));
                let removed = changed.removed.iter().map(|f| (seen, f));
                for (version, file) in added.chain(removed) {
                    let range = version.times(file, &spec.time_column).range();
                    touched.extend(range.map(|(min, max)| spec.bucket.touched(min, max)));
                }
            }
            None => touched.push((i64::MIN / 4, open_from)),
        }
        for chunk in source.hot.iter() {
            if let Some(times) = chunk.batch.column_by_name(&spec.time_column) {
                late(times, spec.bucket, open_from, &mut touched);
            }
        }
        // A view's own stale buckets are rows that change; its open ones too, where this view has closed over them.
        if let (Some(below), Some(inner)) = (Stale::of(source, snapshot), bucket_of(source)) {
            let below = below.computed();
            let moved = below
                .iter()
                .map(|(first, end)| spec.bucket.touched(first, end.saturating_sub(inner.step)));
            touched.extend(moved);
        }
        Some(Stale {
            dirty: Spans::of(touched).clip(frozen, open_from),
            open_from,
            frozen,
        })
    }

    /// The windows that are computed: dirty or open.
    pub fn computed(&self) -> Spans {
        let open = Spans::of([(self.open_from.max(self.frozen), i64::MAX)]);
        self.dirty.union(&open)
    }
}

fn bucket_of(view: &TableView) -> Option<Bucket> {
    let contract: &Contract = view.contract.as_ref()?;
    Some(contract.view.as_ref()?.bucket)
}

/// Windows before `open_from` that hot rows belong to.
fn late(times: &dyn Array, bucket: Bucket, open_from: i64, touched: &mut Vec<(i64, i64)>) {
    let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
        return;
    };
    // The first window of a later row is open.
    let closed_before = open_from.saturating_add(bucket.size - bucket.step);
    let mut last = i64::MIN;
    for (index, at) in times.values().iter().enumerate() {
        if *at >= closed_before || times.is_null(index) {
            continue;
        }
        let start = bucket.last_start(*at);
        if start != last {
            last = start;
            touched.push(bucket.touched(*at, *at));
        }
    }
}

/// Windows that start earlier reach into what the source's retention takes now: once stored, they are not computed again.
pub fn frozen_before(source: &TableView, spec: &ViewSpec, now: Micros) -> i64 {
    let retention = source.contract.as_ref().and_then(|c| {
        let event_time = c.event_time.as_ref()?;
        let text = c.retention.as_ref()?;
        let kept = crate::config::size::parse_duration(text).ok()?;
        Some((event_time, i64::try_from(kept.as_micros()).ok()?))
    });
    let Some((event_time, kept)) = retention else {
        return i64::MIN;
    };
    let newest = source
        .cold
        .files()
        .iter()
        .filter_map(|f| {
            let (_, max) = source.cold.times(f, event_time).range()?;
            Some(max.min(source.cold.arrival(f)))
        })
        .filter(|max| *max < i64::MAX / 8)
        .max();
    // Whole days are taken, by the date of the event time.
    let horizon = newest.map_or(now, |newest| newest.min(now)) - kept;
    let day = horizon - horizon.rem_euclid(DAY);
    spec.bucket
        .last_start(day.saturating_add(spec.bucket.step - 1))
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;

    use super::*;

    #[test]
    fn late_rows_touch_closed_windows_and_no_open_one() {
        let bucket = Bucket { step: 5, size: 10 };
        let times = TimestampMicrosecondArray::from(vec![
            Some(3),
            Some(97),
            None,
            Some(104),
            Some(105),
            Some(300),
        ]);
        let mut touched = Vec::new();
        // Windows 95.. and 100.. are the first that are open.
        late(&times, bucket, 95, &mut touched);
        let closed = Spans::of(touched).clip(i64::MIN, 95);
        assert_eq!(closed, Spans::of([(-5, 5), (90, 95)]));
    }
}
