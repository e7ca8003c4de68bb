//! Nested values that come as texts of JSON: from files, from the quarantine, and from statements that write a text. A value within
//! the JSON is cast as its text is in a column that is not nested.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, StringArray, StringBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use serde_json::value::RawValue;

use super::{Level, Walk, below, internal, list, structs};
use crate::dataset::{ColumnType, ELEMENT, KEY, StructField, VALUE};
use crate::fault::Fault;
use crate::types::SameName;
use crate::validate::conform::row_number;
use crate::validate::json_object::JsonObject;
use crate::validate::raw::from_hex;
use crate::validate::size::{OFFSET_BYTES, plain_bytes};

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 120;

/// Where each field stands, by its own name and in lower case.
struct Names<'a> {
    exact: HashMap<&'a str, usize>,
    folded: HashMap<String, usize>,
}

impl<'a> Names<'a> {
    fn of(fields: &'a [StructField]) -> Self {
        let places = fields.iter().enumerate();
        Names {
            exact: places.clone().map(|(at, f)| (&*f.name, at)).collect(),
            folded: places.map(|(at, f)| (f.name.folded_name(), at)).collect(),
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        let exact = self.exact.get(name);
        let found = exact.or_else(|| self.folded.get(&name.folded_name()));
        found.copied()
    }
}

/// None is null.
fn written(value: &RawValue) -> Option<&str> {
    Some(value.get()).filter(|text| *text != "null")
}

impl Walk<'_> {
    pub(super) fn texts(
        &mut self,
        sent: &ArrayRef,
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        if *sent.data_type() != DataType::Utf8 {
            self.charge(plain_bytes(sent))?;
        }
        let texts = cast(sent, &DataType::Utf8).map_err(internal)?;
        let texts = texts.as_string::<i32>();
        // Beside the texts' places, what the parts of the longest of them take while it is read.
        let longest = texts.iter().flatten().map(str::len).max().unwrap_or(0);
        self.charge(
            texts
                .len()
                .saturating_mul(16)
                .saturating_add(longest.saturating_mul(8)),
        )?;
        let texts: Vec<Option<&str>> = texts
            .iter()
            .map(|text| text.map(str::trim).filter(|text| *text != "null"))
            .collect();
        self.json(&texts, due, path, level)
    }

