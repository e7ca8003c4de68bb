//! A table's schema and properties change, in one version without rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::kernel::{Action, Metadata, StructType};
use deltalake::protocol::DeltaOperation;
use serde_json::Value;

use super::super::mapping::{Mapping, schema_json};
use super::super::{Error, store_error};
use super::commit::{ATTEMPTS, properties_of};
use super::error::{commit_error, read_error};
use super::protocol;
use super::schema::{mapping_of, plain_schema};
use super::table::{ColdTable, OWNER, table_with};
use crate::ids::random_id;
use crate::nested::same_values;
use crate::types::{ColumnMoves, SameName, is_word};

/// What a table comes to by a change of its columns.
struct Altered {
    all: Schema,
    /// `all` as Delta has it.
    schema: Value,
    mapping: Mapping,
    configuration: HashMap<String, String>,
}

impl ColdTable {
    /// Makes schema and properties the table's, in one version without rows. Properties that are neither given nor in
    /// `dropped` stay. `moves`: which of the columns that are there are called otherwise from now on, and which go. No file is
    /// written anew for it: from the first of them on the table has a [`Mapping`].
    ///
    /// # Errors
    /// `Fenced`, `Store`, `Refused`: nothing was changed.
    pub async fn alter(
        &mut self,
        schema: SchemaRef,
        properties: BTreeMap<String, String>,
        dropped: &[String],
        moves: &ColumnMoves,
    ) -> Result<(), Error> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let theirs = self.read_txn(OWNER).await?.unwrap_or(0);
            if theirs != self.owner {
                return Err(Error::Fenced {
                    ours: self.owner,
                    theirs,
                });
            }
            match self.try_alter(&schema, &properties, dropped, moves).await {
                Ok(()) => return self.conform_to(schema),
                Err(error @ Error::Refused(_)) => return Err(error),
                Err(error) => {
                    last = Some(error);
                    self.delta.update_state().await.map_err(read_error)?;
                    let now = self.properties();
                    if properties.iter().all(|(k, v)| now.get(k) == Some(v)) {
                        self.unlogged = self.version();
                        self.take_columns()?;
                        self.read_commit_time().await?;
                        return self.conform_to(schema);
                    }
                    self.refresh().await?;
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::Store("not tried".to_owned())))
    }

    /// What [`ColdTable::alter`] would refuse on the version that is known here. Nothing is read or written.
    ///
    /// # Errors
    /// `Refused`.
    pub fn check_alter(
        &self,
        schema: &SchemaRef,
        properties: &BTreeMap<String, String>,
        dropped: &[String],
        moves: &ColumnMoves,
    ) -> Result<(), Error> {
        self.altered(schema, properties, dropped, moves).map(|_| ())
    }

    fn altered(
        &self,
        schema: &SchemaRef,
        properties: &BTreeMap<String, String>,
        dropped: &[String],
        moves: &ColumnMoves,
    ) -> Result<Altered, Error> {
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let metadata = snapshot.metadata();
        let mut configuration = metadata.configuration().clone();
        configuration.retain(|key, _| !dropped.contains(key));
        configuration.extend(properties.iter().map(|(k, v)| (k.clone(), v.clone())));
        let theirs = plain_schema(&snapshot.snapshot().arrow_schema());
        refuse_with_other_columns(&theirs, schema, moves)?;
        // Columns of Delta's own that the contract does not know stay where they are, behind the known ones.
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.extend(
            theirs
                .fields()
                .iter()
                .filter(|f| schema.field_with_name(f.name()).is_err())
                .filter(|f| moves.touched().all(|gone| gone != f.name()))
                .cloned(),
        );
        let all = Schema::new(fields);
        let mut mapping = mapping_of(snapshot)?.altered(
            theirs.fields().iter().map(|f| f.name().as_str()),
            all.fields(),
            moves,
            || random_id().to_string(),
        );
        let kernel_schema: StructType = (&all).try_into_kernel().map_err(store_error)?;
        let mut schema = schema_json(&kernel_schema)?;
        mapping.annotate(&mut schema)?;
        configuration.extend(mapping.properties());
        refuse_with_constraints(&configuration, properties, moves)?;
        Ok(Altered {
            all,
            schema,
            mapping,
            configuration,
        })
    }

    async fn try_alter(
        &mut self,
        schema: &SchemaRef,
        properties: &BTreeMap<String, String>,
        dropped: &[String],
        moves: &ColumnMoves,
    ) -> Result<(), Error> {
        let Altered {
            all,
            schema: annotated,
            mapping,
            configuration,
        } = self.altered(schema, properties, dropped, moves)?;
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let metadata = snapshot.metadata();
        let schema_string = annotated.to_string();
        let next: Metadata = serde_json::from_value(serde_json::json!({
            "id": metadata.id(),
            "name": metadata.name(),
            "description": metadata.description(),
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema_string,
            "partitionColumns": metadata.partition_columns(),
            "configuration": configuration,
            "createdTime": metadata.created_time(),
        }))
        .map_err(store_error)?;
        let mut actions = vec![Action::Metadata(next)];
        let constrained = properties
            .keys()
            .any(|k| k.starts_with("delta.constraints."));
        actions.extend(protocol::upgrade(
            Some(snapshot.protocol()),
            &all,
            constrained,
            mapping.is_on(),
        )?);
        let operation = DeltaOperation::SetTableProperties {
            properties: properties.clone().into_iter().collect(),
        };
        let (actions, at) = self.timed(actions, &operation);
        let finalized = CommitBuilder::from(
            properties_of(Vec::new())
                .with_metadata(HashMap::new())
                .with_max_retries(0),
        )
        .with_actions(actions)
        .build(Some(snapshot), self.delta.log_store(), operation)
        .await
        .map_err(commit_error)?;
        self.committed_at(at);
        self.unlogged = i64::try_from(finalized.version()).unwrap_or(0);
        self.delta = table_with(&self.delta, finalized.snapshot());
        self.take_columns()
    }

    /// The new columns are Delta's from here on; `conform_to` orders them as the contract does.
    fn take_columns(&mut self) -> Result<(), Error> {
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        self.schema = plain_schema(&snapshot.snapshot().arrow_schema());
        Ok(())
    }

    /// Takes the columns of `schema`, in its order, as the table's. The Delta table has each of them, whatever others it has.
    ///
    /// # Errors
    /// `Store`: one is missing there, or has another type.
    pub fn conform_to(&mut self, schema: SchemaRef) -> Result<(), Error> {
        for field in schema.fields() {
            match self.schema.field_with_name(field.name()) {
                Ok(theirs) if same_values(theirs.data_type(), field.data_type()) => {}
                Ok(theirs) => {
                    return Err(Error::Mismatch(format!(
                        "column {} is {} in the Delta table {} and {} in its contract",
                        field.name(),
                        theirs.data_type(),
                        self.folder,
                        field.data_type()
                    )));
                }
                Err(_) => {
                    return Err(Error::Mismatch(format!(
                        "column {} of the contract is not in the Delta table {}",
                        field.name(),
                        self.folder
                    )));
                }
            }
        }
        self.schema = schema.clone();
        self.view = Arc::new(self.view.reshaped(schema));
        self.reload()
    }
}

