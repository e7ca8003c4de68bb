//! What a message declares, compared with the limits and with its own bytes before anything is decoded or allocated.

use arrow_ipc::{BodyCompression, CompressionType, Field};
use flatbuffers::{ForwardsUOffset, InvalidFlatbuffer, Vector, VerifierOptions};

use super::bounds::{Bounds, ELEMENTS_MAX};
use crate::fault::{Fault, Kind};

/// A header's size once everything in it that is referred to twice is counted twice: names and metadata of a schema's columns.
const HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) fn malformed(what: impl std::fmt::Display) -> Fault {
    Fault::invalid(
        "malformed_ipc",
        format!("not an Arrow IPC message: {what}; send FlightData as an Arrow library writes it"),
    )
}

/// What flatbuffers holds a header to. A column is a few tables, one level of nesting two.
pub(super) fn verifier(bounds: &Bounds) -> VerifierOptions {
    VerifierOptions {
        max_depth: 2 * bounds.nesting + 16,
        max_tables: 64 + 64 * bounds.columns,
        max_apparent_size: HEADER_BYTES_MAX,
        ..VerifierOptions::default()
    }
}

pub(super) fn unverified(error: InvalidFlatbuffer, bounds: &Bounds) -> Fault {
    match error {
        InvalidFlatbuffer::DepthLimitReached => nested_too_deep(bounds),
        InvalidFlatbuffer::TooManyTables | InvalidFlatbuffer::ApparentSizeTooLarge => Fault::new(
            Kind::Exhausted,
            "header_too_large",
            format!(
                "the header of an Arrow message is too large, limit={HEADER_BYTES_MAX} bytes and {} columns; send fewer columns or less metadata, or raise limits.columns_max",
                bounds.columns
            ),
        ),
        // Its text may list every table on the way.
        other => {
            let text: String = other.to_string().chars().take(200).collect();
            malformed(text.replace('\n', " "))
        }
    }
}

fn nested_too_deep(bounds: &Bounds) -> Fault {
    Fault::new(
        Kind::Exhausted,
        "nested_too_deep",
        format!(
            "the schema's types are nested too deep, limit={}; flatten them, or raise limits.nesting_max",
            bounds.nesting
        ),
    )
}

/// Counts a schema's columns at all levels.
///
/// # Errors
/// RESOURCE_EXHAUSTED `too_many_columns`, `nested_too_deep`.
pub(super) fn schema(schema: &arrow_ipc::Schema<'_>, bounds: &Bounds) -> Result<(), Fault> {
    let Some(fields) = schema.fields() else {
        return Err(malformed("a schema without a list of columns"));
    };
    let mut count = 0;
    columns(fields, 1, &mut count, bounds)
}

fn columns<'a>(
    fields: Vector<'a, ForwardsUOffset<Field<'a>>>,
    level: usize,
    count: &mut usize,
    bounds: &Bounds,
) -> Result<(), Fault> {
    *count += fields.len();
    if *count > bounds.columns {
        return Err(Fault::new(
            Kind::Exhausted,
            "too_many_columns",
            format!(
                "the schema has too many columns, nested ones counted, limit={}; send fewer, or raise limits.columns_max",
                bounds.columns
            ),
        ));
    }
    for field in fields {
        if let Some(children) = field.children()
            && !children.is_empty()
        {
            if level >= bounds.nesting {
                return Err(nested_too_deep(bounds));
            }
            columns(children, level + 1, count, bounds)?;
        }
    }
    Ok(())
}

/// Holds what a batch declares to its body and to the limits. Returns its bytes once decompressed.
///
/// # Errors
/// INVALID_ARGUMENT `malformed_ipc`; RESOURCE_EXHAUSTED `too_many_rows`, `batch_too_large`.
pub(super) fn batch(
    header: &arrow_ipc::RecordBatch<'_>,
    body: &[u8],
    bounds: &Bounds,
) -> Result<u64, Fault> {
    let rows =
        u64::try_from(header.length()).map_err(|_| malformed("a negative number of rows"))?;
    if rows > bounds.rows {
        return Err(Fault::new(
            Kind::Exhausted,
            "too_many_rows",
            format!(
                "too many rows in one batch, rows={rows}, limit={}; send smaller batches, or raise limits.batch_rows_max",
                bounds.rows
            ),
        ));
    }
    for node in header.nodes().into_iter().flatten() {
        let length = u64::try_from(node.length()).unwrap_or(u64::MAX);
        let nulls = u64::try_from(node.null_count()).unwrap_or(u64::MAX);
        if length > ELEMENTS_MAX || nulls > length {
            return Err(malformed("a column with impossible lengths"));
        }
    }
    let buffers = header.buffers().map_or(0, |b| b.len());
    let mut counts = header.variadicBufferCounts().into_iter().flatten();
    if counts.any(|n| !(0..=buffers as i64).contains(&n)) {
        return Err(malformed("a column with an impossible number of buffers"));
    }
    let compression = header.compression();
    let mut declared: u64 = 0;
    for buffer in header.buffers().into_iter().flatten() {
        let (Ok(offset), Ok(length)) = (
            usize::try_from(buffer.offset()),
            usize::try_from(buffer.length()),
        ) else {
            return Err(malformed("a buffer at a negative position"));
        };
        let bytes = offset
            .checked_add(length)
            .and_then(|end| body.get(offset..end))
            .ok_or_else(|| malformed("a buffer outside its body"))?;
        let size = match compression {
            Some(compression) => decompressed(bytes, compression, bounds)?,
            None => length as u64,
        };
        declared = declared.saturating_add(size);
    }
    if declared > bounds.bytes {
        return Err(Fault::new(
            Kind::Exhausted,
            "batch_too_large",
            format!(
                "batch too large, bytes={declared}, limit={}; send smaller batches or raise {}",
                bounds.bytes, bounds.bytes_setting
            ),
        ));
    }
    Ok(declared)
}

