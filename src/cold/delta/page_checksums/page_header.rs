//! Reads a page header as far as is needed, and writes it with the checksum in it.
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

use std::io::Write;

use super::thrift::{Compact, I32, unzigzag};

/// What is needed of a page header.
pub(super) struct PageHeader {
    pub(super) length: usize,
    pub(super) body_length: usize,
    /// Where field 3 ends; the next field's first byte is there.
    after_sizes: usize,
    has_checksum: bool,
}

impl PageHeader {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
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
    pub(super) fn write(
        &self,
        bytes: &[u8],
        body: &[u8],
        out: &mut impl Write,
    ) -> std::io::Result<()> {
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
