//! What a schema, a table, a column or a field may be called, which names are the same, and how a name is written: the only
//! place that says so. Its folder is `folder_name`'s business.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::folder_name;
pub use crate::folder_name::is_word;

/// The schema of users' own tables, and of a name without one where nobody has said another.
pub const PUBLIC: &str = "public";
/// Characters of a name, as in PostgreSQL; four bytes each at most.
const CHARS_MAX: usize = 63;
/// Begins names that a plan needs beside those of tables and columns.
const OWN: &str = "deltaplane.";
/// A later life of a table has `~` and a number behind its folder's name.
const LIFE_BYTES_MAX: usize = 1 + 20;

/// `name` is not one that a schema, table, column or field can bear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid name, name={name:?}: {problem}")]
pub struct NameError {
    pub name: String,
    pub problem: Cow<'static, str>,
}

fn refused<T>(name: &str, problem: impl Into<Cow<'static, str>>) -> Result<T, NameError> {
    Err(NameError {
        name: name.chars().take(80).collect(),
        problem: problem.into(),
    })
}

/// Checks what any name has to keep to. It may be any text in quotes otherwise.
///
/// # Errors
/// It is empty, has more than 63 characters, begins or ends with white space, has a control character, or is the server's own.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return refused(name, "a name has at least one character");
    }
    let chars = name.chars().count();
    if chars > CHARS_MAX {
        return refused(
            name,
            format!("it has {chars} characters, and {CHARS_MAX} are allowed; take a shorter one"),
        );
    }
    let begin = name.get(..OWN.len());
    if begin.is_some_and(|begin| begin.eq_ignore_ascii_case(OWN)) {
        return refused(
            name,
            "names that begin with deltaplane. are the server's own; take another name",
        );
    }
    if name.trim() != name {
        return refused(
            name,
            "it begins or ends with white space; leave the space out",
        );
    }
    match name.chars().find(|c| c.is_control()) {
        Some(c) => refused(
            name,
            format!(
                "it has the control character U+{:04X}; leave it out",
                u32::from(c)
            ),
        ),
        None => Ok(()),
    }
}

/// For names that are no identifiers of SQL, such as those of webhooks.
///
/// # Errors
/// It is not `[A-Za-z_][A-Za-z0-9_]*` of at most 63 characters.
pub fn check_word(name: &str) -> Result<(), NameError> {
    match is_word(name) && name.len() <= CHARS_MAX {
        true => Ok(()),
        false => refused(
            name,
            "it is made of letters A to Z, digits and _, begins with no digit, and has at most 63 characters",
        ),
    }
}

/// Names are the same if they differ in nothing but case.
pub trait SameName {
    /// The form in which names that are the same are equal: lower case, as SQL's `lower` has it.
    fn folded_name(&self) -> String;
    fn is_same_name(&self, other: &str) -> bool;
}

impl SameName for str {
    fn folded_name(&self) -> String {
        self.to_lowercase()
    }

    fn is_same_name(&self, other: &str) -> bool {
        match self.is_ascii() && other.is_ascii() {
            true => self.eq_ignore_ascii_case(other),
            false => self.to_lowercase() == other.to_lowercase(),
        }
    }
}

/// The name in SQL text: always in quotes.
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name where people read it, and where it may be read back: in quotes only if it needs them.
pub fn shown_name(name: &str) -> Cow<'_, str> {
    match is_word(name) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(quote_name(name)),
    }
}

/// Names with a sign between them, such that [`split_names`] finds them again.
pub fn join_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>, sign: char) -> String {
    let mut out = String::new();
    for (at, name) in names.into_iter().enumerate() {
        let name = name.as_ref();
        if at > 0 {
            out.push(sign);
        }
        match name.contains([sign, '"']) || name.trim() != name {
            true => out.push_str(&quote_name(name)),
            false => out.push_str(name),
        }
    }
    out
}

/// The names that stand between signs. In quotes (`"a,b"`) a sign is a part of the name.
pub fn split_names(text: &str, sign: char) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = match quoted_head(rest.trim_start()) {
            Some((name, after)) if after.is_empty() || after.starts_with(sign) => (name, after),
            _ => {
                let end = rest.find(sign).unwrap_or(rest.len());
                let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                (name.trim().to_owned(), after)
            }
        };
        out.push(name);
        match after.strip_prefix(sign) {
            Some(after) => rest = after,
            None => return out,
        }
    }
}

/// A name in quotes that the text begins with, and what follows it, without spaces in between.
fn quoted_head(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after.trim_start())),
        }
    }
}

/// Ends the name of the table that keeps another one's rejected rows. Reserved.
pub const QUARANTINE_SUFFIX: &str = "_quarantine";

