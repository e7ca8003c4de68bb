//! A file as bytes: what its name says that it is, unpacked if it is packed, without a byte order mark, whole or from one
//! place to another.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
// The unpacker that is in the tree already; nothing else of the engine is used here.
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use indicatif::ProgressBar;

pub(super) const KNOWN: &str =
    ".csv, .jsonl, .ndjson, .json (each also .gz), .parquet, .arrow, .arrows, .ipc, .feather";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Json,
    Parquet,
    Arrow,
}

impl Format {
    pub(super) fn of(path: &Path) -> Option<Format> {
        split(path).map(|(_, format)| format)
    }

    /// Does it grow by lines?
    pub(super) fn is_text(self) -> bool {
        matches!(self, Format::Csv | Format::Json)
    }
}

/// A file's name without what says its format.
pub(super) fn stem(path: &Path) -> &str {
    let name = path.file_name().and_then(|s| s.to_str());
    split(path).map_or(name.unwrap_or_default(), |(stem, _)| stem)
}

fn split(path: &Path) -> Option<(&str, Format)> {
    let name = path.file_name()?.to_str()?;
    let without = |name: &'_ str, ending: &str| {
        let at = name.len().checked_sub(ending.len())?;
        let found = name.get(at..)?.eq_ignore_ascii_case(ending);
        found.then_some(at)
    };
    let packed = without(name, ".gz");
    let inner = name.get(..packed.unwrap_or(name.len()))?;
    let (stem, ending) = inner.rsplit_once('.')?;
    let format = match ending.to_ascii_lowercase().as_str() {
        "csv" => Format::Csv,
        "jsonl" | "ndjson" | "json" => Format::Json,
        "parquet" if packed.is_none() => Format::Parquet,
        "arrow" | "arrows" | "ipc" | "feather" if packed.is_none() => Format::Arrow,
        _ => return None,
    };
    Some((stem, format))
}

/// Bytes as they are read, shown on the bar.
struct Counted<R> {
    inner: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

/// What a gzip file begins with (RFC 1952), whatever its name.
const GZIP: [u8; 2] = [0x1f, 0x8b];
pub(super) const CANNOT_UNPACK: &str = "it cannot be unpacked; if it was cut short, write it again";

/// By what it begins with: a name without `.gz` proves nothing.
pub(super) fn is_gzip(path: &Path) -> bool {
    let mut start = [0; GZIP.len()];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && start == GZIP
}

/// A part of a file's content, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub base: u64,
    pub end: u64,
    /// The number of the line that begins at `base`.
    pub first_line: u64,
}

impl Range {
    /// All of a file, as it is now: it may grow meanwhile.
    pub(super) fn whole(path: &Path) -> anyhow::Result<Self> {
        let end = match is_gzip(path) {
            true => u64::MAX,
            false => path.metadata().context("cannot open it")?.len(),
        };
        Ok(Range {
            base: 0,
            end,
            first_line: 1,
        })
    }
}

/// A file's content, unpacked.
pub(super) fn content(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    unpacked(File::open(path).context("cannot open it")?)
}

fn unpacked(file: impl Read + Send + 'static) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let mut packed = BufReader::with_capacity(1 << 18, file);
    if !packed.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(packed));
    }
    let plain = FileCompressionType::GZIP
        .convert_read(packed)
        .context("gzip")?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, plain)))
}

/// Opens a part of a file of text.
///
/// # Errors
/// It cannot be read; it is UTF-16.
pub(super) fn text(
    path: &Path,
    range: Range,
    bar: &ProgressBar,
) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let counted = Counted {
        inner: File::open(path).context("cannot open it")?,
        bar: bar.clone(),
    };
    let mut reader = unpacked(counted)?;
    if range.base > 0 {
        io::copy(&mut (&mut reader).take(range.base), &mut io::sink()).context(CANNOT_UNPACK)?;
        return Ok(Box::new(reader.take(range.end.saturating_sub(range.base))));
    }
    let start = match reader.fill_buf() {
        Err(e) if is_gzip(path) => return Err(e).context(CANNOT_UNPACK),
        start => start?,
    };
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        bail!("line 1: it is UTF-16; convert it, as with `iconv -f utf-16 -t utf-8`");
    }
    let mark = if start.starts_with(&[0xef, 0xbb, 0xbf]) {
        3
    } else {
        0
    };
    reader.consume(mark);
    Ok(Box::new(reader.take(range.end.saturating_sub(mark as u64))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_stem_and_a_format() {
        for (name, expected) in [
            ("2024.01.05.csv", Some(("2024.01.05", Format::Csv))),
            ("a.b.CSV.GZ", Some(("a.b", Format::Csv))),
            ("a.ndjson", Some(("a", Format::Json))),
            ("a.arrows", Some(("a", Format::Arrow))),
            ("a.parquet.gz", None),
            ("README", None),
            ("a.txt", None),
        ] {
            assert_eq!(split(Path::new(name)), expected, "{name}");
        }
        assert_eq!(stem(Path::new("/x/2024.01.05.csv")), "2024.01.05");
    }
}
