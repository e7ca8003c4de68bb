//! A reader cut into blocks that end where a line ends.

use std::io::{self, Read};

/// Text that a block has at least, but for the last: some ten thousand rows.
const BLOCK_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// From 0.
    pub number: u64,
    /// From 1; the header is line 1.
    pub first_line: u64,
    /// Ends with a line's end, but for the last block of a file that does not.
    pub bytes: Vec<u8>,
}

/// Blocks of whole lines, the header apart.
pub struct Blocks<R> {
    reader: R,
    /// Read and not given out yet.
    rest: Vec<u8>,
    number: u64,
    line: u64,
    ended: bool,
    block_bytes: usize,
}

impl<R: Read> Blocks<R> {
    /// Reads the header: the first line without its end, and without a byte order mark. None: there is not even one byte.
    ///
    /// # Errors
    /// The reader's.
    pub fn open(reader: R) -> io::Result<(Option<Vec<u8>>, Self)> {
        Self::of_size(reader, BLOCK_BYTES)
    }

    /// Blocks of a reader that has no header. `line`: the number of its first line.
    pub fn behind_header(reader: R, line: u64) -> Self {
        Self::new(reader, line, BLOCK_BYTES)
    }

    fn new(reader: R, line: u64, block_bytes: usize) -> Self {
        Blocks {
            reader,
            rest: Vec::new(),
            number: 0,
            line,
            ended: false,
            block_bytes,
        }
    }

    fn of_size(reader: R, block_bytes: usize) -> io::Result<(Option<Vec<u8>>, Self)> {
        let mut blocks = Self::new(reader, 1, block_bytes);
        let end = loop {
            if let Some(at) = blocks.rest.iter().position(|b| *b == b'\n') {
                break at + 1;
            }
            if !blocks.more()? {
                break blocks.rest.len();
            }
        };
        let mut header: Vec<u8> = blocks.rest.drain(..end).collect();
        if header.is_empty() {
            return Ok((None, blocks));
        }
        while header.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            header.pop();
        }
        if header.starts_with(&[0xef, 0xbb, 0xbf]) {
            header.drain(..3);
        }
        blocks.line = 2;
        Ok((Some(header), blocks))
    }

    /// False: the reader has ended.
    fn more(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let had = self.rest.len();
        let wanted = self.block_bytes as u64;
        let read = (&mut self.reader)
            .take(wanted)
            .read_to_end(&mut self.rest)?;
        self.ended = read < self.block_bytes;
        Ok(self.rest.len() > had)
    }

    fn next_block(&mut self) -> io::Result<Option<Block>> {
        // Cut at the first line's end behind the size: it depends on nothing but the content.
        let end = loop {
            if self.rest.len() > self.block_bytes
                && let Some(at) = memchr::memchr(b'\n', &self.rest[self.block_bytes..])
            {
                break self.block_bytes + at + 1;
            }
            if !self.more()? {
                break self.rest.len();
            }
        };
        if end == 0 {
            return Ok(None);
        }
        let rest = self.rest.split_off(end);
        let bytes = std::mem::replace(&mut self.rest, rest);
        let block = Block {
            number: self.number,
            first_line: self.line,
            bytes,
        };
        self.number += 1;
        self.line += super::newlines(&block.bytes);
        Ok(Some(block))
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Block>;

    fn next(&mut self) -> Option<io::Result<Block>> {
        self.next_block().transpose()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(into.len()).min(self.0.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        /// Blocks together are the file, each ends where a line ends, and how the bytes come changes nothing.
        #[test]
        fn blocks_are_the_file_cut_at_lines(text in "h,i\n([a-z]{0,5}\r?\n){0,40}[a-z]{0,3}", size in 1usize..40, step in 1usize..9) {
            let (header, blocks) = Blocks::of_size(text.as_bytes(), size).unwrap();
            prop_assert_eq!(header.unwrap(), b"h,i".to_vec());
            let blocks: Vec<Block> = blocks.collect::<io::Result<_>>().unwrap();
            let (_, slow) = Blocks::of_size(Slow(text.as_bytes(), step), size).unwrap();
            let slow: Vec<Block> = slow.collect::<io::Result<_>>().unwrap();
            prop_assert_eq!(&blocks, &slow);
            let mut line = 2;
            let mut all: Vec<u8> = Vec::new();
            for (number, block) in blocks.iter().enumerate() {
                prop_assert_eq!(block.number, number as u64);
                prop_assert_eq!(block.first_line, line);
                prop_assert!(number + 1 == blocks.len() || block.bytes.ends_with(b"\n"));
                line += super::super::newlines(&block.bytes);
                all.extend(&block.bytes);
            }
            prop_assert_eq!(&all, &text.as_bytes()[4..]);
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        let (header, mut rest) = Blocks::open(&b"\xef\xbb\xbfa,b\r\n1,2\n"[..]).unwrap();
        assert_eq!(header.unwrap(), b"a,b");
        assert_eq!(rest.next().unwrap().unwrap().bytes, b"1,2\n");
        assert!(Blocks::open(&b""[..]).unwrap().0.is_none());
    }
}
