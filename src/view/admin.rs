//! What statements do to views: create, drop, refresh, alter.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use chrono::NaiveDate;

use super::{Views, gone, is_view};
use crate::catalog::ddl_lock::Patience;
use crate::catalog::lifecycle;
use crate::catalog::running::Work;
use crate::catalog::table::Table;
use crate::catalog::view::Snapshot;
use crate::dataset::{
    Alteration, Column, ColumnType, Contract, EVENT_DATE, ViewDeclaration, ViewSettings, ViewSpec,
};
use crate::fault::{Fault, Kind};
use crate::flush;
use crate::query::place::{place_of, with_place};
use crate::query::view::Definition;
use crate::sql::names_it;
use crate::types::{TableName, check_name, is_word};

/// Where a refresh on demand gives up on a source that changes as fast as it refreshes.
const ROUNDS_MAX: usize = 5;

impl Views {
    /// # Errors
    /// INVALID_ARGUMENT with place and way out for a query that no view can be; ALREADY_EXISTS.
    pub async fn create(
        &self,
        view: ViewDeclaration,
        if_not_exists: bool,
        or_replace: bool,
    ) -> Result<(), Fault> {
        if let Ok(there) = self.shared.table(&view.name) {
            if if_not_exists {
                return Ok(());
            }
            if or_replace && is_view(&there) {
                return self.query(&view.name, view.sql, Some(view.settings)).await;
            }
            return Err(Fault::new(
                Kind::AlreadyExists,
                "table_exists",
                format!(
                    "the name is taken, view={}; drop it first, or say IF NOT EXISTS or, for a view, OR REPLACE",
                    view.name
                ),
            ));
        }
        let contract = self.contract(&view).await?;
        lifecycle::create(&self.shared, contract, if_not_exists).await?;
        Ok(())
    }

    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION while other views read it.
    pub async fn remove(&self, name: &TableName, if_exists: bool) -> Result<(), Fault> {
        let Ok(table) = self.shared.table(name) else {
            return if if_exists { Ok(()) } else { Err(gone(name)) };
        };
        if !is_view(&table) {
            return Err(Fault::invalid(
                "not_a_view",
                format!("{name} is a table; use DROP TABLE"),
            ));
        }
        lifecycle::drop(&self.shared, name, if_exists).await?;
        self.forget(&table);
        Ok(())
    }

    /// Drops every view that reads a table, those that read them first. Each is a statement of its own: one that cannot be
    /// dropped leaves those above it gone.
    ///
    /// # Errors
    /// As [`Views::remove`].
    pub async fn remove_readers(&self, name: &TableName) -> Result<(), Fault> {
        let mut left = self.shared.readers(name);
        while let Some(next) = left.last().cloned() {
            let above = self.shared.readers(&next);
            if above.is_empty() {
                self.remove(&next, true).await?;
                left.pop();
            } else {
                left.extend(above);
            }
        }
        Ok(())
    }

    /// Commits the rows that the view's source has hot, and stores every closed bucket that they or others changed. With a
    /// `day` (UTC) its buckets are computed again, and they and all before them are stored even if they were open.
    /// Returns how many buckets were computed.
    ///
    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION for a day that is frozen; ABORTED `table_busy` after `query.timeout`, also when a refresh
    /// that does not end holds the view; the store's.
    pub async fn refresh_now(
        &self,
        name: &TableName,
        full: bool,
        day: Option<NaiveDate>,
    ) -> Result<u64, Fault> {
        let table = self.shared.table(name).map_err(|_| gone(name))?;
        let mut chain = vec![table.clone()];
        while let Some(below) = chain.last().and_then(|t| t.contract().view.clone()) {
            chain.push(self.shared.table(&below.source)?);
        }
        if !is_view(&table) {
            return Err(Fault::invalid(
                "not_a_view",
                format!(
                    "{name} is a table, whose rows are there as they were sent, and no materialized view; system.views lists those"
                ),
            ));
        }
        for below in &chain {
            let work = Work::Refresh(below.incarnation.get());
            self.shared.running.resume(&work);
        }
        if full {
            self.rebuild(&table).await?;
        }
        let mut buckets = 0;
        let times = day.and_then(|day| {
            let midnight = |day: NaiveDate| Some(day.and_hms_opt(0, 0, 0)?.and_utc());
            let (first, end) = (midnight(day)?, midnight(day.succ_opt()?)?);
            Some((first.timestamp_micros(), end.timestamp_micros()))
        });
        for table in chain.iter().rev() {
            if !is_view(table) {
                flush::commit_for_statement(&self.shared, table).await?;
                continue;
            }
            for round in 0..ROUNDS_MAX {
                let asked = times.filter(|_| round == 0);
                let outcome = self.refresh_for(table, asked).await?;
                buckets += outcome.buckets;
                if outcome.commits == 0 {
                    break;
                }
            }
        }
        Ok(buckets)
    }

