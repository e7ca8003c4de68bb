//! What an aggregate here has of DataFusion's own, which it stands in the place of.

/// Methods of `AggregateUDFImpl` that ask `self.of()`.
macro_rules! as_inner {
    () => {
        fn name(&self) -> &str {
            self.of().name()
        }

        fn aliases(&self) -> &[String] {
            self.of().aliases()
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.of().signature()
        }

        fn return_type(
            &self,
            types: &[arrow::datatypes::DataType],
        ) -> datafusion::common::Result<arrow::datatypes::DataType> {
            self.of().return_type(types)
        }

        fn return_field(
            &self,
            fields: &[arrow::datatypes::FieldRef],
        ) -> datafusion::common::Result<arrow::datatypes::FieldRef> {
            self.of().return_field(fields)
        }

        fn coerce_types(
            &self,
            types: &[arrow::datatypes::DataType],
        ) -> datafusion::common::Result<Vec<arrow::datatypes::DataType>> {
            self.of().coerce_types(types)
        }

        fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
            self.of().order_sensitivity()
        }

        fn reverse_expr(&self) -> datafusion::logical_expr::ReversedUDAF {
            datafusion::logical_expr::ReversedUDAF::Identical
        }

        fn is_descending(&self) -> Option<bool> {
            self.of().is_descending()
        }

        fn value_from_stats(
            &self,
            args: &datafusion::logical_expr::StatisticsArgs,
        ) -> Option<datafusion::common::ScalarValue> {
            self.of().value_from_stats(args)
        }

        fn set_monotonicity(
            &self,
            type_: &arrow::datatypes::DataType,
        ) -> datafusion::logical_expr::SetMonotonicity {
            self.of().set_monotonicity(type_)
        }
    };
}

pub(super) use as_inner;
