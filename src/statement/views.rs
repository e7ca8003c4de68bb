//! `CREATE | DROP | REFRESH | ALTER MATERIALIZED VIEW`. The head is read token by token, the query behind it is left as it
//! was written: its text is what the view keeps.

use chrono::NaiveDate;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::insert::offset;
use crate::dataset::{ViewDeclaration, ViewSettings};
use crate::fault::Fault;
use crate::query::{PUBLIC, parse_one};
use crate::types::TableName;

/// What a statement does to a materialized view.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewChange {
    Create {
        view: ViewDeclaration,
        if_not_exists: bool,
        or_replace: bool,
    },
    Drop {
        name: TableName,
        if_exists: bool,
    },
    /// `full`: every bucket is computed again, not only those that changed. `day`: those of one UTC day are, and are stored
    /// even if they are open.
    Refresh {
        name: TableName,
        full: bool,
        day: Option<NaiveDate>,
    },
    /// Settings by name; the others stay.
    Set {
        name: TableName,
        settings: Vec<(String, String)>,
    },
    /// Another query under the same name and settings.
    Query {
        name: TableName,
        sql: String,
    },
}

impl ViewChange {
    /// The statement's first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            ViewChange::Create { .. } => "CREATE",
            ViewChange::Drop { .. } => "DROP",
            ViewChange::Refresh { .. } => "REFRESH",
            ViewChange::Set { .. } | ViewChange::Query { .. } => "ALTER",
        }
    }
}

fn syntax(message: impl Into<String>) -> Fault {
    Fault::invalid("syntax_error", message)
}

/// None: the statement is about no materialized view.
pub fn parse(sql: &str) -> Result<Option<ViewChange>, Fault> {
    let tokens: Vec<TokenWithSpan> = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|e| syntax(e.to_string()))?
        .into_iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)))
        .collect();
    let mut head = Head {
        sql,
        tokens: &tokens,
        at: 0,
    };
    let verb = match head.next() {
        Some(Token::Word(w)) => w.value.to_ascii_uppercase(),
        _ => return Ok(None),
    };
    let or_replace = verb == "CREATE" && head.words(&["OR", "REPLACE"]);
    if !head.words(&["MATERIALIZED", "VIEW"]) {
        return Ok(None);
    }
    let change = match verb.as_str() {
        "CREATE" => {
            let if_not_exists = head.words(&["IF", "NOT", "EXISTS"]);
            let name = head.name()?;
            let mut settings = ViewSettings::default();
            for (key, value) in head.settings()? {
                settings
                    .set(&key, &value)
                    .map_err(|problem| Fault::invalid("invalid_view", problem))?;
            }
            let sql = head.query()?;
            ViewChange::Create {
                view: ViewDeclaration {
                    name,
                    settings,
                    sql,
                },
                if_not_exists,
                or_replace,
            }
        }
        "DROP" => {
            let if_exists = head.words(&["IF", "EXISTS"]);
            let name = head.name()?;
            ViewChange::Drop { name, if_exists }
        }
        "REFRESH" => {
            let name = head.name()?;
            let full = head.words(&["FULL"]);
            let day = (!full && head.words(&["FOR", "DATE"]))
                .then(|| head.date())
                .transpose()?;
            ViewChange::Refresh { name, full, day }
        }
        "ALTER" => {
            let name = head.name()?;
            if head.words(&["SET"]) {
                let settings = head.pairs()?;
                ViewChange::Set { name, settings }
            } else {
                let sql = head.query()?;
                return Ok(Some(ViewChange::Query { name, sql }));
            }
        }
        _ => return Ok(None),
    };
    if !matches!(change, ViewChange::Create { .. }) {
        head.end()?;
    }
    Ok(Some(change))
}

