//! What a file is called, whatever its name: so that the same content is the same file.

use std::io::{self, Read};

/// Odd, and its bits are spread: the golden ratio's fraction.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Content as it is read: at any place it says what the content up to there is called.
#[derive(Clone, Debug)]
pub struct Content {
    sum: u64,
    length: u64,
    /// Bytes that are no whole word yet.
    rest: [u8; 8],
    rest_length: usize,
}

impl Default for Content {
    fn default() -> Self {
        Content {
            sum: FACTOR,
            length: 0,
            rest: [0; 8],
            rest_length: 0,
        }
    }
}

impl Content {
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn push(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while self.rest_length > 0 && !bytes.is_empty() {
            let (first, others) = bytes.split_at(1);
            self.rest[self.rest_length] = first[0];
            self.rest_length += 1;
            bytes = others;
            if self.rest_length == self.rest.len() {
                self.word(self.rest);
                self.rest_length = 0;
            }
        }
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(*word));
        if !rest.is_empty() {
            self.rest[..rest.len()].copy_from_slice(rest);
            self.rest_length = rest.len();
        }
    }

    fn word(&mut self, bytes: [u8; 8]) {
        self.sum = (self.sum ^ u64::from_le_bytes(bytes)).wrapping_mul(FACTOR);
        self.sum ^= self.sum >> 29;
    }

    /// Length and 64 bits of checksum, so that a lake's worth of files of one length do not meet. It is kept with what was
    /// loaded: a change here loads every file again.
    pub fn name(&self) -> String {
        let mut whole = self.clone();
        if whole.rest_length > 0 {
            let mut word = [0; 8];
            word[..whole.rest_length].copy_from_slice(&whole.rest[..whole.rest_length]);
            whole.word(word);
        }
        format!("{}-{:016x}", whole.length, whole.sum ^ (whole.sum >> 32))
    }
}

/// The name of all that a reader gives.
///
/// # Errors
/// The reader's.
pub fn identity(reader: &mut impl Read) -> io::Result<String> {
    let mut content = Content::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(content.name()),
            Ok(read) => content.push(&buffer[..read]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
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

    #[test]
    fn content_is_called_the_same_at_each_place_however_it_came() {
        let bytes: Vec<u8> = (0..100u8).collect();
        let mut content = Content::default();
        let mut done = 0;
        for step in [1, 3, 8, 4, 17, 16, 0, 7, 44] {
            content.push(&bytes[done..done + step]);
            done += step;
            assert_eq!(content.name(), identity(&mut &bytes[..done]).unwrap());
            assert_eq!(content.length(), done as u64);
        }
    }

    /// Names stand in servers as the names of producers: they are what they were.
    #[test]
    fn names_stay_what_they_were() {
        for (bytes, name) in [
            (&b"id\n1\n"[..], "5-9dae8de17e2cf0e5"),
            (b"", "0-9e3779b9e17d05ac"),
        ] {
            assert_eq!(identity(&mut &bytes[..]).unwrap(), name);
        }
    }
}