/// Compressed buffers begin with their length once decompressed; -1 says that this one is not.
fn decompressed(
    bytes: &[u8],
    compression: BodyCompression<'_>,
    bounds: &Bounds,
) -> Result<u64, Fault> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<8>() else {
        return if bytes.is_empty() {
            Ok(0)
        } else {
            Err(malformed("a compressed buffer without its length"))
        };
    };
    let size = match i64::from_le_bytes(*prefix) {
        -1 => return Ok(bytes.len() as u64),
        0 => return Ok(0),
        size => u64::try_from(size).map_err(|_| malformed("a negative decompressed length"))?,
    };
    // Zstd is decompressed into a buffer of that length. LZ4 is read to its end, whatever the length says.
    if compression.codec() == CompressionType::LZ4_FRAME {
        let (most, block) =
            lz4_most(rest).ok_or_else(|| malformed("a compressed buffer that is no LZ4 frame"))?;
        if most > size.max(bounds.bytes).saturating_add(block) {
            return Err(malformed(
                "a compressed buffer that is longer than the length before it",
            ));
        }
    }
    Ok(size)
}

/// The most that an LZ4 frame can decompress to, and the size of its blocks, read off the blocks' headers.
///
/// | bytes | part |
/// |---|---|
/// | 4 | magic 0x184D2204 |
/// | 1 | flags: 0x10 a checksum behind each block, 0x08 content size, 0x01 dictionary id |
/// | 1 | size of a block: 4 to 7 in bits 4 to 6, 64 KiB to 4 MiB |
/// | 0, 4, 8 or 12 | content size, dictionary id |
/// | 1 | header checksum |
/// | 4 + n (+ 4) | a block: its length, the highest bit set if it is not compressed; 0 ends the frame |
///
/// Source: LZ4 frame format description 1.6.4.
fn lz4_most(frame: &[u8]) -> Option<(u64, u64)> {
    let (magic, rest) = frame.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*magic) != 0x184D_2204 {
        return None;
    }
    let ([flags, block], mut rest) = rest.split_first_chunk::<2>()?;
    let block: u64 = match block >> 4 & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return None,
    };
    let optional = if flags & 0x08 == 0 { 0 } else { 8 } + if flags & 0x01 == 0 { 0 } else { 4 };
    rest = rest.get(optional + 1..)?;
    let checksum = if flags & 0x10 == 0 { 0 } else { 4 };
    let mut most: u64 = 0;
    loop {
        // A frame that is cut short decompresses to what is there.
        let Some((length, data)) = rest.split_first_chunk::<4>() else {
            return Some((most, block));
        };
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return Some((most, block));
        }
        let bytes = length & 0x7FFF_FFFF;
        most += if bytes == length {
            block
        } else {
            u64::from(bytes).min(block)
        };
        rest = data
            .get(usize::try_from(bytes).ok()? + checksum..)
            .unwrap_or(&[]);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_lz4_frame_is_measured_by_its_blocks() {
        let frame = |blocks: &[u32]| {
            let mut out = 0x184D_2204u32.to_le_bytes().to_vec();
            out.extend([0x60, 0x40, 0]);
            for length in blocks {
                out.extend(length.to_le_bytes());
                out.extend(vec![0; (length & 0x7FFF_FFFF) as usize]);
            }
            out.extend([0; 4]);
            out
        };
        let stored = 5 | 0x8000_0000;
        assert_eq!(lz4_most(&frame(&[])).unwrap(), (0, 65536));
        assert_eq!(lz4_most(&frame(&[10])).unwrap().0, 65536);
        assert_eq!(lz4_most(&frame(&[10, stored])).unwrap().0, 65536 + 5);
        assert_eq!(lz4_most(&frame(&[10; 300])).unwrap().0, 300 * 65536);
        assert_eq!(lz4_most(b"no frame"), None);
        assert_eq!(lz4_most(&[]), None);
    }
}
