//! A model check of pins against vacuum: readers of the newest and of an older version, compaction that stages and commits, and a
//! vacuum that lists, chooses and deletes, under thousands of schedules.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::Schema;
use object_store::path::Path;

use super::pins::Staging;
use super::*;
use crate::cold::delta::vacuum::needed;
use crate::cold::{Lake, Mapping};
use crate::sync::schedule::{check, spawn};
use crate::sync::{Mutex, RwLock};

fn file(name: &str) -> Arc<ColdFile> {
    let described = Described {
        path: name,
        size: 1,
        modified_ms: 0,
        stats: None,
        partition_values: &HashMap::new(),
        in_one_form: false,
    };
    let columns = Columns {
        schema: &Arc::new(Schema::empty()),
        partition_by: &[],
        mapping: &Mapping::default(),
    };
    ColdFile::new(&Path::default(), described, columns).unwrap()
}

/// What one thread does.
type Work = Box<dyn FnOnce(&Model) + Send>;

/// The store, the table's newest version as the commit lock guards it, and as queries see it.
struct Model {
    store: Mutex<BTreeSet<String>>,
    staging: Staging,
    commit: Mutex<PinnedFiles>,
    visible: RwLock<Arc<PinnedFiles>>,
}

impl Model {
    fn new(lake: &Lake) -> Arc<Model> {
        let empty = PinnedFiles::empty(lake, Arc::new(Schema::empty()), Vec::new());
        let newest = empty.with_files(vec![file("a"), file("b")]);
        Arc::new(Model {
            store: Mutex::new(["a", "b"].map(str::to_owned).into()),
            staging: Staging::default(),
            visible: RwLock::new(Arc::new(newest.clone())),
            commit: Mutex::new(newest),
        })
    }

    fn has(&self, path: &str) -> bool {
        self.store.lock().contains(path)
    }

    /// Rows of all files in a new one.
    fn compact(&self, name: &str) {
        let mut hold = self.staging.hold();
        hold.add(name);
        self.store.lock().insert(name.to_owned());
        {
            let mut newest = self.commit.lock();
            *newest = newest.with_files(vec![file(name)]);
            *self.visible.write() = Arc::new(newest.clone());
        }
        drop(hold);
    }

    fn read_newest(&self) {
        let version = self.visible.read().clone();
        for file in version.files() {
            assert!(self.has(file.path()), "{} is gone", file.path());
        }
    }

    /// As a query of an older version does: pinned, looked for, and then read.
    fn read_older(&self, older: &FileList) {
        let now = self.visible.read().clone();
        let version = now.pin(older);
        let is_lost = |f: &Arc<ColdFile>| !self.has(f.path()) || now.pins().is_going(f.path());
        if version.files().iter().any(is_lost) {
            return;
        }
        for file in version.files() {
            assert!(self.has(file.path()), "{} was there", file.path());
        }
    }

    fn vacuum(&self) {
        let listed = self.store.lock().clone();
        let kept = needed(&self.staging, &self.commit.lock().clone());
        let chosen: Vec<String> = listed.into_iter().filter(|p| !kept.contains(p)).collect();
        let newest = self.commit.lock();
        let kept = needed(&self.staging, &newest);
        let free = chosen.into_iter().filter(|path| !kept.contains(path));
        let going = newest.pins().let_go(free);
        for path in &going.paths {
            self.store.lock().remove(path);
        }
    }
}

#[test]
fn vacuum_takes_no_file_that_somebody_reads_or_commits() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lake = runtime.block_on(Lake::open(&dir.path().to_string_lossy()));
    let lake = lake.unwrap();
    check(2_000, move || {
        let model = Model::new(&lake);
        let older = model.visible.read().to_list();
        let work: [Work; 4] = [
            Box::new(|model| {
                model.compact("c");
                model.compact("d");
            }),
            Box::new(|model| {
                model.vacuum();
                model.vacuum();
            }),
            Box::new(|model| {
                model.read_newest();
                model.read_newest();
            }),
            Box::new(move |model| {
                model.read_older(&older);
                model.read_older(&older);
            }),
        ];
        let threads = work.map(|work| {
            let model = model.clone();
            spawn(move || work(&model))
        });
        for thread in threads {
            thread.join();
        }
        model.read_newest();
        // Nobody reads any more: what is left is the newest version.
        model.vacuum();
        assert_eq!(*model.store.lock(), ["d".to_owned()].into());
    });
}
