//! A table of the schema `system`: its name, its columns, and where its rows come from. The part of the server that knows the rows makes
//! it, and queries read it. The columns are known without the rows, which are made when a plan that reads the table runs, and only in the
//! columns that it reads.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::clock::Micros;
use crate::fault::Fault;

/// What a column shows of a row.
enum Value<R> {
    Text(fn(&R) -> &str),
    MaybeText(fn(&R) -> Option<&str>),
    Long(fn(&R) -> u64),
    Signed(fn(&R) -> i64),
    MaybeSigned(fn(&R) -> Option<i64>),
    Instant(fn(&R) -> Micros),
    MaybeInstant(fn(&R) -> Option<Micros>),
    Flag(fn(&R) -> bool),
}

impl<R> Value<R> {
    fn field(&self, name: &str) -> Field {
        let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let (data_type, nullable) = match self {
            Value::Text(_) => (DataType::Utf8, false),
            Value::MaybeText(_) => (DataType::Utf8, true),
            Value::Long(_) | Value::Signed(_) => (DataType::Int64, false),
            Value::MaybeSigned(_) => (DataType::Int64, true),
            Value::Instant(_) => (instant(), false),
            Value::MaybeInstant(_) => (instant(), true),
            Value::Flag(_) => (DataType::Boolean, false),
        };
        Field::new(name, data_type, nullable)
    }

    fn column(&self, rows: &[R]) -> ArrayRef {
        let rows = rows.iter();
        let instants =
            |values: TimestampMicrosecondArray| Arc::new(values.with_timezone("UTC")) as ArrayRef;
        match self {
            Value::Text(of) => Arc::new(StringArray::from_iter_values(rows.map(of))),
            Value::MaybeText(of) => Arc::new(rows.map(of).collect::<StringArray>()),
            Value::Long(of) => {
                let whole = |row| i64::try_from(of(row)).unwrap_or(i64::MAX);
                Arc::new(Int64Array::from_iter_values(rows.map(whole)))
            }
            Value::Signed(of) => Arc::new(Int64Array::from_iter_values(rows.map(of))),
            Value::MaybeSigned(of) => Arc::new(rows.map(of).collect::<Int64Array>()),
            Value::Instant(of) => {
                instants(TimestampMicrosecondArray::from_iter_values(rows.map(of)))
            }
            Value::MaybeInstant(of) => instants(rows.map(of).collect()),
            Value::Flag(of) => Arc::new(rows.map(|row| Some(of(row))).collect::<BooleanArray>()),
        }
    }
}

/// Columns over rows of one type, in their order. What may be missing begins with `maybe`, and its column is nullable.
pub struct Columns<R> {
    fields: Vec<Field>,
    values: Vec<Value<R>>,
}

impl<R> Default for Columns<R> {
    fn default() -> Self {
        Columns {
            fields: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<R> Columns<R> {
    fn with(mut self, name: &str, value: Value<R>) -> Self {
        self.fields.push(value.field(name));
        self.values.push(value);
        self
    }

    #[must_use]
    pub fn text(self, name: &str, of: fn(&R) -> &str) -> Self {
        self.with(name, Value::Text(of))
    }

    #[must_use]
    pub fn maybe_text(self, name: &str, of: fn(&R) -> Option<&str>) -> Self {
        self.with(name, Value::MaybeText(of))
    }

    /// A count.
    #[must_use]
    pub fn long(self, name: &str, of: fn(&R) -> u64) -> Self {
        self.with(name, Value::Long(of))
    }

    #[must_use]
    pub fn signed(self, name: &str, of: fn(&R) -> i64) -> Self {
        self.with(name, Value::Signed(of))
    }

    #[must_use]
    pub fn maybe_signed(self, name: &str, of: fn(&R) -> Option<i64>) -> Self {
        self.with(name, Value::MaybeSigned(of))
    }

    #[must_use]
    pub fn instant(self, name: &str, of: fn(&R) -> Micros) -> Self {
        self.with(name, Value::Instant(of))
    }

    #[must_use]
    pub fn maybe_instant(self, name: &str, of: fn(&R) -> Option<Micros>) -> Self {
        self.with(name, Value::MaybeInstant(of))
    }

    #[must_use]
    pub fn flag(self, name: &str, of: fn(&R) -> bool) -> Self {
        self.with(name, Value::Flag(of))
    }
}

/// Its rows, in the columns of these places and of the schema beside them, up to a number.
type Read = dyn Fn(&SchemaRef, &[usize], Option<usize>) -> Result<RecordBatch, Fault> + Send + Sync;

/// Cheap to clone.
#[derive(Clone)]
pub struct SystemTable {
    name: &'static str,
    schema: SchemaRef,
    read: Arc<Read>,
}

impl SystemTable {
    /// `rows` is called each time that a plan reads the table, and may not wait for anything.
    pub fn new<R: 'static>(
        name: &'static str,
        columns: Columns<R>,
        rows: impl Fn() -> Vec<R> + Send + Sync + 'static,
    ) -> Self {
        let Columns { fields, values } = columns;
        let read = move |schema: &SchemaRef, places: &[usize], limit: Option<usize>| {
            let mut rows = rows();
            rows.truncate(limit.unwrap_or(usize::MAX));
            let values = places.iter().filter_map(|at| values.get(*at));
            let columns = values.map(|value| value.column(&rows)).collect();
            let count = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            RecordBatch::try_new_with_options(schema.clone(), columns, &count)
                .map_err(|e| Fault::internal(format!("system.{name}: {e}")))
        };
        SystemTable {
            name,
            schema: Arc::new(Schema::new(fields)),
            read: Arc::new(read),
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows as they are now. `schema`: the table's, of the columns at these places alone.
    ///
    /// # Errors
    /// INTERNAL: the places are not those of the schema.
    pub fn read(
        &self,
        schema: &SchemaRef,
        places: &[usize],
        limit: Option<usize>,
    ) -> Result<RecordBatch, Fault> {
        (self.read)(schema, places, limit)
    }
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemTable({})", self.name)
    }
}