struct Head<'a> {
    sql: &'a str,
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

    /// Steps over the words if all of them are next.
    fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(i, word)| {
            matches!(self.tokens.get(self.at + i).map(|t| &t.token),
                Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
        });
        self.at += if found { words.len() } else { 0 };
        found
    }

    fn expected(&self, what: &str) -> Fault {
        match self.tokens.get(self.at) {
            Some(t) => syntax(format!(
                "expected {what}, found {} at Line: {}, Column: {}",
                t.token, t.span.start.line, t.span.start.column
            )),
            None => syntax(format!("expected {what}, found the end")),
        }
    }

    fn name(&mut self) -> Result<TableName, Fault> {
        let mut parts = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Word(w)) => parts.push(w.value.clone()),
                _ => return Err(self.expected("the view's name")),
            }
            self.at += 1;
            if self.peek() != Some(&Token::Period) {
                break;
            }
            self.at += 1;
        }
        let made = match parts.as_slice() {
            [view] => TableName::new(PUBLIC, view),
            [schema, view] | [_, schema, view] => TableName::new(schema, view),
            _ => return Err(syntax("a view's name is schema.view")),
        };
        made.map_err(|e| Fault::invalid("invalid_name", e.to_string()))
    }

    /// `WITH (delay = '2s')` and `TBLPROPERTIES ('delay' = '2s')`, both or none.
    fn settings(&mut self) -> Result<Vec<(String, String)>, Fault> {
        let mut all = Vec::new();
        loop {
            let with = matches!(self.peek(), Some(Token::Word(w)) if w.keyword == Keyword::WITH)
                && matches!(
                    self.tokens.get(self.at + 1).map(|t| &t.token),
                    Some(Token::LParen)
                );
            if !with && !self.words(&["TBLPROPERTIES"]) {
                return Ok(all);
            }
            self.at += usize::from(with);
            all.extend(self.pairs()?);
        }
    }

    fn pairs(&mut self) -> Result<Vec<(String, String)>, Fault> {
        if self.peek() != Some(&Token::LParen) {
            return Err(self.expected("( and settings such as delay = '2s'"));
        }
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let mut key = String::new();
            loop {
                match self.peek() {
                    Some(Token::Word(w)) => key.push_str(&w.value),
                    Some(Token::SingleQuotedString(text)) => key.push_str(text),
                    _ => return Err(self.expected("a setting: delay, idle or future")),
                }
                self.at += 1;
                if self.peek() != Some(&Token::Period) {
                    break;
                }
                key.push('.');
                self.at += 1;
            }
            if self.peek() != Some(&Token::Eq) {
                return Err(self.expected("="));
            }
            self.at += 1;
            match self.next() {
                Some(Token::SingleQuotedString(text)) => out.push((key, text.clone())),
                _ => {
                    self.at -= 1;
                    return Err(self.expected("a span of time in quotes, such as '2s'"));
                }
            }
            match self.next() {
                Some(Token::Comma) => {}
                Some(Token::RParen) => return Ok(out),
                _ => {
                    self.at -= 1;
                    return Err(self.expected(", or )"));
                }
            }
        }
    }

    /// A day in quotes.
    fn date(&mut self) -> Result<NaiveDate, Fault> {
        let day = match self.peek() {
            Some(Token::SingleQuotedString(text)) => text.parse().ok(),
            _ => None,
        };
        let day = day.ok_or_else(|| self.expected("a day such as '2025-08-01'"))?;
        self.at += 1;
        Ok(day)
    }

    /// The text behind AS.
    fn query(&mut self) -> Result<String, Fault> {
        if !self.words(&["AS"]) {
            return Err(self.expected("AS and the view's query"));
        }
        let Some(start) = self.tokens.get(self.at) else {
            return Err(self.expected("a query"));
        };
        let text = self.sql[offset(self.sql, start.span.start)..].trim();
        let text = text.trim_end_matches(';').trim_end().to_owned();
        parse_one(&text)?;
        Ok(text)
    }

    fn end(&mut self) -> Result<(), Fault> {
        while self.peek() == Some(&Token::SemiColon) {
            self.at += 1;
        }
        match self.peek() {
            None | Some(Token::EOF) => Ok(()),
            Some(_) => Err(self.expected("the end of the statement")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const QUERY: &str = "SELECT k, avg(\"AT\") AS a FROM raw\n GROUP BY tumble(ts, '1 minute'), k";

    #[test]
    fn a_view_reads_as_it_is_shown() {
        let sql = format!(
            "create materialized view reactor.m with (delay = '2s', 'deltaplane.idle'='1 minute') as {QUERY};"
        );
        let Some(ViewChange::Create { view, .. }) = parse(&sql).unwrap() else {
            panic!("no view");
        };
        assert_eq!(view.settings.delay, 2_000_000);
        assert_eq!(view.settings.idle, 60_000_000);
        assert_eq!(view.sql, QUERY);
        let Some(ViewChange::Create { view: again, .. }) = parse(&view.to_ddl()).unwrap() else {
            panic!("no view");
        };
        assert_eq!(view, again);
        assert_eq!(view.alter_ddl(&again), None);
    }

    #[test]
    fn the_other_statements_are_told_apart() {
        let name = TableName::new("a", "b").unwrap();
        for (sql, full, day) in [
            ("REFRESH MATERIALIZED VIEW a.b", false, None),
            ("REFRESH MATERIALIZED VIEW a.b FULL;", true, None),
            (
                "refresh materialized view a.b for date '2025-08-01'",
                false,
                NaiveDate::from_ymd_opt(2025, 8, 1),
            ),
        ] {
            let name = name.clone();
            let refresh = ViewChange::Refresh { name, full, day };
            assert_eq!(parse(sql).unwrap(), Some(refresh));
        }
        let set = ViewChange::Set {
            name: name.clone(),
            settings: vec![("delay".to_owned(), "5s".to_owned())],
        };
        assert_eq!(
            parse("ALTER MATERIALIZED VIEW a.b SET (delay = '5s')").unwrap(),
            Some(set)
        );
        let drop = ViewChange::Drop {
            name,
            if_exists: true,
        };
        assert_eq!(
            parse("DROP MATERIALIZED VIEW IF EXISTS a.b").unwrap(),
            Some(drop)
        );
        assert_eq!(parse("CREATE TABLE a.b (x INT)").unwrap(), None);
        assert_eq!(parse("SELECT 1").unwrap(), None);
        for (bad, word) in [
            ("CREATE MATERIALIZED VIEW a.b", "expected AS"),
            (
                "CREATE MATERIALIZED VIEW a.b WITH (delay = 2) AS SELECT 1",
                "in quotes",
            ),
            (
                "CREATE MATERIALIZED VIEW a.b WITH (dealy = '2s') AS SELECT 1",
                "known: delay",
            ),
            ("CREATE MATERIALIZED VIEW a.b AS SELEC 1", "Line: 1"),
            (
                "REFRESH MATERIALIZED VIEW a.b FOR DATE '2025-02-30'",
                "a day such as",
            ),
            (
                "REFRESH MATERIALIZED VIEW a.b FULL FOR DATE '2025-02-03'",
                "the end of the statement",
            ),
            (
                "REFRESH MATERIALIZED VIEW a.b NOW",
                "the end of the statement",
            ),
        ] {
            let fault = parse(bad).unwrap_err();
            assert!(fault.message.contains(word), "{bad}: {fault}");
        }
    }
}
