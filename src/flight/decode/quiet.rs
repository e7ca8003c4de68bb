//! Runs a decoder that answers some malformed bytes with a panic. The panic becomes a value, and nothing of it is printed: a
//! client must not be able to fill the server's log.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// The result of `work`, or none if it panicked.
///
/// `work` may leave what it changes half changed; callers drop it then, with the stream.
pub(super) fn run<T>(work: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let printing = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                printing(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_none_and_the_next_one_outside_is_printed_again() {
        assert_eq!(run(|| 1), Some(1));
        let empty: [u8; 0] = [];
        assert_eq!(run(|| empty.iter().copied().max().expect("none")), None);
        assert!(!QUIET.get());
    }
}
