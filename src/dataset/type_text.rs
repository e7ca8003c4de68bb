//! A column's type as people spell it, nested types included: `ARRAY<DOUBLE>`, `DOUBLE[]`, `LIST<DOUBLE>`, `STRUCT<a INT, b: TEXT>`,
//! `STRUCT(a INT)`, `MAP<STRING, DOUBLE>`, `MAP(STRING, DOUBLE)`, and NOT NULL behind an inner type.

use super::column::ColumnType;
use super::nested::{ElementType, EntryType, NESTING_MAX, StructField};

/// What types that are not nested are read by.
type Leaf<'a> = &'a dyn Fn(&str) -> Result<ColumnType, String>;

impl ColumnType {
    /// Reads a type. `leaf` reads those that are not nested.
    ///
    /// # Errors
    /// What is wrong with it, as a text with a way out.
    pub fn read(
        text: &str,
        leaf: &dyn Fn(&str) -> Result<ColumnType, String>,
    ) -> Result<ColumnType, String> {
        let mut reader = Reader { rest: text, leaf };
        let data_type = reader.data_type(0)?;
        match reader.peek() {
            None => data_type.check().map(|()| data_type),
            Some(_) => Err(format!(
                "there is something behind the type: {}",
                shown(reader.rest)
            )),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    leaf: Leaf<'a>,
}

/// What a nested type begins with.
#[derive(Clone, Copy, PartialEq)]
enum Head {
    Array,
    Struct,
    Map,
}

fn shown(text: &str) -> String {
    text.trim().chars().take(60).collect()
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = self.rest.get(wanted.len_utf8()..).unwrap_or_default();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        match self.take(wanted) {
            true => Ok(()),
            false if self.rest.is_empty() => Err(format!("its end is missing: {wanted}")),
            false => Err(format!("expected {wanted} before {}", shown(self.rest))),
        }
    }

    /// The word that stands next, without taking it.
    fn word(&mut self) -> &'a str {
        self.peek();
        let ends = |c: char| !(c.is_alphanumeric() || c == '_');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        self.rest.get(..end).unwrap_or_default()
    }

    fn words(&mut self, wanted: &[&str]) -> bool {
        let before = self.rest;
        for word in wanted {
            let found = self.word();
            if !found.eq_ignore_ascii_case(word) {
                self.rest = before;
                return false;
            }
            self.rest = self.rest.get(found.len()..).unwrap_or_default();
        }
        true
    }

    fn name(&mut self) -> Result<String, String> {
        if let Some(quote @ ('"' | '`')) = self.peek() {
            let mut rest = self.rest.get(1..).unwrap_or_default();
            let mut name = String::new();
            loop {
                let Some((part, after)) = rest.split_once(quote) else {
                    return Err(format!("a name has no end: {}", shown(self.rest)));
                };
                name.push_str(part);
                // A quote in a name stands there twice.
                match after.strip_prefix(quote) {
                    Some(after) => {
                        name.push(quote);
                        rest = after;
                    }
                    None => {
                        self.rest = after;
                        return Ok(name);
                    }
                }
            }
        }
        let name = self.word();
        if name.is_empty() {
            return Err(format!(
                "expected the name of a field before {}",
                shown(self.rest)
            ));
        }
        self.rest = self.rest.get(name.len()..).unwrap_or_default();
        Ok(name.to_owned())
    }

    fn data_type(&mut self, level: usize) -> Result<ColumnType, String> {
        if level > NESTING_MAX {
            return Err(format!(
                "it nests more than {NESTING_MAX} levels; keep what is below as a STRING of JSON"
            ));
        }
        let mut found = match self.head() {
            Some(head) => self.nested(head, level)?,
            None => self.plain()?,
        };
        let mut above = level;
        while self.take('[') {
            if self.peek() != Some(']') {
                return Err(
                    "a length of arrays is not kept; leave the number between [ and ] out"
                        .to_owned(),
                );
            }
            self.expect(']')?;
            above += 1;
            if above > NESTING_MAX {
                return Err(format!("it nests more than {NESTING_MAX} levels"));
            }
            found = ColumnType::Array(Box::new(ElementType {
                element: found,
                nullable: true,
            }));
        }
        Ok(found)
    }

    fn head(&mut self) -> Option<Head> {
        let word = self.word();
        let head = match word.to_ascii_lowercase().as_str() {
            "array" | "list" => Head::Array,
            "struct" => Head::Struct,
            "map" => Head::Map,
            _ => return None,
        };
        self.rest = self.rest.get(word.len()..).unwrap_or_default();
        Some(head)
    }

    fn nested(&mut self, head: Head, level: usize) -> Result<ColumnType, String> {
        let close = match (self.take('<'), head) {
            (true, _) => '>',
            (false, _) if self.take('(') => ')',
            (false, Head::Array) => {
                return Err("say of what, such as ARRAY<DOUBLE>".to_owned());
            }
            (false, Head::Struct) => {
                return Err("say its fields, such as STRUCT<lat: DOUBLE, lon: DOUBLE>".to_owned());
            }
            (false, Head::Map) => {
                return Err("say its key and value, such as MAP<STRING, DOUBLE>".to_owned());
            }
        };
        let found = match head {
            Head::Array => {
                let element = self.data_type(level + 1)?;
                let nullable = self.nullable();
                ColumnType::Array(Box::new(ElementType { element, nullable }))
            }
            Head::Struct => {
                let mut fields = Vec::new();
                while self.peek() != Some(close) {
                    let name = self.name()?;
                    self.take(':');
                    let data_type = self.data_type(level + 1)?;
                    let nullable = self.nullable();
                    fields.push(StructField {
                        name,
                        data_type,
                        nullable,
                    });
                    if !self.take(',') {
                        break;
                    }
                }
                ColumnType::Struct(fields)
            }
            Head::Map => {
                let key = self.data_type(level + 1)?;
                // Keys are never null, whether it is said or not.
                self.nullable();
                self.expect(',')?;
                let value = self.data_type(level + 1)?;
                let nullable = self.nullable();
                ColumnType::Map(Box::new(EntryType {
                    key,
                    value,
                    nullable,
                }))
            }
        };
        self.expect(close)?;
        Ok(found)
    }

