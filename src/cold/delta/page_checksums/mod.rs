//! Gives every page of a finished Parquet file its CRC-32, so that a reader notices when a byte of it has changed on disk, and
//! the file a checksum over all that is no page's body (`files/metadata_checksum`).
//!
//! The `parquet` crate verifies the checksum of a page that has one (feature `crc`), but its writer leaves the field out. This
//! module therefore walks the pages of a file that was just encoded, inserts the field into each page header, and writes
//! offsets, sizes, page index and footer anew. It knows page headers and file metadata; it knows nothing of values.

#![deny(clippy::indexing_slicing)]

mod page_header;
#[cfg(test)]
mod tests;
mod thrift;

use std::io::Write;

use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataBuilder,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};
use parquet::file::writer::TrackedWrite;

use super::super::Error;
use super::super::files::metadata_checksum::{self, Page};
use page_header::PageHeader;

/// The file's bytes with a checksum for each page, and one for the rest. Pages that have one keep it.
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
    let mut pages = Vec::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let offset_index = metadata
            .offset_index()
            .and_then(|groups| groups.get(number));
        let mut columns = Vec::with_capacity(group.num_columns());
        let mut located = Vec::with_capacity(group.num_columns());
        for (position, column) in group.columns().iter().enumerate() {
            let index = offset_index.and_then(|columns| columns.get(position));
            let moved = copy_chunk(file, column, index, &mut writer, &mut pages)?;
            columns.push(moved.column);
            located.extend(moved.index);
        }
        groups.push(row_group(group, columns)?);
        indexes.push(located);
    }
    let has_index = metadata.offset_index().is_some();
    let metadata = ParquetMetaDataBuilder::new(file_metadata(metadata.file_metadata()))
        .set_row_groups(groups)
        .set_column_index(metadata.column_index().cloned())
        .set_offset_index(has_index.then_some(indexes))
        .build();
    ParquetMetaDataWriter::new_with_tracked(writer, &metadata)
        .finish()
        .map_err(failed)?;
    metadata_checksum::sealed(out, &pages).ok_or_else(unexpected)
}

/// With the entry that says that the file has a checksum.
fn file_metadata(file: &FileMetaData) -> FileMetaData {
    let entries = file.key_value_metadata().into_iter().flatten();
    let mut entries: Vec<_> = entries
        .filter(|entry| !metadata_checksum::is_entry(entry))
        .cloned()
        .collect();
    entries.push(metadata_checksum::entry());
    FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(ToOwned::to_owned),
        Some(entries),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    )
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
    written: &mut Vec<Page>,
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
        let mut head = Vec::with_capacity(header.length + 6);
        header.write(rest, body, &mut head).map_err(failed)?;
        writer.write_all(&head).map_err(failed)?;
        writer.write_all(body).map_err(failed)?;
        let size = writer.bytes_written() - offset;
        written.push(Page {
            bytes: u32::try_from(size).map_err(failed)?,
            header_bytes: u32::try_from(head.len()).map_err(failed)?,
            header_crc32c: crc32c::crc32c(&head),
        });
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
