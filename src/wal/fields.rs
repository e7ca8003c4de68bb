//! Fixed fields of stored headers, without an index that could panic: whoever reads has checked that the header is whole.

/// The bytes from `at`; zeros if they are not there.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().unwrap_or([0; N])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// Writes the CRC32C of bytes 8.. into bytes 4..8, and returns it.
pub(super) fn seal(part: &mut [u8]) -> u32 {
    let crc = crc32c::crc32c(part.get(8..).unwrap_or_default());
    if let Some(place) = part.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    crc
}
