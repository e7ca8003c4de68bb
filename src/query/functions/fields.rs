//! Fields of a struct. Their names match as names of columns do: one that is spelled so wins, a single one without regard to case
//! is taken.

use arrow::datatypes::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, TableReference};
use datafusion::functions::core::get_field;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, LogicalPlan, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::fault::{Fault, Kind};
use crate::query::errors::external;
use crate::types::SameName;

#[derive(Debug)]
pub struct FieldPlanner;

/// The field's own spelling, with its type. None: there is no such field, or several.
fn spelled<'a>(of: &'a DataType, name: &str) -> Option<(&'a str, &'a DataType)> {
    let DataType::Struct(fields) = of else {
        return None;
    };
    let exact = fields.iter().find(|f| f.name() == name);
    let found = exact.or_else(|| {
        let mut alike = fields.iter().filter(|f| f.name().is_same_name(name));
        match (alike.next(), alike.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    })?;
    Some((found.name(), found.data_type()))
}

impl ExprPlanner for FieldPlanner {
    fn plan_field_access(
        &self,
        mut raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if let GetFieldAccess::NamedStructField { name } = &mut raw.field_access
            && let ScalarValue::Utf8(Some(text)) = name
            && let Ok(of) = raw.expr.get_type(schema)
            && let Some((own, _)) = spelled(&of, text)
        {
            *name = ScalarValue::from(own);
        }
        Ok(PlannerResult::Original(raw))
    }

    /// `column.field.field`
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut expr = Expr::Column(Column::from((qualifier, field)));
        let mut of = Some(field.data_type());
        for name in nested_names {
            let found = of.and_then(|of| spelled(of, name));
            let own = found.map_or(name.as_str(), |(own, _)| own);
            of = found.map(|(_, data_type)| data_type);
            expr = get_field().call(vec![expr, lit(own)]);
        }
        Ok(PlannerResult::Planned(expr))
    }
}

/// Refuses `unnest` of a struct that may be null while a field of it is never null: DataFusion takes that field for one that is
/// never null behind it, and `IS NULL` of it for false.
#[derive(Debug)]
pub struct UnnestedFields;

impl AnalyzerRule for UnnestedFields {
    fn name(&self) -> &str {
        "unnested_fields"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            let LogicalPlan::Unnest(unnest) = node else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let input = unnest.input.schema();
            for at in &unnest.struct_type_columns {
                let field = input.field(*at);
                if let DataType::Struct(fields) = field.data_type()
                    && field.is_nullable()
                    && let Some(required) = fields.iter().find(|f| !f.is_nullable())
                {
                    return Err(external(Fault::new(
                        Kind::Unimplemented,
                        "not_implemented",
                        format!(
                            "unnest of a struct that may be null and whose field {} is NOT NULL; name the fields, as in SELECT gps.lat, gps.lon",
                            required.name()
                        ),
                    )));
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}
