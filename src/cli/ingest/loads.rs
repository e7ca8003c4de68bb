//! What was loaded before, as the server's producers say: each load has a producer of its own, named by the content that it
//! brought.
//!
//! ```text
//! ingest/<content>[-<values set>][@<base>][~<generation>]
//!   content      length and checksum of the file, unpacked; of a Delta table delta-<id>-v<version>
//!   values set   checksum of what --set says
//!   base         bytes at the file's beginning that an earlier load brought
//!   generation   2 and more: loaded again on demand
//! ```

use std::time::Duration;

use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use deltaplane_client::SqlClient;

use crate::dataset::quote_text;
use crate::types::SameName;

const PREFIX: &str = "ingest/";

/// The producer of one load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Content and values set.
    pub source: String,
    pub base: u64,
    pub generation: u32,
}

impl Load {
    pub(super) fn new(source: String, base: u64) -> Self {
        Load {
            source,
            base,
            generation: 1,
        }
    }

    fn parse(producer: &str) -> Option<Self> {
        let name = producer.strip_prefix(PREFIX)?;
        let (name, generation) = match name.split_once('~') {
            Some((name, generation)) => (name, generation.parse().ok()?),
            None => (name, 1),
        };
        let (source, base) = match name.split_once('@') {
            Some((source, base)) => (source, base.parse().ok()?),
            None => (name, 0),
        };
        Some(Load {
            source: source.to_owned(),
            base,
            generation,
        })
    }

    /// Length and checksum of a file's content, and what comes behind them; none of another source.
    fn content(&self) -> Option<(u64, &str, &str)> {
        let (length, rest) = self.source.split_once('-')?;
        let (sum, set) = rest.split_at_checked(16)?;
        Some((length.parse().ok()?, sum, set))
    }

    pub(super) fn producer(&self) -> String {
        let mut name = format!("{PREFIX}{}", self.source);
        if self.base > 0 {
            name.push_str(&format!("@{}", self.base));
        }
        if self.generation > 1 {
            name.push_str(&format!("~{}", self.generation));
        }
        name
    }
}

/// A load that the server knows, and the rows that it brought.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub load: Load,
    pub rows: u64,
}

/// All loads of one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads(Vec<Known>);

impl Loads {
    #[cfg(test)]
    pub(super) fn of(producers: &[(&str, u64)]) -> Self {
        let known = producers.iter().filter_map(|(name, rows)| {
            Some(Known {
                load: Load::parse(name)?,
                rows: *rows,
            })
        });
        Loads(known.collect())
    }

    /// Asks until the server answers, or has been away for `patience`.
    pub(super) async fn read(uri: &str, table: &str, patience: Duration) -> anyhow::Result<Self> {
        let query = format!(
            "SELECT producer, accepted + quarantined + duplicates FROM system.producers \
             WHERE lower(\"table\") = {} AND starts_with(producer, '{PREFIX}')",
            quote_text(&table.folded_name())
        );
        let (_, batches) = SqlClient::read_again(uri, &query, patience).await?;
        let mut known = Vec::new();
        for batch in &batches {
            let names = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
            let rows = arrow::compute::cast(batch.column(1), &DataType::Int64)?;
            let rows = rows.as_primitive_opt::<Int64Type>().context("no counts")?;
            let names = names.as_string_opt::<i32>().context("no names")?;
            known.extend(names.iter().zip(rows).filter_map(|(name, rows)| {
                Some(Known {
                    load: Load::parse(name?)?,
                    rows: u64::try_from(rows?).ok().filter(|rows| *rows > 0)?,
                })
            }));
        }
        Ok(Loads(known))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rows(&self, load: &Load) -> u64 {
        let found = self.0.iter().find(|k| k.load == *load);
        found.map_or(0, |k| k.rows)
    }

    /// The newest load of a source.
    pub(super) fn newest(&self, source: &str) -> Option<&Known> {
        let of = self.0.iter().filter(|k| k.load.source == source);
        of.max_by_key(|k| k.load.generation)
    }

    /// A Delta table's other versions that were loaded.
    pub(super) fn of_delta(&self, id: &str) -> Option<&Known> {
        let prefix = format!("delta-{id}-v");
        self.0.iter().find(|k| k.load.source.starts_with(&prefix))
    }

    /// Lengths of the files that were loaded with the same values set.
    pub(super) fn lengths(&self, set: &str) -> impl Iterator<Item = u64> {
        self.0.iter().filter_map(move |k| {
            let (length, _, own) = k.load.content()?;
            (own == set).then_some(length)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_producers_name_says_what_it_loaded() {
        for name in [
            "ingest/5-9dae8de17e2cf0e5",
            "ingest/5-9dae8de17e2cf0e5-0badcafe",
            "ingest/50-9dae8de17e2cf0e5@5",
            "ingest/50-9dae8de17e2cf0e5-0badcafe@5~3",
            "ingest/delta-6f3b-4a-v7~2",
        ] {
            assert_eq!(Load::parse(name).unwrap().producer(), name);
        }
        assert_eq!(Load::parse("edge-7"), None);
        let loads = Loads::of(&[
            ("ingest/5-9dae8de17e2cf0e5", 1),
            ("ingest/5-9dae8de17e2cf0e5~2", 3),
            ("ingest/9-9dae8de17e2cf0e5-0badcafe", 2),
            ("ingest/delta-6f3b-4a-v7", 2),
        ]);
        assert_eq!(
            loads.newest("5-9dae8de17e2cf0e5").unwrap().load.generation,
            2
        );
        assert_eq!(loads.lengths("").collect::<Vec<_>>(), [5, 5]);
        assert_eq!(loads.lengths("-0badcafe").collect::<Vec<_>>(), [9]);
        assert!(loads.of_delta("6f3b-4a").is_some() && loads.of_delta("6f3b").is_none());
    }
}
