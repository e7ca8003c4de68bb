//! What was freed goes back to the kernel once the process holds nearly what its limits allow.
//!
//! jemalloc keeps freed pages for ten seconds, because the next batch wants as many. Beside statements that hold all they may, these pages are memory
//! beyond the limits: up to 290 MiB of them were seen beside 685 MiB in use, where the limits come to 768 MiB. A thread looks at the resident
//! memory, and gives back what is free while it is above a bound (jemalloc(3), `arena.<i>.dirty_decay_ms`).

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use parking_lot::Mutex;
use tikv_jemalloc_ctl::{Access, AsName, arenas};

/// Between two looks while much is resident, and while little is.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(100);

/// Ends the looking when it is dropped.
pub struct Watch {
    _alive: Sender<()>,
}

/// Gives back what is free while more than `bound` bytes are resident. Where the kernel does not say how many are, it does nothing.
///
/// # Errors
/// No thread can be made.
pub fn give_back_above(bound: u64) -> std::io::Result<Watch> {
    let (alive, ended) = mpsc::channel();
    std::thread::Builder::new()
        .name("memory".to_owned())
        .spawn(move || {
            while let Some(bytes) = resident() {
                if bytes > bound {
                    give_back();
                }
                let pause = if bytes > bound / 2 { OFTEN } else { SELDOM };
                if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        })?;
    Ok(Watch { _alive: alive })
}

/// Bytes of the process that are in memory, as Linux says (proc_pid_status(5), `VmRSS`).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// One thread at a time: another would read the setting while it is changed, and set that again.
static GIVING: Mutex<()> = Mutex::new(());

/// Gives all free pages of all arenas back. What threads keep in caches of their own stays.
fn give_back() {
    let _alone = GIVING.lock();
    let Ok(arenas) = arenas::narenas::read() else {
        return;
    };
    for arena in 0..arenas {
        let name = format!("arena.{arena}.dirty_decay_ms\0");
        let name = name.as_str().name();
        // An arena that no thread has used yet says no. (`update` would give jemalloc one place for the old value and the new one.)
        let kept: Result<isize, _> = name.read();
        let _ = kept.and_then(|kept| name.write(0isize).and_then(|()| name.write(kept)));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const MIB: u64 = 1 << 20;

    fn kept() -> Vec<isize> {
        let arenas = 0..arenas::narenas::read().unwrap();
        let read = |arena| {
            format!("arena.{arena}.dirty_decay_ms\0")
                .as_str()
                .name()
                .read()
        };
        arenas.filter_map(|arena| read(arena).ok()).collect()
    }

    #[test]
    fn how_long_freed_memory_is_kept_stays_as_it_was() {
        let before = {
            let _alone = GIVING.lock();
            kept()
        };
        assert!(before.iter().any(|kept| *kept > 0), "{before:?}");
        let giving = || (0..200).for_each(|_| give_back());
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(giving))));
        let _alone = GIVING.lock();
        assert_eq!(kept().get(..before.len()), Some(before.as_slice()));
    }

    #[test]
    fn what_was_freed_is_resident_until_it_is_given_back() {
        let held: Vec<Vec<u8>> = (0..512).map(|_| vec![1u8; 1 << 20]).collect();
        let before = resident().unwrap();
        assert!(before > 512 * MIB);
        drop(held);
        // Other tests hold memory meanwhile, and not as much.
        let _watch = give_back_above(before - 300 * MIB).unwrap();
        for _ in 0..100 {
            std::thread::sleep(OFTEN);
            if resident().unwrap() <= before - 300 * MIB {
                return;
            }
        }
        panic!("{} MiB of {}", resident().unwrap() / MIB, before / MIB);
    }
}