/// `<schema>.<table>`. Keeps its case; compare without regard to case through [`TableName::folded`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    schema: Arc<str>,
    table: Arc<str>,
}

/// Is `mark` in `table@mark` another state of the table?
fn is_mark(mark: &str) -> bool {
    let number = mark.strip_prefix(['v', 'V', 't', 'T']);
    mark.eq_ignore_ascii_case("rows")
        || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// `table@mark` as the table and the mark; none: the name means no other state of a table.
pub fn without_mark(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('@').filter(|(_, mark)| is_mark(mark))
}

fn check_folder(name: &str, bytes_max: usize) -> Result<(), NameError> {
    // No character takes more than three times its bytes.
    if 3 * name.len() <= bytes_max {
        return Ok(());
    }
    let bytes = folder_name::encoded(name).len();
    if bytes <= bytes_max {
        return Ok(());
    }
    refused(
        name,
        format!(
            "its folder's name takes {bytes} bytes, and {bytes_max} are allowed; take a shorter one"
        ),
    )
}

impl TableName {
    /// # Errors
    /// One of them can be no name, its folder's name would be too long, or `table` means a version (`t@v5`).
    pub fn new(schema: &str, table: &str) -> Result<Self, NameError> {
        check_name(schema)?;
        check_name(table)?;
        check_folder(schema, folder_name::BYTES_MAX)?;
        check_folder(table, folder_name::BYTES_MAX - LIFE_BYTES_MAX)?;
        if without_mark(table).is_some() {
            return refused(
                table,
                "it ends like t@v5, which means version 5 of t; take another name",
            );
        }
        Ok(TableName {
            schema: schema.into(),
            table: table.into(),
        })
    }

    /// As a query may spell it: also `table@mark`, as [`TableName::variant`] makes it.
    pub fn in_query(schema: &str, table: &str) -> Result<Self, NameError> {
        match table.rsplit_once('@') {
            Some((table, mark)) if is_mark(mark) => {
                Ok(TableName::new(schema, table)?.variant(mark))
            }
            _ => TableName::new(schema, table),
        }
    }

    /// Reads `schema.table`, where a part may stand in quotes as in SQL: what [`TableName`] is shown as, and what people type.
    /// `schema`: that of a name without one.
    ///
    /// # Errors
    /// There are more parts than two, or one can be no name.
    pub fn read(text: &str, schema: &str) -> Result<Self, NameError> {
        let (schema, table) = Self::parts(text, schema)?;
        TableName::new(&schema, &table)
    }

    /// [`TableName::read`] for a name that [`TableName::in_query`] takes.
    ///
    /// # Errors
    /// As there.
    pub fn read_in_query(text: &str, schema: &str) -> Result<Self, NameError> {
        let (schema, table) = Self::parts(text, schema)?;
        TableName::in_query(&schema, &table)
    }

    fn parts(text: &str, schema: &str) -> Result<(String, String), NameError> {
        let mut parts = split_names(text, '.').into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(table), None, _) => Ok((schema.to_owned(), table)),
            (Some(schema), Some(table), None) => Ok((schema, table)),
            _ => refused(
                text,
                "a name is schema.table; a part with a dot in it stands in quotes, as in \"a.b\".c",
            ),
        }
    }

    /// `table@mark`: another state of the table, for one query. No table can bear the name.
    pub fn variant(&self, mark: &str) -> Self {
        TableName {
            schema: self.schema.clone(),
            table: format!("{}@{mark}", self.table).into(),
        }
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// The name in SQL text.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_name(&self.schema), quote_name(&self.table))
    }

    /// The table that keeps this one's rejected rows.
    pub fn quarantine(&self) -> TableName {
        TableName {
            schema: self.schema.clone(),
            table: format!("{}{QUARANTINE_SUFFIX}", self.table).into(),
        }
    }

    /// The name before [`QUARANTINE_SUFFIX`]; none if it does not end so.
    pub fn quarantined(&self) -> Option<&str> {
        let (table, end) = (self.table.len())
            .checked_sub(QUARANTINE_SUFFIX.len())
            .and_then(|at| self.table.split_at_checked(at))?;
        end.eq_ignore_ascii_case(QUARANTINE_SUFFIX).then_some(table)
    }

    /// Lower-case form, under which no two tables of a server may be equal.
    pub fn folded(&self) -> TableName {
        TableName {
            schema: self.schema.folded_name().into(),
            table: self.table.folded_name().into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}",
            shown_name(&self.schema),
            shown_name(&self.table)
        )
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for TableName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        TableName::read(&text, "public")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_text_is_a_name_but_for_what_cannot_be_seen_or_is_too_long() {
        let longest = "\u{1f600}".repeat(63);
        for name in [
            "a",
            "Temperatur \u{b0}C",
            "order",
            "1",
            "a\"b",
            "..",
            "100%",
            "a/b",
            "\u{6771}\u{4eac}",
            &longest,
        ] {
            check_name(name).unwrap();
        }
        for (name, word) in [
            ("", "at least one"),
            (" a", "white space"),
            ("a\u{a0}", "white space"),
            ("Deltaplane.value", "server's own"),
            ("a\0b", "U+0000"),
            ("a\nb", "U+000A"),
            ("a\u{85}b", "U+0085"),
            (&"x".repeat(64), "64 characters"),
        ] {
            let text = check_name(name).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
        assert!(check_word("ops_2").is_ok() && check_word("2ops").is_err());
        assert!(check_word("\u{f6}").is_err());
    }

    #[test]
    fn a_table_s_folder_fits_with_its_quarantine_and_its_lives() {
        let name = |table: &str| TableName::new("public", table);
        let emoji = "\u{1f600}".repeat(52);
        assert!(
            name(&emoji).unwrap().quarantine().folded()
                == name(&format!("{emoji}_QUARANTINE")).unwrap().folded()
        );
        let spaces = format!("a{}b", "\u{3000}".repeat(40));
        let text = name(&spaces).unwrap_err().to_string();
        assert!(text.contains("362 bytes"), "{text}");
        assert!(TableName::new(&"\"".repeat(63), "t").is_ok());
    }

    #[test]
    fn names_that_differ_in_case_are_the_same_in_every_script() {
        for (a, b) in [
            ("Raw", "rAW"),
            ("GR\u{d6}SSE", "gr\u{f6}sse"),
            ("\u{1e9e}", "\u{df}"),
            ("\u{414}\u{430}", "\u{434}\u{410}"),
        ] {
            assert!(a.is_same_name(b) && a.folded_name() == b.folded_name());
            assert_eq!(a.folded_name().folded_name(), a.folded_name());
        }
        assert!(
            !"\u{e9}".is_same_name("e\u{301}"),
            "two forms of one letter are two names"
        );
    }

    #[test]
    fn names_are_read_as_they_are_shown() {
        for (schema, table, shown) in [
            ("reactor", "raw", "reactor.raw"),
            (
                "Gr\u{f6}\u{df}e au\u{df}en",
                "raw",
                "\"Gr\u{f6}\u{df}e au\u{df}en\".raw",
            ),
            ("a.b", "c\"d", "\"a.b\".\"c\"\"d\""),
            ("..", "1", "\"..\".\"1\""),
            ("a", "b@c", "a.\"b@c\""),
        ] {
            let name = TableName::new(schema, table).unwrap();
            assert_eq!(name.to_string(), shown);
            assert_eq!(TableName::try_from(shown.to_owned()), Ok(name.clone()));
            assert_eq!(TableName::read(&name.sql(), "x"), Ok(name));
        }
        let read = |text: &str| {
            TableName::read(text, "s").map(|n| (n.schema().to_owned(), n.table().to_owned()))
        };
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(read("t"), pair("s", "t"));
        assert_eq!(read("a b.c d"), pair("a b", "c d"));
        assert_eq!(read("\"a.b\""), pair("s", "a.b"));
        assert!(read("a.b.c").is_err() && read("a.").is_err() && read("").is_err());
    }

    #[test]
    fn a_version_of_a_table_is_no_table() {
        for table in ["t@v5", "t@T17", "a b@rows"] {
            assert!(TableName::new("s", table).is_err());
            let name = TableName::in_query("s", table).unwrap();
            assert_eq!(name.table(), table);
        }
        assert_eq!(
            TableName::in_query("s", "max@example").unwrap(),
            TableName::new("s", "max@example").unwrap()
        );
        assert!(TableName::new("s", "t@v").is_ok());
    }

    #[test]
    fn a_quarantine_is_known_by_its_name() {
        let of = |table: &str| {
            TableName::new("s", table)
                .unwrap()
                .quarantined()
                .map(str::to_owned)
        };
        assert_eq!(of("a b_Quarantine").as_deref(), Some("a b"));
        assert_eq!(of("\u{130}_quarantine").as_deref(), Some("\u{130}"));
        assert_eq!(of("quarantine"), None);
        assert_eq!(of("\u{1f600}\u{1f600}\u{1f600}"), None);
    }

    proptest! {
        #[test]
        fn joined_names_are_found_again(names in prop::collection::vec("[a-c\", .;\u{e9}]{1,6}", 1..5)) {
            for sign in [',', ';', '.'] {
                prop_assert_eq!(&split_names(&join_names(&names, sign), sign), &names);
            }
        }

        #[test]
        fn a_quoted_name_is_one_token(name in "\\PC{1,20}") {
            let quoted = quote_name(&name);
            prop_assert_eq!(quoted_head(&quoted), Some((name, "")));
        }
    }
}
