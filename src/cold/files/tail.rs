//! The last bytes of a data file: read once, compared with their checksum, and then read from memory.
//!
//! DataFusion reads a file with more than one reader: one for each part of it that a thread takes, and a fresh one behind the
//! look for bloom filters, which is never asked for the footer. What the first has read is lent to the others while it lives.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use object_store::path::Path;
use parking_lot::Mutex;

use super::super::Error;
use super::data_file::DataFile;
use super::metadata_checksum::{End, Pages, end};

/// What is read at first: the footer and the page indexes of most files, and small files whole.
const TAIL_BYTES: u64 = 16 * 1024;
/// Shorter, it is no Parquet file.
const FILE_BYTES_MIN: u64 = 12;

#[derive(Debug)]
pub(super) struct Tail {
    /// Where in the file it begins.
    at: u64,
    bytes: Bytes,
    /// None: the file has no checksum beside those of its pages.
    pages: Option<Pages>,
}

impl Tail {
    /// # Errors
    /// As [`DataFile::bytes`]. `DataFile` as well: it is not what was written.
    pub(super) async fn read(file: &DataFile) -> Result<Self, Error> {
        let size = file.size;
        if size < FILE_BYTES_MIN {
            return Ok(Tail {
                at: size,
                bytes: Bytes::new(),
                pages: None,
            });
        }
        let mut wanted = size.min(TAIL_BYTES);
        loop {
            let at = size.saturating_sub(wanted);
            let bytes = file.bytes(at..size).await?;
            let pages = match end(&bytes, size).map_err(|problem| file.damaged(problem))? {
                // It is more than there was, and at most the file.
                End::Needs(bytes) => {
                    wanted = bytes;
                    continue;
                }
                End::Plain => None,
                End::Checked(pages) => Some(pages),
            };
            let tail = Tail { at, bytes, pages };
            tail.check(file, at, &tail.bytes)?;
            return Ok(tail);
        }
    }

    pub(super) fn is_checked(&self) -> bool {
        self.pages.is_some()
    }

    /// The headers of pages that lie in two blocks, for who reads the file block by block.
    pub(super) fn headers_across(&self, block_bytes: u64) -> Vec<Range<u64>> {
        let headers = self.pages.iter().flat_map(Pages::headers);
        let block = |at: u64| at / block_bytes;
        headers
            .filter(|header| block(header.start) != block(header.end.saturating_sub(1)))
            .collect()
    }

    /// Any bytes of the file.
    ///
    /// # Errors
    /// As [`Tail::read`].
    pub(super) async fn bytes(&self, file: &DataFile, range: Range<u64>) -> Result<Bytes, Error> {
        let place = |position: u64| usize::try_from(position.checked_sub(self.at)?).ok();
        if let (Some(from), Some(to)) = (place(range.start), place(range.end))
            && from <= to
            && to <= self.bytes.len()
        {
            return Ok(self.bytes.slice(from..to));
        }
        let at = range.start;
        let bytes = file.bytes(range).await?;
        self.check(file, at, &bytes)?;
        Ok(bytes)
    }

    /// [`Tail::bytes`] of which those of the tail are the very ones that were compared.
    ///
    /// # Errors
    /// As [`Tail::read`].
    pub(super) async fn bytes_as_compared(
        &self,
        file: &DataFile,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        if range.start >= self.at || range.end <= self.at {
            return self.bytes(file, range).await;
        }
        let before = self.bytes(file, range.start..self.at).await?;
        let behind = self.bytes(file, self.at..range.end).await?;
        Ok([before, behind].concat().into())
    }

    fn check(&self, file: &DataFile, at: u64, bytes: &[u8]) -> Result<(), Error> {
        match &self.pages {
            Some(pages) => pages.check(at, bytes).map_err(|p| file.damaged(&p)),
            None => Ok(()),
        }
    }
}

/// Of the files that a scan reads now.
#[derive(Debug, Default)]
pub(super) struct Tails(Mutex<HashMap<Path, Weak<Tail>>>);

impl Tails {
    pub(super) fn find(&self, file: &Path) -> Option<Arc<Tail>> {
        self.0.lock().get(file).and_then(Weak::upgrade)
    }

    pub(super) fn lend(&self, file: &Path, tail: &Arc<Tail>) {
        let mut tails = self.0.lock();
        tails.retain(|_, tail| tail.strong_count() > 0);
        tails.insert(file.clone(), Arc::downgrade(tail));
    }
}