    /// From here on no stored row counts; those of before the source's retention stay.
    async fn rebuild(&self, table: &Table) -> Result<(), Fault> {
        let _refreshing = self.alone(table).await?;
        let patience = Patience::of_statement(&self.shared.config);
        let cold = table.commit_lock_within(patience).await?;
        let snapshot = self.shared.visible.snapshot();
        let known = snapshot.tables.get(&table.name().folded());
        let Some(progress) = known.and_then(|v| v.progress.clone()) else {
            return Ok(());
        };
        let progress = crate::catalog::view::ViewProgress {
            source: None,
            ..(*progress).clone()
        };
        self.shared
            .visible
            .set_progress(table, cold.main.view(), Arc::new(progress));
        Ok(())
    }

    /// # Errors
    /// NOT_FOUND; INVALID_ARGUMENT for a setting that is not known.
    pub async fn set(&self, name: &TableName, settings: &[(String, String)]) -> Result<(), Fault> {
        let table = self.shared.table(name).map_err(|_| gone(name))?;
        if !is_view(&table) {
            return Err(gone(name));
        }
        let plan = |contract: &Contract| {
            let mut spec = contract.view.clone().ok_or_else(|| gone(name))?;
            for (key, value) in settings {
                let set = spec.settings.set(key, value);
                set.map_err(|problem| Fault::invalid("invalid_view", problem))?;
            }
            let json = serde_json::to_string(&spec).map_err(|e| Fault::internal(e.to_string()))?;
            let property = BTreeMap::from([("deltaplane.view".to_owned(), json)]);
            Ok(vec![Alteration::Set(property)])
        };
        crate::catalog::alter::alter(&self.shared, name, &plan).await
    }

    /// Another query under the same name: its buckets are computed by queries until they are stored, so that there is always
    /// an answer.
    ///
    /// # Errors
    /// As [`Views::create`]; FAILED_PRECONDITION, with its name, if a view that reads this one could not be computed from it as
    /// it is now.
    pub async fn query(
        &self,
        name: &TableName,
        sql: String,
        settings: Option<ViewSettings>,
    ) -> Result<(), Fault> {
        let table = self.shared.table(name).map_err(|_| gone(name))?;
        let old = table.contract();
        let Some(spec) = &old.view else {
            return Err(gone(name));
        };
        let view = ViewDeclaration {
            name: old.table.clone(),
            settings: settings.unwrap_or(spec.settings),
            sql,
        };
        let next = self.contract(&view).await?;
        self.check_readers(&next).await?;
        lifecycle::replace(&self.shared, next).await?;
        self.forget(&table);
        Ok(())
    }