    /// Values that are written in JSON.
    fn json(
        &mut self,
        texts: &[Option<&str>],
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        match due {
            ColumnType::Array(of) => {
                let mut valid = vec![false; texts.len()];
                let mut lengths = vec![0; texts.len()];
                let mut elements: Vec<Option<&str>> = Vec::new();
                for (at, text) in texts.iter().enumerate() {
                    let Some(text) = text else { continue };
                    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text) else {
                        self.no_such(at, text, due, path, level)?;
                        continue;
                    };
                    self.charge(list.len().saturating_mul(16))?;
                    mark(&mut valid, at);
                    if let Some(length) = lengths.get_mut(at) {
                        *length = list.len();
                    }
                    elements.extend(list.into_iter().map(written));
                }
                let offsets = self.offsets(lengths)?;
                let inner = Level {
                    above: Some((&offsets, &level)),
                };
                let path = below(path, ELEMENT);
                let made = self.json(&elements, &of.element, &path, inner)?;
                self.required(&made, None, of.nullable, &path, inner)?;
                list(offsets, made, Some(NullBuffer::from(valid)))
            }
            ColumnType::Struct(fields) => self.objects(texts, fields, due, path, level),
            ColumnType::Map(of) => {
                let mut valid = vec![false; texts.len()];
                let mut lengths = vec![0; texts.len()];
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for (at, text) in texts.iter().enumerate() {
                    let Some(text) = text else { continue };
                    let Ok(JsonObject(pairs)) = serde_json::from_str::<JsonObject<'_>>(text) else {
                        self.no_such(at, text, due, path, level)?;
                        continue;
                    };
                    self.charge(pairs.len().saturating_mul(40).saturating_add(text.len()))?;
                    mark(&mut valid, at);
                    if let Some(length) = lengths.get_mut(at) {
                        *length = pairs.len();
                    }
                    for (key, value) in pairs {
                        keys.push(key);
                        values.push(written(value));
                    }
                }
                let offsets = self.offsets(lengths)?;
                let inner = Level {
                    above: Some((&offsets, &level)),
                };
                let value_path = below(path, VALUE);
                let values = self.json(&values, &of.value, &value_path, inner)?;
                let keys = self.key_texts(keys, &of.key, &below(path, KEY), inner)?;
                let nulls = Some(NullBuffer::from(valid));
                self.entries(&keys, &values, offsets, nulls, of, path, level)
            }
            leaf => self.written_leaf(texts, leaf, path, level),
        }
    }

    /// The names of objects' members, which are texts, as the keys of a map.
    fn key_texts(
        &mut self,
        keys: Vec<String>,
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        if *due != ColumnType::Binary {
            return Ok(Arc::new(StringArray::from_iter_values(keys)));
        }
        let mut bytes = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            let own = from_hex(key);
            if own.is_none() {
                self.no_such(at, key, due, path, level)?;
            }
            bytes.push(own);
        }
        let bytes: BinaryArray = bytes.iter().map(Option::as_deref).collect();
        Ok(Arc::new(bytes))
    }

    fn offsets(&mut self, lengths: Vec<usize>) -> Result<OffsetBuffer<i32>, Fault> {
        let total = lengths.iter().fold(0usize, |sum, n| sum.saturating_add(*n));
        i32::try_from(total).map_err(internal)?;
        self.charge(lengths.len().saturating_mul(4))?;
        Ok(OffsetBuffer::from_lengths(lengths))
    }

    fn objects(
        &mut self,
        texts: &[Option<&str>],
        fields: &[StructField],
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        let cells = texts.len().saturating_mul(fields.len());
        self.charge(cells.saturating_mul(16).saturating_add(texts.len()))?;
        let mut columns: Vec<Vec<Option<&str>>> = vec![vec![None; texts.len()]; fields.len()];
        let mut valid = vec![false; texts.len()];
        let mut met = vec![false; fields.len()];
        let names = Names::of(fields);
        for (at, text) in texts.iter().enumerate() {
            let Some(text) = text else { continue };
            let Ok(JsonObject(pairs)) = serde_json::from_str::<JsonObject<'_>>(text) else {
                self.no_such(at, text, due, path, level)?;
                continue;
            };
            mark(&mut valid, at);
            met.fill(false);
            for (name, value) in pairs {
                let own = names.find(&name);
                let shown = || name.chars().take(SHOWN_MAX).collect::<String>();
                let Some(own) = own else {
                    if !self.ignores_unknown && written(value).is_some() {
                        let rule = format!("unknown_field:{path}");
                        let reason = format!("{path} has no field {}", shown());
                        let row = row_number(level.row(at));
                        self.findings.reject(row, &rule, path, shown(), reason)?;
                    }
                    continue;
                };
                if met.get(own) == Some(&true) {
                    let rule = format!("duplicate_field:{path}");
                    let reason = format!("{path} has the field {} twice", shown());
                    let row = row_number(level.row(at));
                    self.findings.reject(row, &rule, path, shown(), reason)?;
                }
                mark(&mut met, own);
                if let Some(cell) = columns.get_mut(own).and_then(|c| c.get_mut(at)) {
                    *cell = written(value);
                }
            }
        }
        let nulls = NullBuffer::from(valid);
        let mut made = Vec::with_capacity(fields.len());
        for (field, column) in fields.iter().zip(columns) {
            let path = below(path, &field.name);
            let values = self.json(&column, &field.data_type, &path, level)?;
            self.required(&values, Some(&nulls), field.nullable, &path, level)?;
            made.push(values);
        }
        structs(fields, made, Some(nulls), texts.len())
    }

    /// Rejects the row of a text that is not of the wanted form.
    fn no_such(
        &mut self,
        at: usize,
        text: &str,
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<(), Fault> {
        if self.findings.is_ignored() {
            return Ok(());
        }
        let shown = || text.chars().take(SHOWN_MAX).collect();
        self.misfit(at, &shown, due, path, level)
    }

    /// Values as a column of texts, which is then cast. Bytes are hexadecimal.
    fn written_leaf(
        &mut self,
        texts: &[Option<&str>],
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        let bytes = texts.iter().flatten().map(|t| t.len()).sum::<usize>();
        self.charge(bytes.saturating_add(texts.len().saturating_mul(OFFSET_BYTES)))?;
        let is_binary = *due == ColumnType::Binary;
        let mut texts_made = StringBuilder::new();
        let mut bytes_made = BinaryBuilder::new();
        for (at, text) in texts.iter().enumerate() {
            let read: Option<Cow<'_, str>> = match text {
                None => None,
                Some(text) if text.starts_with('"') => serde_json::from_str(text).ok(),
                Some(text) => Some(Cow::Borrowed(text)),
            };
            let hex = read.as_deref().filter(|_| is_binary).and_then(from_hex);
            if let Some(text) = text
                && (read.is_none() || (is_binary && hex.is_none()))
            {
                self.no_such(at, read.as_deref().unwrap_or(text), due, path, level)?;
            }
            match is_binary {
                true => bytes_made.append_option(hex),
                false => texts_made.append_option(read),
            }
        }
        if is_binary {
            return Ok(Arc::new(bytes_made.finish()));
        }
        let texts: ArrayRef = Arc::new(texts_made.finish());
        self.leaf(&texts, due, path, level)
    }
}

fn mark(flags: &mut [bool], at: usize) {
    if let Some(flag) = flags.get_mut(at) {
        *flag = true;
    }
}
