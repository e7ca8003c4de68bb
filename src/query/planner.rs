//! A statement's tree to DataFusion's plan. It is what DataFusion's own session does, which however is told nothing of
//! parameters: here those that are bound have their types from the start, so that every type in the plan follows from them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    DFSchema, ResolvedTableReference, Result, ScalarValue, TableReference, plan_datafusion_err,
};
use datafusion::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement;
use parking_lot::Mutex;

use super::cast_names;
use super::errors::external;
use super::recursive;
use super::rules::KeysOfRelations;
use super::same_names;
use crate::sql::parameter;

/// Plans one statement, perhaps several times with other types of its parameters.
pub(super) struct Planner<'a> {
    state: &'a SessionState,
    statement: Statement,
    tables: HashMap<ResolvedTableReference, Arc<dyn TableSource>>,
    /// Of parameters: table functions make their rows of them when they are planned.
    values: Option<&'a [ScalarValue]>,
    /// Parameters that table functions were given.
    given: Mutex<BTreeSet<usize>>,
    relations: [Arc<dyn RelationPlanner>; 1],
    /// The columns of each query that is called recursive, by its name.
    recursive: Mutex<HashMap<String, usize>>,
}

impl<'a> Planner<'a> {
    /// # Errors
    /// What looking up the statement's tables meets.
    pub(super) async fn new(
        state: &'a SessionState,
        statement: Statement,
        values: Option<&'a [ScalarValue]>,
    ) -> Result<Self> {
        let statement = DfStatement::Statement(Box::new(statement));
        let references = state.resolve_table_references(&statement)?;
        let mut tables = HashMap::with_capacity(references.len());
        for reference in references {
            let name = resolved(state, reference);
            if tables.contains_key(&name) {
                continue;
            }
            if let Ok(schema) = state.schema_for_ref(name.clone())
                && let Some(table) = schema.table(&name.table).await?
            {
                tables.insert(name, provider_as_source(table));
            }
        }
        let DfStatement::Statement(statement) = statement else {
            return Err(plan_datafusion_err!("no statement of SQL"));
        };
        Ok(Planner {
            state,
            statement: *statement,
            tables,
            values,
            given: Mutex::default(),
            relations: [Arc::new(KeysOfRelations::default())],
            recursive: Mutex::default(),
        })
    }

    /// `types`: of the parameters, in order; of the others the planner tells what their neighbours do.
    ///
    /// # Errors
    /// What the SQL gets wrong.
    pub(super) fn plan(&self, types: Vec<Option<FieldRef>>) -> Result<LogicalPlan> {
        let plan = self.plan_of_names(types.clone())?;
        self.check_recursion(types)?;
        Ok(plan)
    }

    fn check_recursion(&self, types: Vec<Option<FieldRef>>) -> Result<()> {
        let columns = self.recursive.lock().clone();
        if columns.is_empty() {
            return Ok(());
        }
        let mut statement = self.statement.clone();
        recursive::tell_terms(&mut statement, &columns).map_err(external)?;
        match self.plan_of(statement, types) {
            Ok(plan) => recursive::check_terms(&plan),
            // It means the same: whatever else is wrong with it has been said.
            Err(_) => Ok(()),
        }
    }

    fn plan_of_names(&self, types: Vec<Option<FieldRef>>) -> Result<LogicalPlan> {
        let first = self.plan_of(self.statement.clone(), types.clone());
        let again = match &first {
            Ok(plan) => cast_names::has_one_name(plan) || cast_names::is_called_as_a_cast(plan),
            Err(error) => cast_names::is_one_name(error),
        };
        if !again {
            return first;
        }
        let mut statement = self.statement.clone();
        if cast_names::tell_apart(&mut statement).map_err(external)?
            && let Ok(plan) = self.plan_of(statement.clone(), types.clone())
        {
            return Ok(plan);
        }
        match first.is_err() && same_names::mark_unnamed(&mut statement) {
            true => self.plan_of(statement, types).or(first),
            false => first,
        }
    }

    fn plan_of(&self, statement: Statement, types: Vec<Option<FieldRef>>) -> Result<LogicalPlan> {
        let mut context = PlannerContext::new().with_prepare_param_data_types(types);
        SqlToRel::new_with_options(self, parser_options(self.state))
            .sql_statement_to_plan_with_context(statement, &mut context)
    }

    /// Parameters that table functions were given: they stand nowhere in the plan.
    pub(super) fn given(&self) -> BTreeSet<usize> {
        self.given.lock().clone()
    }

    /// The value of a table function's argument; a number of any kind while none is bound.
    fn valued(&self, argument: Expr) -> Result<Expr> {
        let done = argument.transform(|expr| {
            let Expr::Placeholder(placeholder) = &expr else {
                return Ok(Transformed::no(expr));
            };
            let Some(n) = parameter(&placeholder.id) else {
                return Ok(Transformed::no(expr));
            };
            self.given.lock().insert(n);
            let value = match self.values {
                Some(values) => values.get(n - 1).cloned(),
                None => Some(ScalarValue::Int64(Some(0))),
            };
            Ok(value.map_or_else(
                || Transformed::no(expr.clone()),
                |value| Transformed::yes(Expr::Literal(value, None)),
            ))
        });
        done.map(|done| done.data)
    }
}

fn resolved(state: &SessionState, reference: TableReference) -> ResolvedTableReference {
    let catalog = &state.config_options().catalog;
    reference.resolve(&catalog.default_catalog, &catalog.default_schema)
}

fn parser_options(state: &SessionState) -> ParserOptions {
    let options = &state.config_options().sql_parser;
    ParserOptions {
        parse_float_as_decimal: options.parse_float_as_decimal,
        enable_ident_normalization: options.enable_ident_normalization,
        enable_options_value_normalization: options.enable_options_value_normalization,
        support_varchar_with_length: options.support_varchar_with_length,
        map_string_types_to_utf8view: options.map_string_types_to_utf8view,
        collect_spans: options.collect_spans,
        default_null_ordering: options.default_null_ordering.as_str().into(),
    }
}

impl ContextProvider for Planner<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let name = resolved(self.state, name);
        let found = self.tables.get(&name).cloned();
        found.ok_or_else(|| plan_datafusion_err!("table '{name}' not found"))
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> Result<Arc<dyn TableSource>> {
        let function = self.state.table_functions().get(name).cloned();
        let function =
            function.ok_or_else(|| plan_datafusion_err!("table function '{name}' not found"))?;
        let context = SimplifyContext::builder()
            .with_config_options(self.state.config_options().clone())
            .with_query_execution_start_time(
                self.state.execution_props().query_execution_start_time,
            )
            .build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let args = args.into_iter().map(|argument| {
            let argument = simplifier.coerce(self.valued(argument)?, &schema)?;
            simplifier.simplify(argument)
        });
        let args = args.collect::<Result<Vec<_>>>()?;
        let args = TableFunctionArgs::new(&args, self.state);
        Ok(provider_as_source(
            function.create_table_provider_with_args(args)?,
        ))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        let columns = schema.fields().len();
        self.recursive.lock().insert(name.to_owned(), columns);
        Ok(provider_as_source(Arc::new(CteWorkTable::new(
            name, schema,
        ))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        let functions = self.state.higher_order_functions();
        functions.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
