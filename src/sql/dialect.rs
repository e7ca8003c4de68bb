//! The SQL that is spoken here: sqlparser's generic dialect, with the precedence of `IS [NOT] DISTINCT FROM` mended, and
//! that of the operators on JSON as in PostgreSQL.
//!
//! sqlparser's `derive_dialect!` would spare the list of methods. It works within sqlparser's own crate only, because it reads
//! the trait's source from the folder of the crate that is compiled, and it overrides no method that parses.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::in_list;

pub(super) static DIALECT: Spoken = Spoken(GenericDialect);

/// How many IS may follow each other without parentheses before an `IS DISTINCT FROM`. Its left side is copied, so that a
/// long row of them would take time with the square of its length.
const IN_A_ROW: usize = 8;

#[derive(Debug)]
pub(super) struct Spoken(GenericDialect);

/// Asks the generic dialect. What it says yes to stands here: a new version of sqlparser may have more in `dialect/generic.rs`.
/// Left out is `supports_multiline_comment_hints`: `/*! .. */` is a comment, and not text that is hidden from who counts it.
macro_rules! as_generic {
    ($($method:ident,)*) => {
        $(fn $method(&self) -> bool {
            self.0.$method()
        })*
    };
}

impl Dialect for Spoken {
    /// The parser asks for the generic dialect by its type, too.
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.0.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }

    /// `->` and `->>` bind tighter than comparisons, `||` and arithmetic: `a ->> 'k' = 'v'` and `a ->> 'k' || '%'` take the value out
    /// first, as in PostgreSQL. The generic dialect reads `a ->> ('k' = 'v')`.
    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            Precedence::PgOther => self.0.prec_value(Precedence::MulDivModOp) + 1,
            other => self.0.prec_value(other),
        }
    }

    /// What becomes of it stands in `query/functions/clauses`.
    fn supports_order_by_all(&self) -> bool {
        true
    }

    /// sqlparser reads all that follows `IS DISTINCT FROM` as its right side: in `x IS DISTINCT FROM true AND y` the AND, too.
    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        if let Some(read) = in_list::parse(parser, left) {
            return Some(read);
        }
        let is_not = [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM];
        let negated = if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            false
        } else if parser.parse_keywords(&is_not) {
            true
        } else {
            return None;
        };
        if in_a_row(left) > IN_A_ROW {
            let place = parser.peek_token_ref().span.start;
            return Some(Err(ParserError::ParserError(format!(
                "more than {IN_A_ROW} IS in a row before IS DISTINCT FROM; put parentheses around some of them{place}"
            ))));
        }
        let right = match parser.parse_subexpr(self.prec_value(Precedence::Is)) {
            Ok(right) => Box::new(right),
            Err(error) => return Some(Err(error)),
        };
        let left = Box::new(left.clone());
        Some(Ok(if negated {
            Expr::IsNotDistinctFrom(left, right)
        } else {
            Expr::IsDistinctFrom(left, right)
        }))
    }

    as_generic! {
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions,
    }
}

fn in_a_row(mut expr: &Expr) -> usize {
    let mut count = 0;
    while let Expr::IsNull(left)
    | Expr::IsNotNull(left)
    | Expr::IsTrue(left)
    | Expr::IsNotTrue(left)
    | Expr::IsFalse(left)
    | Expr::IsNotFalse(left)
    | Expr::IsUnknown(left)
    | Expr::IsNotUnknown(left)
    | Expr::IsDistinctFrom(left, _)
    | Expr::IsNotDistinctFrom(left, _)
    | Expr::IsNormalized { expr: left, .. } = expr
    {
        expr = left;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::parser::parse_own_expr;

    /// The tree of a text, each operator in parentheses.
    fn tree(text: &str) -> String {
        use datafusion::sql::sqlparser::ast::Expr;
        fn shown(expr: &Expr) -> String {
            match expr {
                Expr::BinaryOp { left, op, right } => {
                    format!("({} {op} {})", shown(left), shown(right))
                }
                Expr::UnaryOp { op, expr } => format!("({op} {})", shown(expr)),
                Expr::IsDistinctFrom(l, r) => format!("({} != {})", shown(l), shown(r)),
                Expr::IsNotDistinctFrom(l, r) => format!("({} == {})", shown(l), shown(r)),
                Expr::IsNull(e) => format!("({} IS NULL)", shown(e)),
                Expr::IsTrue(e) => format!("({} IS TRUE)", shown(e)),
                Expr::Nested(e) => shown(e),
                other => other.to_string(),
            }
        }
        shown(&parse_own_expr(text).unwrap())
    }

    #[test]
    fn is_distinct_from_binds_as_every_other_is() {
        for (text, expected) in [
            ("a IS DISTINCT FROM true AND b", "((a != true) AND b)"),
            (
                "a IS NOT DISTINCT FROM 'x' AND b = 1",
                "((a == 'x') AND (b = 1))",
            ),
            ("a IS DISTINCT FROM b OR c", "((a != b) OR c)"),
            (
                "c AND a IS DISTINCT FROM b AND d",
                "((c AND (a != b)) AND d)",
            ),
            ("NOT a IS DISTINCT FROM b AND c", "((NOT (a != b)) AND c)"),
            ("a IS DISTINCT FROM b + 1 AND c", "((a != (b + 1)) AND c)"),
            ("a + 1 IS NOT DISTINCT FROM b", "((a + 1) == b)"),
            ("a IS DISTINCT FROM (b AND c)", "(a != (b AND c))"),
            ("a IS DISTINCT FROM b IS NULL", "((a != b) IS NULL)"),
            ("a IS TRUE IS DISTINCT FROM b", "((a IS TRUE) != b)"),
            (
                "a is distinct from b and c is not distinct from d or e",
                "(((a != b) AND (c == d)) OR e)",
            ),
            (
                "CASE WHEN a IS DISTINCT FROM b THEN 1 ELSE 0 END",
                "CASE WHEN a IS DISTINCT FROM b THEN 1 ELSE 0 END",
            ),
        ] {
            assert_eq!(tree(text), expected, "{text}");
            // What is written out reads back as it was.
            let written = parse_own_expr(text).unwrap().to_string();
            assert_eq!(tree(&written), expected, "{written}");
        }
    }

    #[test]
    fn a_row_of_them_ends_before_it_costs() {
        let row = |n: usize| format!("a{}", " IS DISTINCT FROM b IS NULL".repeat(n));
        parse_own_expr(&row(5)).unwrap();
        let fault = parse_own_expr(&row(6)).unwrap_err();
        assert!(fault.message.contains("put parentheses"), "{fault}");
        let separate = vec!["a IS DISTINCT FROM b"; 200].join(" AND ");
        parse_own_expr(&separate).unwrap();
    }
}