/// A name that is given to a column must not be that of one which the contract does not know: its values would be lost. A column that
/// is added under such a name is that one.
fn refuse_with_other_columns(
    theirs: &Schema,
    schema: &Schema,
    moves: &ColumnMoves,
) -> Result<(), Error> {
    let stays = |name: &str| moves.touched().all(|gone| gone != name);
    let there = |field: &FieldRef| {
        let name = field.name();
        let mut all = theirs.fields().iter().map(|f| f.name().as_str());
        let found = all.find(|own| own.is_same_name(name) && stays(own));
        found.filter(|own| moves.origin(name) != Some(own))
    };
    match schema.fields().iter().find_map(there) {
        Some(column) => Err(Error::Refused(format!(
            "another writer has given the table a column of that name, column={column}; take another name, or add that column to the contract first (ALTER TABLE .. ADD COLUMN)"
        ))),
        None => Ok(()),
    }
}

/// A constraint that another writer has put on the table names a column in its own SQL, which is not read here.
fn refuse_with_constraints(
    configuration: &HashMap<String, String>,
    own: &BTreeMap<String, String>,
    moves: &ColumnMoves,
) -> Result<(), Error> {
    let mut constraints = configuration
        .iter()
        .filter(|(key, _)| !own.contains_key(*key))
        .filter_map(|(key, sql)| Some((key.strip_prefix("delta.constraints.")?, sql)));
    let named = |sql: &str, column: &str| {
        if !is_word(column) {
            return sql.folded_name().contains(&column.folded_name());
        }
        let mut words = sql.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word.is_same_name(column))
    };
    let found = constraints.find_map(|(name, sql)| {
        let column = moves.touched().find(|column| named(sql, column))?;
        Some((name, column))
    });
    match found {
        Some((name, column)) => Err(Error::Refused(format!(
            "the constraint {name} of another writer names column {column}; drop it there first"
        ))),
        None => Ok(()),
    }
}