    fn nullable(&mut self) -> bool {
        let required = self.words(&["NOT", "NULL"]);
        if !required {
            self.words(&["NULL"]);
        }
        !required
    }

    /// A type that is not nested: words, and what stands in parentheses behind one of them.
    fn plain(&mut self) -> Result<ColumnType, String> {
        self.peek();
        let text = self.rest;
        let mut end = 0;
        let mut depth = 0usize;
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                ',' | '>' | ')' | '[' | ']' | '<' | ':' if depth == 0 => break,
                c if depth == 0 && c.is_whitespace() => {
                    let mut behind = Reader {
                        rest: text.get(at..).unwrap_or_default(),
                        leaf: self.leaf,
                    };
                    if behind.words(&["NOT", "NULL"]) || behind.words(&["NULL"]) {
                        break;
                    }
                }
                _ => {}
            }
            end = at + c.len_utf8();
        }
        let own = text.get(..end).unwrap_or_default().trim();
        self.rest = text.get(end..).unwrap_or_default();
        if own.is_empty() {
            return Err(match self.rest.is_empty() {
                true => "a type is missing at its end".to_owned(),
                false => format!("a type is missing before {}", shown(self.rest)),
            });
        }
        (self.leaf)(own)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::Column;
    use super::*;

    fn read(text: &str) -> Result<ColumnType, String> {
        ColumnType::read(text, &super::super::column::plain_type)
    }

    #[test]
    fn every_spelling_of_a_nested_type_is_read_and_written_in_one() {
        for (text, expected) in [
            ("ARRAY<DOUBLE>", "ARRAY<DOUBLE>"),
            ("list < double >", "ARRAY<DOUBLE>"),
            ("DOUBLE[]", "ARRAY<DOUBLE>"),
            ("double precision [ ] []", "ARRAY<ARRAY<DOUBLE>>"),
            ("decimal(10, 2)[]", "ARRAY<DECIMAL(10,2)>"),
            (
                "STRUCT<a INT, b ARRAY<STRING>>",
                "STRUCT<a: INT, b: ARRAY<STRING>>",
            ),
            (
                "STRUCT(a INT, \"b\" TEXT[])",
                "STRUCT<a: INT, b: ARRAY<STRING>>",
            ),
            (
                "struct<lat: double not null, `lon`:double>",
                "STRUCT<lat: DOUBLE NOT NULL, lon: DOUBLE>",
            ),
            ("MAP<STRING, DOUBLE>", "MAP<STRING, DOUBLE>"),
            ("map(string, int NOT NULL)", "MAP<STRING, INT NOT NULL>"),
            (
                "ARRAY<STRUCT<t TIMESTAMP, m MAP<STRING,DATE>>NOT NULL>",
                "ARRAY<STRUCT<t: TIMESTAMP, m: MAP<STRING, DATE>> NOT NULL>",
            ),
            ("timestamp without time zone[]", "ARRAY<TIMESTAMP_NTZ>"),
            (
                "STRUCT<\"a \"\"b\"\", >\" INT, `c``d`: INT, \u{f6} INT>",
                "STRUCT<\"a \"\"b\"\", >\": INT, \"c`d\": INT, \"\u{f6}\": INT>",
            ),
            ("int", "INT"),
        ] {
            let found = read(text).unwrap();
            assert_eq!(found.to_string(), expected, "{text}");
            assert_eq!(read(expected).unwrap(), found, "{expected}");
            let mut column = Column::new("c", found);
            column.data_type = ColumnType::from_arrow(&column.data_type.to_arrow()).unwrap();
            assert_eq!(column.data_type.to_string(), expected, "through Arrow");
            let json = serde_json::to_string(&column).unwrap();
            assert_eq!(serde_json::from_str::<Column>(&json).unwrap(), column);
        }
    }

    #[test]
    fn what_is_no_type_says_what_is_wrong() {
        let deep = |n: usize| format!("{}INT{}", "ARRAY<".repeat(n), ">".repeat(n));
        read(&deep(NESTING_MAX)).unwrap();
        for (text, word) in [
            (deep(NESTING_MAX + 1).as_str(), "16 levels"),
            (deep(100_000).as_str(), "16 levels"),
            (
                &"INT"
                    .to_owned()
                    .replace("INT", &format!("INT{}", "[]".repeat(17))),
                "16 levels",
            ),
            ("ARRAY", "ARRAY<DOUBLE>"),
            ("ARRAY<>", "missing before >"),
            ("ARRAY<INT", "end is missing"),
            ("ARRAY<INT>>", "behind the type"),
            ("INT[3]", "length"),
            ("STRUCT<>", "at least one field"),
            ("STRUCT<a INT, A INT>", "A twice"),
            ("STRUCT<\"a b \" INT>", "white space"),
            ("STRUCT<\"a b\"\" INT>", "no end"),
            ("MAP<STRING>", "expected ,"),
            ("MAP<ARRAY<INT>, INT>", "key is not nested"),
            ("ARRAY<WIDGET>", "WIDGET"),
            ("STRUCT<a>", "missing before >"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(word), "{text:.60}: {problem}");
        }
    }
}
