//! Checksums of a frame of the log, repaired: `wal/frame` draws its bytes.

const HEADER: usize = 96;
const CHAIN: std::ops::Range<usize> = 48..52;

/// How long the frame is at the start of these bytes, and its header's checksum, as the repaired header says. None: it is no
/// frame, or a header alone.
pub(crate) fn seal_frame(bytes: &mut [u8], chain: Option<u32>) -> Option<(usize, u32)> {
    let name = usize::from(u16::from_le_bytes(*bytes.get(54..)?.first_chunk()?));
    let start = HEADER + name;
    let left = bytes.len().checked_sub(start)?;
    let told = u32::from_le_bytes(*bytes.get(88..)?.first_chunk()?) as usize;
    let length = told.min(left);
    let payload = crc32c::crc32c(&bytes[start..start + length]);
    // Half of the lengths that go past the end stay, under a header whose checksum fits.
    if left % 2 == 0 {
        bytes[88..92].copy_from_slice(&(length as u32).to_le_bytes());
    }
    bytes[92..96].copy_from_slice(&payload.to_le_bytes());
    if let Some(chain) = chain {
        bytes[CHAIN].copy_from_slice(&chain.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[8..start]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    Some((start + length, crc))
}

/// The frame with checksums that fit.
pub(crate) fn sealed_frame(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    seal_frame(&mut out, None);
    out
}
