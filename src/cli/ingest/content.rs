//! What a file is called by its content, and what of it was loaded before: a file that has grown begins with the file that
//! it was.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::Context;
use deltaplane_client::csv::{Content, identity, newlines};

use super::source::{CANNOT_UNPACK, content, is_gzip};

/// A place in a file's content up to which an earlier file may have gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// What the content up to here is called.
    pub name: String,
    pub length: u64,
    /// The number of the line that begins here.
    pub line: u64,
    /// Does a line end here?
    pub is_whole: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// What the whole content is called.
    pub name: String,
    pub length: u64,
    /// What the packed file is called, as older versions named it.
    pub packed: Option<String>,
    /// At the lengths that were asked for.
    pub prefixes: Vec<Prefix>,
}

/// Reads a file once, up to `end`: it may grow meanwhile.
///
/// # Errors
/// It cannot be read, or not be unpacked.
pub(super) fn survey(path: &Path, lengths: &BTreeSet<u64>, end: u64) -> anyhow::Result<Survey> {
    let packed = match is_gzip(path) {
        true => {
            let mut file = std::fs::File::open(path).context("cannot open it")?;
            Some(identity(&mut file).context("it cannot be read")?)
        }
        false => None,
    };
    let unreadable = match packed {
        Some(_) => CANNOT_UNPACK,
        None => "it cannot be read",
    };
    let mut reader = content(path)?.take(end);
    let mut content = Content::default();
    let mut lengths = lengths.iter().copied().filter(|n| *n > 0).peekable();
    let mut prefixes: Vec<Prefix> = Vec::new();
    let (mut line, mut last) = (1, b'\n');
    loop {
        let buffer = reader.fill_buf().context(unreadable)?;
        if buffer.is_empty() {
            break;
        }
        let left = lengths.peek().map(|at| at - content.length());
        let taken = left.and_then(|left| usize::try_from(left).ok());
        let (now, rest) = buffer.split_at(taken.unwrap_or(buffer.len()).min(buffer.len()));
        content.push(now);
        line += newlines(now);
        last = now.last().copied().unwrap_or(last);
        let used = now.len();
        if lengths.next_if_eq(&content.length()).is_some() {
            let next = rest.first().copied();
            reader.consume(used);
            let next = match next {
                Some(next) => Some(next),
                None => reader.fill_buf().context(unreadable)?.first().copied(),
            };
            prefixes.push(Prefix {
                name: content.name(),
                length: content.length(),
                line,
                is_whole: last == b'\n' || matches!(next, None | Some(b'\n' | b'\r')),
            });
        } else {
            reader.consume(used);
        }
    }
    Ok(Survey {
        name: content.name(),
        length: content.length(),
        packed,
        prefixes,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_file_that_has_grown_is_known_by_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "id\n1\n2\n34\nnew").unwrap();
        let survey = survey(&path, &BTreeSet::from([3, 7, 8, 10, 99]), 10).unwrap();
        let name = |text: &str| identity(&mut text.as_bytes()).unwrap();
        assert_eq!(
            (survey.name.clone(), survey.length),
            (name("id\n1\n2\n34\n"), 10)
        );
        let found: Vec<_> = survey
            .prefixes
            .iter()
            .map(|p| (p.name.clone(), p.length, p.line, p.is_whole))
            .collect();
        assert_eq!(
            found,
            [
                (name("id\n"), 3, 2, true),
                (name("id\n1\n2\n"), 7, 4, true),
                (name("id\n1\n2\n3"), 8, 4, false),
                (name("id\n1\n2\n34\n"), 10, 5, true),
            ]
        );
        assert_eq!(survey.packed, None);
    }
}
