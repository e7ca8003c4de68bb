//! Types that are made of others, as Delta has them: lists of elements, structs of named fields, maps from keys to values.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use serde::{Deserialize, Serialize};

use super::column::ColumnType;
use crate::types::{SameName, check_name, shown_name};

/// Levels of nesting in one type: an ARRAY of STRUCT has two.
pub const NESTING_MAX: usize = 16;
/// Types that one type is made of, itself included.
const PARTS_MAX: usize = 1000;

fn yes() -> bool {
    true
}

/// An ARRAY's elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementType {
    pub element: ColumnType,
    #[serde(default = "yes")]
    pub nullable: bool,
}

/// One field of a STRUCT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StructField {
    pub name: String,
    pub data_type: ColumnType,
    #[serde(default = "yes")]
    pub nullable: bool,
}

/// A MAP's keys, which are never null, and its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryType {
    pub key: ColumnType,
    pub value: ColumnType,
    #[serde(default = "yes")]
    pub nullable: bool,
}

/// The names that Delta and Parquet give to the parts of lists and maps.
pub const ELEMENT: &str = "element";
pub const ENTRIES: &str = "key_value";
pub const KEY: &str = "key";
pub const VALUE: &str = "value";

impl ElementType {
    pub(super) fn to_arrow(&self) -> DataType {
        let element = Field::new(ELEMENT, self.element.to_arrow(), self.nullable);
        DataType::List(Arc::new(element))
    }
}

impl StructField {
    fn to_field(&self) -> Field {
        Field::new(&self.name, self.data_type.to_arrow(), self.nullable)
    }
}

pub(super) fn struct_to_arrow(fields: &[StructField]) -> DataType {
    DataType::Struct(fields.iter().map(StructField::to_field).collect::<Fields>())
}

impl EntryType {
    pub(super) fn to_arrow(&self) -> DataType {
        let pair = vec![
            Field::new(KEY, self.key.to_arrow(), false),
            Field::new(VALUE, self.value.to_arrow(), self.nullable),
        ];
        let entries = Field::new(ENTRIES, DataType::Struct(pair.into()), false);
        DataType::Map(Arc::new(entries), false)
    }
}

/// How the inner types of a nested Arrow type are read, and whether their nullability says something.
pub(super) struct FromArrow<'a> {
    pub leaf: &'a dyn Fn(&DataType) -> Option<ColumnType>,
    pub keeps_nullability: bool,
}

impl FromArrow<'_> {
    /// The type for such values. None: it is not nested, or has a part that no column has a type for.
    pub(super) fn nested(&self, data_type: &DataType) -> Option<ColumnType> {
        let found = match data_type {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => ColumnType::Array(Box::new(ElementType {
                element: self.part(item.data_type())?,
                nullable: self.nullable(item),
            })),
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|f| {
                    Some(StructField {
                        name: f.name().clone(),
                        data_type: self.part(f.data_type())?,
                        nullable: self.nullable(f),
                    })
                });
                ColumnType::Struct(fields.collect::<Option<_>>()?)
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(pair) = entries.data_type() else {
                    return None;
                };
                let [key, value] = pair.as_ref() else {
                    return None;
                };
                ColumnType::Map(Box::new(EntryType {
                    key: self.part(key.data_type())?,
                    value: self.part(value.data_type())?,
                    nullable: self.nullable(value),
                }))
            }
            _ => return None,
        };
        Some(found)
    }

    fn part(&self, data_type: &DataType) -> Option<ColumnType> {
        (self.leaf)(data_type).or_else(|| self.nested(data_type))
    }

    fn nullable(&self, field: &Field) -> bool {
        field.is_nullable() || !self.keeps_nullability
    }
}

impl ColumnType {
    pub fn is_nested(&self) -> bool {
        matches!(
            self,
            ColumnType::Array(_) | ColumnType::Struct(_) | ColumnType::Map(_)
        )
    }

    /// Holds a type against itself.
    ///
    /// # Errors
    /// What is wrong, as a text with a way out.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_at(0, &mut 0)
    }

    fn check_at(&self, level: usize, parts: &mut usize) -> Result<(), String> {
        *parts += 1;
        if *parts > PARTS_MAX {
            return Err(format!(
                "it is made of more than {PARTS_MAX} types; make it several columns"
            ));
        }
        if self.is_nested() && level >= NESTING_MAX {
            return Err(format!(
                "it nests more than {NESTING_MAX} levels; keep what is below as a STRING of JSON"
            ));
        }
        match self {
            ColumnType::Array(of) => of.element.check_at(level + 1, parts),
            ColumnType::Struct(fields) => {
                if fields.is_empty() {
                    return Err("a STRUCT has at least one field".to_owned());
                }
                for (index, field) in fields.iter().enumerate() {
                    check_name(&field.name).map_err(|e| e.to_string())?;
                    let mut before = fields.iter().take(index);
                    if before.any(|f| f.name.is_same_name(&field.name)) {
                        return Err(format!("it has the field {} twice", field.name));
                    }
                    field.data_type.check_at(level + 1, parts)?;
                }
                Ok(())
            }
            ColumnType::Map(of) => {
                if of.key.is_nested() {
                    return Err(
                        "a MAP's key is not nested; use a STRING, or an ARRAY of STRUCT".to_owned(),
                    );
                }
                of.key.check_at(level + 1, parts)?;
                of.value.check_at(level + 1, parts)
            }
            _ => Ok(()),
        }
    }

    /// As SQL spells it, if it is nested.
    pub(super) fn write_nested(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required = |nullable: bool| if nullable { "" } else { " NOT NULL" };
        match self {
            ColumnType::Array(of) => {
                write!(f, "ARRAY<{}{}>", of.element, required(of.nullable))
            }
            ColumnType::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    let required = required(field.nullable);
                    let name = shown_name(&field.name);
                    write!(f, "{comma}{name}: {}{required}", field.data_type)?;
                }
                f.write_str(">")
            }
            ColumnType::Map(of) => {
                let required = required(of.nullable);
                write!(f, "MAP<{}, {}{required}>", of.key, of.value)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::super::{Action, Column, Contract, Rule, RuleKind};
    use super::*;
    use crate::types::TableName;

    #[test]
    fn no_key_partition_default_or_rule_is_made_of_a_nested_column() {
        let of = |change: &dyn Fn(&mut Contract)| {
            let array = ColumnType::Array(Box::new(ElementType {
                element: ColumnType::Int,
                nullable: true,
            }));
            let columns = vec![Column::new("c", array), Column::new("d", ColumnType::Int)];
            let mut made = Contract::plain(TableName::new("public", "t").unwrap(), columns);
            change(&mut made);
            made.validate_self().map_err(|e| e.to_string())
        };
        of(&|_| {}).unwrap();
        let c = || vec!["c".to_owned()];
        let unique = RuleKind::Unique {
            columns: vec!["d".to_owned(), "c".to_owned()],
        };
        let range = RuleKind::Range {
            min: Some(1.0),
            max: None,
        };
        let rule = |column: &str, kind: &RuleKind| Rule::new(column, kind.clone(), Action::Reject);
        for refused in [
            of(&|t| t.key = c()),
            of(&|t| t.partition_by = c()),
            of(&|t| t.event_time = Some("c".to_owned())),
            of(&|t| t.columns[0].default = Some(serde_json::json!([1]))),
            of(&|t| t.rules = vec![rule("d", &unique)]),
            of(&|t| t.rules = vec![rule("c", &range)]),
        ] {
            let text = refused.unwrap_err();
            assert!(text.contains("ARRAY<INT>"), "{text}");
        }
    }
}
