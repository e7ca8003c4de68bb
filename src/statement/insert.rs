//! `INSERT INTO`, and Delta's `REPLACE WHERE`, which sqlparser does not know: the head is read token by token, the query
//! behind it is left as it was written.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::Insert;
use crate::fault::Fault;
use crate::sql::Cursor;

pub(super) fn parse(mut head: Cursor<'_>) -> Result<Insert, Fault> {
    head.skip();
    if !head.words(&["INTO"]) {
        return Err(head.expected("INTO after INSERT"));
    }
    head.words(&["TABLE"]);
    let table = head.name()?;
    let mut columns = Vec::new();
    // A parenthesis may also open the query.
    let list = head.peek() == Some(&Token::LParen)
        && !matches!(head.ahead(1),
            Some(Token::Word(w)) if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES));
    if list {
        columns = head.group("columns", |head| head.word("a column's name"))?;
    }
    let mut replace = None;
    if head.words(&["REPLACE"]) {
        if !head.words(&["WHERE"]) {
            return Err(head.expected("WHERE after REPLACE"));
        }
        let mut matching = vec![partition(&mut head)?];
        while head.words(&["AND"]) {
            matching.push(partition(&mut head)?);
        }
        replace = Some(matching);
    }
    if head.peek().is_none() {
        return Err(head.expected("a query: SELECT, VALUES or WITH"));
    }
    Ok(Insert {
        table,
        columns,
        replace,
        query: head.query()?.to_owned(),
    })
}

/// `partition = value`
fn partition(head: &mut Cursor<'_>) -> Result<(String, String), Fault> {
    let column = head.word("a partition column")?;
    if !head.sign(&Token::Eq) {
        return Err(head.expected("= (REPLACE WHERE takes partition = value)"));
    }
    head.words(&["DATE"]);
    let value = match head.peek() {
        Some(Token::SingleQuotedString(text) | Token::Number(text, _)) => text.clone(),
        _ => return Err(head.expected("a literal")),
    };
    head.skip();
    Ok((column, value))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql;
    use crate::types::TableName;

    fn parse(sql: &str) -> Result<Insert, Fault> {
        super::parse(sql::parse(sql).unwrap().cursor("table", "public"))
    }

    #[test]
    fn heads_are_read_and_queries_are_left_as_they_were() {
        let insert = parse("INSERT INTO energy.gold REPLACE WHERE event_date = DATE '2025-08-01' AND site_id='S''1'\n  SELECT 'a''b', 1").unwrap();
        assert_eq!(insert.table, TableName::new("energy", "gold").unwrap());
        assert_eq!(
            insert.replace.unwrap()[1],
            ("site_id".to_owned(), "S'1".to_owned())
        );
        assert_eq!(insert.query, "SELECT 'a''b', 1");
        let insert = parse("insert into t (a, \"B\") values (1, 'ü')").unwrap();
        assert_eq!(
            (insert.columns, insert.replace),
            (vec!["a".to_owned(), "B".to_owned()], None)
        );
        assert_eq!(insert.query, "values (1, 'ü')");
        assert_eq!(
            parse("INSERT INTO t (SELECT 1)").unwrap().query,
            "(SELECT 1)"
        );
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
