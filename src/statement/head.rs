//! The head of a statement that the SQL parser does not know, read token by token; a query behind it is left as it was
//! written. Places in errors are those of the whole statement.

use chrono::NaiveDate;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::insert::offset;
use crate::fault::Fault;
use crate::query::{PUBLIC, parse_tokens, tokenize};
use crate::types::TableName;

pub(super) fn syntax(message: impl Into<String>) -> Fault {
    Fault::invalid("syntax_error", message)
}

/// The tokens of a statement without white space and comments.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub(super) fn words_of(sql: &str) -> Result<Vec<TokenWithSpan>, Fault> {
    let mut tokens = tokenize(sql)?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    Ok(tokens)
}

pub(super) struct Head<'a> {
    sql: &'a str,
    tokens: &'a [TokenWithSpan],
    at: usize,
    /// What the statement makes: a view, an alert.
    noun: &'static str,
}

impl<'a> Head<'a> {
    pub(super) fn new(sql: &'a str, tokens: &'a [TokenWithSpan], noun: &'static str) -> Self {
        Head {
            sql,
            tokens,
            at: 0,
            noun,
        }
    }

    /// Where the next token stands, as errors say it.
    pub(super) fn here(&self) -> String {
        let next = self.tokens.get(self.at);
        next.map_or_else(String::new, |t| {
            let at = t.span.start;
            format!(" at Line: {}, Column: {}", at.line, at.column)
        })
    }

    /// The byte at which the next token begins.
    pub(super) fn place(&self) -> usize {
        let next = self.tokens.get(self.at);
        next.map_or(self.sql.len(), |t| offset(self.sql, t.span.start))
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Steps over the words if all of them are next.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(i, word)| {
            matches!(self.tokens.get(self.at + i).map(|t| &t.token),
                Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
        });
        self.at += if found { words.len() } else { 0 };
        found
    }

    pub(super) fn expected(&self, what: &str) -> Fault {
        match self.tokens.get(self.at) {
            Some(t) => syntax(format!(
                "expected {what}, found {} at Line: {}, Column: {}",
                t.token, t.span.start.line, t.span.start.column
            )),
            None => syntax(format!("expected {what}, found the end")),
        }
    }

    pub(super) fn name(&mut self) -> Result<TableName, Fault> {
        let mut parts = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Word(w)) => parts.push(w.value.clone()),
                _ => return Err(self.expected(&format!("the {}'s name", self.noun))),
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
            _ => return Err(syntax(format!("a name is schema.{}", self.noun))),
        };
        made.map_err(|e| Fault::invalid("invalid_name", e.to_string()))
    }

    /// `WITH (delay = '2s')` and `TBLPROPERTIES ('delay' = '2s')`, both or none.
    pub(super) fn settings(&mut self, what: &str) -> Result<Vec<(String, String)>, Fault> {
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
            all.extend(self.pairs(what)?);
        }
    }

    pub(super) fn pairs(&mut self, what: &str) -> Result<Vec<(String, String)>, Fault> {
        if self.peek() != Some(&Token::LParen) {
            return Err(self.expected(&format!("( and {what}")));
        }
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let mut key = String::new();
            loop {
                match self.peek() {
                    Some(Token::Word(w)) => key.push_str(&w.value),
                    Some(Token::SingleQuotedString(text)) => key.push_str(text),
                    _ => return Err(self.expected(what)),
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
                    return Err(self.expected("a value in quotes, such as '2s'"));
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
    pub(super) fn date(&mut self) -> Result<NaiveDate, Fault> {
        let day = match self.peek() {
            Some(Token::SingleQuotedString(text)) => text.parse().ok(),
            _ => None,
        };
        let day = day.ok_or_else(|| self.expected("a day such as '2025-08-01'"))?;
        self.at += 1;
        Ok(day)
    }

    /// The text behind AS.
    pub(super) fn query(&mut self) -> Result<String, Fault> {
        if !self.words(&["AS"]) {
            return Err(self.expected(&format!("AS and the {}'s query", self.noun)));
        }
        let Some(rest) = self.tokens.get(self.at..).filter(|rest| !rest.is_empty()) else {
            return Err(self.expected("a query"));
        };
        let text = self.sql[self.place()..].trim();
        let text = text.trim_end_matches(';').trim_end().to_owned();
        parse_tokens(rest.to_vec())?;
        Ok(text)
    }

    pub(super) fn end(&mut self) -> Result<(), Fault> {
        while self.peek() == Some(&Token::SemiColon) {
            self.at += 1;
        }
        match self.peek() {
            None | Some(Token::EOF) => Ok(()),
            Some(_) => Err(self.expected("the end of the statement")),
        }
    }
}
