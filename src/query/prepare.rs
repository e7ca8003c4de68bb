//! A statement's tree to a plan whose types are known, and what is announced of it before it runs. It reads tables by the names that the
//! session's catalogue has, and does not know who made it (`world`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SQLOptions;
use datafusion::sql::sqlparser::ast::{Expr, Statement};

use super::broken_view::refuse_broken;
use super::columns::wire_of;
use super::errors::fault_of;
use super::functions::{each_column_once, write_out};
use super::guessed::guessed;
use super::limits_given;
use super::long_numbers;
use super::names::{self, Resolved};
use super::nearest::{all_names, nearest_table};
use super::open_types;
use super::parameters::{self, check_count, driver_type};
use super::planner::Planner;
use super::rules;
use super::set_names;
use super::spelled::spell_out;
use crate::catalog::view::Snapshot;
use crate::fault::{Fault, Kind};
use crate::sql::{self, TextLimits, placeholder};

/// A statement that has been understood and not run.
#[derive(Clone, Debug)]
pub struct Planned {
    pub wire: SchemaRef,
    /// One nullable field a parameter, in order.
    pub parameters: SchemaRef,
}

/// One statement's session.
pub(super) struct Session {
    pub(super) state: SessionState,
    pub(super) snapshot: Snapshot,
    pub(super) others: Arc<Vec<(String, Vec<String>)>>,
    /// How many parameters the text has.
    pub(super) parameters: usize,
    /// Has the statement read a stored view?
    pub(super) expanded: Arc<AtomicBool>,
}

impl Session {
    /// # Errors
    /// What a view that it reads meets; RESOURCE_EXHAUSTED: views over views read too much.
    fn readable(&self, plan: &LogicalPlan) -> Result<(), Fault> {
        refuse_broken(plan)?;
        if self.expanded.load(Ordering::Relaxed) {
            refuse_large(plan)?;
        }
        Ok(())
    }

    /// A query's plan, with the types that its parts have when it runs, and the bound values in it. As it is read, a column of
    /// a union has the first SELECT's type, and a CASE its first branch's.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: values that the statement does not take, parts that have no type in common; UNIMPLEMENTED: it is no
    /// query.
    pub(super) async fn plan(
        &self,
        statement: Statement,
        values: &[ScalarValue],
    ) -> Result<LogicalPlan, Fault> {
        only_query(&statement)?;
        self.plan_statement(statement, values).await
    }

    pub(super) async fn plan_statement(
        &self,
        mut statement: Statement,
        values: &[ScalarValue],
    ) -> Result<LogicalPlan, Fault> {
        check_count(self.parameters, values.len())?;
        spell_out(&mut statement, Some(values))?;
        let (mut statement, counts) = self.resolved(statement)?;
        let mut values = values.to_vec();
        for n in counts {
            if let Some(value) = n.checked_sub(1).and_then(|at| values.get_mut(at)) {
                *value = parameters::count(n, value)?;
            }
        }
        limits_given::put(&mut statement, &values);
        let fields: Vec<Option<FieldRef>> = values
            .iter()
            .zip(1..)
            .map(|(value, n)| Some(parameters::field(n, value.data_type())))
            .collect();
        let planner = Planner::new(&self.state, statement, Some(&values));
        let planner = planner.await.map_err(|e| self.name_hint(fault_of(e)))?;
        let told = |error| {
            let mut fault = self.name_hint(fault_of(error));
            if !values.is_empty() && fault.kind == Kind::Invalid && fault.reason != "parameters" {
                fault.message = format!("{}; {}", fault.message, parameters::told(&values));
            }
            fault
        };
        let plan = planner.plan(fields.clone()).map_err(told)?;
        self.readable(&plan)?;
        verified(&plan)?;
        if values.is_empty() {
            return self.coerced(plan);
        }
        let plan = parameters::typed(plan, &fields).map_err(told)?;
        let plan = self.analyzed(plan).map_err(told)?;
        parameters::bound(plan, &values).map_err(told)
    }

