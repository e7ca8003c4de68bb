//! Which rows of which files a statement takes out: a bit a row.

use std::collections::BTreeMap;

/// Rows of the touched files that do not stay, by the file's place in the view.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) files: BTreeMap<usize, Bits>,
}

#[derive(Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Marks {
    /// True if it was not set before.
    pub(super) fn set(&mut self, file: usize, row: usize) -> bool {
        let bits = self.files.entry(file).or_default();
        let (word, bit) = (row / 64, 1u64 << (row % 64));
        if bits.words.len() <= word {
            bits.words.resize(word + 1, 0);
        }
        let Some(word) = bits.words.get_mut(word) else {
            return false;
        };
        let new = *word & bit == 0;
        *word |= bit;
        bits.count += usize::from(new);
        new
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn add(&mut self, more: Marks) {
        for (file, bits) in more.files {
            let own = self.files.entry(file).or_default();
            if own.words.len() < bits.words.len() {
                own.words.resize(bits.words.len(), 0);
            }
            for (word, more) in own.words.iter_mut().zip(bits.words) {
                *word |= more;
            }
            own.count = own.words.iter().map(|w| w.count_ones() as usize).sum();
        }
    }

    pub(super) fn count(&self, file: usize) -> usize {
        self.files.get(&file).map_or(0, Bits::count)
    }

    pub(super) fn has(&self, file: usize, row: usize) -> bool {
        self.files
            .get(&file)
            .and_then(|bits| bits.words.get(row / 64))
            .is_some_and(|word| word & (1 << (row % 64)) != 0)
    }
}
