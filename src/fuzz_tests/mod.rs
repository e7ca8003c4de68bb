//! Fuzz tests of every format whose bytes come from outside the process: files that another server wrote or that a disk has
//! changed, messages of clients, and texts of users.
//!
//! A [`Target`] begins from valid inputs, changes them ([`change`]), and gives each to a reader. Bolero chooses the changes,
//! and makes them fewer and smaller once an input has failed. In half of the inputs the checksums are repaired behind the
//! change ([`Target::seal`]), so that the reader behind the checksum is reached. A reader must not panic, must not hold more
//! memory than [`Target::bytes_max`], and what it accepts must come back after it was written again.
//!
//! `DELTAPLANE_TEST_FUZZ_SECONDS` says how long each target runs, one second if it is not set. A failing test prints the
//! smallest input that it found as a byte string. Such an input is kept as a test: see [`Target::kept`].
//!
//! An input that ends the process (memory that cannot be had, a stack that is too small) or that is never done with cannot be
//! printed. It stands in the file `deltaplane-fuzz/<name of the test>.<number of the process>` of the folder for temporary files.
//!
//! Targets of formats that are private stand beside their reader, in a module `fuzz_tests` as well.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod change;
mod dataset;
mod disk;
mod floats;
mod frames;
mod sql;
mod verdict;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bolero::{Driver, TypeGenerator};
use parking_lot::Mutex;

use crate::memory;
pub(crate) use disk::MemoryDisk;
pub(crate) use floats::assert_same;
pub(crate) use frames::{seal_frame, sealed_frame};

/// Changes are read from so many bytes: whole words, of which the last few bytes are left over.
const PLAN_BYTES: usize = 48;
const _: () =
    assert!(change::HEAD_BYTES + change::CHANGES_MAX * change::CHANGE_BYTES <= PLAN_BYTES);
/// Parsers recurse. The server gives them such a stack, too.
const STACK_BYTES: usize = 256 << 20;
const SHRINK_TIME: Duration = Duration::from_secs(20);

/// How long each target tries changes by chance. None: not at all, because a run of the tests has to say the same each time.
fn seconds() -> Option<u64> {
    let set = std::env::var("DELTAPLANE_TEST_FUZZ_SECONDS").ok()?;
    Some(set.parse().unwrap())
}

/// One format, and what its inputs are made of.
pub(crate) struct Target<'a> {
    /// Valid inputs before [`Target::seal`].
    pub seeds: Vec<Vec<u8>>,
    /// Makes a valid input of a valid inner one: repairs checksums and lengths, or compresses. It is called before the change
    /// or behind it.
    pub seal: &'a (dyn Fn(&[u8]) -> Vec<u8> + Sync),
    /// Pieces of text that mean something in this format.
    pub words: &'a [&'a str],
    /// Inputs that failed once. They are tried first, as they stand here.
    pub kept: &'a [&'a [u8]],
    /// The most memory that the reader may hold at once for one input.
    pub bytes_max: u64,
}

impl Default for Target<'_> {
    fn default() -> Self {
        Target {
            seeds: Vec::new(),
            seal: &<[u8]>::to_vec,
            words: &[],
            kept: &[],
            bytes_max: 16 << 20,
        }
    }
}

/// The bytes that changes are read from. When bolero looks for a smaller input it reads a recording of what its generator of
/// random numbers gave out. The recording is the plan itself only if the plan has a fixed length and is taken in words of 64 bits:
/// of a byte, bolero records four, and of a vector its length.
struct Plan([u8; PLAN_BYTES]);

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the changes {:02x?}", self.0)
    }
}

impl TypeGenerator for Plan {
    fn generate<D: Driver>(driver: &mut D) -> Option<Self> {
        let mut plan = Plan([0; PLAN_BYTES]);
        for word in plan.0.as_chunks_mut::<8>().0 {
            *word = driver.produce::<u64>()?.to_le_bytes();
        }
        Some(plan)
    }
}

/// A plan, and the input that it made.
type Failed = (Plan, Vec<u8>);

/// Notes the input as a failed one if the thread panics while it is there.
struct Tried<'a> {
    plan: &'a Plan,
    input: &'a [u8],
    failed: &'a Mutex<Option<Failed>>,
}

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let size = |plan: &Plan| (plan.0.iter().filter(|b| **b != 0).count(), plan.0);
        let mut failed = self.failed.lock();
        if failed
            .as_ref()
            .is_none_or(|(plan, _)| size(self.plan) <= size(plan))
        {
            *failed = Some((Plan(self.plan.0), self.input.to_vec()));
        }
    }
}

