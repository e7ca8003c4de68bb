//! Sizes that bound each other. A default gives way to a value that was set: only two values that were set can contradict each
//! other.
//!
//! Each row of [`BOUNDS`] says that one size is at most a part of another. Defaults satisfy all of them. When an operator sets
//! one size, defaults above it are raised as far as the rows need it, and defaults below it are lowered as far as the rows
//! need it; their origin is then [`Origin::Follows`]. All other defaults stay.

use std::collections::BTreeMap;

use super::check::Conflict;
use super::{ByteSize, Origin, Resolved, SETTINGS, Setting};

/// `small` is at most one `part`-th of `large`.
struct Bound {
    small: &'static str,
    part: u64,
    large: &'static str,
    /// Only a default gives way: whoever sets both sizes may break it.
    is_advice: bool,
}

const fn law(small: &'static str, part: u64, large: &'static str) -> Bound {
    Bound {
        small,
        part,
        large,
        is_advice: false,
    }
}

const fn advice(small: &'static str, large: &'static str) -> Bound {
    Bound {
        small,
        part: 1,
        large,
        is_advice: true,
    }
}

const BOUNDS: &[Bound] = &[
    law("limits.connection_bytes_max", 2, "memory.wire_bytes_max"),
    law("limits.message_bytes_max", 1, "limits.connection_bytes_max"),
    law("limits.request_bytes_max", 1, "limits.message_bytes_max"),
    law("limits.batch_memory_max", 1, "limits.connection_bytes_max"),
    // A stream's dictionaries are charged to its connection.
    advice("limits.dictionary_bytes_max", "limits.connection_bytes_max"),
    // One segment is written, one is made ready, and one waits for its commits.
    law("log.segment_bytes", 3, "log.bytes_max"),
    // A frame never spans segments, and a batch with its verdict may be a little larger than the batch.
    law("limits.batch_bytes_max", 2, "log.segment_bytes"),
    law("limits.batch_bytes_max", 1, "log.queue_bytes_max"),
    law("limits.batch_bytes_max", 1, "limits.inflight_bytes_max"),
    law("limits.batch_bytes_max", 1, "limits.batch_memory_max"),
    // Clients are told how large a batch may be: it should have room in a message.
    advice("limits.batch_bytes_max", "limits.message_bytes_max"),
    advice("query.batch_bytes_max", "memory.query_bytes_max"),
    law("query.value_bytes_max", 1, "query.batch_bytes_max"),
    advice(
        "limits.temporary_session_bytes_max",
        "limits.temporary_bytes_max",
    ),
];

/// What a lowered default is rounded down to, if it is larger than that.
const ROUND_BYTES: u64 = 64 << 10;

/// A size that was set needs a default to be at least so large.
#[derive(Clone, Copy)]
struct Need {
    bytes: u64,
    by: &'static str,
    /// The size that was set is at most one such part of the default.
    part: u64,
}

fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name() == name)
}

fn size(resolved: &Resolved, name: &str) -> u64 {
    let shown = setting(name).map(|s| s.show(&resolved.config));
    let size = shown.and_then(|text| text.parse::<ByteSize>().ok());
    size.map_or(0, ByteSize::get)
}

fn set(resolved: &mut Resolved, name: &'static str, bytes: u64, origin: Origin) {
    let Some(setting) = setting(name) else {
        return;
    };
    let text = ByteSize::bytes(bytes).to_string();
    // The text is of the form that the setting's own is shown in.
    if (setting.set)(&mut resolved.config, &text).is_ok() {
        resolved.origins.insert(name.to_owned(), origin);
    }
}

fn is_set(resolved: &Resolved, name: &str) -> bool {
    let origin = resolved.origins.get(name);
    !matches!(origin, None | Some(Origin::Default | Origin::Follows(_)))
}

/// The setting that made the value what it is.
fn cause(resolved: &Resolved, name: &'static str) -> &'static str {
    match resolved.origins.get(name) {
        Some(Origin::Follows(by)) => by,
        _ => name,
    }
}

/// Makes defaults go with the values that were set.
///
/// # Errors
/// Two values that were set do not go together.
pub(super) fn follow(resolved: &mut Resolved) -> Result<(), Conflict> {
    start_over(resolved);
    for bound in BOUNDS {
        if is_set(resolved, bound.large) && size(resolved, bound.large) == 0 {
            return Err(Conflict {
                setting: bound.large,
                problem: "must be more than zero".to_owned(),
            });
        }
    }
    let needs = needs(resolved)?;
    for (name, need) in &needs {
        if size(resolved, name) < need.bytes {
            set(resolved, name, need.bytes, Origin::Follows(need.by));
        }
    }
    // A value that was lowered lowers those below it: as many rounds as there can be steps.
    for _ in BOUNDS {
        for bound in BOUNDS {
            let most = size(resolved, bound.large) / bound.part;
            if is_set(resolved, bound.small) || size(resolved, bound.small) <= most {
                continue;
            }
            let rounded = match most {
                ..ROUND_BYTES => most,
                _ => most - most % ROUND_BYTES,
            };
            let least = needs.get(bound.small).map_or(0, |need| need.bytes);
            let by = cause(resolved, bound.large);
            set(
                resolved,
                bound.small,
                rounded.max(least),
                Origin::Follows(by),
            );
        }
    }
    Ok(())
}

/// Values that followed others before are defaults again.
fn start_over(resolved: &mut Resolved) {
    let followed = SETTINGS.iter().filter(|setting| {
        let origin = resolved.origins.get(&setting.name());
        matches!(origin, Some(Origin::Follows(_)))
    });
    for setting in followed.collect::<Vec<_>>() {
        // A test shows that each default parses.
        let _ = (setting.set)(&mut resolved.config, setting.default);
        resolved.origins.insert(setting.name(), Origin::Default);
    }
}

/// How large defaults must be for the values that were set.
fn needs(resolved: &Resolved) -> Result<BTreeMap<&'static str, Need>, Conflict> {
    let mut needs: BTreeMap<&'static str, Need> = BTreeMap::new();
    for _ in BOUNDS {
        for bound in BOUNDS.iter().filter(|bound| !bound.is_advice) {
            let own = is_set(resolved, bound.small).then(|| Need {
                bytes: size(resolved, bound.small),
                by: bound.small,
                part: 1,
            });
            let Some(small) = own.or_else(|| needs.get(bound.small).copied()) else {
                continue;
            };
            let need = Need {
                bytes: small.bytes.saturating_mul(bound.part),
                by: small.by,
                part: small.part.saturating_mul(bound.part),
            };
            if !is_set(resolved, bound.large) {
                let known = needs.entry(bound.large).or_insert(need);
                if known.bytes < need.bytes {
                    *known = need;
                }
            } else if need.bytes > size(resolved, bound.large) {
                return Err(contradiction(resolved, need, bound.large));
            }
        }
    }
    Ok(needs)
}

fn contradiction(resolved: &Resolved, need: Need, large: &'static str) -> Conflict {
    let part = match need.part {
        1 => String::new(),
        2 => "half of ".to_owned(),
        3 => "a third of ".to_owned(),
        part => format!("1/{part} of "),
    };
    let value = setting(large).map(|s| s.show(&resolved.config));
    let origin = resolved.origins.get(large).unwrap_or(&Origin::Default);
    Conflict {
        setting: need.by,
        problem: format!(
            "must not be larger than {part}{large}, which is {} from {origin}",
            value.unwrap_or_default()
        ),
    }
}
