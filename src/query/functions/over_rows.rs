//! Which calls of a statement compute over several rows: aggregates and window functions.

use std::collections::HashSet;
use std::sync::LazyLock;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::Function;

/// Under all of their names.
static AGGREGATES: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let known = all_default_aggregate_functions();
    let names = known.iter().flat_map(|f| {
        let others = f.aliases().iter().map(String::as_str);
        std::iter::once(f.name()).chain(others)
    });
    names.map(str::to_owned).collect()
});

/// Is it a call of an aggregate or of a window function?
pub fn computes_over_rows(call: &Function) -> bool {
    call.over.is_some() || AGGREGATES.contains(&call.name.to_string().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use datafusion::sql::sqlparser::ast::Expr;

    use super::*;
    use crate::sql::parse_own_expr;

    #[test]
    fn aggregates_and_windows_are_told_from_functions_of_one_row() {
        for (text, expected) in [
            ("AVG(x)", true),
            ("mean(x)", true),
            ("stddev_samp(x)", true),
            ("percentile_cont(0.5) WITHIN GROUP (ORDER BY x)", true),
            ("row_number() OVER (ORDER BY x)", true),
            ("abs(x)", false),
            ("round(x)", false),
        ] {
            let expr = parse_own_expr(text).unwrap();
            let Expr::Function(call) = &expr else {
                panic!("{text}");
            };
            assert_eq!(computes_over_rows(call), expected, "{text}");
        }
        let own = super::super::AGGREGATES.split_whitespace();
        let missing: Vec<&str> = own.filter(|name| !AGGREGATES.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