    /// What a query gives, and what its parameters are, before anything is bound. `known`: types of parameters, from 1, that
    /// the text does not tell.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub(super) async fn described(
        &self,
        mut statement: Statement,
        known: &BTreeMap<usize, DataType>,
    ) -> Result<Planned, Fault> {
        only_query(&statement)?;
        let lists = compared_with_lists(&statement);
        let results = open_types::results(&statement);
        let mut told = spell_out(&mut statement, None)?;
        let (statement, counts) = self.resolved(statement)?;
        told.extend(counts.into_iter().map(|n| (n, DataType::Int64)));
        told.extend(known.iter().map(|(n, t)| (*n, t.clone())));
        let planner = Planner::new(&self.state, statement, None);
        let planner = planner.await.map_err(|e| self.name_hint(fault_of(e)))?;
        let Some(plan) = self.plan_with_any(&planner, &mut told, &lists)? else {
            let told = |n| told.get(&n).map_or(DataType::Utf8, driver_type);
            let fields = (1..=self.parameters).map(|n| parameters::field(n, told(n)));
            let fields: Vec<FieldRef> = fields.collect();
            return Ok(Planned {
                wire: results,
                parameters: Arc::new(Schema::new(fields)),
            });
        };
        self.readable(&plan)?;
        verified(&plan)?;
        if self.parameters == 0 {
            return Ok(Planned {
                wire: wire_of(&self.coerced(plan)?),
                parameters: Arc::new(Schema::empty()),
            });
        }
        let types = parameters::told_types(&plan).map_err(fault_of)?;
        let wanted = self.analyzed(plan.clone()).ok();
        let wanted = wanted.and_then(|plan| parameters::wanted_types(&plan).ok());
        let wanted = wanted.unwrap_or_default();
        let given = planner.given();
        let fields = (1..=self.parameters).map(|n| {
            let number = given.contains(&n).then_some(&DataType::Int64);
            let known = told.get(&n).or(types.get(&n)).or(wanted.get(&n)).or(number);
            parameters::field(n, known.map_or(DataType::Utf8, driver_type))
        });
        let fields: Vec<FieldRef> = fields.collect();
        // The columns are those of rows to which values of these types are bound. A parameter whose type nothing tells counts
        // as a text, which may not fit its place: whether its value fits is said when it is bound.
        let bound = planner.plan(fields.iter().cloned().map(Some).collect());
        let bound = bound.and_then(|bound| self.analyzed(bound));
        Ok(Planned {
            wire: wire_of(bound.as_ref().unwrap_or(&plan)),
            parameters: Arc::new(Schema::new(fields)),
        })
    }

    /// A plan of a statement to which nothing is bound. A parameter of unknown type has the type of what it stands beside, or
    /// none, or it is a text, whichever can be planned; or a type is found for it. None: no types were found, and values may have some with
    /// which it can be planned. `lists`: parameters that have to be lists, of something.
    fn plan_with_any(
        &self,
        planner: &Planner<'_>,
        told: &mut BTreeMap<usize, DataType>,
        lists: &BTreeSet<usize>,
    ) -> Result<Option<LogicalPlan>, Fault> {
        let items = [DataType::Int64, DataType::Utf8, DataType::Float64];
        let tries = if lists.is_empty() { 1 } else { items.len() };
        let mut first = None;
        for item in items.iter().take(tries) {
            for n in lists {
                let list = DataType::List(Arc::new(Field::new_list_field(item.clone(), true)));
                told.insert(*n, list);
            }
            for unknown in [None, Some(DataType::Null), Some(DataType::Utf8)] {
                match planner.plan(self.fields(told, unknown.as_ref())) {
                    Ok(plan) => return Ok(Some(plan)),
                    Err(error) => first = first.or(Some(error)),
                }
                if self.parameters == 0 {
                    break;
                }
            }
        }
        if self.parameters > 0 {
            let told = self.fields(told, None);
            if let Some(plan) = guessed(planner, &told) {
                return Ok(Some(plan));
            }
            match open_types::wrong_with_any_types(planner, &told) {
                None => return Ok(None),
                Some(error) => return Err(self.name_hint(fault_of(error))),
            }
        }
        let error = first.map_or_else(|| Fault::internal("nothing was planned"), fault_of);
        Err(self.name_hint(error))
    }

    /// `unknown`: the type of the parameters that are not told.
    fn fields(
        &self,
        told: &BTreeMap<usize, DataType>,
        unknown: Option<&DataType>,
    ) -> Vec<Option<FieldRef>> {
        let fields = (1..=self.parameters).map(|n| {
            let known = told.get(&n).or(unknown);
            known.map(|t| parameters::field(n, t.clone()))
        });
        fields.collect()
    }

    fn resolved(&self, statement: Statement) -> Result<(Statement, BTreeSet<usize>), Fault> {
        resolved(statement, &self.snapshot, &self.others)
    }

    /// # Errors
    /// INVALID_ARGUMENT: parts have no type in common.
    fn coerced(&self, plan: LogicalPlan) -> Result<LogicalPlan, Fault> {
        self.analyzed(plan).map_err(fault_of)
    }

    fn analyzed(&self, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
            return Ok(plan);
        }
        let options = self.state.config_options();
        self.state
            .analyzer()
            .execute_and_check(plan, options, |_, _| {})
    }

    /// Says which table may have been meant.
    fn name_hint(&self, mut fault: Fault) -> Fault {
        if fault.kind == Kind::NotFound {
            let asked = fault.message.split('\'').nth(1).unwrap_or_default();
            let asked = asked.trim_start_matches("deltaplane.");
            let others = self.others.iter().map(|(name, _)| name.clone());
            let hint = nearest_table(asked, all_names(&self.snapshot).chain(others));
            fault.message.push_str(&hint);
        }
        fault
    }
}

