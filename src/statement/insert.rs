//! `INSERT INTO`, and Delta's `REPLACE WHERE`, which sqlparser does not know: the head is read token by token, the query
//! behind it is left as it was written.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::Insert;
use crate::fault::Fault;
use crate::query::{default_schema, parse_one, tokenize};
use crate::types::TableName;

fn syntax(message: impl Into<String>) -> Fault {
    Fault::invalid("syntax_error", message)
}

/// None: the text is no INSERT.
pub(super) fn parse(sql: &str) -> Result<Option<Insert>, Fault> {
    let mut tokens = tokenize(sql)?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    let mut head = Head {
        tokens: &tokens,
        at: 0,
    };
    if !head.keyword(Keyword::INSERT) {
        return Ok(None);
    }
    if !head.keyword(Keyword::INTO) {
        return Err(syntax("expected INTO after INSERT"));
    }
    head.keyword(Keyword::TABLE);
    let table = head.table()?;
    let mut columns = Vec::new();
    // A parenthesis may also open the query.
    let list = matches!(head.peek(), Some(Token::LParen))
        && !matches!(head.tokens.get(head.at + 1).map(|t| &t.token),
            Some(Token::Word(w)) if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES));
    if list {
        head.at += 1;
        loop {
            columns.push(head.word()?);
            match head.next() {
                Some(Token::Comma) => {}
                Some(Token::RParen) => break,
                other => return Err(unexpected(", or )", other)),
            }
        }
    }
    let mut replace = None;
    if head.keyword(Keyword::REPLACE) {
        if !head.keyword(Keyword::WHERE) {
            return Err(syntax("expected WHERE after REPLACE"));
        }
        let mut matching = Vec::new();
        loop {
            let column = head.word()?;
            match head.next() {
                Some(Token::Eq) => {}
                other => {
                    return Err(unexpected(
                        "= (REPLACE WHERE takes partition = value)",
                        other,
                    ));
                }
            }
            head.keyword(Keyword::DATE);
            let value = match head.next() {
                Some(Token::SingleQuotedString(text)) => text.clone(),
                Some(Token::Number(text, _)) => text.clone(),
                other => return Err(unexpected("a literal", other)),
            };
            matching.push((column, value));
            if !head.keyword(Keyword::AND) {
                break;
            }
        }
        replace = Some(matching);
    }
    let start = tokens
        .get(head.at)
        .ok_or_else(|| syntax("expected a query: SELECT, VALUES or WITH"))?;
    let query = sql[offset(sql, start.span.start)..].to_owned();
    parse_one(&query)?;
    Ok(Some(Insert {
        table,
        columns,
        replace,
        query,
    }))
}

fn unexpected(expected: &str, found: Option<&Token>) -> Fault {
    let found = found.map_or_else(|| "the end".to_owned(), ToString::to_string);
    syntax(format!("expected {expected}, found {found}"))
}

/// Bytes up to a line and column, which count from 1 and in characters.
pub(super) fn offset(sql: &str, at: Location) -> usize {
    let line = usize::try_from(at.line).unwrap_or(1).max(1) - 1;
    let column = usize::try_from(at.column).unwrap_or(1).max(1) - 1;
    let start: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &sql[start.min(sql.len())..];
    start
        + rest
            .char_indices()
            .nth(column)
            .map_or(rest.len(), |(i, _)| i)
}

struct Head<'a> {
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl<'a> Head<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn keyword(&mut self, keyword: Keyword) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w.keyword == keyword && w.quote_style.is_none());
        self.at += usize::from(found);
        found
    }

    fn word(&mut self) -> Result<String, Fault> {
        match self.next() {
            Some(Token::Word(w)) => Ok(w.value.clone()),
            other => Err(unexpected("a name", other)),
        }
    }

    fn table(&mut self) -> Result<TableName, Fault> {
        let mut parts = vec![self.word()?];
        while matches!(self.peek(), Some(Token::Period)) {
            self.at += 1;
            parts.push(self.word()?);
        }
        let made = match parts.as_slice() {
            [table] => TableName::new(&default_schema(), table),
            [schema, table] | [_, schema, table] => TableName::new(schema, table),
            _ => return Err(syntax("a table's name is schema.table")),
        };
        made.map_err(|e| Fault::invalid("invalid_name", e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn heads_are_read_and_queries_are_left_as_they_were() {
        let insert = parse("INSERT INTO energy.gold REPLACE WHERE event_date = DATE '2025-08-01' AND site_id='S''1'\n  SELECT 'a''b', 1").unwrap().unwrap();
        assert_eq!(insert.table, TableName::new("energy", "gold").unwrap());
        assert_eq!(
            insert.replace.unwrap()[1],
            ("site_id".to_owned(), "S'1".to_owned())
        );
        assert_eq!(insert.query, "SELECT 'a''b', 1");
        let insert = parse("insert into t (a, \"B\") values (1, 'ü')")
            .unwrap()
            .unwrap();
        assert_eq!(
            (insert.columns, insert.replace),
            (vec!["a".to_owned(), "B".to_owned()], None)
        );
        assert_eq!(insert.query, "values (1, 'ü')");
        assert_eq!(
            parse("INSERT INTO t (SELECT 1)").unwrap().unwrap().query,
            "(SELECT 1)"
        );
        assert!(parse("SELECT 1").unwrap().is_none());
        for bad in [
            "INSERT t SELECT 1",
            "INSERT INTO t",
            "INSERT INTO t REPLACE WHERE a > 1 SELECT 1",
            "INSERT INTO t SELEC 1",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, "syntax_error", "{bad}");
        }
    }
}
