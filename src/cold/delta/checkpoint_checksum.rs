//! A checksum in each Delta checkpoint that this server writes. The Delta library writes its pages without checksums, so that a
//! changed byte in a page could give a table other files, sizes or statistics.
//!
//! A Parquet file is found from its end: the last eight bytes say where the footer begins, and the footer says where everything
//! else is. Bytes that the footer does not name are read by nobody. The checksum stands there, right before the footer:
//!
//! ```text
//! PAR1 <pages> deltaplaneCrc32c=1f2e3d4c <footer> <length of the footer, 4 bytes> PAR1
//! ```
//!
//! It is the CRC-32C, in eight hexadecimal digits, of the file's name and of all bytes of the file but these. A checkpoint
//! without it is from another writer or from an older server, and is accepted. So is one of more than about 10 MB, which the
//! Delta library uploads in parts.

#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

const MARK: &[u8] = b"deltaplaneCrc32c=";
const DIGITS: usize = 8;
const END: &[u8] = b"PAR1";
/// The footer's length and the end.
const TAIL: usize = 8;

/// Is this the name of a checkpoint in one file, as `00000000000000000010.checkpoint.parquet`?
pub fn is_checkpoint(name: &str) -> bool {
    name.strip_suffix(".checkpoint.parquet")
        .is_some_and(|number| number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The checkpoint with its checksum. What is no Parquet file stays as it is.
pub fn sealed(name: &str, file: Bytes) -> Bytes {
    let Some((before, footer)) = split(&file) else {
        return file;
    };
    if mark_at_end(before).is_some() {
        return file;
    }
    let crc = checksum(name, before, footer);
    let mut out = Vec::with_capacity(file.len() + MARK.len() + DIGITS);
    for part in [before, MARK, format!("{crc:08x}").as_bytes(), footer] {
        out.extend_from_slice(part);
    }
    out.into()
}

/// Is the checkpoint what was sealed, or has it no checksum?
pub fn is_whole(name: &str, file: &[u8]) -> bool {
    let found = split(file).and_then(|(before, footer)| {
        let (pages, digits) = mark_at_end(before)?;
        Some((checksum(name, pages, footer), digits))
    });
    match found {
        Some((crc, digits)) => format!("{crc:08x}").as_bytes() == digits,
        // A mark elsewhere: the end of the file is damaged.
        None => !file.windows(MARK.len()).any(|bytes| bytes == MARK),
    }
}

fn checksum(name: &str, pages: &[u8], footer: &[u8]) -> u32 {
    let crc = crc32c::crc32c(name.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, pages), footer)
}

/// What stands before the footer, and the footer with the file's end.
fn split(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let tail = file.len().checked_sub(TAIL)?;
    let (length, end) = file.get(tail..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (end == END).then_some(())?;
    file.split_at_checked(tail.checked_sub(length)?)
}

/// The pages and the digits of the checksum.
fn mark_at_end(before: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, digits) = before.split_at_checked(before.len().checked_sub(DIGITS)?)?;
    Some((rest.strip_suffix(MARK)?, digits))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const NAME: &str = "00000000000000000010.checkpoint.parquet";

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let mut plain = b"PAR1 pages of a checkpoint, the footer: <columns>".to_vec();
        plain.extend_from_slice(&9u32.to_le_bytes());
        plain.extend_from_slice(END);
        let whole = sealed(NAME, plain.clone().into());
        assert_eq!(whole.len(), plain.len() + MARK.len() + DIGITS);
        assert!(whole.ends_with(&plain[plain.len() - TAIL - 9..]));
        assert!(is_whole(NAME, &whole));
        assert!(is_whole(NAME, &plain), "of another writer");
        assert!(!is_whole("00000000000000000011.checkpoint.parquet", &whole));
        assert_eq!(sealed(NAME, whole.clone()), whole);
        let mark = whole.len() - TAIL - 9 - DIGITS - MARK.len();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.to_vec();
                changed[at] ^= 1 << bit;
                // Without its mark the file is one of another writer, with the same pages and the same footer.
                let is_mark = (mark..mark + MARK.len()).contains(&at);
                assert!(!is_whole(NAME, &changed) || is_mark, "byte {at}, bit {bit}");
            }
            // Shorter than the mark: it has no end, and no reader opens it.
            assert!(
                !is_whole(NAME, &whole[..at]) || at < mark + MARK.len(),
                "{at}"
            );
        }
    }

    #[test]
    fn what_is_no_parquet_file_is_not_touched() {
        for bytes in [&b""[..], b"PAR1", b"\xff\xff\xff\xffPAR1", b"some text"] {
            assert_eq!(sealed(NAME, Bytes::from_static(bytes)), bytes);
            assert!(is_whole(NAME, bytes));
        }
        assert!(is_checkpoint(NAME));
        assert!(!is_checkpoint("00000000000000000010.json"));
    }
}
