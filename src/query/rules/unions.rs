//! The columns of a UNION have the types in which all its parts meet.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::coerce_plan_expr_for_schema;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{LogicalPlan, Union};

use super::common_type_of::common_type;
use super::kinds::check_kinds;

/// A union whose inputs have the types that its columns have.
pub(super) fn united(union: Union) -> Result<Transformed<LogicalPlan>> {
    let Some((first, others)) = union.inputs.split_first() else {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    };
    let types = |n: usize| -> Vec<DataType> {
        let of = |input: &Arc<LogicalPlan>| {
            let fields = input.schema().fields();
            fields.get(n).map(|f| f.data_type().clone())
        };
        union.inputs.iter().filter_map(of).collect()
    };
    let mut fields = Vec::new();
    let mut differ = false;
    let columns = first.schema().fields().clone();
    for (n, field) in columns.iter().enumerate() {
        let types = types(n);
        check_kinds(&types, |part| {
            format!("{} of SELECT {}", field.name(), part + 1)
        })?;
        differ |= types.iter().any(|t| t != field.data_type());
        let joined = types
            .iter()
            .try_fold(field.data_type().clone(), |so_far, next| {
                type_union_coercion(&so_far, next)
            });
        // Without a type in common the engine says so, with its own words.
        let Some(data_type) = common_type(&types).or(joined) else {
            return Ok(Transformed::no(LogicalPlan::Union(union)));
        };
        let nullable = std::iter::once(first).chain(others).any(|input| {
            let field = input.schema().fields().get(n);
            field.is_none_or(|f| f.is_nullable())
        });
        fields.push((
            None,
            Arc::new(Field::new(field.name(), data_type, nullable)),
        ));
    }
    if !differ
        || others
            .iter()
            .any(|o| o.schema().fields().len() != fields.len())
    {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let target = DFSchema::new_with_metadata(fields, first.schema().metadata().clone())?;
    let inputs = union.inputs.iter().map(|input| {
        let plan = coerce_plan_expr_for_schema(input.as_ref().clone(), &target)?;
        Ok(Arc::new(plan))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union {
        inputs,
        schema: Arc::new(target),
    })))
}
