//! Rows in a machine's format, so that `deltaplane ingest` and other readers find in them what was in the rows: CSV tells an
//! empty text from NULL, and JSON has words for the numbers that it has no digits for.

use std::io::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, NullableEncoder};
use arrow::json::{Encoder, EncoderFactory, EncoderOptions, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::validate::write_json;

/// `format`: `json`, an object a line, or `csv`. `header`: the batch is the first.
pub(super) fn encode(
    batch: &RecordBatch,
    format: &str,
    header: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if format == "json" {
        let words = std::sync::Arc::new(Words);
        let mut writer = WriterBuilder::new()
            .with_encoder_factory(words)
            .build::<_, LineDelimited>(out);
        writer.write(batch)?;
        return Ok(writer.finish()?);
    }
    csv(batch, header, out)
}

/// A line a row; NULL is nothing at all. In a line of one field it is an empty text, because an empty line is no row.
fn csv(batch: &RecordBatch, header: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let schema = batch.schema();
    if header {
        for (index, field) in schema.fields().iter().enumerate() {
            write_field(field.name(), index, out)?;
        }
        out.write_all(b"\n")?;
    }
    let options = FormatOptions::default();
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| {
        if column.data_type().is_nested() {
            return Err(ArrowError::CsvError(format!(
                "column {} is nested ({}), which CSV has no form for; take --format json",
                field.name(),
                column.data_type()
            )));
        }
        ArrayFormatter::try_new(column.as_ref(), &options)
    });
    let formatters = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        for (index, (column, formatter)) in batch.columns().iter().zip(&formatters).enumerate() {
            if column.is_null(row) && batch.num_columns() > 1 {
                write_separator(index, out)?;
                continue;
            }
            text.clear();
            if column.is_valid(row) {
                formatter.value(row).write(&mut text)?;
            }
            write_field(&text, index, out)?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_separator(index: usize, out: &mut impl Write) -> std::io::Result<()> {
    match index {
        0 => Ok(()),
        _ => out.write_all(b","),
    }
}

fn write_field(text: &str, index: usize, out: &mut impl Write) -> std::io::Result<()> {
    write_separator(index, out)?;
    let needs_quotes =
        text.is_empty() || text.contains([',', '"', '\n', '\r']) || text.trim() != text;
    if !needs_quotes {
        return out.write_all(text.as_bytes());
    }
    write!(out, "\"{}\"", text.replace('"', "\"\""))
}

/// NaN and the infinities as texts, which the server reads back; the library would write null.
#[derive(Debug)]
struct Words;

impl EncoderFactory for Words {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let nulls = array.nulls().cloned();
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                if values.iter().all(|v| v.is_finite()) {
                    return Ok(None);
                }
                Box::new(Texts(Box::new(|row| {
                    values.get(row).map(|v| number(*v, || format!("{v:?}")))
                })))
            }
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>().values();
                if values.iter().all(|v| v.is_finite()) {
                    return Ok(None);
                }
                Box::new(Texts(Box::new(|row| {
                    values
                        .get(row)
                        .map(|v| number(f64::from(*v), || format!("{v:?}")))
                })))
            }
            // The library leaves out keys whose value is null.
            DataType::Map(..) => Box::new(Maps(array)),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, nulls)))
    }
}

/// `digits`: how the number is written if it has any.
fn number(number: f64, digits: impl Fn() -> String) -> String {
    match number {
        v if v.is_finite() => digits(),
        v if v.is_nan() => "\"NaN\"".to_owned(),
        v if v > 0.0 => "\"Infinity\"".to_owned(),
        _ => "\"-Infinity\"".to_owned(),
    }
}

/// The text of a row.
struct Texts<'a>(Box<dyn Fn(usize) -> Option<String> + 'a>);

impl Encoder for Texts<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = (self.0)(row);
        out.extend_from_slice(text.as_deref().unwrap_or("null").as_bytes());
    }
}

/// A map with all of its keys.
struct Maps<'a>(&'a dyn Array);

impl Encoder for Maps<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        write_json(self.0, row, out);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float32Array, Float64Array, StringArray};

    use super::*;

    fn written(columns: Vec<(&str, ArrayRef)>, format: &str) -> String {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(n, c)| (n, c, true)),
        )
        .unwrap();
        let mut out = Vec::new();
        encode(&batch, format, true, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_empty_text_is_not_null_and_no_number_is_null() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some(""),
            None,
            Some("a,\"b\"\n"),
            Some(" c"),
        ]));
        let doubles: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(f64::NAN),
            None,
            Some(f64::NEG_INFINITY),
            Some(0.1),
        ]));
        let columns = vec![("s", texts.clone()), ("v", doubles)];
        assert_eq!(
            written(columns.clone(), "csv"),
            "s,v\n\"\",NaN\n,\n\"a,\"\"b\"\"\n\",-inf\n\" c\",0.1\n"
        );
        assert_eq!(
            written(columns, "json"),
            "{\"s\":\"\",\"v\":\"NaN\"}\n{}\n{\"s\":\"a,\\\"b\\\"\\n\",\"v\":\"-Infinity\"}\n{\"s\":\" c\",\"v\":0.1}\n"
        );
        assert_eq!(
            written(vec![("s", texts.slice(0, 2))], "csv"),
            "s\n\"\"\n\"\"\n"
        );
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![0.5, f32::INFINITY]));
        assert_eq!(
            written(vec![("v", floats)], "json"),
            "{\"v\":0.5}\n{\"v\":\"Infinity\"}\n"
        );
    }
}
