//! Which sent types a nested column takes, told from the types alone: what does not fit refuses the batch, as it does for columns.

use arrow::datatypes::{DataType, Fields};

use super::below;
use crate::dataset::{Column, ColumnType, ELEMENT, KEY, StructField, VALUE};
use crate::fault::Fault;
use crate::types::SameName;
use crate::validate::conform::fits;

pub(super) struct Check<'a> {
    pub table: &'a str,
    pub ignores_unknown: bool,
}

/// Where each field of a column stands among those that were sent: by its own name, else without regard to case.
pub(super) fn places(fields: &[StructField], sent: &Fields) -> Vec<Option<usize>> {
    let place = |field: &StructField| {
        let own = sent.iter().position(|s| *s.name() == field.name);
        own.or_else(|| {
            let alike = |s: &str| s.is_same_name(&field.name);
            sent.iter().position(|s| alike(s.name()))
        })
    };
    fields.iter().map(place).collect()
}

/// The parts of a sent list, and whether it is one.
fn item(sent: &DataType) -> Option<&DataType> {
    match sent {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

/// A map's keys and values; a list of pairs that are called so is one, too, because data frames know no other.
fn pair(sent: &DataType) -> Option<(&DataType, &DataType)> {
    let (entries, is_map) = match sent {
        DataType::Map(entries, _) => (entries.data_type(), true),
        other => (item(other)?, false),
    };
    let DataType::Struct(fields) = entries else {
        return None;
    };
    let [key, value] = fields.as_ref() else {
        return None;
    };
    let called = key.name() == KEY && value.name() == VALUE;
    (is_map || called).then(|| (key.data_type(), value.data_type()))
}

impl Check<'_> {
    /// # Errors
    /// INVALID_ARGUMENT `incompatible_type`, `unknown_column`, `missing_column`, `duplicate_column`, with the path.
    pub(super) fn fits(&self, sent: &DataType, due: &ColumnType, path: &str) -> Result<(), Fault> {
        let refused = || {
            Fault::invalid(
                "incompatible_type",
                format!(
                    "type cannot be cast, column={path}, sent={}, expected={due}; send {due}, or its JSON as text",
                    shortened(sent)
                ),
            )
        };
        if sent.is_null() {
            return Ok(());
        }
        let is_text = matches!(
            sent,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        );
        match due {
            ColumnType::Array(_) | ColumnType::Struct(_) | ColumnType::Map(_) if is_text => Ok(()),
            ColumnType::Array(of) => {
                let item = item(sent).ok_or_else(refused)?;
                self.fits(item, &of.element, &below(path, ELEMENT))
            }
            ColumnType::Map(of) => {
                let (key, value) = pair(sent).ok_or_else(refused)?;
                self.fits(key, &of.key, &below(path, KEY))?;
                self.fits(value, &of.value, &below(path, VALUE))
            }
            ColumnType::Struct(fields) => match sent {
                DataType::Struct(sent) => self.fields(sent, fields, path),
                _ => Err(refused()),
            },
            leaf => {
                let given = match sent {
                    DataType::Dictionary(_, value) => value,
                    other => other,
                };
                let column = Column::new(path, leaf.clone());
                match *sent == leaf.to_arrow() || given.is_null() || fits(given, &column) {
                    true => Ok(()),
                    false => Err(Fault::invalid(
                        "incompatible_type",
                        format!(
                            "type cannot be cast, column={path}, sent={}, expected={due}; send {due}",
                            shortened(sent)
                        ),
                    )),
                }
            }
        }
    }

    fn fields(&self, sent: &Fields, fields: &[StructField], path: &str) -> Result<(), Fault> {
        let table = self.table;
        let known = || {
            let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
            names.join(", ")
        };
        for (index, one) in sent.iter().enumerate() {
            let name: String = one.name().chars().take(100).collect();
            let of = |f: &&StructField| f.name.is_same_name(one.name());
            if fields.iter().find(of).is_none() {
                if self.ignores_unknown || one.data_type().is_null() {
                    continue;
                }
                return Err(Fault::invalid(
                    "unknown_column",
                    format!(
                        "unknown field, column={path}, field={name}, table={table}, fields={}; leave it out, or keep it in a column of its own",
                        known()
                    ),
                ));
            }
            let mut before = sent.iter().take(index);
            if before.any(|b| b.name().is_same_name(one.name())) {
                return Err(Fault::invalid(
                    "duplicate_column",
                    format!(
                        "field sent twice, column={path}, field={name}, table={table}; send it once"
                    ),
                ));
            }
        }
        for (field, place) in fields.iter().zip(places(fields, sent)) {
            match place.and_then(|at| sent.get(at)) {
                Some(one) => {
                    self.fits(one.data_type(), &field.data_type, &below(path, &field.name))?;
                }
                None if field.nullable => {}
                None => {
                    return Err(Fault::invalid(
                        "missing_column",
                        format!(
                            "required field missing, column={path}, field={}, table={table}; send it as {}",
                            field.name, field.data_type
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn shortened(data_type: &DataType) -> String {
    data_type.to_string().chars().take(200).collect()
}