/// One run of a target.
struct Run<'a, F> {
    target: &'a Target<'a>,
    check: F,
    failed: Mutex<Option<Failed>>,
    /// Has the input that is tried.
    file: Option<File>,
    tried: AtomicU64,
    accepted: AtomicU64,
}

/// A panic in `check` ends the run: nobody sees what it left half done.
impl<F> RefUnwindSafe for Run<'_, F> {}

impl<F: Fn(&[u8]) -> bool + Sync> Run<'_, F> {
    fn input(&self, input: &[u8]) -> bool {
        let (accepted, peak) = memory::peak(|| (self.check)(input));
        let most = self.target.bytes_max;
        assert!(
            peak <= most,
            "the reader held {peak} bytes at once, and {most} are allowed"
        );
        accepted
    }

    fn plan(&self, plan: &Plan) {
        let input = change::input(self.target, &plan.0);
        if let Some(file) = &self.file {
            file.write_all_at(&input, 0).unwrap();
            file.set_len(input.len() as u64).unwrap();
        }
        let tried = Tried {
            plan,
            input: &input,
            failed: &self.failed,
        };
        let accepted = self.input(&input);
        drop(tried);
        self.tried.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(accepted.into(), Ordering::Relaxed);
    }

    /// Every plan, until one fails or the time is over.
    fn all(&self, time: Duration) {
        bolero::check!()
            .with_type::<Plan>()
            .with_test_time(time)
            .with_shrink_time(SHRINK_TIME)
            .for_each(|plan| self.plan(plan));
    }
}

impl Target<'_> {
    /// Gives changed inputs to `check`, which returns whether the reader accepts the input, and panics on a fault of the reader.
    pub(crate) fn run(&self, check: impl Fn(&[u8]) -> bool + Sync) {
        memory::count();
        let name = std::thread::current().name().unwrap_or("fuzz").to_owned();
        let folder = std::env::temp_dir().join("deltaplane-fuzz");
        std::fs::create_dir_all(&folder).unwrap();
        // Several runs may be under way.
        let file = format!("{}.{}", name.replace("::", "."), std::process::id());
        let path = folder.join(file);
        let run = Run {
            target: self,
            check,
            failed: Mutex::default(),
            file: Some(File::create(&path).unwrap()),
            tried: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        };
        let work = || {
            for seed in &self.seeds {
                let input = (self.seal)(seed);
                assert!(run.input(&input), "refused: {}", shown(&input));
            }
            for input in self.kept {
                run.input(input);
            }
            if let Some(seconds) = seconds() {
                run.all(Duration::from_secs(seconds));
            }
        };
        let outcome = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name(name.clone())
                .stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, work).unwrap().join()
        });
        let _ = std::fs::remove_file(&path);
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (tried, accepted) = (count(&run.tried), count(&run.accepted));
        println!("{name}: {tried} inputs, {accepted} of them accepted");
        if let Err(panic) = outcome {
            if let Some((plan, input)) = run.failed.lock().take() {
                println!(
                    "{name}: {plan:?} make the smallest input that failed; keep it as a test:"
                );
                println!("{}", shown(&input));
            }
            std::panic::resume_unwind(panic);
        }
    }
}

/// As Rust spells it.
fn shown(input: &[u8]) -> String {
    format!("b\"{}\"", input.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest input that a reader which cannot bear this byte fails for.
    #[test]
    fn a_failing_input_is_made_small() {
        let target = Target {
            seeds: vec![b"0123456789".to_vec()],
            ..Target::default()
        };
        let run = Run {
            target: &target,
            check: |input: &[u8]| {
                assert!(input.first() != Some(&0xff));
                input == b"0123456789"
            },
            failed: Mutex::default(),
            file: None,
            tried: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        };
        let failure = std::panic::catch_unwind(|| run.all(Duration::from_secs(1)));
        assert!(failure.is_err());
        let (plan, input) = run.failed.lock().take().unwrap();
        assert_eq!(input.first(), Some(&0xff));
        let set = plan.0.iter().filter(|b| **b != 0).count();
        assert!(set <= 6, "{plan:?}");
    }

    #[test]
    fn a_reader_that_takes_too_much_memory_is_a_fault() {
        memory::count();
        let target = Target {
            bytes_max: 1 << 20,
            ..Target::default()
        };
        let run = |bytes: usize| Run {
            target: &target,
            check: move |_: &[u8]| {
                drop(std::hint::black_box(vec![1u8; bytes]));
                true
            },
            failed: Mutex::default(),
            file: None,
            tried: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        };
        assert!(run(1 << 19).input(b""));
        let large = run(1 << 21);
        let failure = std::panic::catch_unwind(|| large.input(b""));
        assert!(failure.is_err());
    }
}