fn only_query(statement: &Statement) -> Result<(), Fault> {
    if matches!(statement, Statement::Query(_) | Statement::Explain { .. }) {
        return Ok(());
    }
    let problem = match statement {
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. } => {
            "a transaction is begun and ended by calls of the client, not by a statement; switch autocommit off and call commit or rollback (ADBC: autocommit=False, JDBC: setAutoCommit(false)). With autocommit each statement takes effect by itself".to_owned()
        }
        Statement::Savepoint { .. } | Statement::ReleaseSavepoint { .. } => {
            "savepoints are not supported; commit or roll back the whole transaction".to_owned()
        }
        Statement::Use(_) => {
            "USE is not supported; write schema.table, or set the session option schema by the client's own call (ADBC Python: connection.adbc_current_db_schema = 'name')".to_owned()
        }
        Statement::Set(_) => {
            "SET is not supported; options of a session are set by the client's own call: catalog, schema, deltaplane.timestamp_unit".to_owned()
        }
        _ => format!(
            "this statement is not supported; known: {}",
            sql::Kind::all_beginnings()
        ),
    };
    Err(Fault::new(
        Kind::Unimplemented,
        "unsupported_statement",
        problem,
    ))
}

fn verified(plan: &LogicalPlan) -> Result<(), Fault> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(fault_of)
}

/// What views over views read doubles where one is read twice: a plan over views is as large as a text may be.
///
/// # Errors
/// RESOURCE_EXHAUSTED `statement_too_large`.
fn refuse_large(plan: &LogicalPlan) -> Result<(), Fault> {
    let limit = TextLimits::current().relations;
    let mut found = 0;
    let walked = plan.apply_with_subqueries(|node| {
        found += usize::from(node.inputs().is_empty());
        Ok(if found > limit {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    walked.map_err(fault_of)?;
    if found <= limit {
        return Ok(());
    }
    Err(Fault::new(
        Kind::Exhausted,
        "statement_too_large",
        format!(
            "the views that the statement reads have more than {limit} tables and views in all; read fewer of them, keep a part as a table or a materialized view, or raise query.relations_max"
        ),
    ))
}

/// Parameters in `= ANY(?)` and its like.
fn compared_with_lists(statement: &Statement) -> BTreeSet<usize> {
    let mut lists = BTreeSet::new();
    sql::each_expr(statement, |expr| {
        if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = expr {
            lists.extend(placeholder(right));
        }
    });
    lists
}

/// The statement in words that the planner knows, its names resolved, and the parameters that count rows.
///
/// # Errors
/// INVALID_ARGUMENT for what is used wrongly, and for names that are not there; UNIMPLEMENTED for what has no such words.
pub(super) fn resolved(
    mut statement: Statement,
    snapshot: &Snapshot,
    others: &[(String, Vec<String>)],
) -> Result<(Statement, BTreeSet<usize>), Fault> {
    write_out(&mut statement, snapshot)?;
    rules::engine_types(&mut statement);
    set_names::keep(&mut statement);
    long_numbers::rewrite(&mut statement)?;
    let Resolved {
        mut statement,
        counts,
    } = names::resolve(statement, snapshot, others)?;
    each_column_once(&mut statement);
    Ok((statement, counts))
}
