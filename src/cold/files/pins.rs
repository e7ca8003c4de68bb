//! Files that no clean-up may touch, whatever the newest version says of them: those of versions that a query may still
//! read, and those that are staged for a commit under way.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::ColdFile;

type Files = Arc<Vec<Arc<ColdFile>>>;

/// Keeps the files of one list from vacuum until its last holder drops it.
#[derive(Debug)]
pub struct Pin {
    files: Files,
}

/// The pins of one table that somebody holds. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<Mutex<Vec<Weak<Pin>>>>);

impl Pins {
    /// The files are safe from the moment of this call.
    pub(super) fn pin(&self, files: &Files) -> Arc<Pin> {
        let pin = Arc::new(Pin {
            files: files.clone(),
        });
        if !files.is_empty() {
            let mut pins = self.0.lock();
            pins.retain(|pin| pin.strong_count() > 0);
            pins.push(Arc::downgrade(&pin));
        }
        pin
    }

    /// Paths, relative to the table, of every file that is pinned.
    pub fn paths(&self) -> HashSet<String> {
        let alive: Vec<Arc<Pin>> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let paths = alive.iter().flat_map(|pin| pin.files.iter());
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

    pub(in crate::cold) fn hold(&self) -> Hold {
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
    pub(in crate::cold) fn add(&mut self, path: &str) {
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
