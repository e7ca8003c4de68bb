//! What a new table can be partitioned by. Tables of older servers may be partitioned otherwise, and are served.

use super::{ColumnType, Contract, Error};
use crate::partition_folder;

impl Contract {
    /// # Errors
    /// A column whose values other Delta readers do not find again; no column is left for the files.
    pub fn check_partitions(&self) -> Result<(), Error> {
        let refused = |column: &str, problem: &str| {
            Err(Error::Rule {
                rule: "partition_by".to_owned(),
                column: column.to_owned(),
                problem: problem.to_owned(),
            })
        };
        for name in &self.partition_by {
            if let Some(problem) = partition_folder::column_problem(name) {
                return refused(name, &problem);
            }
            let binary = self
                .column(name)
                .is_some_and(|c| c.data_type == ColumnType::Binary);
            if binary {
                return refused(
                    name,
                    "a partition's value is a text in the Delta log, which bytes are not; partition by a STRING",
                );
            }
        }
        self.check_stored()
    }

    /// # Errors
    /// No column is left for the files.
    pub(super) fn check_stored(&self) -> Result<(), Error> {
        let schema = self.table_schema();
        let mut stored = schema.fields().iter();
        if stored.all(|f| self.partition_by.contains(f.name())) {
            return Err(Error::Rule {
                rule: "partition_by".to_owned(),
                column: self.partition_by.join(", "),
                problem: "at least one column must be left that is no partition column".to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::Column;
    use super::*;
    use crate::types::TableName;

    #[test]
    fn a_table_is_partitioned_by_what_every_reader_finds_again() {
        let columns = vec![
            Column::new("site", ColumnType::String),
            Column::new("blob", ColumnType::Binary),
        ];
        let mut contract = Contract::plain(TableName::new("public", "t").unwrap(), columns);
        for (by, refused) in [
            (vec![], false),
            (vec!["site"], false),
            (vec!["blob"], true),
            (vec!["site", "blob"], true),
        ] {
            contract.partition_by = by.iter().map(|c| (*c).to_owned()).collect();
            assert_eq!(contract.check_partitions().is_err(), refused, "{by:?}");
        }
        contract.columns.pop();
        contract.partition_by = vec!["site".to_owned()];
        assert!(contract.check_partitions().is_err());
        contract.system_columns = true;
        contract.check_partitions().unwrap();
    }
}
