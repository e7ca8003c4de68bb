//! A checksum in each data file that this server writes, over all that is no page's body: page headers, page indexes and footer.
//!
//! Page bodies have the checksums of Parquet (`delta/page_checksums`), and Parquet has none for the rest. A scan leaves out row
//! groups and pages by the bounds in footer and page index, and finds the values of a page by its header. A changed bit there
//! would be fewer or other rows without an error.
//!
//! A Parquet file is found from its end: the last eight bytes say where the footer begins, and the footer says where everything
//! else is. Bytes that the footer does not name are read by nobody. The checksums stand there, right before the footer:
//!
//! ```text
//! PAR1 <pages> <page indexes> <page table> <footer> <length of the footer, 4 bytes> PAR1
//! ```
//!
//! The page table, numbers little endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 12 n | for each page in the file's order, 4 bytes each: size of the page with its header, size of the header, CRC-32C of the header |
//! | 12 n | 4 | n |
//! | 12 n + 4 | 8 | where the pages end: the place of the first page index |
//! | 12 n + 12 | 17 | `deltaplaneCrc32c=` |
//! | 12 n + 29 | 8 | CRC-32C in hexadecimal digits, over all bytes from the end of the pages to the end of the file but these digits |
//!
//! The footer has the entry [`ENTRY`], so that a file whose table was damaged is told from one that never had one. A file
//! without both is from another writer or from an older server, and is read as it is.

#![deny(clippy::indexing_slicing)]

use std::ops::Range;

use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, ParquetMetaData};

/// The key of the footer that says that the file has a page table.
const ENTRY: &str = "deltaplane.metadata_checksum";
/// How the name of the writer begins in the footers of this server.
const WRITER: &str = "deltaplane ";
/// The form of the table.
const VERSION: &str = "1";
const MARK: &[u8] = b"deltaplaneCrc32c=";
const DIGITS: usize = 8;
const MAGIC: &[u8] = b"PAR1";
/// The footer's length and the end.
const TAIL: usize = 8;
/// Of the table, what is behind its pages.
const FIXED: usize = 4 + 8 + MARK.len() + DIGITS;
const PAGE: usize = 12;

/// A page of a file that is being written.
#[derive(Clone, Copy, Debug)]
pub(in crate::cold) struct Page {
    /// With its header.
    pub bytes: u32,
    pub header_bytes: u32,
    pub header_crc32c: u32,
}

/// What a footer says of a file that gets a page table.
pub(in crate::cold) fn entry() -> KeyValue {
    KeyValue::new(ENTRY.to_owned(), VERSION.to_owned())
}

pub(in crate::cold) fn is_entry(entry: &KeyValue) -> bool {
    entry.key == ENTRY
}

/// Does the footer say that the file has a page table?
fn is_promised(metadata: &ParquetMetaData) -> bool {
    let entries = metadata.file_metadata().key_value_metadata();
    is_ours(metadata)
        && entries
            .into_iter()
            .flatten()
            .any(|e| is_entry(e) && e.value.as_deref() == Some(VERSION))
}

/// Did this server write the footer? Other programs copy the entries of a footer that they have read to the files that they
/// write: pyarrow does.
pub(super) fn is_ours(metadata: &ParquetMetaData) -> bool {
    let writer = metadata.file_metadata().created_by();
    writer.is_some_and(|writer| writer.starts_with(WRITER))
}

/// The file with its page table. None: it is no Parquet file of these pages.
pub(in crate::cold) fn sealed(mut file: Vec<u8>, pages: &[Page]) -> Option<Vec<u8>> {
    let pages_end = pages.iter().map(|p| u64::from(p.bytes)).sum::<u64>() + MAGIC.len() as u64;
    let footer = file.split_off(footer_at(&file)?);
    for page in pages {
        for field in [page.bytes, page.header_bytes, page.header_crc32c] {
            file.extend_from_slice(&field.to_le_bytes());
        }
    }
    file.extend_from_slice(&u32::try_from(pages.len()).ok()?.to_le_bytes());
    file.extend_from_slice(&pages_end.to_le_bytes());
    file.extend_from_slice(MARK);
    let checked = file.get(usize::try_from(pages_end).ok()?..)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(checked), &footer);
    file.extend_from_slice(format!("{crc:08x}").as_bytes());
    file.extend_from_slice(&footer);
    Some(file)
}

