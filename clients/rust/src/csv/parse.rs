//! A block as a batch.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, NullBufferBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{self, DataType, Schema, TimeUnit};
use arrow::error::ArrowError;

use super::Block;
use crate::time::written_out;

/// What a column's values are sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Float,
    /// Microseconds since 1970 in UTC.
    Time,
}

impl Kind {
    /// What to try for a column of the server's: what it would parse the text to. Which instant a clock without a zone shows, the
    /// column's `timezone` says; only UTC is read here.
    pub fn of(due: &datatypes::Field) -> Self {
        match due.data_type() {
            DataType::Int64 => Kind::Integer,
            DataType::Float64 => Kind::Float,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_))
                if due.metadata().get("timezone").is_some_and(|z| z == "UTC") =>
            {
                Kind::Time
            }
            _ => Kind::Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
}

/// A column's values so far.
enum Values {
    Text { bytes: Vec<u8>, ends: Vec<i32> },
    Integer(Vec<i64>),
    Float(Vec<f64>),
    Time(Vec<i64>),
}

struct Column {
    values: Values,
    nulls: NullBufferBuilder,
}

impl Column {
    /// `rows`: about how many will come.
    fn new(kind: Kind, rows: usize) -> Self {
        let values = match kind {
            Kind::Text => {
                let mut ends = Vec::with_capacity(rows + 1);
                ends.push(0);
                Values::Text {
                    bytes: Vec::new(),
                    ends,
                }
            }
            Kind::Integer => Values::Integer(Vec::with_capacity(rows)),
            Kind::Float => Values::Float(Vec::with_capacity(rows)),
            Kind::Time => Values::Time(Vec::with_capacity(rows)),
        };
        Column {
            values,
            nulls: NullBufferBuilder::new(rows),
        }
    }

    /// Takes the field that begins at `at`. Where it ends, and whether it is of the column's kind. An empty field is null.
    fn push(&mut self, text: &[u8], at: usize, delimiter: u8) -> (usize, bool) {
        let (end, fits) = match &mut self.values {
            Values::Text { bytes, ends } => {
                let end = field_end(text, at, delimiter);
                bytes.extend_from_slice(&text[at..end]);
                // A block is a few MiB.
                ends.push(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                (end, true)
            }
            Values::Integer(values) => {
                let end = field_end(text, at, delimiter);
                let parsed = number(&text[at..end]);
                values.push(parsed.unwrap_or_default());
                (end, end == at || parsed.is_some())
            }
            Values::Time(values) => {
                let end = field_end(text, at, delimiter);
                let parsed = written_out(&text[at..end]).map(|(micros, _)| micros);
                values.push(parsed.unwrap_or_default());
                (end, end == at || parsed.is_some())
            }
            Values::Float(values) => {
                let (read, next) = decimal(&text[at..]);
                let next = at + next;
                if let Some(value) = read.filter(|_| is_end(text.get(next), delimiter)) {
                    values.push(value);
                    (next, true)
                } else {
                    let end = field_end(text, next, delimiter);
                    // Words such as `inf` are left to the server to read.
                    let parsed = match text[at..end].last() {
                        Some(b'0'..=b'9' | b'.') => number(&text[at..end]),
                        _ => None,
                    };
                    values.push(parsed.unwrap_or_default());
                    (end, end == at || parsed.is_some())
                }
            }
        };
        self.nulls.append(end > at);
        (end, fits)
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        Ok(match self.values {
            Values::Text { bytes, ends } => Arc::new(StringArray::try_new(
                OffsetBuffer::new(ScalarBuffer::from(ends)),
                Buffer::from_vec(bytes),
                nulls,
            )?),
            Values::Integer(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            Values::Float(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            Values::Time(values) => Arc::new(
                TimestampMicrosecondArray::try_new(values.into(), nulls)?.with_timezone("UTC"),
            ),
        })
    }
}

fn number<T: FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn is_end(byte: Option<&u8>, delimiter: u8) -> bool {
    byte.is_none_or(|b| *b == delimiter || matches!(b, b'\n' | b'\r'))
}

/// The first delimiter or line's end from `at` on.
fn field_end(text: &[u8], at: usize, delimiter: u8) -> usize {
    let rest = &text[at..];
    let length = rest.iter().position(|b| is_end(Some(b), delimiter));
    at + length.unwrap_or(rest.len())
}

/// Digits with a point between them, as devices write them, without the general case's cost: a whole number and a power of ten
/// that doubles hold exactly have a quotient that is rounded once, so rightly (Clinger, How to Read Floating Point Numbers
/// Accurately, 1990). None: it is written otherwise, or longer. Beside it, the bytes that were looked at.
fn decimal(text: &[u8]) -> (Option<f64>, usize) {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let sign = usize::from(text.first() == Some(&b'-'));
    let (mut number, mut point) = (0u64, None);
    let mut at = sign;
    // Of 16 characters one is the point, so the number is below 10^15.
    for byte in text.iter().skip(sign).take(POWERS.len()) {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => break,
        }
        at += 1;
    }
    let size = point
        .filter(|_| at > sign + 1)
        .and_then(|point| Some(number as f64 / POWERS.get(at - point - 1)?));
    (size.map(|s| if sign == 1 { -s } else { s }), at)
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
    let text = block.bytes.as_slice();
    let line = memchr::memchr(b'\n', text).unwrap_or(text.len()) + 1;
    let about = text.len() / line + text.len() / line / 8 + 1;
    let mut columns: Vec<Column> = fields.iter().map(|f| Column::new(f.kind, about)).collect();
    let (mut rows, mut at) = (0usize, 0usize);
    let mut fits = true;
    while at < text.len() && fits {
        if matches!(text[at], b'\n' | b'\r') {
            at += 1;
            continue;
        }
        rows += 1;
        let last = columns.len().saturating_sub(1);
        for (index, column) in columns.iter_mut().enumerate() {
            let (end, good) = column.push(text, at, delimiter);
            fits &= good;
            let more = text.get(end) == Some(&delimiter);
            if more != (index < last) {
                return Err(changed());
            }
            at = end + usize::from(more);
        }
    }
    if !fits {
        return Ok(None);
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
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_decimals_are_read_as_the_library_reads_them(value in "-?[0-9]{0,12}\\.?[0-9]{0,9}") {
            if let (Some(read), length) = decimal(value.as_bytes()) {
                prop_assert_eq!(Ok(read.to_bits()), value[..length].parse().map(f64::to_bits), "{}", value);
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
    fn times_are_read_where_the_column_is_in_utc() {
        let due = |zone: Option<&str>| {
            let told = zone.map(|z| ("timezone".to_owned(), z.to_owned()));
            datatypes::Field::new("ts", Kind::Time.data_type(), true)
                .with_metadata(told.into_iter().collect())
        };
        assert_eq!(Kind::of(&due(Some("UTC"))), Kind::Time);
        assert_eq!(Kind::of(&due(Some("Europe/Berlin"))), Kind::Text);
        assert_eq!(Kind::of(&due(None)), Kind::Text);
        let field = Field {
            name: "ts".to_owned(),
            kind: Kind::Time,
        };
        let fields = [field];
        let batch = parse(
            &block("1970-01-01 00:00:01.5\n1970-01-01T00:00:02Z\n"),
            &fields,
            b',',
        );
        let batch = batch.unwrap().unwrap();
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.values(), &[1_500_000, 2_000_000]);
        for other in [
            "01.01.1970\n",
            "1970-01-01\n",
            "1970-01-01 00:00:01+01:00\n",
            "5\n",
        ] {
            assert!(parse(&block(other), &fields, b',').unwrap().is_none());
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
