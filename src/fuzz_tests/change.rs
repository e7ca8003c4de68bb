//! Changes of a valid input, as the bytes of a plan say. A plan of zeros changes nothing.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | which seed |
//! | 1 | bit 0: the checksums are repaired behind the changes; bits 1 to 3: how many changes |
//! | 6 each | a change: kind, place (2, little endian, a fraction of the input), three values |

use super::Target;

pub(super) const HEAD_BYTES: usize = 2;
pub(super) const CHANGE_BYTES: usize = 6;
pub(super) const CHANGES_MAX: usize = 7;

/// In place of a number in a text.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "",
    "255",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e999",
    "-0.0",
    "0.30000000000000004",
];

pub(super) fn input(target: &Target<'_>, plan: &[u8]) -> Vec<u8> {
    let (head, rest) = plan.split_at(HEAD_BYTES);
    let seed = target
        .seeds
        .get(usize::from(head[0]) % target.seeds.len().max(1))
        .unwrap();
    let is_repaired = head[1] & 1 == 1;
    let count = usize::from(head[1] >> 1) % (CHANGES_MAX + 1);
    let mut bytes = match is_repaired {
        true => seed.clone(),
        false => (target.seal)(seed),
    };
    for change in rest.chunks_exact(CHANGE_BYTES).take(count) {
        one(target, change, &mut bytes);
    }
    match is_repaired {
        true => (target.seal)(&bytes),
        false => bytes,
    }
}

fn one(target: &Target<'_>, change: &[u8], bytes: &mut Vec<u8>) {
    let [kind, low, high, a, b, c] = *change else {
        return;
    };
    let fraction = usize::from(u16::from_le_bytes([low, high]));
    // A quarter of the changes is made in the first bytes, where headers are.
    let range = match kind & 0xc0 {
        0xc0 => bytes.len().min(128),
        _ => bytes.len(),
    };
    let at = (fraction * (range + 1)) >> 16;
    let (a, b, c) = (usize::from(a), usize::from(b), usize::from(c));
    let length = (a + 1).min(bytes.len() - at);
    match (kind & 0x3f) % 12 {
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= a as u8;
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = a as u8;
            }
        }
        3 => drop(bytes.drain(at..at + length)),
        4 => bytes.truncate(at),
        5 => drop(bytes.splice(at..at, vec![a as u8; b % 64])),
        6 => integer(bytes, at, a, b),
        // The rest is another input's.
        7 => {
            let other = &target.seeds[a % target.seeds.len()];
            let from = ((b << 8 | c) * (other.len() + 1)) >> 16;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        // A piece of it once more, in another place.
        8 => {
            let to = ((b << 8 | c) * (bytes.len() + 1)) >> 16;
            let piece = bytes[at..at + length].to_vec();
            drop(bytes.splice(to..to, piece));
        }
        9 => {
            if let Some(word) = target.words.get(a % target.words.len().max(1)) {
                // In the place of some bytes, or between them.
                let until = (at + b % 8).min(bytes.len());
                drop(bytes.splice(at..until, word.bytes()));
            }
        }
        10 => number(bytes, at, a),
        // All of it, several times.
        11 => {
            let piece = bytes[at..at + length.min(32)].to_vec();
            let pieces = piece.repeat(b % 64);
            drop(bytes.splice(at..at, pieces));
        }
        _ => {}
    }
}

/// An integer that is known for trouble, little endian.
fn integer(bytes: &mut [u8], at: usize, width: usize, which: usize) {
    let width = 1 << (width % 4);
    // Fields of headers are aligned in most formats.
    let at = at - at % width;
    let left = bytes.len() as u64;
    let Some(place) = bytes.get_mut(at..at + width) else {
        return;
    };
    let mut old = [0; 8];
    old[..width].copy_from_slice(place);
    let old = u64::from_le_bytes(old);
    let bits = 8 * width as u32;
    let max = u64::MAX >> (64 - bits);
    let new = match which % 12 {
        0 => 0,
        1 => 1,
        2 => max,
        3 => max >> 1,
        4 => (max >> 1) + 1,
        5 => old.wrapping_add(1),
        6 => old.wrapping_sub(1),
        7 => old.wrapping_neg(),
        8 => max - 1,
        9 => left,
        10 => old << 8,
        _ => 1 << (bits - 2),
    };
    place.copy_from_slice(&new.to_le_bytes()[..width]);
}

/// The next number in a text becomes another.
fn number(bytes: &mut Vec<u8>, at: usize, which: usize) {
    let Some(start) = bytes.iter().skip(at).position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
    let end = start + digits.count();
    drop(bytes.splice(start..end, NUMBERS[which % NUMBERS.len()].bytes()));
}
