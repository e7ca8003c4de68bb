//! An older version's rows become the newest version. The table's schema, properties and `txn`s stay what they are: what a
//! producer has been told is committed never goes back.

use std::collections::{BTreeSet, HashMap};

use deltalake::kernel::Add;

use super::super::{Error, FileList, Removal, store_error};
use super::history::At;
use super::rewrite::Reason;
use super::schema::plain_schema;
use super::stage::Staged;
use super::table::ColdTable;
use crate::nested::same_values;

impl ColdTable {
    /// Puts the files of an older version in the place of those that are there. Returns the new version's number, none if
    /// nothing differs.
    ///
    /// # Errors
    /// `NoVersion`; `Vacuumed`: files of that version are gone; `Incompatible`: it has columns or partitions that the table
    /// has not. Nothing was changed then. Else as [`ColdTable::rewrite`].
    pub async fn restore(&mut self, at: At) -> Result<Option<i64>, Error> {
        let view = self.view();
        let history = view
            .history()
            .ok_or_else(|| Error::Store("the table has no history".to_owned()))?;
        let then = history.view(at, &view).await?;
        let delta = history.load(then.version()).await?;
        let snapshot = delta.snapshot().map_err(store_error)?;
        self.fits(
            &plain_schema(&snapshot.snapshot().arrow_schema()),
            snapshot.metadata().partition_columns(),
            &then,
        )?;
        #[expect(
            deprecated,
            reason = "the only way to an add action with statistics and partition values as the log has them"
        )]
        let old: HashMap<String, Add> = snapshot
            .log_data()
            .iter()
            .map(|file| (file.path().to_string(), file.add_action()))
            .collect();
        let now: BTreeSet<String> = view.files().iter().map(|f| f.path().to_owned()).collect();
        let gone: BTreeSet<String> = now
            .iter()
            .filter(|path| !old.contains_key(*path))
            .cloned()
            .collect();
        let back = old
            .into_iter()
            .filter(|(path, _)| !now.contains(path))
            .map(|(_, add)| add)
            .collect::<Vec<_>>();
        if gone.is_empty() && back.is_empty() {
            return Ok(None);
        }
        let reason = Reason::Restore {
            version: then.version(),
        };
        let staged = Staged::again(back);
        let version = self
            .rewrite(&Removal::Files(gone), staged, &reason, &[])
            .await?;
        Ok(Some(version))
    }

    /// Can files of that shape be read under today's schema? A column is what it is in the files: one that was renamed since is
    /// the same, and of one that was dropped since no value is read.
    fn fits(
        &self,
        then: &arrow::datatypes::Schema,
        partition_by: &[String],
        list: &FileList,
    ) -> Result<(), Error> {
        let version = list.version();
        let incompatible = |problem: String| Err(Error::Incompatible { version, problem });
        if partition_by != self.partition_by.as_slice() {
            return incompatible(format!(
                "it is partitioned by ({}), the table by ({})",
                partition_by.join(", "),
                self.partition_by.join(", ")
            ));
        }
        let mut there = BTreeSet::new();
        for field in then.fields() {
            let in_files = list.mapping().in_files(field.name());
            let today = in_files.and_then(|name| self.mapping.column_of(name));
            there.extend(today);
            if today.is_none() && self.mapping.is_on() {
                continue;
            }
            match self.schema.field_with_name(today.unwrap_or(field.name())) {
                Ok(now) if same_values(now.data_type(), field.data_type()) => {}
                Ok(now) => {
                    return incompatible(format!(
                        "its column {} is {}, today's is {}",
                        field.name(),
                        field.data_type(),
                        now.data_type()
                    ));
                }
                Err(_) => {
                    return incompatible(format!(
                        "it has a column {} that the table has not",
                        field.name()
                    ));
                }
            }
        }
        let lacking = self
            .schema
            .fields()
            .iter()
            .find(|f| !f.is_nullable() && !there.contains(f.name().as_str()));
        match lacking {
            Some(field) => incompatible(format!(
                "it lacks the column {}, which may not be null",
                field.name()
            )),
            None => Ok(()),
        }
    }
}
