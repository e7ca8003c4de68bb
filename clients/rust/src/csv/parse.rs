//! A block as a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{self, DataType, Schema};
use arrow::error::ArrowError;

use super::{Block, lines};

/// What a column's values are sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Float,
}

impl Kind {
    /// What to try for a column of this type: what the server would parse the text to.
    pub fn of(due: &DataType) -> Self {
        match due {
            DataType::Int64 => Kind::Integer,
            DataType::Float64 => Kind::Float,
            _ => Kind::Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Float => DataType::Float64,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
}

enum Column {
    Text {
        bytes: Vec<u8>,
        ends: Vec<i32>,
        valid: Vec<bool>,
    },
    Integer(Vec<i64>, Vec<bool>),
    Float(Vec<f64>, Vec<bool>),
}

impl Column {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Column::Text {
                bytes: Vec::new(),
                ends: vec![0],
                valid: Vec::new(),
            },
            Kind::Integer => Column::Integer(Vec::new(), Vec::new()),
            Kind::Float => Column::Float(Vec::new(), Vec::new()),
        }
    }

    /// False: it is none of the column's kind. An empty field is null.
    fn push(&mut self, value: &str) -> bool {
        match self {
            Column::Text { bytes, ends, valid } => {
                bytes.extend_from_slice(value.as_bytes());
                // A block is a few MiB.
                ends.push(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                valid.push(!value.is_empty());
                true
            }
            Column::Integer(values, valid) => {
                let parsed = if value.is_empty() {
                    Some(0)
                } else {
                    value.parse().ok()
                };
                values.push(parsed.unwrap_or_default());
                valid.push(!value.is_empty());
                parsed.is_some()
            }
            Column::Float(values, valid) => {
                // Words such as `inf` are left to the server to read.
                let parsed = match value.as_bytes().last() {
                    None => Some(0.0),
                    Some(b'0'..=b'9' | b'.') => decimal(value).or_else(|| value.parse().ok()),
                    Some(_) => None,
                };
                values.push(parsed.unwrap_or_default());
                valid.push(!value.is_empty());
                parsed.is_some()
            }
        }
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let nulls = |valid: Vec<bool>| {
            let all = valid.iter().all(|v| *v);
            (!all).then(|| NullBuffer::new(BooleanBuffer::from(valid)))
        };
        Ok(match self {
            Column::Text { bytes, ends, valid } => Arc::new(StringArray::try_new(
                OffsetBuffer::new(ScalarBuffer::from(ends)),
                Buffer::from_vec(bytes),
                nulls(valid),
            )?),
            Column::Integer(values, valid) => {
                Arc::new(Int64Array::try_new(values.into(), nulls(valid))?)
            }
            Column::Float(values, valid) => {
                Arc::new(Float64Array::try_new(values.into(), nulls(valid))?)
            }
        })
    }
}

/// Digits with a point between them, as devices write them, without the general case's cost: a whole number and a power of ten
/// that doubles hold exactly have a quotient that is rounded once, so rightly (Clinger, How to Read Floating Point Numbers
/// Accurately, 1990). None: it is written otherwise, or longer.
fn decimal(value: &str) -> Option<f64> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let (negative, digits) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    if digits.len() > POWERS.len() {
        return None;
    }
    let (mut number, mut behind, mut point) = (0u64, 0usize, false);
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                number = number * 10 + u64::from(byte - b'0');
                behind += usize::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    // Of 16 characters one is the point, so the number is below 10^15; without one it may not be.
    if !point || number >= 1 << 53 {
        return None;
    }
    let size = number as f64 / POWERS.get(behind)?;
    (digits.len() > 1).then_some(if negative { -size } else { size })
}

