//! Files that no clean-up may touch, whatever the newest version says of them: those of versions that a query may still
//! read, and those that are staged for a commit under way.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use crate::sync::Mutex;

use super::ColdFile;

type Files = Arc<Vec<Arc<ColdFile>>>;

/// Keeps the files of one list from vacuum until its last holder drops it.
#[derive(Debug)]
pub struct Pin {
    files: Files,
}

/// The pins of one table that somebody holds, and the files that vacuum deletes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    pins: Vec<Weak<Pin>>,
    /// Paths that are being deleted: whoever pins one from now on is too late, even if it is still there.
    going: HashSet<String>,
}

impl Held {
    fn alive(&self) -> Vec<Arc<Pin>> {
        self.pins.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Pins {
    /// The files are safe from the moment of this call, but for those that are not there any more or [`Pins::is_going`] names then.
    pub(super) fn pin(&self, files: &Files) -> Arc<Pin> {
        let pin = Arc::new(Pin {
            files: files.clone(),
        });
        if !files.is_empty() {
            let mut held = self.0.lock();
            held.pins.retain(|pin| pin.strong_count() > 0);
            held.pins.push(Arc::downgrade(&pin));
        }
        pin
    }

    /// Paths, relative to the table, of every file that is pinned.
    pub fn paths(&self) -> HashSet<String> {
        let alive = self.0.lock().alive();
        paths_of(&alive).map(ToOwned::to_owned).collect()
    }

    /// Those of the paths that nobody has pinned: to be deleted before the result is dropped. From now on it is too late to pin them.
    pub(in crate::cold) fn let_go(&self, paths: impl Iterator<Item = String>) -> Going {
        let mut held = self.0.lock();
        let alive = held.alive();
        let pinned: HashSet<&str> = paths_of(&alive).collect();
        let paths: Vec<String> = paths.filter(|p| !pinned.contains(p.as_str())).collect();
        held.going.extend(paths.iter().cloned());
        Going {
            of: self.clone(),
            paths,
        }
    }

    /// Is the file being deleted? To be asked behind [`Pins::pin`] and in front of a look for the file.
    pub(in crate::cold) fn is_going(&self, path: &str) -> bool {
        self.0.lock().going.contains(path)
    }
}

fn paths_of(pins: &[Arc<Pin>]) -> impl Iterator<Item = &str> {
    pins.iter()
        .flat_map(|pin| pin.files.iter())
        .map(|f| f.path())
}

/// Files that are being deleted, for as long as this lives.
#[derive(Debug)]
pub(in crate::cold) struct Going {
    of: Pins,
    pub paths: Vec<String>,
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut held = self.of.0.lock();
        for path in &self.paths {
            held.going.remove(path);
        }
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
