//! What an aggregate here has of DataFusion's own, which it stands in the place of.

/// Methods of `AggregateUDFImpl` that ask `self.of()`: those of every aggregate here, and the named ones of `accumulator`,
/// `state_fields`, `groups` and `sliding`. `set_monotonicity` is not asked: what DataFusion takes from it, an order of the results of a
/// window, is wrong for frames that have no rows or nulls at first, that follow an order downwards, or that count rows by distance.
macro_rules! as_inner {
    (@ accumulator) => {
        fn accumulator(
            &self,
            args: datafusion::logical_expr::function::AccumulatorArgs,
        ) -> datafusion::common::Result<Box<dyn datafusion::logical_expr::Accumulator>> {
            self.of().accumulator(args)
        }
    };
    (@ state_fields) => {
        fn state_fields(
            &self,
            args: datafusion::logical_expr::function::StateFieldsArgs,
        ) -> datafusion::common::Result<Vec<arrow::datatypes::FieldRef>> {
            self.of().state_fields(args)
        }
    };
    (@ groups) => {
        as_inner!(@ groups_supported);

        fn create_groups_accumulator(
            &self,
            args: datafusion::logical_expr::function::AccumulatorArgs,
        ) -> datafusion::common::Result<Box<dyn datafusion::logical_expr::GroupsAccumulator>> {
            self.of().create_groups_accumulator(args)
        }
    };
    (@ groups_supported) => {
        fn groups_accumulator_supported(
            &self,
            args: datafusion::logical_expr::function::AccumulatorArgs,
        ) -> bool {
            self.of().groups_accumulator_supported(args)
        }
    };
    (@ sliding) => {
        fn create_sliding_accumulator(
            &self,
            args: datafusion::logical_expr::function::AccumulatorArgs,
        ) -> datafusion::common::Result<Box<dyn datafusion::logical_expr::Accumulator>> {
            self.of().create_sliding_accumulator(args)
        }
    };
    (@ identical) => {
        fn reverse_expr(&self) -> datafusion::logical_expr::ReversedUDAF {
            datafusion::logical_expr::ReversedUDAF::Identical
        }
    };
    ($($method:ident),*) => {
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

        fn is_nullable(&self) -> bool {
            self.of().is_nullable()
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

        fn is_descending(&self) -> Option<bool> {
            self.of().is_descending()
        }

        fn value_from_stats(
            &self,
            args: &datafusion::logical_expr::StatisticsArgs,
        ) -> Option<datafusion::common::ScalarValue> {
            self.of().value_from_stats(args)
        }

        fn default_value(
            &self,
            type_: &arrow::datatypes::DataType,
        ) -> datafusion::common::Result<datafusion::common::ScalarValue> {
            self.of().default_value(type_)
        }

        fn supports_null_handling_clause(&self) -> bool {
            self.of().supports_null_handling_clause()
        }

        fn supports_within_group_clause(&self) -> bool {
            self.of().supports_within_group_clause()
        }

        $(as_inner!(@ $method);)*
    };
}

pub(super) use as_inner;