/// The rows of a block that [`super::check`] has found good. None: some value is not of its column's kind; have them all as
/// text then.
///
/// # Errors
/// The block is not what was checked.
pub fn parse(
    block: &Block,
    fields: &[Field],
    delimiter: u8,
) -> Result<Option<RecordBatch>, ArrowError> {
    let changed = || ArrowError::CsvError("the file has changed since it was checked".to_owned());
    let text = std::str::from_utf8(&block.bytes).map_err(|_| changed())?;
    let mut columns: Vec<Column> = fields.iter().map(|f| Column::new(f.kind)).collect();
    let mut rows = 0usize;
    let mut fits = true;
    let mut start = 0;
    for line in lines(text.as_bytes()) {
        let here = start;
        start += line.len();
        // What ends the line: nothing, "\n" or "\r\n".
        start += usize::from(text.as_bytes().get(start) == Some(&b'\r'));
        start += usize::from(text.as_bytes().get(start) == Some(&b'\n'));
        if line.is_empty() {
            continue;
        }
        rows += 1;
        let mut at = here;
        let end = here + line.len();
        for (index, column) in columns.iter_mut().enumerate() {
            if at > end {
                return Err(changed());
            }
            let rest = &text.as_bytes()[at..end];
            let length = rest
                .iter()
                .position(|b| *b == delimiter)
                .unwrap_or(rest.len());
            if (at + length == end) != (index + 1 == fields.len()) {
                return Err(changed());
            }
            fits &= column.push(text.get(at..at + length).ok_or_else(changed)?);
            at += length + 1;
        }
        if !fits {
            return Ok(None);
        }
    }
    let schema: Vec<datatypes::Field> = fields
        .iter()
        .map(|f| datatypes::Field::new(&f.name, f.kind.data_type(), true))
        .collect();
    let columns = columns
        .into_iter()
        .map(Column::finish)
        .collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(schema)), columns, &options).map(Some)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int64Type};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_decimals_are_read_as_the_library_reads_them(value in "-?[0-9]{0,12}\\.?[0-9]{0,9}") {
            if let Some(read) = decimal(&value) {
                prop_assert_eq!(Ok(read.to_bits()), value.parse().map(f64::to_bits), "{}", value);
            }
        }
    }

    fn fields() -> Vec<Field> {
        [("id", Kind::Text), ("n", Kind::Integer), ("v", Kind::Float)]
            .map(|(name, kind)| Field {
                name: name.to_owned(),
                kind,
            })
            .to_vec()
    }

    fn block(text: &str) -> Block {
        Block {
            number: 0,
            first_line: 2,
            bytes: text.as_bytes().to_vec(),
        }
    }

    proptest! {
        /// What was written is what is read, whatever the lines end with.
        #[test]
        fn values_come_back(rows in prop::collection::vec(("[a-zäöü]{1,6}", prop::option::of(any::<i64>()),
            prop::option::of(any::<f64>().prop_filter("finite", |v| v.is_finite())), any::<bool>()), 1..30)) {
            let mut text = String::new();
            for (id, n, v, dos) in &rows {
                let show = |v: Option<String>| v.unwrap_or_default();
                text += &format!("{id},{},{}{}", show(n.map(|n| n.to_string())), show(v.map(|v| format!("{v:?}"))), if *dos { "\r\n" } else { "\n" });
            }
            let batch = parse(&block(&text), &fields(), b',').unwrap().unwrap();
            prop_assert_eq!(batch.num_rows(), rows.len());
            let (id, n, v) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Float64Type>());
            for (i, row) in rows.iter().enumerate() {
                prop_assert_eq!(id.value(i), &row.0);
                prop_assert_eq!(n.is_valid(i).then(|| n.value(i)), row.1);
                prop_assert_eq!(v.is_valid(i).then(|| v.value(i).to_bits()), row.2.map(f64::to_bits));
            }
        }
    }

    #[test]
    fn what_is_no_number_beyond_doubt_asks_for_text() {
        for bad in ["a,1,x\n", "a,1.0,2\n", "a,1,inf\n", "a,1,NaN\n", "a, 1,2\n"] {
            assert!(
                parse(&block(bad), &fields(), b',').unwrap().is_none(),
                "{bad}"
            );
        }
        let all_text: Vec<Field> = fields()
            .into_iter()
            .map(|f| Field {
                kind: Kind::Text,
                ..f
            })
            .collect();
        let batch = parse(&block("a,,x\n"), &all_text, b',').unwrap().unwrap();
        assert_eq!(batch.column(1).null_count(), 1);
        assert!(parse(&block("a,1\n"), &fields(), b',').is_err());
        assert!(parse(&block("a,1,2,3\n"), &fields(), b',').is_err());
    }
}
