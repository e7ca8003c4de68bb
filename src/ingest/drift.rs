//! `unknown_columns = "add"`: a batch that brings a column which its table does not have alters the table first, and is then
//! judged like any other. Two producers that bring the same column at once alter it once.

use std::sync::Arc;

use arrow::datatypes::Schema;

use crate::catalog::Shared;
use crate::catalog::alter::alter;
use crate::catalog::table::Table;
use crate::dataset::{Alteration, Column, ColumnType, Contract, UnknownColumns};
use crate::fault::Fault;
use crate::validate;

/// A producer that makes up names must not grow a table without end.
const COLUMNS_MAX: usize = 1000;

/// Must be called with none of the table's locks held. `known`: refuses what is no new column, but one that is gone.
///
/// # Errors
/// `unknown_column` for a type that a table has no place for, or past [`COLUMNS_MAX`]; `invalid_contract` for a name that
/// cannot be a column's; the store's and the log's. The table is as it was then, and the batch is refused.
pub(super) async fn grow(
    shared: &Arc<Shared>,
    table: &Table,
    sent: &Schema,
    known: &(dyn Fn(&Contract) -> Result<(), Fault> + Sync),
) -> Result<(), Fault> {
    let contract = table.contract();
    if contract.unknown_columns != UnknownColumns::Add
        || validate::unknown_fields(&contract, sent).is_empty()
    {
        return Ok(());
    }
    let plan = |contract: &Contract| {
        known(contract)?;
        columns(contract, sent)
    };
    alter(shared, &table.name(), &plan).await
}

/// What the contract lacks; nothing if another producer has brought it meanwhile.
fn columns(contract: &Contract, sent: &Schema) -> Result<Vec<Alteration>, Fault> {
    if contract.unknown_columns != UnknownColumns::Add {
        return Ok(Vec::new());
    }
    let unknown = validate::unknown_fields(contract, sent);
    if contract.columns.len() + unknown.len() > COLUMNS_MAX {
        return Err(Fault::invalid(
            "unknown_column",
            format!(
                "the table would grow past {COLUMNS_MAX} columns, table={}, columns={}, new={}; send fewer, or set deltaplane.unknownColumns to reject",
                contract.table,
                contract.columns.len(),
                unknown.len()
            ),
        ));
    }
    let added = unknown.into_iter().map(|field| {
        let data_type = ColumnType::from_sent(field.data_type()).ok_or_else(|| {
            let name: String = field.name().chars().take(100).collect();
            Fault::invalid(
                "unknown_column",
                format!(
                    "unknown column of a type that a table has no place for, column={name}, type={}, table={}; send it as text, or leave it out",
                    field.data_type(),
                    contract.table
                ),
            )
        })?;
        let mut column = Column::new(field.name(), data_type);
        column.unit = field.metadata().get("unit").cloned();
        column.description = field.metadata().get("comment").cloned();
        Ok(Alteration::AddColumn(column))
    });
    added.collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::datatypes::{DataType, Field, TimeUnit};

    use super::*;
    use crate::types::TableName;

    fn contract() -> Contract {
        let mut contract = Contract::plain(
            TableName::new("public", "t").unwrap(),
            vec![Column::new("a", ColumnType::Long)],
        );
        contract.unknown_columns = UnknownColumns::Add;
        contract
    }

    fn added(fields: Vec<Field>) -> Result<Vec<(String, String)>, Fault> {
        let changes = columns(&contract(), &Schema::new(fields))?;
        let next = contract()
            .altered(&changes)
            .map_err(|e| Fault::invalid("x", e.to_string()))?;
        Ok(next.columns[1..]
            .iter()
            .map(|c| {
                assert!(!c.required);
                (c.name.clone(), c.data_type.to_string())
            })
            .collect())
    }

    #[test]
    fn new_columns_take_deltas_types_and_nulls_alone_add_nothing() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let fields = vec![
            Field::new("A", DataType::Int64, false),
            Field::new("b", DataType::UInt32, false),
            Field::new("c", DataType::Float32, true),
            Field::new("d", dictionary, true),
            Field::new(
                "e",
                DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into())),
                true,
            ),
            Field::new("f", DataType::Timestamp(TimeUnit::Second, None), true),
            Field::new("g", DataType::Decimal128(9, 2), true),
            Field::new("h", DataType::Null, true),
        ];
        let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let expected = vec![
            text("b", "BIGINT"),
            text("c", "FLOAT"),
            text("d", "STRING"),
            text("e", "TIMESTAMP"),
            text("f", "TIMESTAMP_NTZ"),
            text("g", "DECIMAL(9,2)"),
        ];
        assert_eq!(added(fields).unwrap(), expected);
    }

    #[test]
    fn what_a_table_has_no_place_for_is_refused_with_column_and_type() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, false)));
        let tags = added(vec![Field::new("tags", list, false)]).unwrap();
        assert_eq!(tags, [("tags".to_owned(), "ARRAY<BIGINT>".to_owned())]);
        let list = DataType::List(Arc::new(Field::new("item", DataType::Null, true)));
        let fault = added(vec![Field::new("tags", list, true)]).unwrap_err();
        assert_eq!(fault.reason, "unknown_column");
        assert!(fault.message.contains("column=tags"), "{fault}");
        assert!(added(vec![Field::new("a ", DataType::Int64, true)]).is_err());
        let named = added(vec![Field::new("a b", DataType::Int64, true)]).unwrap();
        assert_eq!(named, [("a b".to_owned(), "BIGINT".to_owned())]);
        let many = (0..COLUMNS_MAX).map(|n| Field::new(format!("c{n}"), DataType::Int64, true));
        assert!(added(many.collect()).is_err());
    }
}
