//! Gives every page of a finished Parquet file its CRC-32, so that a reader notices when a byte of it has changed on disk.
//!
//! The `parquet` crate verifies the checksum of a page that has one (feature `crc`), but its writer leaves the field out. This
//! module therefore walks the pages of a file that was just encoded, inserts the field into each page header, and writes
//! offsets, sizes, page index and footer anew. It knows page headers and file metadata; it knows nothing of values.
//!
//! A page header is a Thrift struct in the compact protocol. Its fields rise by number, and each field starts with a byte
//! that holds the distance to the number of the field before and the type:
//!
//! ```text
//! field  1  i32     page type
//! field  2  i32     size of the page's body without compression
//! field  3  i32     size of the page's body as it is stored
//! field  4  i32     CRC-32 of the body as it is stored      <- inserted here
//! field  5 to 8     one struct, by page type
//! byte   0          end of the struct
//! ```
//!
//! Source: parquet-format, `parquet.thrift`, struct `PageHeader`; Thrift compact protocol specification.

#![deny(clippy::indexing_slicing)]

use std::io::Write;

use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};
use parquet::file::writer::TrackedWrite;

use super::super::Error;

/// The file's bytes with a checksum for each page. Pages that have one keep it.
///
/// `metadata`: as the writer of `file` returned it, with the offset index.
///
/// # Errors
/// `Encode`: `file` is not what `metadata` describes.
pub(super) fn with_page_checksums(
    file: &[u8],
    metadata: ParquetMetaData,
) -> Result<Vec<u8>, Error> {
    // A page grows by at most six bytes; pages have some ten thousand.
    let mut out = Vec::with_capacity(file.len() + file.len() / 256 + 4096);
    let mut writer = TrackedWrite::new(&mut out);
    writer.write_all(b"PAR1").map_err(failed)?;
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    let mut indexes = Vec::with_capacity(metadata.num_row_groups());
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let offset_index = metadata
            .offset_index()
            .and_then(|groups| groups.get(number));
        let mut columns = Vec::with_capacity(group.num_columns());
        let mut located = Vec::with_capacity(group.num_columns());
        for (position, column) in group.columns().iter().enumerate() {
            let index = offset_index.and_then(|columns| columns.get(position));
            let moved = copy_chunk(file, column, index, &mut writer)?;
            columns.push(moved.column);
            located.extend(moved.index);
        }
        groups.push(row_group(group, columns)?);
        indexes.push(located);
    }
    let has_index = metadata.offset_index().is_some();
    let metadata = metadata
        .into_builder()
        .set_row_groups(groups)
        .set_offset_index(has_index.then_some(indexes))
        .build();
    ParquetMetaDataWriter::new_with_tracked(writer, &metadata)
        .finish()
        .map_err(failed)?;
    Ok(out)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Encode(format!("page checksums: {error}"))
}

fn unexpected() -> Error {
    failed("the file is not what its metadata describes")
}

fn row_group(
    group: &RowGroupMetaData,
    columns: Vec<ColumnChunkMetaData>,
) -> Result<RowGroupMetaData, Error> {
    let start = columns.first().map_or(0, |c| c.byte_range().0);
    let plain = columns.iter().map(ColumnChunkMetaData::uncompressed_size);
    let total = plain.sum();
    let mut builder = group
        .clone()
        .into_builder()
        .set_total_byte_size(total)
        .set_column_metadata(columns);
    if group.file_offset().is_some() {
        builder = builder.set_file_offset(i64::try_from(start).unwrap_or(i64::MAX));
    }
    builder.build().map_err(failed)
}

struct MovedChunk {
    column: ColumnChunkMetaData,
    index: Option<OffsetIndexMetaData>,
}

/// Writes one column chunk's pages with their checksums, and says where they are now.
fn copy_chunk(
    file: &[u8],
    column: &ColumnChunkMetaData,
    index: Option<&OffsetIndexMetaData>,
    writer: &mut TrackedWrite<&mut Vec<u8>>,
) -> Result<MovedChunk, Error> {
    let (start, length) = column.byte_range();
    let start = usize::try_from(start).map_err(failed)?;
    let length = usize::try_from(length).map_err(failed)?;
    let chunk = start
        .checked_add(length)
        .and_then(|end| file.get(start..end))
        .ok_or_else(unexpected)?;
    let written_from = writer.bytes_written();
    // Old start of each page, in the chunk, and what became of it.
    let mut pages: Vec<(usize, PageLocation)> = Vec::new();
    let mut rest = chunk;
    while !rest.is_empty() {
        let old = chunk.len() - rest.len();
        let header = PageHeader::read(rest).ok_or_else(unexpected)?;
        let end = header.length.checked_add(header.body_length);
        let body = end
            .and_then(|end| rest.get(header.length..end))
            .ok_or_else(unexpected)?;
        let offset = writer.bytes_written();
        header.write(rest, body, writer).map_err(failed)?;
        writer.write_all(body).map_err(failed)?;
        let size = writer.bytes_written() - offset;
        pages.push((
            old,
            PageLocation {
                offset: position(offset),
                compressed_page_size: i32::try_from(size).map_err(failed)?,
                first_row_index: 0,
            },
        ));
        rest = rest.get(header.length + body.len()..).unwrap_or_default();
    }
    let new_place = |old: i64| {
        let old = usize::try_from(old).ok()?.checked_sub(start)?;
        let at = pages.binary_search_by_key(&old, |(old, _)| *old).ok()?;
        pages.get(at).map(|(_, place)| place.clone())
    };
    let index = match index {
        Some(index) => {
            let mut index = index.clone();
            for location in &mut index.page_locations {
                let place = new_place(location.offset).ok_or_else(unexpected)?;
                location.offset = place.offset;
                location.compressed_page_size = place.compressed_page_size;
            }
            Some(index)
        }
        None => None,
    };
    let moved = |old: i64| new_place(old).map(|p| p.offset).ok_or_else(unexpected);
    let grown = position(writer.bytes_written() - written_from) - column.compressed_size();
    let column = column
        .clone()
        .into_builder()
        .set_data_page_offset(moved(column.data_page_offset())?)
        .set_dictionary_page_offset(column.dictionary_page_offset().map(moved).transpose()?)
        .set_total_compressed_size(column.compressed_size() + grown)
        .set_total_uncompressed_size(column.uncompressed_size() + grown)
        .build()
        .map_err(failed)?;
    Ok(MovedChunk { column, index })
}

