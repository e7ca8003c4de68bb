//! A file as bytes: what its name says that it is, unpacked if it is packed, without a byte order mark.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
// The unpacker that is in the tree already; nothing else of the engine is used here.
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use indicatif::ProgressBar;

pub(super) const KNOWN: &str = ".csv, .jsonl, .ndjson (each also .gz), .parquet, .arrow";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Json,
    Parquet,
    Arrow,
}

impl Format {
    pub(super) fn of(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let inner = name.strip_suffix(".gz");
        let (_, ending) = inner.unwrap_or(&name).rsplit_once('.')?;
        Some(match ending {
            "csv" => Format::Csv,
            "jsonl" | "ndjson" => Format::Json,
            "parquet" if inner.is_none() => Format::Parquet,
            "arrow" | "ipc" if inner.is_none() => Format::Arrow,
            _ => return None,
        })
    }
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

/// Opens a file of text.
///
/// # Errors
/// It cannot be read; it is UTF-16.
pub(super) fn text(path: &Path, bar: &ProgressBar) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).context("cannot open it")?;
    let counted = Counted {
        inner: file,
        bar: bar.clone(),
    };
    let mut packed = BufReader::with_capacity(1 << 18, counted);
    let gzip = packed.fill_buf()?.starts_with(&GZIP);
    let mut reader: Box<dyn BufRead + Send> = if gzip {
        let plain = FileCompressionType::GZIP
            .convert_read(packed)
            .context("gzip")?;
        Box::new(BufReader::with_capacity(1 << 18, plain))
    } else {
        Box::new(packed)
    };
    let start = match reader.fill_buf() {
        Err(e) if gzip => return Err(e).context(CANNOT_UNPACK),
        start => start?,
    };
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        bail!("line 1: it is UTF-16; convert it, as with `iconv -f utf-16 -t utf-8`");
    }
    if start.starts_with(&[0xef, 0xbb, 0xbf]) {
        reader.consume(3);
    }
    Ok(reader)
}