/// Where the footer of these last bytes of a file begins.
fn footer_at(tail: &[u8]) -> Option<usize> {
    let end = tail.len().checked_sub(TAIL)?;
    end.checked_sub(footer_bytes(tail)?)
}

/// None: they are not the end of a Parquet file.
fn footer_bytes(tail: &[u8]) -> Option<usize> {
    let end = tail.get(tail.len().checked_sub(TAIL)?..)?;
    let (length, magic) = end.split_first_chunk::<4>()?;
    (magic == MAGIC).then_some(())?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

/// Where each page is, and the checksum of its header.
#[derive(Debug)]
pub(super) struct Pages(Vec<PlacedPage>);

#[derive(Debug)]
struct PlacedPage {
    at: u64,
    header_bytes: u64,
    header_crc32c: u32,
}

impl Pages {
    /// Where the headers are.
    pub(super) fn headers(&self) -> impl Iterator<Item = Range<u64>> {
        let pages = self.0.iter();
        pages.map(|page| page.at..page.at + page.header_bytes)
    }

    /// `bytes` are those of the file from `at` on. Headers that are whole in them are compared.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self, at: u64, bytes: &[u8]) -> std::result::Result<(), String> {
        let first = self.0.partition_point(|page| page.at < at);
        for page in self.0.get(first..).unwrap_or_default() {
            let place = |position: u64| usize::try_from(position.checked_sub(at)?).ok();
            let (from, to) = (place(page.at), place(page.at + page.header_bytes));
            let header = from.zip(to).and_then(|(from, to)| bytes.get(from..to));
            let Some(header) = header else { break };
            if crc32c::crc32c(header) != page.header_crc32c {
                return Err(format!(
                    "the header of its page at byte {} does not match its checksum",
                    page.at
                ));
            }
        }
        Ok(())
    }
}

/// What the last bytes of a file say.
#[derive(Debug)]
pub(super) enum End {
    /// So many of the last bytes are needed to know.
    Needs(u64),
    /// There is no page table.
    Plain,
    /// Page indexes, page table and footer are what was written.
    Checked(Pages),
}

/// Reads the page table. `tail` are the last bytes of a file of `size` bytes.
///
/// # Errors
/// They are not what was written.
pub(super) fn end(tail: &[u8], size: u64) -> std::result::Result<End, &'static str> {
    const MISMATCH: &str = "its footer or its page index does not match its checksum";
    let Some(footer) = footer_bytes(tail) else {
        return Ok(End::Plain);
    };
    let behind = (TAIL + footer) as u64;
    let with_table = behind + FIXED as u64;
    if with_table > size {
        return Ok(End::Plain);
    }
    if with_table > tail.len() as u64 {
        return Ok(End::Needs(with_table));
    }
    let split = tail.len() - TAIL - footer;
    let (before, footer) = tail.split_at_checked(split).ok_or(MISMATCH)?;
    let (before, digits) = before.split_at_checked(split - DIGITS).ok_or(MISMATCH)?;
    let Some(table) = before.strip_suffix(MARK) else {
        return Ok(End::Plain);
    };
    let (table, pages_end) = table.split_last_chunk::<8>().ok_or(MISMATCH)?;
    let (table, count) = table.split_last_chunk::<4>().ok_or(MISMATCH)?;
    let pages_end = u64::from_le_bytes(*pages_end);
    let needed = size.checked_sub(pages_end).ok_or(MISMATCH)?;
    if needed < with_table {
        return Err(MISMATCH);
    }
    let Some(skipped) = (tail.len() as u64).checked_sub(needed) else {
        return Ok(End::Needs(needed));
    };
    let skipped = usize::try_from(skipped).map_err(|_| MISMATCH)?;
    let checked = before.get(skipped..).ok_or(MISMATCH)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(checked), footer);
    if format!("{crc:08x}").as_bytes() != digits {
        return Err(MISMATCH);
    }
    // From here on it is what was written.
    let count = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| MISMATCH)?;
    let from = count
        .checked_mul(PAGE)
        .and_then(|bytes| table.len().checked_sub(bytes))
        .filter(|from| *from >= skipped)
        .ok_or(MISMATCH)?;
    let mut at = MAGIC.len() as u64;
    let (rows, _) = table.get(from..).ok_or(MISMATCH)?.as_chunks::<PAGE>();
    let pages = rows.iter().map(|row| {
        let (fields, _) = row.as_chunks::<4>();
        let mut fields = fields.iter().map(|field| u32::from_le_bytes(*field));
        let mut field = || fields.next().unwrap_or_default();
        let (bytes, header_bytes, header_crc32c) = (field(), field(), field());
        let page = PlacedPage {
            at,
            header_bytes: u64::from(header_bytes),
            header_crc32c,
        };
        at += u64::from(bytes);
        page
    });
    let pages = pages.collect();
    if at != pages_end {
        return Err(MISMATCH);
    }
    Ok(End::Checked(Pages(pages)))
}