fn position(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What is needed of a page header.
struct PageHeader {
    length: usize,
    body_length: usize,
    /// Where field 3 ends; the next field's first byte is there.
    after_sizes: usize,
    has_checksum: bool,
}

impl PageHeader {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Compact { bytes, at: 0 };
        let mut field = 0;
        let (mut body_length, mut after_sizes, mut has_checksum) = (None, None, false);
        loop {
            let (number, kind) = reader.field(field)?;
            let Some(number) = number else { break };
            field = number;
            match (number, kind) {
                (3, I32) => {
                    body_length = Some(usize::try_from(unzigzag(reader.varint()?)).ok()?);
                    after_sizes = Some(reader.at);
                }
                (4, I32) => {
                    has_checksum = true;
                    reader.varint()?;
                }
                _ => reader.skip(kind, 0)?,
            }
        }
        Some(PageHeader {
            length: reader.at,
            body_length: body_length?,
            after_sizes: after_sizes?,
            has_checksum,
        })
    }

    /// Writes the header, which `bytes` start with, and in it the checksum of `body`.
    fn write(&self, bytes: &[u8], body: &[u8], out: &mut impl Write) -> std::io::Result<()> {
        let misfit = || std::io::Error::other("a page header is not as expected");
        let header = bytes.get(..self.length).ok_or_else(misfit)?;
        let (sizes, rest) = header
            .split_at_checked(self.after_sizes)
            .ok_or_else(misfit)?;
        let (next, tail) = rest.split_first().ok_or_else(misfit)?;
        // The field behind is one nearer to field 4 than to field 3. It has a distance, unless the struct ends here.
        let nearer = match next >> 4 {
            _ if self.has_checksum => return out.write_all(header),
            0 if *next == 0 => *next,
            distance if distance >= 2 => next - 0x10,
            _ => return Err(misfit()),
        };
        out.write_all(sizes)?;
        out.write_all(&[0x10 | I32])?;
        let checksum = crc32fast::hash(body).cast_signed();
        let mut left = ((checksum << 1) ^ (checksum >> 31)).cast_unsigned();
        while left >= 0x80 {
            out.write_all(&[(left & 0x7f) as u8 | 0x80])?;
            left >>= 7;
        }
        out.write_all(&[left as u8, nearer])?;
        out.write_all(tail)
    }
}

