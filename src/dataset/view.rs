//! What a materialized view is: its query as written, the time buckets that it groups by, and when a bucket closes. Pure
//! arithmetic on microseconds; the query itself is understood where the engine is.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::ddl::quote_text;
use crate::types::TableName;

/// Windows of `size` that start every `step`, aligned to 1970. `size` is a multiple of `step`; equal, they tumble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    pub step: i64,
    pub size: i64,
}

impl Bucket {
    /// The last window that holds the instant, by its start.
    pub fn last_start(self, at: i64) -> i64 {
        at.saturating_sub(at.rem_euclid(self.step))
    }

    /// The first window that holds the instant.
    pub fn first_start(self, at: i64) -> i64 {
        self.last_start(at)
            .saturating_add(self.step)
            .saturating_sub(self.size)
    }

    /// The first window that a watermark leaves open: it ends behind it.
    pub fn open_from(self, watermark: i64) -> i64 {
        self.last_start(watermark.saturating_sub(self.size))
            .saturating_add(self.step)
    }

    /// The windows that rows between two instants, both included, belong to.
    pub fn touched(self, min: i64, max: i64) -> (i64, i64) {
        (
            self.first_start(min),
            self.last_start(max).saturating_add(self.step),
        )
    }

    /// Times of the rows that belong to the windows of a span, end exclusive.
    pub fn times(self, (first, end): (i64, i64)) -> (i64, i64) {
        let beyond = self.size - self.step;
        (first, end.saturating_add(beyond))
    }
}

/// Window starts as half-open spans, disjoint and rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(i64, i64)>);

impl Spans {
    pub fn of(spans: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut all: Vec<(i64, i64)> = spans.into_iter().filter(|(a, b)| a < b).collect();
        all.sort_unstable();
        let mut out: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (a, b) in all {
            match out.last_mut() {
                Some(last) if last.1 >= a => last.1 = last.1.max(b),
                _ => out.push((a, b)),
            }
        }
        Spans(out)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.0.iter().copied()
    }

    pub fn union(&self, other: &Spans) -> Spans {
        Spans::of(self.iter().chain(other.iter()))
    }

    /// What lies in `[first, end)`.
    pub fn clip(&self, first: i64, end: i64) -> Spans {
        Spans::of(self.iter().map(|(a, b)| (a.max(first), b.min(end))))
    }

    /// At most `most` spans that cover these: the smallest gaps are closed.
    pub fn coarse(&self, most: usize) -> Spans {
        let mut spans = self.0.clone();
        if spans.len() > most.max(1) {
            let mut gaps: Vec<i64> = spans
                .windows(2)
                .map(|w| w[1].0.saturating_sub(w[0].1))
                .collect();
            gaps.sort_unstable();
            let close = gaps.get(gaps.len() - most.max(1)).copied().unwrap_or(0);
            let mut out: Vec<(i64, i64)> = Vec::new();
            for (a, b) in spans {
                match out.last_mut() {
                    Some(last) if a.saturating_sub(last.1) <= close => last.1 = b,
                    _ => out.push((a, b)),
                }
            }
            spans = out;
        }
        Spans(spans)
    }

    /// Does one of the spans meet `[first, last]`?
    pub fn meets(&self, first: i64, last: i64) -> bool {
        let at = self.0.partition_point(|(_, b)| *b <= first);
        self.0.get(at).is_some_and(|(a, _)| *a <= last)
    }
}

/// When a bucket closes. Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewSettings {
    /// How far the watermark stays behind the newest event time.
    pub delay: i64,
    /// A producer that is silent for so long holds the watermark no more; when all are, every bucket closes.
    pub idle: i64,
    /// An event time further ahead of the server's clock moves no watermark.
    pub future: i64,
}

impl Default for ViewSettings {
    fn default() -> Self {
        ViewSettings {
            delay: 0,
            idle: 30_000_000,
            future: 60_000_000,
        }
    }
}

impl ViewSettings {
    /// # Errors
    /// An unknown name, or no time span; the text says what is known.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let short = name.strip_prefix("deltaplane.").unwrap_or(name);
        let place = match short.to_ascii_lowercase().as_str() {
            "delay" => &mut self.delay,
            "idle" => &mut self.idle,
            "future" => &mut self.future,
            _ => {
                return Err(format!(
                    "unknown setting of a view, setting={name}; known: delay, idle, future"
                ));
            }
        };
        *place = parse_span(value)
            .map_err(|problem| format!("setting={name}, value={value}: {problem}"))?;
        Ok(())
    }

    fn to_ddl(self) -> String {
        let pairs = [
            ("delay", self.delay),
            ("future", self.future),
            ("idle", self.idle),
        ];
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(k, v)| format!("{k} = '{}'", show_span(*v)))
            .collect();
        pairs.join(", ")
    }
}

/// A view's definition, as its Delta table tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewSpec {
    /// As it was written.
    pub sql: String,
    pub source: TableName,
    /// Tables that are joined; a change of theirs reaches the buckets that are computed after it.
    pub dimensions: Vec<TableName>,
    /// The source's column that is bucketed.
    pub time_column: String,
    pub start_column: String,
    pub bucket: Bucket,
    pub settings: ViewSettings,
}

impl ViewSpec {
    pub fn reads(&self, table: &TableName) -> bool {
        let folded = table.folded();
        self.source.folded() == folded || self.dimensions.iter().any(|d| d.folded() == folded)
    }
}

