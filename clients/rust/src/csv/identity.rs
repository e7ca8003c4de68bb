//! What a file is called, whatever its name: so that the same content is the same file.

use std::io::{self, Read};

/// Odd, and its bits are spread: the golden ratio's fraction.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Length and 64 bits of checksum, so that a lake's worth of files of one length do not meet. It is kept with what was loaded:
/// a change here loads every file again.
///
/// # Errors
/// The reader's.
pub fn identity(reader: &mut impl Read) -> io::Result<String> {
    let (mut sum, mut length) = (FACTOR, 0u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = fill(reader, &mut buffer)?;
        if read == 0 {
            return Ok(format!("{length}-{:016x}", sum ^ (sum >> 32)));
        }
        length += read as u64;
        // The last word is filled up with what the buffer held before, so it is cleared first.
        buffer[read..].iter_mut().take(8).for_each(|b| *b = 0);
        for word in buffer[..read.next_multiple_of(8)].chunks_exact(8) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            sum = (sum ^ u64::from_le_bytes(bytes)).wrapping_mul(FACTOR);
            sum ^= sum >> 29;
        }
    }
}

/// Reads until the buffer is full or nothing comes any more, so that words do not depend on how bytes come.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn each_byte_counts_and_how_they_come_does_not() {
        let content: Vec<u8> = (0..3_000_003u32).map(|i| (i % 251) as u8).collect();
        let of = |bytes: &[u8]| identity(&mut &bytes[..]).unwrap();
        let whole = of(&content);
        assert!(whole.starts_with("3000003-"));
        let (a, b) = content.split_at(1_234_567);
        assert_eq!(identity(&mut a.chain(b)).unwrap(), whole);
        for at in [0, 7, 1_048_575, 1_048_576, 3_000_002] {
            let mut other = content.clone();
            other[at] ^= 1;
            assert_ne!(of(&other), whole, "{at}");
        }
        assert_ne!(of(b"a"), of(b"a\0"));
        assert_eq!(of(b""), of(b""));
    }
}
