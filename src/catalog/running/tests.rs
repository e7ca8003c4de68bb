#![expect(clippy::unwrap_used, reason = "tests")]
use std::fs;

use super::stored::{Suspects, read, slot};
use super::*;
use crate::stored_form::{is_stored_as, stored};

/// The process ends while `work` runs.
fn killed(running: &Running, work: &Work) {
    std::mem::forget(running.enter_at_start(work));
}

#[test]
fn what_ends_the_process_twice_in_a_row_is_suspended_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let (guilty, bystander) = (Work::Rows(7), Work::Refresh(8));
    let first = Running::open(dir.path(), false);
    drop(first.enter_at_start(&Work::Rows(9)));
    killed(&first, &guilty);
    killed(&first, &bystander);
    // Nobody is suspended for one crash.
    let second = Running::open(dir.path(), false);
    assert!(second.is_suspected(&guilty));
    assert_eq!(second.suspended(&guilty), None);
    drop(second.enter_at_start(&bystander));
    killed(&second, &guilty);
    let third = Running::open(dir.path(), false);
    assert_eq!(third.suspended_rows(), BTreeSet::from([7]));
    assert_eq!(third.suspended(&bystander), None);
    let told = third.suspended(&guilty).unwrap();
    assert!(told.message.contains("twice"), "{told}");
    // It stays so over a start in which it does not run.
    let fourth = Running::open(dir.path(), false);
    assert!(fourth.suspended(&guilty).is_some());
    // Resumed, one more crash is enough.
    fourth.resume(&guilty);
    assert_eq!(fourth.suspended(&guilty), None);
    killed(&fourth, &guilty);
    let fifth = Running::open(dir.path(), false);
    assert!(fifth.suspended(&guilty).is_some());
    // Resumed and ended: forgotten.
    fifth.resume(&guilty);
    drop(fifth.enter_at_start(&guilty));
    let sixth = Running::open(dir.path(), false);
    assert!(!sixth.is_suspected(&guilty) && sixth.suspended_rows().is_empty());
    assert!(!dir.path().join("suspects").exists());
}

#[test]
fn upkeep_that_does_not_end_the_process_does_not_clear_upkeep_that_does() {
    let dir = tempfile::tempdir().unwrap();
    let (guilty, other) = (
        Work::Upkeep(7, Task::Vacuum),
        Work::Upkeep(7, Task::Compaction),
    );
    killed(&Running::open(dir.path(), false), &guilty);
    let second = Running::open(dir.path(), false);
    drop(second.enter_at_start(&other));
    assert!(second.is_suspected(&guilty));
    killed(&second, &guilty);
    let third = Running::open(dir.path(), false);
    assert!(third.suspended(&guilty).is_some() && third.suspended(&other).is_none());
    assert!(third.suspended_rows().is_empty());
}

#[test]
fn a_safe_start_holds_views_alerts_and_upkeep_and_no_tables() {
    let dir = tempfile::tempdir().unwrap();
    let safe = Running::open(dir.path(), true);
    let (view, alert) = (Work::Refresh(1), Work::Look("a.b".to_owned()));
    assert!(safe.suspended(&Work::Upkeep(1, Task::Compaction)).is_some());
    assert_eq!(safe.suspended(&Work::Rows(1)), None);
    assert!(safe.suspended(&view).is_some() && safe.suspended(&alert).is_some());
    safe.resume(&view);
    assert_eq!(safe.suspended(&view), None);
    assert!(safe.suspended(&alert).is_some());
}

/// A table that is suspended, a view that is suspected, and an alert that was running when the process ended.
fn written(dir: &Path) {
    let (table, view) = (Work::Rows(7), Work::Refresh(8));
    let first = Running::open(dir, false);
    killed(&first, &table);
    let second = Running::open(dir, false);
    killed(&second, &table);
    killed(&second, &view);
    let third = Running::open(dir, false);
    killed(&third, &Work::Look("d.high".to_owned()));
    assert!(third.suspended(&table).is_some() && third.is_suspected(&view));
}

#[test]
fn whatever_byte_has_changed_nothing_that_was_suspected_runs_as_if_it_were_not() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    assert_eq!(problems(dir.path()), Vec::<String>::new());
    for name in ["suspects", "running"] {
        let path = dir.path().join(name);
        let other = dir
            .path()
            .join(["suspects", "running"][usize::from(name == "suspects")]);
        let (good, beside) = (fs::read(&path).unwrap(), fs::read(&other).unwrap());
        assert!(!good.is_empty() && !beside.is_empty());
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            fs::write(&other, &beside).unwrap();
            // Room behind the name of a slot means nothing.
            let told = problems(dir.path());
            assert!(
                told.iter()
                    .all(|problem| problem.contains(&*path.to_string_lossy()))
            );
            let running = Running::open(dir.path(), false);
            let works = [
                Work::Rows(7),
                Work::Refresh(8),
                Work::Look("d.high".to_owned()),
            ];
            for work in works {
                let is_known = running.suspended(&work).is_some() || running.is_suspected(&work);
                assert!(is_known, "{name}, byte {at}, {work:?}");
            }
            assert_eq!(
                told.is_empty(),
                !running.is_suspected(&Work::Rows(99)),
                "byte {at}"
            );
        }
        fs::write(&path, &good).unwrap();
        fs::write(&other, &beside).unwrap();
    }
}