/// A view as `dataset.toml` and `CREATE MATERIALIZED VIEW` declare it.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDeclaration {
    pub name: TableName,
    pub settings: ViewSettings,
    pub sql: String,
}

impl ViewDeclaration {
    pub fn to_ddl(&self) -> String {
        let mut out = format!("CREATE MATERIALIZED VIEW {}", self.name);
        let _ = write!(out, "\nWITH ({})", self.settings.to_ddl());
        let _ = write!(out, "\nAS {}", self.sql.trim().trim_end_matches(';'));
        out
    }

    /// The statement that makes a view of another declaration into this one.
    pub fn alter_ddl(&self, there: &ViewDeclaration) -> Option<String> {
        let words = |sql: &str| {
            sql.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .trim_end_matches(';')
                .to_owned()
        };
        if words(&self.sql) != words(&there.sql) {
            return Some(self.to_ddl().replacen("CREATE", "CREATE OR REPLACE", 1));
        }
        (self.settings != there.settings).then(|| {
            format!(
                "ALTER MATERIALIZED VIEW {} SET ({})",
                self.name,
                self.settings.to_ddl()
            )
        })
    }
}

const UNITS: [(&str, i64); 6] = [
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1_000),
    ("microsecond", 1),
];

/// `5s`, `1 minute`, `1 hour 30 minutes`: microseconds.
///
/// # Errors
/// What is wrong with it. Months and years have no fixed length and are refused.
pub fn parse_span(text: &str) -> Result<i64, String> {
    let bad = || {
        "not a span of time such as '5s', '1 minute' or '1 hour 30 minutes'; months and years have no fixed length".to_owned()
    };
    let mut total = 0i64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = unit.to_ascii_lowercase();
        let micros = match unit.as_str() {
            "w" | "week" | "weeks" => 7 * 86_400_000_000,
            "d" => 86_400_000_000,
            "h" | "hr" => 3_600_000_000,
            "m" | "min" | "mins" => 60_000_000,
            "s" | "sec" | "secs" => 1_000_000,
            "ms" => 1_000,
            "us" => 1,
            word => UNITS
                .iter()
                .find(|(name, _)| word == *name || word.strip_suffix('s') == Some(name))
                .map(|(_, micros)| *micros)
                .ok_or_else(bad)?,
        };
        let number: i64 = number.parse().map_err(|_| bad())?;
        total = number
            .checked_mul(micros)
            .and_then(|m| total.checked_add(m))
            .ok_or_else(bad)?;
        rest = tail.trim_start();
    }
    Ok(total)
}

/// The inverse of [`parse_span`], in the largest unit that fits.
pub fn show_span(micros: i64) -> String {
    let (name, unit) = UNITS
        .iter()
        .find(|(_, unit)| micros != 0 && micros % unit == 0)
        .unwrap_or(&("second", 1_000_000));
    let count = micros / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn declaration(name: &TableName, spec: &ViewSpec) -> ViewDeclaration {
    ViewDeclaration {
        name: name.clone(),
        settings: spec.settings,
        sql: spec.sql.clone(),
    }
}

/// A text as SQL writes it.
pub fn quoted_span(micros: i64) -> String {
    quote_text(&format!("{micros} microseconds"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_of_time_read_and_show_alike() {
        for (text, micros) in [
            ("5s", 5_000_000),
            ("1 minute", 60_000_000),
            ("10 minutes", 600_000_000),
            ("1 hour 30 minutes", 5_400_000_000),
            ("250ms", 250_000),
            ("1 day", 86_400_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_span(text).unwrap(), micros, "{text}");
            assert_eq!(parse_span(&show_span(micros)).unwrap(), micros, "{text}");
        }
        for bad in ["", "1", "1 month", "minute", "-1s", "1 fortnight"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Every instant is in exactly size/step windows, and all of them are between its first and its last.
        #[test]
        fn an_instant_is_in_size_over_step_windows(at in -10_000i64..10_000, step in 1i64..50, times in 1i64..6) {
            let bucket = Bucket { step, size: step * times };
            let holding: Vec<i64> = (-20_000..20_000i64).filter(|s| s.rem_euclid(step) == 0 && *s <= at && at < s + bucket.size).collect();
            prop_assert_eq!(holding.len() as i64, times);
            prop_assert_eq!(holding[0], bucket.first_start(at));
            prop_assert_eq!(holding[holding.len() - 1], bucket.last_start(at));
            // A window is closed exactly if it ends at or before the watermark.
            for start in holding {
                prop_assert_eq!(start < bucket.open_from(at), start + bucket.size <= at);
            }
        }

        #[test]
        fn spans_cover_what_went_in(spans in proptest::collection::vec((0i64..200, 0i64..20), 0..20), most in 1usize..5) {
            let given: Vec<(i64, i64)> = spans.into_iter().map(|(a, n)| (a, a + n)).collect();
            let made = Spans::of(given.clone());
            let inside = |s: &Spans, x: i64| s.iter().any(|(a, b)| a <= x && x < b);
            let coarse = made.coarse(most);
            prop_assert!(coarse.iter().count() <= most.max(1));
            for x in 0..240 {
                prop_assert_eq!(inside(&made, x), given.iter().any(|(a, b)| *a <= x && x < *b));
                prop_assert_eq!(made.meets(x, x), inside(&made, x));
                prop_assert!(!inside(&made, x) || inside(&coarse, x));
            }
        }
    }
}