/// # Errors
/// The footer of a file without a page table says that there is one.
pub(super) fn has_no_table(metadata: &ParquetMetaData) -> Result<()> {
    if is_promised(metadata) {
        return Err(general("its checksum is damaged"));
    }
    Ok(())
}

fn general(problem: impl Into<String>) -> ParquetError {
    ParquetError::General(problem.into())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    /// Two pages, an index and a footer, as far as this module looks at them.
    fn plain() -> (Vec<u8>, [Page; 2]) {
        let mut file = b"PAR1head-body2headbody<index><footer>".to_vec();
        file.extend_from_slice(&8u32.to_le_bytes());
        file.extend_from_slice(MAGIC);
        let page = |bytes, header: &[u8]| Page {
            bytes,
            header_bytes: u32::try_from(header.len()).unwrap(),
            header_crc32c: crc32c::crc32c(header),
        };
        (file, [page(9, b"head-"), page(9, b"2head")])
    }

    fn is_whole(file: &[u8]) -> bool {
        match end(file, file.len() as u64) {
            Ok(End::Checked(pages)) => pages.check(0, file).is_ok(),
            _ => false,
        }
    }

    #[test]
    fn every_changed_bit_beside_the_bodies_of_pages_is_noticed() {
        let (file, pages) = plain();
        assert!(matches!(end(&file, file.len() as u64), Ok(End::Plain)));
        let bodies = [9..13, 18..22];
        let whole = sealed(file, &pages).unwrap();
        assert!(is_whole(&whole));
        for at in MAGIC.len()..whole.len() {
            let is_body = bodies.iter().any(|body| body.contains(&at));
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(is_whole(&changed), is_body, "byte {at}, bit {bit}");
            }
        }
        for length in 0..whole.len() {
            assert!(!is_whole(&whole[..length]), "{length}");
        }
    }

    #[test]
    fn the_end_of_a_file_says_how_much_of_it_is_needed() {
        let (file, pages) = plain();
        let whole = sealed(file, &pages).unwrap();
        let size = whole.len() as u64;
        let footer = (TAIL + 8 + FIXED) as u64;
        let needed = size - 22;
        for length in TAIL..whole.len() {
            let tail = &whole[whole.len() - length..];
            match end(tail, size).unwrap() {
                End::Needs(bytes) if (length as u64) < footer => assert_eq!(bytes, footer),
                End::Needs(bytes) => assert!(bytes == needed && needed > length as u64),
                End::Checked(pages) => {
                    assert!(length as u64 >= needed);
                    // A range without a header, with half of one, and with the second.
                    for (at, length) in [(9, 4), (13, 2), (13, 9), (4, 18)] {
                        pages.check(at as u64, &whole[at..][..length]).unwrap();
                    }
                    let other = pages.check(13, b"2heat").unwrap_err();
                    assert!(other.contains("byte 13"), "{other}");
                }
                End::Plain => panic!("{length}"),
            }
        }
    }
}
