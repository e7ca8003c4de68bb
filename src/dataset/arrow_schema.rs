//! A contract from an Arrow schema: what bulk ingest creates a table from. Types that Delta has none for are refused, with
//! what to send in their place.

use arrow::datatypes::{DataType, Schema, TimeUnit};

use super::nested::FromArrow;
use super::{Column, ColumnType, Contract, Error};
use crate::types::TableName;

impl ColumnType {
    /// The column type that holds every value of an Arrow type; none if Delta has no such type.
    pub fn from_arrow(data_type: &DataType) -> Option<ColumnType> {
        Some(match data_type {
            DataType::Boolean => ColumnType::Boolean,
            DataType::Int8 => ColumnType::Byte,
            DataType::Int16 => ColumnType::Short,
            DataType::Int32 => ColumnType::Int,
            DataType::Int64 => ColumnType::Long,
            DataType::Float16 | DataType::Float32 => ColumnType::Float,
            DataType::Float64 => ColumnType::Double,
            // A column of nothing but nulls, as data frames send it, says no type: text holds any that may come.
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                ColumnType::String
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => ColumnType::Binary,
            DataType::Date32 => ColumnType::Date,
            // Nanoseconds lose their last three digits; everything else fits whole.
            DataType::Timestamp(
                TimeUnit::Second
                | TimeUnit::Millisecond
                | TimeUnit::Microsecond
                | TimeUnit::Nanosecond,
                zone,
            ) => match zone {
                Some(_) => ColumnType::Timestamp,
                None => ColumnType::TimestampNtz,
            },
            DataType::Decimal128(precision, scale) if *scale >= 0 => ColumnType::Decimal {
                precision: *precision,
                scale: *scale,
            },
            DataType::Dictionary(_, value) => return ColumnType::from_arrow(value),
            other => {
                let parts = FromArrow {
                    leaf: &ColumnType::from_arrow,
                    keeps_nullability: true,
                };
                return parts.nested(other);
            }
        })
    }
}

/// [`ColumnType::from_arrow`]; of types that Delta has none for, the type that holds every value: data frames count in UInt32.
fn widened(data_type: &DataType) -> Option<ColumnType> {
    match data_type {
        DataType::UInt8 => Some(ColumnType::Short),
        DataType::UInt16 => Some(ColumnType::Int),
        DataType::UInt32 => Some(ColumnType::Long),
        DataType::Date64 => Some(ColumnType::Date),
        other => ColumnType::from_arrow(other),
    }
}

impl Contract {
    /// A table of these columns. Field metadata `unit` and `comment` are kept.
    ///
    /// # Errors
    /// A type that no column can have; as [`Contract::validate_self`].
    pub fn from_arrow(table: TableName, schema: &Schema) -> Result<Self, Error> {
        let columns = schema.fields().iter().map(|field| {
            let data_type = widened(field.data_type()).ok_or_else(|| Error::Type {
                column: field.name().clone(),
                given: field.data_type().to_string(),
            })?;
            let note = |key: &str| field.metadata().get(key).cloned();
            let mut column = Column::new(field.name(), data_type);
            column.required = !field.is_nullable();
            column.unit = note("unit");
            column.description = note("comment");
            Ok(column)
        });
        let contract = Contract::plain(table, columns.collect::<Result<_, Error>>()?);
        contract.validate_self()?;
        Ok(contract)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn every_type_survives_arrow_and_an_unsigned_one_is_widened() {
        let all = [
            ColumnType::Boolean,
            ColumnType::Byte,
            ColumnType::Short,
            ColumnType::Int,
            ColumnType::Long,
            ColumnType::Float,
            ColumnType::Double,
            ColumnType::String,
            ColumnType::Binary,
            ColumnType::Date,
            ColumnType::Timestamp,
            ColumnType::TimestampNtz,
            ColumnType::Decimal {
                precision: 10,
                scale: 2,
            },
        ];
        for column in all {
            assert_eq!(ColumnType::from_arrow(&column.to_arrow()), Some(column));
        }
        let name = TableName::new("public", "t").unwrap();
        let schema = Schema::new(vec![Field::new("a", DataType::UInt32, true)]);
        let widened = Contract::from_arrow(name.clone(), &schema).unwrap();
        assert_eq!(widened.columns[0].data_type, ColumnType::Long);
        let schema = Schema::new(vec![Field::new("a", DataType::UInt64, true)]);
        let refused = Contract::from_arrow(name.clone(), &schema).unwrap_err();
        assert!(refused.to_string().contains("UInt64"), "{refused}");
        let schema = Schema::new(vec![Field::new("bad name ", DataType::Int32, true)]);
        assert!(Contract::from_arrow(name, &schema).is_err());
    }
}
