//! A checksum in each entry of a Delta log that this server writes. An entry is a file of JSON lines without a checksum of its
//! own. A changed digit in it is valid JSON, and a reader would return fewer rows, or other rows, without an error.
//!
//! The checksum is the first field of the entry's `commitInfo` action, which may hold any field (Delta protocol, "Commit
//! Provenance Information"). Other readers ignore it:
//!
//! ```text
//! {"commitInfo":{"deltaplaneCrc32c":"1f2e3d4c",<the other fields>
//! ```
//!
//! It is the CRC-32C, in eight hexadecimal digits, of the file's name (`00000000000000000007.json`) and of all bytes of the
//! entry but the field itself. The name is in it because an entry under another version's number is damage as well. An entry
//! without the field is from another writer or from an older server, and is accepted.

#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

const ACTION: &[u8] = b"{\"commitInfo\":{";
const FIELD: &[u8] = b"\"deltaplaneCrc32c\":\"";
const DIGITS: usize = 8;
/// Ends the field. Each `commitInfo` of this server has other fields behind it.
const END: &[u8] = b"\",";

/// What the error of a damaged entry says, so that it is found in the text of other libraries' errors.
pub const MISMATCH: &str = "the file does not match its checksum";

/// Is this the name of a commit's entry, as `00000000000000000007.json`?
pub fn is_entry(name: &str) -> bool {
    name.strip_suffix(".json")
        .is_some_and(|number| number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The entry with its checksum. An entry that has no `commitInfo`, or has a checksum already, stays as it is.
pub fn sealed(name: &str, entry: Bytes) -> Bytes {
    let Some((before, after)) = split(&entry) else {
        return entry;
    };
    if after.starts_with(FIELD) || after.starts_with(b"}") {
        return entry;
    }
    let crc = checksum(name, before, after);
    let mut out = Vec::with_capacity(entry.len() + FIELD.len() + DIGITS + END.len());
    for part in [before, FIELD, format!("{crc:08x}").as_bytes(), END, after] {
        out.extend_from_slice(part);
    }
    out.into()
}

/// Is the entry what was sealed, or has it no checksum?
pub fn is_whole(name: &str, entry: &[u8]) -> bool {
    let Some((before, after)) = split(entry) else {
        return true;
    };
    let Some(value) = after.strip_prefix(FIELD) else {
        return true;
    };
    let Some((digits, rest)) = value.split_at_checked(DIGITS) else {
        return false;
    };
    let Some(rest) = rest.strip_prefix(END) else {
        return false;
    };
    format!("{:08x}", checksum(name, before, rest)).as_bytes() == digits
}

fn checksum(name: &str, before: &[u8], after: &[u8]) -> u32 {
    let crc = crc32c::crc32c(name.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, before), after)
}

/// The entry before and behind the place of the checksum; none if it has no `commitInfo`.
fn split(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    for line in entry.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(ACTION) {
            return entry.split_at_checked(at + ACTION.len());
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const NAME: &str = "00000000000000000007.json";
    const PLAIN: &str = "{\"protocol\":{\"minReaderVersion\":1}}\n{\"commitInfo\":{\"timestamp\":17,\"operation\":\"WRITE\"}}\n{\"add\":{\"size\":900}}";

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed_or_leaves_all_actions_as_they_were() {
        let whole = sealed(NAME, Bytes::from_static(PLAIN.as_bytes()));
        assert!(is_whole(NAME, &whole));
        assert!(!is_whole("00000000000000000008.json", &whole));
        let own = PLAIN.find("\"timestamp\"").unwrap();
        let start = own - ACTION.len();
        // The name of the action and of the field: a reader ignores an action or a field that it does not know.
        let ignored = start..own + FIELD.len();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.to_vec();
                changed[at] ^= 1 << bit;
                let before_action = start > 0 && at == start - 1;
                assert!(
                    !is_whole(NAME, &changed) || ignored.contains(&at) || before_action,
                    "byte {at}, bit {bit}: {}",
                    String::from_utf8_lossy(&changed)
                );
            }
            // What is left without the checksum ends in the middle of an action, which is no JSON, or has lost the file's
            // rows: `commitInfo` stands in front in all entries with rows.
            assert!(!is_whole(NAME, &whole[..at]) || at <= ignored.end, "{at}");
        }
    }

    #[test]
    fn the_checksum_is_a_field_of_valid_json_and_other_writers_entries_stay_as_they_are() {
        let whole = sealed(NAME, Bytes::from_static(PLAIN.as_bytes()));
        let line = whole.split(|b| *b == b'\n').nth(1).unwrap();
        let action: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!(action["commitInfo"]["operation"], "WRITE");
        assert_eq!(
            action["commitInfo"]["deltaplaneCrc32c"]
                .as_str()
                .unwrap()
                .len(),
            8
        );
        assert_eq!(sealed(NAME, whole.clone()), whole);
        for foreign in ["{\"add\":{}}\n", "{\"commitInfo\":{}}\n", "", PLAIN] {
            assert!(is_whole(NAME, foreign.as_bytes()));
        }
    }

    #[test]
    fn names_of_entries_are_told_from_those_of_checkpoints() {
        assert!(is_entry(NAME));
        for other in [
            "_last_checkpoint",
            "00000000000000000007.checkpoint.parquet",
            "7.json",
            "0000000000000000000x.json",
        ] {
            assert!(!is_entry(other), "{other}");
        }
    }
}