#[tokio::test]
async fn where_the_files_are_damaged_each_work_is_suspected_until_it_has_ended_once() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [&b""[..], b"{", b"DPI1 and more"] {
        fs::write(dir.path().join("suspects"), bytes).unwrap();
        let told = problems(dir.path());
        assert!(told.len() == 1 && told[0].contains("suspects"), "{told:?}");
        let running = Running::open(dir.path(), false);
        let (work, other) = (Work::Rows(1), Work::Rows(2));
        assert!(running.is_suspected(&work));
        let slot = running.enter(&work).await;
        // Somebody else does not wait for long, and is not suspected for running beside it.
        killed_in(running.enter(&other).await);
        assert!(running.is_suspected(&other));
        drop(slot);
        assert!(!running.is_suspected(&work));
        killed(&running, &work);
        // What ends the process while it runs alone is suspended at once.
        let next = Running::open(dir.path(), false);
        assert!(next.is_suspected(&work) && next.is_suspected(&other));
        assert!(next.suspended_rows().is_empty());
        fs::remove_file(dir.path().join("running")).unwrap();
        fs::write(dir.path().join("suspects"), bytes).unwrap();
        let running = Running::open(dir.path(), false);
        killed_in(running.enter(&work).await);
        let next = Running::open(dir.path(), false);
        assert_eq!(next.suspended_rows(), BTreeSet::from([1]));
        fs::remove_file(dir.path().join("suspects")).unwrap();
    }
}

/// The process ends while the slot is taken.
fn killed_in(slot: Slot) {
    std::mem::forget(slot);
}

#[test]
fn files_of_older_servers_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let json = br#"{"suspected":["refresh 8"],"suspended":["rows 7"]}"#;
    fs::write(dir.path().join("suspects"), json).unwrap();
    // Slots without a checksum: one taken, one given back, one taken by a suspect.
    let mut slots = Vec::new();
    for (how, name) in [(1u8, "look d.high"), (0, "rows 5"), (2, "rows 9")] {
        let mut slot = vec![how, u8::try_from(name.len()).unwrap()];
        slot.extend_from_slice(name.as_bytes());
        slot.resize(320, 0);
        slots.extend(slot);
    }
    fs::write(dir.path().join("running"), slots).unwrap();
    assert_eq!(problems(dir.path()), Vec::<String>::new());
    let running = Running::open(dir.path(), false);
    assert_eq!(running.suspended_rows(), BTreeSet::from([7, 9]));
    assert!(running.is_suspected(&Work::Refresh(8)));
    assert!(running.is_suspected(&Work::Look("d.high".to_owned())));
    assert!(!running.is_suspected(&Work::Rows(5)));
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [vec![1, 255], vec![2], vec![1; 3000], vec![], vec![255; 640]] {
        fs::write(dir.path().join("suspects"), b"{").unwrap();
        fs::write(dir.path().join("running"), bytes).unwrap();
        let running = Running::open(dir.path(), false);
        assert!(running.suspended_rows().is_empty());
    }
}

#[test]
fn what_runs_and_who_is_suspected_have_their_form() {
    let dir = tempfile::tempdir().unwrap();
    let known = Suspects {
        suspected: BTreeSet::from(["refresh 8".to_owned()]),
        suspended: BTreeSet::from(["rows 7".to_owned()]),
    };
    known.write(dir.path()).unwrap();
    is_stored_as("suspects", &fs::read(dir.path().join("suspects")).unwrap());
    let slots = [slot("rows 7", true), slot("refresh 8", false)].concat();
    is_stored_as("running", &slots);
    for name in ["suspects", "running"] {
        fs::write(dir.path().join(name), stored(name)).unwrap();
    }
    let left = read(dir.path());
    assert_eq!(left.problems, Vec::<String>::new());
    assert_eq!(left.known.suspected, known.suspected);
    assert_eq!(left.known.suspended, known.suspended);
    let taken = [("rows 7".to_owned(), true), ("refresh 8".to_owned(), false)];
    assert_eq!(left.taken, taken);
}
