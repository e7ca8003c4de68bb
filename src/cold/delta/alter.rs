//! A table's schema and properties change, in one version without rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::kernel::{Action, Metadata, StructType};
use deltalake::protocol::DeltaOperation;

use super::super::{Error, store_error};
use super::commit::{ATTEMPTS, properties_of};
use super::error::commit_error;
use super::protocol;
use super::schema::plain_schema;
use super::table::{ColdTable, OWNER, table_with};
use crate::nested::same_values;

impl ColdTable {
    /// Makes schema and properties the table's, in one version without rows. Properties that are neither given nor in
    /// `dropped` stay.
    ///
    /// # Errors
    /// `Fenced`, `Store`: nothing was changed.
    pub async fn alter(
        &mut self,
        schema: SchemaRef,
        properties: BTreeMap<String, String>,
        dropped: &[String],
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
            match self.try_alter(&schema, &properties, dropped).await {
                Ok(()) => return self.conform_to(schema),
                Err(error) => {
                    last = Some(error);
                    self.refresh().await?;
                    if properties
                        .iter()
                        .all(|(k, v)| self.properties().get(k) == Some(v))
                    {
                        return self.conform_to(schema);
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::Store("not tried".to_owned())))
    }

    async fn try_alter(
        &mut self,
        schema: &SchemaRef,
        properties: &BTreeMap<String, String>,
        dropped: &[String],
    ) -> Result<(), Error> {
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let metadata = snapshot.metadata();
        let mut configuration = metadata.configuration().clone();
        configuration.retain(|key, _| !dropped.contains(key));
        configuration.extend(properties.iter().map(|(k, v)| (k.clone(), v.clone())));
        // Columns of Delta's own that the contract does not know stay where they are, behind the known ones.
        let theirs = snapshot.snapshot().arrow_schema();
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.extend(
            theirs
                .fields()
                .iter()
                .filter(|f| schema.field_with_name(f.name()).is_err())
                .cloned(),
        );
        let all = arrow::datatypes::Schema::new(fields);
        let kernel_schema: StructType = (&all).try_into_kernel().map_err(store_error)?;
        let schema_string = serde_json::to_string(&kernel_schema).map_err(store_error)?;
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
        // The new columns are Delta's from here on; `conform_to` orders them as the contract does.
        self.schema = plain_schema(
            &self
                .delta
                .snapshot()
                .map_err(store_error)?
                .snapshot()
                .arrow_schema(),
        );
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
