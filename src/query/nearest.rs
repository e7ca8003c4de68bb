//! Which table may have been meant by a name that no table has.

use crate::catalog::view::Snapshot;
use crate::validate::distance;

/// Tables and stored views of a snapshot.
pub(super) fn all_names(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let tables = snapshot.tables.values().map(|view| view.name.to_string());
    let views = snapshot.defined.views.values();
    tables.chain(views.map(|view| view.name.to_string()))
}

/// The end of an error about the table `asked`; empty if no name is like it. The schema may be another one: it is often left
/// out.
pub(super) fn nearest_table(asked: &str, names: impl Iterator<Item = String>) -> String {
    let own = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let table = own(asked);
    let most = (table.chars().count() / 3).max(1);
    let near = names
        .map(|name| (distance(&own(&name), &table), distance(&name, asked), name))
        .filter(|(of_table, ..)| *of_table <= most)
        .min();
    near.map_or_else(String::new, |(.., name)| format!("; nearest table: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_if_its_name_is_like_the_one_that_was_asked_for() {
        let names = [
            "lab.ty_quarantine",
            "reactor.raw",
            "information_schema.columns",
            "plant.raw",
        ];
        let nearest = |asked| nearest_table(asked, names.iter().map(|name| (*name).to_owned()));
        for (asked, near) in [
            ("reactor.rau", "reactor.raw"),
            ("public.raw", "plant.raw"),
            ("reaktor.raw", "reactor.raw"),
            ("information_schema.column", "information_schema.columns"),
        ] {
            assert_eq!(
                nearest(asked),
                format!("; nearest table: {near}"),
                "{asked}"
            );
        }
        assert_eq!(nearest("information_schema.key_column_usage"), "");
    }
}
