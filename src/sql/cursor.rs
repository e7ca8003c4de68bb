//! Reads a statement's tokens one by one, where sqlparser does not know the statement or its head. A query or an expression
//! within it is sqlparser's again. Places in errors are those of the whole text.

use chrono::NaiveDate;
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::names::resolve;
use super::parser::{expression, parse_tokens};
use super::syntax_error::syntax;
use crate::fault::Fault;
use crate::types::TableName;

#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    tokens: &'a [TokenWithSpan],
    at: usize,
    /// What the statement names: a table, a view, an alert.
    noun: &'static str,
    /// Of names without one.
    schema: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(
        text: &'a str,
        tokens: &'a [TokenWithSpan],
        noun: &'static str,
        schema: &'a str,
    ) -> Self {
        Cursor {
            text,
            tokens,
            at: 0,
            noun,
            schema,
        }
    }

    /// Where the next token stands, as errors say it.
    pub fn here(&self) -> String {
        let next = self.tokens.get(self.at);
        next.map_or_else(String::new, |t| t.span.start.to_string())
    }

    /// The byte at which the next token begins.
    pub fn place(&self) -> usize {
        let next = self.tokens.get(self.at);
        next.map_or(self.text.len(), |t| offset(self.text, t.span.start))
    }

    pub fn skip(&mut self) {
        self.at += 1;
    }

    pub fn peek(&self) -> Option<&'a Token> {
        self.ahead(0)
    }

    /// The token behind the next `n`.
    pub fn ahead(&self, n: usize) -> Option<&'a Token> {
        self.tokens.get(self.at + n).map(|t| &t.token)
    }

    pub fn rest(&self) -> &'a [TokenWithSpan] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// Steps over the words if all of them are next.
    pub fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(i, word)| {
            matches!(self.ahead(i),
                Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
        });
        self.at += if found { words.len() } else { 0 };
        found
    }

    /// Steps to these words, where they stand behind a closing parenthesis and within none, and gives the text before them.
    pub fn text_before(&mut self, words: &[&str]) -> Option<&'a str> {
        let (start, mut depth, mut ahead) = (self.place(), 0usize, self.clone());
        while let Some(token) = ahead.peek() {
            ahead.skip();
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && *token == Token::RParen && ahead.clone().words(words) {
                self.at = ahead.at;
                return self.text.get(start..self.place());
            }
        }
        None
    }

    /// Steps over the sign if it is next.
    pub fn sign(&mut self, sign: &Token) -> bool {
        let found = self.peek() == Some(sign);
        self.at += usize::from(found);
        found
    }

    pub fn expected(&self, what: &str) -> Fault {
        match self.tokens.get(self.at) {
            Some(t) => syntax(format!(
                "expected {what}, found {}{}",
                t.token, t.span.start
            )),
            None => syntax(format!("expected {what}, found the end")),
        }
    }

    /// One name, quoted or not.
    pub fn word(&mut self, what: &str) -> Result<String, Fault> {
        match self.peek() {
            Some(Token::Word(w)) => {
                self.at += 1;
                Ok(w.value.clone())
            }
            _ => Err(self.expected(what)),
        }
    }

    /// A text in quotes.
    pub fn quoted(&mut self, what: &str) -> Result<String, Fault> {
        match self.peek() {
            Some(Token::SingleQuotedString(text)) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(self.expected(what)),
        }
    }

    /// A number.
    pub fn number<N: std::str::FromStr>(&mut self, what: &str) -> Result<N, Fault> {
        let number = match self.peek() {
            Some(Token::Number(text, _)) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.expected(what))?;
        self.at += 1;
        Ok(number)
    }

    /// The name of what the statement is about.
    pub fn name(&mut self) -> Result<TableName, Fault> {
        self.name_in(self.schema)
    }

    /// [`Cursor::name`], where a name alone is of this schema.
    pub fn name_in(&mut self, schema: &str) -> Result<TableName, Fault> {
        let what = format!("the {}'s name", self.noun);
        let mut parts = vec![self.word(&what)?];
        while self.sign(&Token::Period) {
            parts.push(self.word(&what)?);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        resolve(&parts, schema)
    }

    /// Names between commas, as `item` reads them.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut out = vec![item(self)?];
        while self.sign(&Token::Comma) {
            out.push(item(self)?);
        }
        Ok(out)
    }

    /// [`Cursor::list`] in parentheses.
    pub fn group<T>(
        &mut self,
        what: &str,
        item: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        if !self.sign(&Token::LParen) {
            return Err(self.expected(&format!("( and {what}")));
        }
        let out = self.list(item)?;
        if !self.sign(&Token::RParen) {
            return Err(self.expected(", or )"));
        }
        Ok(out)
    }

    /// `WITH (delay = '2s')` and `TBLPROPERTIES ('delay' = '2s')`, both or none.
    pub fn settings(&mut self, what: &str) -> Result<Vec<(String, String)>, Fault> {
        let mut all = Vec::new();
        loop {
            let with = matches!(self.peek(), Some(Token::Word(w)) if w.keyword == Keyword::WITH)
                && self.ahead(1) == Some(&Token::LParen);
            if !with && !self.words(&["TBLPROPERTIES"]) {
                return Ok(all);
            }
            self.at += usize::from(with);
            all.extend(self.pairs(what)?);
        }
    }

    /// `(key = 'value', 'key' = 'value', ..)`
    pub fn pairs(&mut self, what: &str) -> Result<Vec<(String, String)>, Fault> {
        self.group(what, |cursor| {
            let mut key = String::new();
            loop {
                match cursor.peek() {
                    Some(Token::Word(w)) => key.push_str(&w.value),
                    Some(Token::SingleQuotedString(text)) => key.push_str(text),
                    _ => return Err(cursor.expected(what)),
                }
                cursor.skip();
                if !cursor.sign(&Token::Period) {
                    break;
                }
                key.push('.');
            }
            if !cursor.sign(&Token::Eq) {
                return Err(cursor.expected("="));
            }
            Ok((key, cursor.quoted("a value in quotes, such as '2s'")?))
        })
    }

    /// A day in quotes.
    pub fn date(&mut self) -> Result<NaiveDate, Fault> {
        let day = match self.peek() {
            Some(Token::SingleQuotedString(text)) => text.parse().ok(),
            _ => None,
        };
        let day = day.ok_or_else(|| self.expected("a day such as '2025-08-01'"))?;
        self.at += 1;
        Ok(day)
    }

    /// An expression; what follows it is next.
    pub fn expression(&mut self) -> Result<Expr, Fault> {
        let (found, taken) = expression(self.rest())?;
        self.at += taken;
        Ok(found)
    }

    /// The text behind AS.
    pub fn query_behind_as(&mut self) -> Result<&'a str, Fault> {
        if !self.words(&["AS"]) {
            return Err(self.expected(&format!("AS and the {}'s query", self.noun)));
        }
        if self.rest().is_empty() {
            return Err(self.expected("a query"));
        }
        self.query()
    }

    /// The text from here to the last word, which is a query.
    pub fn query(&mut self) -> Result<&'a str, Fault> {
        parse_tokens(self.rest().to_vec())?;
        let said = |t: &&TokenWithSpan| !matches!(t.token, Token::SemiColon | Token::EOF);
        let last = self.rest().iter().rev().find(said);
        let end = last.map_or(self.text.len(), |t| offset(self.text, t.span.end));
        Ok(self.text.get(self.place()..end).unwrap_or_default())
    }

    /// Takes the words off the end if the statement ends with them.
    pub fn words_at_end(&mut self, words: &[&str]) -> bool {
        let rest = self.rest();
        let said = |t: &TokenWithSpan| !matches!(t.token, Token::SemiColon | Token::EOF);
        let end = rest.iter().rposition(said).map_or(0, |last| last + 1);
        let Some(start) = end.checked_sub(words.len()) else {
            return false;
        };
        let mut ending = self.clone();
        ending.at += start;
        let found = ending.words(words);
        if found {
            self.tokens = self.tokens.get(..self.at + start).unwrap_or_default();
        }
        found
    }

    pub fn end(&mut self) -> Result<(), Fault> {
        self.end_or("the end of the statement")
    }

    /// `what`: what could have stood here.
    pub fn end_or(&mut self, what: &str) -> Result<(), Fault> {
        while self.sign(&Token::SemiColon) {}
        match self.peek() {
            None | Some(Token::EOF) => Ok(()),
            Some(_) => Err(self.expected(what)),
        }
    }
}

/// Bytes up to a line and column, which count from 1 and in characters.
fn offset(text: &str, at: Location) -> usize {
    let line = usize::try_from(at.line).unwrap_or(1).max(1) - 1;
    let column = usize::try_from(at.column).unwrap_or(1).max(1) - 1;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let within = rest.char_indices().nth(column);
    start + within.map_or(rest.len(), |(i, _)| i)
}