    /// Holds the views over a view against its next contract: each gives the columns that it has. They are computed anew from
    /// there on, by queries at once and by the refresh that finds its source to be another.
    async fn check_readers(&self, next: &Contract) -> Result<(), Fault> {
        let snapshot = self.engine.snapshot();
        let name = next.table.folded();
        let mut tables = (*snapshot.tables).clone();
        if let Some(view) = tables.get_mut(&name) {
            view.schema = next.table_schema();
            view.cold = Arc::new(view.cold.reshaped(view.schema.clone()));
            view.contract = Some(Arc::new(next.clone()));
            view.progress = None;
        }
        let then = Snapshot {
            tables: Arc::new(tables),
            ..snapshot.clone()
        };
        for reader in snapshot.tables.values() {
            let Some(contract) = &reader.contract else {
                continue;
            };
            let reads = |spec: &ViewSpec| spec.source.folded() == name;
            if !contract.view.as_ref().is_some_and(reads) {
                continue;
            }
            let Some(declared) = contract.view_declaration() else {
                continue;
            };
            let made = self.contract_over(&declared, &then).await;
            let problem = match made {
                Err(fault) => Some(fault.message),
                Ok(made) => difference(&contract.columns, &made.columns),
            };
            if let Some(problem) = problem {
                return Err(Fault::new(
                    Kind::Precondition,
                    "table_has_views",
                    format!(
                        "another view reads it and could not be computed any more, view={}, reader={}: {problem}; keep what it reads, or drop it first and create it again",
                        next.table, reader.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The table that holds the view's rows.
    async fn contract(&self, view: &ViewDeclaration) -> Result<Contract, Fault> {
        self.contract_over(view, &self.engine.snapshot()).await
    }

    async fn contract_over(
        &self,
        view: &ViewDeclaration,
        snapshot: &Snapshot,
    ) -> Result<Contract, Fault> {
        let definition = Definition::parse(&view.sql, view.name.schema(), snapshot)?;
        self.refuse_circle(view, &definition, snapshot)?;
        let schema = self.engine.describe_view(&definition, snapshot).await;
        let schema = schema.map_err(|fault| with_place(fault, &view.sql, None))?;
        let columns = columns(&schema, &definition, &view.sql)?;
        let spec = ViewSpec {
            sql: view.sql.clone(),
            source: definition.source.clone(),
            dimensions: definition.dimensions.clone(),
            time_column: definition.time_column.clone(),
            start_column: definition.start_column.clone(),
            bucket: definition.bucket,
            settings: view.settings,
        };
        let mut contract = Contract::plain(view.name.clone(), columns);
        contract.event_time = Some(definition.start_column);
        contract.partition_by = vec![EVENT_DATE.to_owned()];
        contract.view = Some(spec);
        contract
            .validate_self()
            .map_err(|e| Fault::invalid("invalid_view", e.to_string()))?;
        Ok(contract)
    }

    fn refuse_circle(
        &self,
        view: &ViewDeclaration,
        definition: &Definition,
        snapshot: &Snapshot,
    ) -> Result<(), Fault> {
        let name = &view.name;
        let mut way = vec![name.to_string()];
        let mut at = definition.source.clone();
        loop {
            way.push(at.to_string());
            if at.folded() == name.folded() {
                return Err(Fault::invalid(
                    "cyclic_view",
                    format!(
                        "the view would read itself: {}{}",
                        way.join(" reads "),
                        place_of(&view.sql, Some("FROM"), definition.source.table())
                    ),
                ));
            }
            let below = snapshot.tables.get(&at.folded());
            let below = below.and_then(|v| v.contract.as_ref()?.view.as_ref());
            match below {
                Some(spec) if way.len() < 64 => at = spec.source.clone(),
                _ => return Ok(()),
            }
        }
    }
}

/// The result's columns as a table's.
fn columns(schema: &Schema, definition: &Definition, sql: &str) -> Result<Vec<Column>, Fault> {
    let made = schema.fields().iter().enumerate().map(|(index, field)| {
        let name = field.name();
        let is_named = is_word(name) || names_it(sql, name);
        if !is_named || check_name(name).is_err() {
            return Err(Fault::invalid(
                "unnamed_column",
                format!(
                    "column {} of the view has no name of its own, expression={name}; say AS name",
                    index + 1
                ),
            ));
        }
        let is_window = *name == definition.start_column || *name == definition.end_column;
        let is_date = name.eq_ignore_ascii_case(EVENT_DATE);
        if is_date && !definition.dated {
            return Err(Fault::invalid(
                "reserved_column",
                format!(
                    "the server fills this column of a view, with the day on which the window starts, column={name}; give yours another name, or leave it out"
                ),
            ));
        }
        let data_type = if is_window {
            ColumnType::Timestamp
        } else {
            let plain = ColumnType::from_sent(field.data_type()).filter(|t| !t.is_nested());
            plain.ok_or_else(|| {
                Fault::invalid(
                    "invalid_view",
                    format!(
                        "a view cannot store this type, column={name}, type={}; CAST it",
                        field.data_type()
                    ),
                )
            })?
        };
        let mut column = Column::new(name.clone(), data_type);
        column.required = is_window || is_date;
        Ok(column)
    });
    made.collect()
}

/// How a view's columns would differ from those that it has.
fn difference(now: &[Column], then: &[Column]) -> Option<String> {
    let other = |c: &&Column| {
        let same = |t: &&Column| t.name == c.name && t.data_type == c.data_type;
        !then.iter().any(|t| same(&t))
    };
    let lost = now.iter().find(other)?;
    let becomes = then.iter().find(|t| t.name == lost.name);
    let becomes = becomes.map_or_else(|| "nothing".to_owned(), |t| t.data_type.to_string());
    Some(format!(
        "its column would become another, column={}, type={}, then={becomes}",
        lost.name, lost.data_type
    ))
}