/// Types of the compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;
/// Structs in structs: a page header has two levels.
const DEPTH_MAX: usize = 8;

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads the Thrift compact protocol far enough to find where a struct ends. None: the bytes are no such struct.
struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at)?;
        self.at += 1;
        Some(*byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Number and type of the next field; no number at the end of the struct.
    fn field(&mut self, before: i64) -> Option<(Option<i64>, u8)> {
        let byte = self.byte()?;
        match (byte >> 4, byte & 0x0f) {
            (_, 0) => Some((None, 0)),
            (0, kind) => Some((Some(unzigzag(self.varint()?)), kind)),
            (distance, kind) => Some((Some(before + i64::from(distance)), kind)),
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => self.at += 1,
            I16 | I32 | I64 => {
                self.varint()?;
            }
            DOUBLE => self.at += 8,
            BINARY => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.at = self.at.checked_add(length)?;
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                for _ in 0..count {
                    // In a list a truth value has a byte of its own.
                    match head & 0x0f {
                        TRUE | FALSE => self.at += 1,
                        kind => self.skip(kind, depth + 1)?,
                    }
                    self.bytes.get(self.at)?;
                }
            }
            STRUCT => {
                let mut field = 0;
                while let (Some(number), kind) = self.field(field)? {
                    field = number;
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        (self.at <= self.bytes.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{
        ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
    };
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::file::properties::{WriterProperties, WriterVersion};

    use super::*;

    fn rows() -> RecordBatch {
        let ids: Int64Array = (0..5000).map(|n| (n % 7 > 0).then_some(n)).collect();
        let texts: StringArray = (0..5000)
            .map(|n| Some(format!("name {}", n % 40)))
            .collect();
        let values: Float64Array = (0..5000).map(|n| Some(f64::from(n) / 3.0)).collect();
        RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as ArrayRef),
            ("text", Arc::new(texts)),
            ("value", Arc::new(values)),
        ])
        .unwrap()
    }

    fn encoded(properties: WriterProperties) -> (Vec<u8>, ParquetMetaData) {
        let batch = rows();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let metadata = writer.finish().unwrap();
        (std::mem::take(writer.inner_mut()), metadata)
    }

    fn small_pages() -> parquet::file::properties::WriterPropertiesBuilder {
        WriterProperties::builder()
            .set_data_page_row_count_limit(500)
            .set_write_batch_size(100)
            .set_max_row_group_row_count(Some(2000))
    }

    type Bounds = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>);

    fn bounds_of(metadata: &ParquetMetaData) -> Vec<Bounds> {
        let groups = metadata.row_groups().iter();
        let columns = groups.flat_map(RowGroupMetaData::columns);
        let bounds = columns
            .filter_map(ColumnChunkMetaData::statistics)
            .map(|s| {
                let bytes = |b: Option<&[u8]>| b.map(<[u8]>::to_vec);
                (
                    bytes(s.min_bytes_opt()),
                    bytes(s.max_bytes_opt()),
                    s.null_count_opt(),
                )
            });
        bounds.collect()
    }

    fn read(file: &Bytes) -> Result<RecordBatch, arrow::error::ArrowError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone())?;
        let schema = builder.schema().clone();
        let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
        arrow::compute::concat_batches(&schema, &batches)
    }

    #[test]
    fn rows_page_index_and_footer_are_the_same_with_checksums() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for compression in [
                Compression::UNCOMPRESSED,
                Compression::SNAPPY,
                Compression::ZSTD(ZstdLevel::default()),
            ] {
                let properties = small_pages()
                    .set_writer_version(version)
                    .set_compression(compression)
                    .build();
                let (plain, metadata) = encoded(properties);
                let bounds = bounds_of(&metadata);
                let file = Bytes::from(with_page_checksums(&plain, metadata).unwrap());
                assert!(file.len() > plain.len());
                assert_eq!(read(&file).unwrap(), rows());
                // By the page index alone: wrong places would show as errors or other rows.
                let options =
                    ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
                let builder =
                    ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options)
                        .unwrap();
                assert_eq!(bounds_of(builder.metadata()), bounds);
                let selection = RowSelection::from(vec![
                    RowSelector::skip(1700),
                    RowSelector::select(10),
                    RowSelector::skip(2500),
                    RowSelector::select(20),
                ]);
                let picked = builder.with_row_selection(selection).build().unwrap();
                let picked: Vec<_> = picked.map(Result::unwrap).collect();
                let picked =
                    arrow::compute::concat_batches(&rows().schema(), picked.iter()).unwrap();
                let expected = arrow::compute::concat_batches(
                    &rows().schema(),
                    [&rows().slice(1700, 10), &rows().slice(4210, 20)],
                )
                .unwrap();
                assert_eq!(picked, expected);
            }
        }
    }

    #[test]
    fn a_changed_byte_of_a_page_is_an_error_and_never_another_value() {
        let properties = small_pages()
            .set_compression(Compression::UNCOMPRESSED)
            .build();
        let (plain, metadata) = encoded(properties);
        let end = metadata
            .row_groups()
            .last()
            .unwrap()
            .columns()
            .last()
            .unwrap()
            .byte_range();
        let pages = 4..usize::try_from(end.0 + end.1).unwrap();
        let file = with_page_checksums(&plain, metadata).unwrap();
        let mut unnoticed_without = 0;
        for at in pages.step_by(97) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            if let Ok(rows_read) = read(&Bytes::from(damaged)) {
                // The few bytes of a header that say nothing about values, such as the encoding of unused levels.
                assert_eq!(rows_read, rows(), "byte {at}");
            }
            let mut damaged = plain.clone();
            damaged[at] ^= 0x10;
            if read(&Bytes::from(damaged)).is_ok_and(|read| read != rows()) {
                unnoticed_without += 1;
            }
        }
        assert!(unnoticed_without > 100, "{unnoticed_without}");
    }

    #[test]
    fn checksums_are_not_given_twice_and_a_foreign_file_is_refused() {
        let (plain, metadata) = encoded(small_pages().build());
        let once = with_page_checksums(&plain, metadata.clone()).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(
            Bytes::from(once.clone()),
            ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required),
        )
        .unwrap();
        let again = with_page_checksums(&once, reader.metadata().as_ref().clone()).unwrap();
        assert_eq!(read(&Bytes::from(again)).unwrap(), rows());
        assert!(with_page_checksums(&plain[..plain.len() / 2], metadata.clone()).is_err());
        assert!(with_page_checksums(&vec![0xff; plain.len()], metadata).is_err());
    }
}
