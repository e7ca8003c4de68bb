//! Records of a CSV with quotes (RFC 4180), read strictly: a quote that nothing closes, or that is closed in the middle of a
//! text, would take the lines up to the next quote into one field. Reading goes on from any buffered reader, byte by byte.

use std::io::{self, BufRead};

use super::Problem;

/// No row is longer: a quote that nothing closes must not take a whole file into memory.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// One row's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    quoted: Vec<bool>,
    /// The line on which it begins, from 1.
    pub line: u64,
}

impl Record {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of a field, and whether it stood in quotes.
    pub fn get(&self, index: usize) -> Option<(&[u8], bool)> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        Some((self.bytes.get(start..end)?, *self.quoted.get(index)?))
    }

    fn clear(&mut self, line: u64) {
        self.bytes.clear();
        self.ends.clear();
        self.quoted.clear();
        self.line = line;
    }

    fn end_field(&mut self, quoted: bool) {
        self.ends.push(self.bytes.len());
        self.quoted.push(quoted);
    }

    /// An empty line is no row.
    fn is_blank(&self) -> bool {
        self.bytes.is_empty() && self.quoted == [false]
    }
}

/// Why no more records come.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    /// Behind a quote within quotes: it ends the field, or the next one says that it is meant.
    Closed,
}

/// What one byte did.
enum Step {
    More,
    EndOfRecord,
}

pub struct Records<R> {
    reader: R,
    machine: Machine,
}

struct Machine {
    delimiter: u8,
    line: u64,
    state: State,
    /// Where the field's quote was opened.
    opened: u64,
    /// A carriage return ended the last record: a line feed behind it belongs to it.
    after_return: bool,
}

impl<R: BufRead> Records<R> {
    /// `line`: the number of the reader's first line.
    pub fn new(reader: R, delimiter: u8, line: u64) -> Self {
        let machine = Machine {
            delimiter,
            line,
            state: State::Start,
            opened: line,
            after_return: false,
        };
        Records { reader, machine }
    }

    /// Reads the next row. False: there is none.
    ///
    /// # Errors
    /// A quote that nothing closes, or with something else behind it; a row of more than 64 MiB. The reader's.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, Error> {
        loop {
            record.clear(self.machine.line);
            if !self.read_one(record)? {
                return Ok(false);
            }
            if !record.is_blank() {
                return Ok(true);
            }
        }
    }

    fn read_one(&mut self, record: &mut Record) -> Result<bool, Error> {
        let machine = &mut self.machine;
        machine.state = State::Start;
        let mut has_bytes = false;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                if machine.state == State::Quoted {
                    return Err(machine.problem(
                        "a quote opens a field here and nothing closes it; close it, or write the file again, whole",
                    ));
                }
                if has_bytes {
                    record.end_field(machine.state == State::Closed);
                }
                return Ok(has_bytes);
            }
            let (mut used, mut is_whole) = (buffer.len(), false);
            for (at, byte) in buffer.iter().enumerate() {
                if std::mem::take(&mut machine.after_return) && *byte == b'\n' {
                    continue;
                }
                has_bytes = true;
                if matches!(machine.step(*byte, record)?, Step::EndOfRecord) {
                    (used, is_whole) = (at + 1, true);
                    break;
                }
            }
            self.reader.consume(used);
            if is_whole {
                return Ok(true);
            }
            if record.bytes.len() > RECORD_BYTES_MAX {
                return Err(machine
                    .problem("a row of more than 64 MiB begins or a quote opens here; close it"));
            }
        }
    }
}

