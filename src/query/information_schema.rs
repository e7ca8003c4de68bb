//! The schema `information_schema`: tables, columns and views as the SQL standard names them, with the types and the kinds of
//! tables that SHOW COLUMNS and GetTables tell. Its other tables are DataFusion's.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::information_schema::{
    INFORMATION_SCHEMA_TABLES, InformationSchemaProvider,
};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{
    CatalogProviderList, MemorySchemaProvider, SchemaProvider, Session, TableFunction,
    TableProvider,
};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

use super::scan::scan_by_planned;
use super::sql_types::{fraction_digits, numeric, type_name};
use super::wire::wire_schema;
use super::{CATALOG, SYSTEM};
use crate::catalog::view::Snapshot;
use crate::dataset::{Column, Contract, RuleKind};

pub(super) const NAME: &str = "information_schema";

/// Bytes that a character takes at most.
const CHARACTER_BYTES: i64 = 4;

/// A table that is made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Tables,
    Columns,
    Views,
}

const LISTED: [Listed; 3] = [Listed::Tables, Listed::Columns, Listed::Views];

impl Listed {
    fn name(self) -> &'static str {
        match self {
            Listed::Tables => "tables",
            Listed::Columns => "columns",
            Listed::Views => "views",
        }
    }

    fn schema(self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let mut fields = vec![
            text("table_catalog"),
            text("table_schema"),
            text("table_name"),
        ];
        fields.extend(match self {
            Listed::Tables => vec![text("table_type")],
            Listed::Views => vec![text("view_definition")],
            Listed::Columns => vec![
                text("column_name"),
                number("ordinal_position"),
                text("column_default"),
                text("is_nullable"),
                text("data_type"),
                number("character_maximum_length"),
                number("character_octet_length"),
                number("numeric_precision"),
                number("numeric_precision_radix"),
                number("numeric_scale"),
                number("datetime_precision"),
            ],
        });
        Arc::new(Schema::new(fields))
    }

    fn rows(self, relations: &[Relation]) -> Result<RecordBatch> {
        let columns = match self {
            Listed::Tables => {
                let all = relations.iter();
                let mut columns = names(all.clone());
                columns.push(texts(all.map(|r| Some(r.kind.to_owned()))));
                columns
            }
            Listed::Views => {
                let views = relations.iter().filter(|r| r.kind == VIEW);
                let mut columns = names(views.clone());
                columns.push(texts(views.map(|r| r.definition.clone())));
                columns
            }
            Listed::Columns => columns(relations),
        };
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

/// The names of the schema's tables with their columns, for the resolution of names.
pub(super) fn known() -> Vec<(String, Vec<String>)> {
    let listed = LISTED.iter().map(|listed| {
        let schema = listed.schema();
        let fields = schema.fields().iter();
        let columns = fields.map(|f| f.name().clone()).collect();
        (format!("{NAME}.{}", listed.name()), columns)
    });
    let schemata = ["catalog_name", "schema_name", "schema_owner"];
    let schemata = schemata.map(str::to_owned).to_vec();
    listed
        .chain([(format!("{NAME}.schemata"), schemata)])
        .collect()
}

const TABLE: &str = "BASE TABLE";
const VIEW: &str = "VIEW";
const SYSTEM_TABLE: &str = "SYSTEM TABLE";
/// The session's own.
const TEMPORARY: &str = "LOCAL TEMPORARY";

/// A table or view, and what is known of its columns.
struct Relation {
    schema: String,
    table: String,
    kind: &'static str,
    fields: SchemaRef,
    contract: Option<Arc<Contract>>,
    /// A view's query.
    definition: Option<String>,
}

/// Where they come from.
#[derive(Clone)]
struct Contents {
    snapshot: Snapshot,
    system: Arc<MemorySchemaProvider>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contents(read_point={})", self.snapshot.read_point)
    }
}

async fn relations(contents: &Contents) -> Result<Vec<Relation>> {
    let Contents {
        snapshot,
        system: provided,
    } = contents;
    let mut all = Vec::new();
    for view in snapshot.tables.values() {
        let spec = view.contract.as_ref().and_then(|c| c.view.as_ref());
        all.push(Relation {
            schema: view.name.schema().to_owned(),
            table: view.name.table().to_owned(),
            kind: match view.progress {
                Some(_) => VIEW,
                None if view.is_temporary() => TEMPORARY,
                None => TABLE,
            },
            fields: view.schema.clone(),
            contract: view.contract.clone(),
            definition: spec.map(|spec| spec.sql.clone()),
        });
    }
    for view in snapshot.defined.views.values() {
        all.push(Relation {
            schema: view.name.schema().to_owned(),
            table: view.name.table().to_owned(),
            kind: VIEW,
            fields: view.columns_schema(),
            contract: None,
            definition: Some(view.sql.clone()),
        });
    }
    let system = |schema: &str, table: String, fields: SchemaRef| Relation {
        schema: schema.to_owned(),
        table,
        kind: SYSTEM_TABLE,
        fields,
        contract: None,
        definition: None,
    };
    let mut names = provided.table_names();
    names.sort();
    for name in names {
        if let Some(table) = provided.table(&name).await? {
            all.push(system(SYSTEM, name, table.schema()));
        }
    }
    // Their columns are in no list: tools ask for users' columns.
    let own = INFORMATION_SCHEMA_TABLES.iter();
    all.extend(own.map(|name| system(NAME, (*name).to_owned(), Arc::new(Schema::empty()))));
    Ok(all)
}

fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn names<'a>(relations: impl Iterator<Item = &'a Relation> + Clone) -> Vec<ArrayRef> {
    vec![
        texts(relations.clone().map(|_| Some(CATALOG.to_owned()))),
        texts(relations.clone().map(|r| Some(r.schema.clone()))),
        texts(relations.map(|r| Some(r.table.clone()))),
    ]
}

/// A column as it is listed.
struct Described {
    name: String,
    place: i64,
    default: Option<String>,
    nullable: bool,
    data_type: String,
    characters: Option<i64>,
    numeric: Option<(i64, Option<i64>)>,
    fraction: Option<i64>,
}

impl Relation {
    fn columns(&self) -> Vec<Described> {
        let wire = wire_schema(&self.fields);
        let fields = wire.fields().iter().zip(self.fields.fields()).zip(1..);
        let described = fields.map(|((field, own), place)| {
            let contract = self.contract.as_deref();
            Described {
                name: field.name().clone(),
                place,
                default: contract
                    .and_then(|c| c.column(field.name()))
                    .and_then(default),
                nullable: own.is_nullable(),
                data_type: type_name(field.data_type()),
                characters: contract.and_then(|c| longest(c, field.name())),
                numeric: numeric(field.data_type())
                    .map(|(digits, scale)| (i64::from(digits), scale.map(i64::from))),
                fraction: match field.data_type() {
                    DataType::Timestamp(unit, _)
                    | DataType::Time32(unit)
                    | DataType::Time64(unit) => Some(i64::from(fraction_digits(*unit))),
                    DataType::Date32 => Some(0),
                    _ => None,
                },
            }
        });
        described.collect()
    }
}

/// The literal that stands in.
fn default(column: &Column) -> Option<String> {
    column.default.as_ref().map(|value| match value {
        serde_json::Value::String(text) if !column.data_type.is_number() => {
            format!("'{}'", text.replace('\'', "''"))
        }
        serde_json::Value::String(digits) => digits.clone(),
        other => other.to_string(),
    })
}

/// The most characters of a text, as `VARCHAR(n)` and the rule `max_length` say it.
fn longest(contract: &Contract, column: &str) -> Option<i64> {
    let rules = contract.rules.iter().filter(|rule| rule.column == column);
    let lengths = rules.filter_map(|rule| match rule.kind {
        RuleKind::MaxLength { chars } => Some(i64::from(chars)),
        _ => None,
    });
    lengths.min()
}

fn columns(relations: &[Relation]) -> Vec<ArrayRef> {
    let all: Vec<(&Relation, Described)> = relations
        .iter()
        .flat_map(|r| r.columns().into_iter().map(move |column| (r, column)))
        .collect();
    let text =
        |pick: &dyn Fn(&Described) -> Option<String>| texts(all.iter().map(|(_, c)| pick(c)));
    let number = |pick: &dyn Fn(&Described) -> Option<i64>| -> ArrayRef {
        Arc::new(all.iter().map(|(_, c)| pick(c)).collect::<Int64Array>())
    };
    let mut columns = names(all.iter().map(|(relation, _)| *relation));
    columns.extend([
        text(&|c| Some(c.name.clone())),
        number(&|c| Some(c.place)),
        text(&|c| c.default.clone()),
        text(&|c| Some(if c.nullable { "YES" } else { "NO" }.to_owned())),
        text(&|c| Some(c.data_type.clone())),
        number(&|c| c.characters),
        number(&|c| c.characters.map(|n| n.saturating_mul(CHARACTER_BYTES))),
        number(&|c| c.numeric.map(|(digits, _)| digits)),
        // The precision counts decimal digits.
        number(&|c| c.numeric.map(|_| 10)),
        number(&|c| c.numeric.and_then(|(_, scale)| scale)),
        number(&|c| c.fraction),
    ]);
    columns
}

/// The schema as a statement finds it.
#[derive(Debug)]
pub(super) struct InformationSchema {
    contents: Contents,
    others: InformationSchemaProvider,
}

impl InformationSchema {
    /// `catalogs`: without this schema, which would otherwise hold itself.
    pub(super) fn new(
        snapshot: Snapshot,
        system: Arc<MemorySchemaProvider>,
        catalogs: Arc<dyn CatalogProviderList>,
        functions: HashMap<String, Arc<TableFunction>>,
    ) -> Self {
        let others = InformationSchemaProvider::new(catalogs);
        InformationSchema {
            contents: Contents { snapshot, system },
            others: others.with_table_functions(functions),
        }
    }

    fn provider<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>>> {
        let listed = LISTED.iter().find(|listed| listed.name() == name);
        match listed {
            Some(listed) => Box::pin(async move {
                let table: Arc<dyn TableProvider> = Arc::new(List {
                    listed: *listed,
                    contents: self.contents.clone(),
                });
                Ok(Some(table))
            }),
            None => self.others.table(name),
        }
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        self.others.table_names()
    }

    fn table<'a, 'b, 'c>(
        &'a self,
        name: &'b str,
    ) -> BoxFuture<'c, Result<Option<Arc<dyn TableProvider>>>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.provider(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.others.table_exist(name)
    }
}

/// One of its tables, made when it is read.
#[derive(Debug)]
struct List {
    listed: Listed,
    contents: Contents,
}

impl TableProvider for List {
    fn schema(&self) -> SchemaRef {
        self.listed.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    scan_by_planned!();
}

impl List {
    fn planned<'a>(
        &'a self,
        _: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        _: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let rows = self.listed.rows(&relations(&self.contents).await?)?;
            let plan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(
                &[vec![rows]],
                self.schema(),
                projection.cloned(),
            )?;
            Ok(plan)
        })
    }
}
