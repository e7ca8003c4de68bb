//! CSV with quotes, read strictly ([`quoted`]), and CSV without quotes, fast: a file is cut into blocks of whole lines, each block is checked and turned into a batch by
//! itself, on as many threads as the caller likes. Where a block ends follows from the content alone, so that a block's number
//! stands for its rows when a cut run goes on.
//!
//! Values of number columns are parsed here only if all of a block are numbers beyond doubt; whatever else stands there is the
//! server's to judge, as text. It knows no files and no server.

mod blocks;
mod identity;
mod parse;
pub mod quoted;

pub use blocks::{Block, Blocks};
pub use identity::{Content, identity};
pub use parse::{Field, Kind, parse};

use std::fmt;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1, the header's line included.
    pub line: u64,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Problem {}

/// What a block is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub rows: u64,
    pub lines: u64,
    /// A quote, or a carriage return that is not at a line's end: lines and fields are not what they seem, and another reader
    /// has to take the file. The rest is not counted then.
    pub quoted: bool,
}

/// Looks at each line of a block: it is UTF-8, and has as many fields as the header. Empty lines are skipped.
///
/// # Errors
/// The first line that is not so.
pub fn check(block: &Block, fields: usize, delimiter: u8) -> Result<Shape, Problem> {
    let mut shape = Shape::default();
    let text = &block.bytes;
    if memchr::memchr(b'"', text).is_some() {
        shape.quoted = true;
        return Ok(shape);
    }
    if let Err(error) = std::str::from_utf8(text) {
        let before = &text[..error.valid_up_to()];
        let byte = text.get(error.valid_up_to()).copied().unwrap_or_default();
        return Err(Problem {
            line: block.first_line + newlines(before),
            what: format!(
                "byte 0x{byte:02x} is no UTF-8; convert the file, as with `iconv -f latin1 -t utf-8`"
            ),
        });
    }
    let returns = memchr::memchr(b'\r', text).is_some();
    for line in lines(text) {
        shape.lines += 1;
        if line.is_empty() {
            continue;
        }
        if returns && line.contains(&b'\r') {
            shape.quoted = true;
            return Ok(shape);
        }
        let found = 1 + count(line, delimiter);
        if found != fields {
            let cut = shape.lines == newlines(text) + 1;
            let hint = if cut {
                "; the file ends in the middle of a row: write it again, whole"
            } else {
                "; correct the line, or quote the field that holds a delimiter"
            };
            return Err(Problem {
                line: block.first_line + shape.lines - 1,
                what: format!("{found} fields where the header has {fields}{hint}"),
            });
        }
        shape.rows += 1;
    }
    Ok(shape)
}

/// How many lines end in this text.
pub fn newlines(text: &[u8]) -> u64 {
    count(text, b'\n') as u64
}

fn count(text: &[u8], byte: u8) -> usize {
    memchr::memchr_iter(byte, text).count()
}

/// Lines without their ends, `\n` or `\r\n`.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = text.strip_suffix(b"\n").unwrap_or(text);
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', whole).chain((!text.is_empty()).then_some(whole.len()));
    ends.map(move |end| {
        let line = &whole[start..end];
        start = end + 1;
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn block(text: &[u8]) -> Block {
        Block {
            number: 0,
            first_line: 2,
            bytes: text.to_vec(),
        }
    }

    #[test]
    fn good_lines_are_counted_whatever_ends_them() {
        let shape = check(&block(b"1,2\r\n\r\n3,4\n5,6"), 2, b',').unwrap();
        assert_eq!(
            shape,
            Shape {
                rows: 3,
                lines: 4,
                quoted: false
            }
        );
        assert_eq!(check(&block(b""), 2, b',').unwrap(), Shape::default());
        assert!(check(&block(b"1,\"2\"\n"), 2, b',').unwrap().quoted);
        assert!(check(&block(b"1,2\r3,4\n"), 2, b',').unwrap().quoted);
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong_and_what_to_do() {
        let problem = check(&block(b"1,2\n3\n4,5\n"), 2, b',').unwrap_err();
        assert_eq!(problem.line, 3);
        assert!(
            problem
                .what
                .starts_with("1 fields where the header has 2; correct"),
            "{problem}"
        );
        let problem = check(&block(b"1,2\n3,4,5"), 2, b',').unwrap_err();
        assert_eq!(problem.line, 3);
        assert!(problem.what.contains("middle of a row"), "{problem}");
        let problem = check(&block(b"a,b\nM\xfcnchen,1\n"), 2, b',').unwrap_err();
        assert_eq!(problem.line, 3);
        assert!(problem.what.contains("0xfc"), "{problem}");
    }
}