impl Machine {
    fn step(&mut self, byte: u8, record: &mut Record) -> Result<Step, Error> {
        match (self.state, byte) {
            (State::Quoted, b'"') => self.state = State::Closed,
            (State::Quoted, _) => {
                self.line += u64::from(byte == b'\n');
                record.bytes.push(byte);
            }
            (State::Start, b'"') => {
                self.state = State::Quoted;
                self.opened = self.line;
            }
            (State::Closed, b'"') => {
                record.bytes.push(byte);
                self.state = State::Quoted;
            }
            (state, byte) if byte == self.delimiter => {
                record.end_field(state == State::Closed);
                self.state = State::Start;
            }
            (state, b'\n' | b'\r') => {
                record.end_field(state == State::Closed);
                self.line += 1;
                self.after_return = byte == b'\r';
                return Ok(Step::EndOfRecord);
            }
            (State::Closed, b' ' | b'\t') => {}
            (State::Closed, _) => {
                let what = format!(
                    "a quote opens a field here, and the next one, on line {}, has other text behind it; close the field, or write a quote within it twice",
                    self.line
                );
                return Err(self.problem(&what));
            }
            (State::Start | State::Plain, _) => {
                self.state = State::Plain;
                record.bytes.push(byte);
            }
        }
        Ok(Step::More)
    }

    fn problem(&self, what: &str) -> Error {
        Error::Problem(Problem {
            line: self.opened,
            what: what.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    type Row = Vec<(String, bool)>;

    fn rows(text: &[u8], capacity: usize) -> Result<Vec<(u64, Row)>, Error> {
        let reader = io::BufReader::with_capacity(capacity, text);
        let mut records = Records::new(reader, b',', 1);
        let (mut out, mut record) = (Vec::new(), Record::default());
        while records.read(&mut record)? {
            let fields = (0..record.len()).map(|i| {
                let (bytes, quoted) = record.get(i).unwrap();
                (String::from_utf8(bytes.to_vec()).unwrap(), quoted)
            });
            out.push((record.line, fields.collect()));
        }
        Ok(out)
    }

    proptest! {
        /// What was written is what is read, whatever stands in it and however the bytes come.
        #[test]
        fn records_come_back(table in prop::collection::vec(prop::collection::vec(("[a-z,\" \r\n\u{f6}]{0,6}", any::<bool>()), 1..4), 0..6),
            capacity in 1usize..20, dos in any::<bool>()) {
            let end = if dos { "\r\n" } else { "\n" };
            let mut text = String::new();
            let mut expected = Vec::new();
            for row in &table {
                let row: Row = row.iter().map(|(field, quoted)| {
                    let must = field.contains([',', '"', '\r', '\n']) || (row.len() == 1 && field.is_empty());
                    (field.clone(), *quoted || must)
                }).collect();
                let fields: Vec<String> = row.iter().map(|(field, quoted)| match quoted {
                    true => format!("\"{}\"", field.replace('"', "\"\"")),
                    false => field.clone(),
                }).collect();
                text += &(fields.join(",") + end);
                expected.push(row);
            }
            let got: Vec<Row> = rows(text.as_bytes(), capacity).unwrap().into_iter().map(|(_, row)| row).collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_quote_that_swallows_lines_is_named_with_the_line_on_which_it_opens() {
        for (text, line, word) in [
            ("id,s\n1,\"a\n2,b\n3,c\n", 2, "nothing closes it"),
            ("id,s\n1,x\n2,\"a\n3,\"b\"\n", 3, "on line 4"),
            ("id,s\n1,\"a\"b\n", 2, "on line 2"),
            ("\"", 1, "nothing closes it"),
        ] {
            match rows(text.as_bytes(), 7) {
                Err(Error::Problem(problem)) => {
                    assert_eq!(problem.line, line, "{text:?}");
                    assert!(problem.what.contains(word), "{problem}");
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn lines_are_counted_through_quotes_and_empty_lines_are_no_rows() {
        let field = |text: &str, quoted| (text.to_owned(), quoted);
        let got = rows(b"a,b\r\n\r\n\"x\ny\" ,\"\"\n5\" pipe,\n\"z\"\rlast", 3).unwrap();
        let expected = vec![
            (1, vec![field("a", false), field("b", false)]),
            (3, vec![field("x\ny", true), field("", true)]),
            (5, vec![field("5\" pipe", false), field("", false)]),
            (6, vec![field("z", true)]),
            (7, vec![field("last", false)]),
        ];
        assert_eq!(got, expected);
    }
}
