//! Thrift's compact protocol, as far as it takes to walk over a struct.

/// Types of the compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
pub(super) const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;
/// Structs in structs: a page header has two levels.
const DEPTH_MAX: usize = 8;

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads the Thrift compact protocol far enough to find where a struct ends. None: the bytes are no such struct.
pub(super) struct Compact<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at)?;
        self.at += 1;
        Some(*byte)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
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
    pub(super) fn field(&mut self, before: i64) -> Option<(Option<i64>, u8)> {
        let byte = self.byte()?;
        match (byte >> 4, byte & 0x0f) {
            (_, 0) => Some((None, 0)),
            (0, kind) => Some((Some(unzigzag(self.varint()?)), kind)),
            (distance, kind) => Some((Some(before + i64::from(distance)), kind)),
        }
    }

    pub(super) fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
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
