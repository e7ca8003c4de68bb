//! Segment after segment: one is begun before anything is promised of it, and let go of when no row in it is needed.

use std::time::Instant;

use super::super::Error;
use super::super::frame::{self, FrameKind, NewFrame, Place};
use super::super::manifest::Tail;
use super::super::segment::{self, Header};
use super::{Active, DISK_RETRY, Sealed, Writer};
use crate::types::Lsn;

impl Writer {
    pub(super) fn seal_and_begin(&mut self, needed: u64) -> Result<(), Error> {
        self.sealed.push_back(Sealed {
            number: self.active.number,
            first: self.active.first,
            last: self.last,
            bytes: self.active.bytes,
        });
        let number = self.active.number + 1;
        // Nothing of the new segment has been promised to anyone: it can be begun again and again.
        let deadline = Instant::now() + self.config.admission_timeout;
        loop {
            match self.begin_segment(number, needed) {
                Ok(()) => break,
                Err(Error::NoRoom { cause, .. }) => self.wait_for_room(&cause)?,
                Err(error) if Instant::now() < deadline && !self.shared.state.lock().closing => {
                    tracing::warn!(%error, "a new log segment cannot be begun, trying again");
                    std::thread::sleep(DISK_RETRY);
                }
                Err(error) => return Err(error),
            }
        }
        self.has_room();
        self.shared.state.lock().on_disk = self.disk_bytes();
        Ok(())
    }

    pub(super) fn begin_segment(&mut self, number: u64, needed: u64) -> Result<(), Error> {
        let checkpoint = NewFrame {
            kind: FrameKind::Checkpoint,
            incarnation: 0,
            contract_version: 0,
            producer: "".into(),
            epoch: 0,
            seq: 0,
            batch_crc: 0,
            payload: self.hook.checkpoint().into(),
        };
        let bytes = self
            .config
            .segment_bytes
            .max(segment::HEADER_BYTES + checkpoint.encoded_len() + needed);
        let path = segment::path(&self.config.dir, number);
        let spare = segment::spare_path(&self.config.dir);
        let recycled =
            self.spare.is_some_and(|size| size >= bytes) && self.disk.rename(&spare, &path).is_ok();
        let (file, bytes) = if recycled {
            let bytes = self.spare.take().unwrap_or(bytes);
            (self.disk.open(&path).map_err(Error::io("open"))?, bytes)
        } else {
            (
                self.disk
                    .create(&path, bytes)
                    .map_err(Error::io("create"))?,
                bytes,
            )
        };
        let header = Header {
            uuid: self.uuid,
            number,
            first: self.last.next(),
            bytes,
            chain: self.chain,
            has_manifest: true,
        };
        let (head, crc) = header.encode();
        let mut out = head.to_vec();
        let place = Place {
            uuid: self.uuid,
            segment: number,
            offset: self.last,
            group_start: self.last,
            chain: crc,
        };
        let chain = frame::encode_header(&checkpoint, &place, &mut out);
        out.extend_from_slice(&checkpoint.payload.head);
        file.write_at(&out, 0).map_err(Error::io("write"))?;
        file.sync().map_err(Error::io("sync"))?;
        self.disk
            .sync_dir(&self.config.dir)
            .map_err(Error::io("folder sync"))?;
        // From here on the log is damaged without this segment.
        let position = out.len() as u64;
        self.manifest.write_tail(&Tail {
            segment: number,
            offset: self.last,
            position,
            chain,
        })?;
        let mut contents = self.manifest.contents;
        if contents.newest == 0 {
            (contents.oldest, contents.oldest_first) = (number, header.first);
        }
        contents.newest = number;
        contents.newest_first = header.first;
        contents.newest_crc = crc;
        self.manifest.write(contents)?;
        self.chain = chain;
        self.active = Active {
            file,
            number,
            first: header.first,
            position,
            bytes,
        };
        Ok(())
    }

    /// Lets go of whole segments, oldest first; the last one is kept for its next life. The manifest lets go of them before.
    pub(super) fn trim(&mut self, up_to: Lsn) {
        // The newest segment stays, also when it is sealed and its successor cannot be begun yet: the log's state is in it.
        let newest = self.active.number;
        let is_needed = |s: &Sealed| s.last > up_to || s.number == newest;
        let count = self.sealed.iter().take_while(|s| !is_needed(s)).count();
        if count == 0 {
            return;
        }
        let mut contents = self.manifest.contents;
        let oldest = self.sealed.get(count);
        (contents.oldest, contents.oldest_first) =
            oldest.map_or((newest, self.active.first), |s| (s.number, s.first));
        if contents.oldest != self.manifest.contents.oldest
            && let Err(error) = self.manifest.write(contents)
        {
            tracing::warn!(%error, "trimmed log segments stay: the manifest cannot be written");
            return;
        }
        for _ in 0..count {
            let Some(oldest) = self.sealed.front().copied() else {
                break;
            };
            if let Err(error) = self.let_go(oldest) {
                tracing::warn!(%error, segment = oldest.number, "a trimmed log segment could not be removed");
                break;
            }
            self.sealed.pop_front();
        }
        if let Err(error) = self.disk.sync_dir(&self.config.dir) {
            // The segment may come back after a power cut; the manifest does not know it any more.
            tracing::warn!(%error, "log folder not synced after a trim");
        }
        self.shared.state.lock().on_disk = self.disk_bytes();
        self.shared.room.notify_waiters();
    }

    fn let_go(&mut self, segment: Sealed) -> std::io::Result<()> {
        let path = segment::path(&self.config.dir, segment.number);
        if self.spare.is_some() || segment.bytes != self.config.segment_bytes {
            return self.disk.remove(&path);
        }
        self.disk
            .rename(&path, &segment::spare_path(&self.config.dir))?;
        self.spare = Some(segment.bytes);
        Ok(())
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.sealed.iter().map(|s| s.bytes).sum::<u64>() + self.active.bytes
    }
}
