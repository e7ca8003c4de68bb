//! Files that no clean-up may touch, whatever the newest version says of them: those of versions that a query may still
//! read, and those that are staged for a commit under way.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::ColdFile;

type Files = Vec<Arc<ColdFile>>;

/// The file lists that somebody holds: every view of one table notes its own here when it is made. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<Mutex<Vec<Weak<Files>>>>);

impl Pins {
    pub(super) fn note(&self, files: &Arc<Files>) {
        let mut lists = self.0.lock();
        lists.retain(|list| list.strong_count() > 0);
        lists.push(Arc::downgrade(files));
    }

    /// Paths, relative to the table, of every file in a view that is alive.
    pub fn paths(&self) -> HashSet<String> {
        let alive: Vec<Arc<Files>> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let paths = alive.iter().flat_map(|list| list.iter());
        paths.map(|file| file.path().to_owned()).collect()
    }
}

/// Paths that are written and in no version yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Staging(Arc<Mutex<HashSet<String>>>);

impl Staging {
    pub fn paths(&self) -> HashSet<String> {
        self.0.lock().clone()
    }

    pub(super) fn hold(&self) -> Hold {
        Hold {
            staging: self.clone(),
            paths: Vec::new(),
        }
    }
}

/// Keeps paths in [`Staging`] until it is dropped: after the commit that made them a version, or gave them up.
#[derive(Debug)]
pub struct Hold {
    staging: Staging,
    paths: Vec<String>,
}

impl Hold {
    pub(super) fn add(&mut self, path: &str) {
        self.staging.0.lock().insert(path.to_owned());
        self.paths.push(path.to_owned());
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut staging = self.staging.0.lock();
        for path in &self.paths {
            staging.remove(path);
        }
    }
}
