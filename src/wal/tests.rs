#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::frame::{self, Place};
use super::*;

#[derive(Default)]
struct Recorder {
    ends: Mutex<Vec<Lsn>>,
}

impl GroupHook for Recorder {
    fn end(&self, durable: Lsn) {
        self.ends.lock().push(durable);
    }
    fn checkpoint(&self) -> Vec<u8> {
        b"state".to_vec()
    }
}

pub(super) fn config(dir: &Path) -> LogConfig {
    LogConfig {
        dir: dir.to_owned(),
        segment_bytes: 4096,
        bytes_max: 64 * 1024,
        queue_bytes_max: 16 * 1024,
        admission_timeout: Duration::from_millis(300),
    }
}

pub(super) fn data(seq: u64, payload: Vec<u8>) -> NewFrame {
    NewFrame {
        kind: FrameKind::Data,
        incarnation: 1,
        contract_version: 1,
        producer: "p".into(),
        epoch: 1,
        seq,
        batch_crc: 7,
        payload: payload.into(),
    }
}

pub(super) async fn append(log: &Log, seq: u64, payload: Vec<u8>) -> Result<Lsn, Error> {
    let reservation = log.reserve(payload.len() + 200).await?;
    log.append(reservation, data(seq, payload), Box::new(|_| {}))?
        .wait()
        .await
        .map(Durable::offset)
}

pub(super) fn start(config: &LogConfig, disk: Arc<dyn Disk>) -> Result<(Log, Vec<Frame>), Error> {
    let (opener, replay) = open(config.clone(), disk)?;
    let frames = replay.collect::<Result<Vec<_>, _>>()?;
    Ok((opener.start(Arc::new(Recorder::default()))?, frames))
}

pub(super) fn seqs(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|f| f.seq).collect()
}

/// A log with five frames in one segment; gives back where each begins. The manifest's tail is the one of the fourth, as a
/// power cut may leave it.
async fn five_frames(config: &LogConfig) -> (std::path::PathBuf, Vec<usize>) {
    let (log, _) = start(config, Arc::new(RealDisk)).unwrap();
    let mut manifest = Vec::new();
    for seq in 1..=5 {
        append(&log, seq, vec![u8::try_from(seq).unwrap(); 100])
            .await
            .unwrap();
        if seq == 4 {
            manifest = std::fs::read(manifest::path(&config.dir)).unwrap();
        }
    }
    log.close().await.unwrap();
    std::fs::write(manifest::path(&config.dir), manifest).unwrap();
    let file = segment::path(&config.dir, 1);
    let bytes = std::fs::read(&file).unwrap();
    let mut at = 64;
    let mut starts = Vec::new();
    while let Some(parsed) = frame::parse(&bytes[at..]) {
        starts.push(at);
        at += parsed.len;
    }
    starts.push(at);
    (file, starts.split_off(1))
}

#[tokio::test]
async fn a_log_cut_at_every_byte_of_its_last_frame_replays_the_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (file, starts) = five_frames(&config).await;
    let whole = std::fs::read(&file).unwrap();
    for cut in starts[4]..starts[5] {
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        std::fs::write(&file, &bytes).unwrap();
        let (_, replay) = open(config.clone(), Arc::new(RealDisk)).unwrap();
        let frames: Vec<Frame> = replay.map(Result::unwrap).collect();
        assert_eq!(seqs(&frames), [1, 2, 3, 4], "cut at {cut}");
        assert_eq!(frames[3].payload, vec![4; 100]);
    }
}

#[tokio::test]
async fn an_offset_is_durable_only_once_its_group_is_visible() {
    #[derive(Default)]
    struct Hook {
        log: std::sync::OnceLock<Log>,
        seen: Mutex<Vec<(Lsn, Lsn)>>,
    }
    impl GroupHook for Hook {
        fn end(&self, durable: Lsn) {
            let known = self.log.get().unwrap().durable();
            self.seen.lock().push((known, durable));
        }
        fn checkpoint(&self) -> Vec<u8> {
            Vec::new()
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (opener, replay) = open(config(dir.path()), Arc::new(RealDisk)).unwrap();
    assert_eq!(replay.count(), 0);
    let hook = Arc::new(Hook::default());
    let log = opener.start(hook.clone()).unwrap();
    assert!(hook.log.set(log.clone()).is_ok());
    for seq in 1..=2 {
        append(&log, seq, vec![0; 10]).await.unwrap();
    }
    let numbers = |(known, durable): &(Lsn, Lsn)| (known.get(), durable.get());
    let seen: Vec<_> = hook.seen.lock().iter().map(numbers).collect();
    assert_eq!(seen, [(0, 1), (1, 2)]);
    assert_eq!(log.durable(), Lsn::new(2));
}

#[tokio::test]
async fn a_flipped_bit_before_the_tail_refuses_to_start_and_names_segment_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (file, starts) = five_frames(&config).await;
    let whole = std::fs::read(&file).unwrap();
    for at in starts[1]..starts[2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        match open(config.clone(), Arc::new(RealDisk)).map(|_| ()) {
            Err(Error::Damaged {
                segment, offset, ..
            }) => assert_eq!((segment, offset), (1, Lsn::new(2)), "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn segments_roll_are_trimmed_and_recycled_and_old_bytes_never_replay() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    for seq in 1..=100 {
        let offset = append(&log, seq, vec![1; 900]).await.unwrap();
        assert_eq!(offset, Lsn::new(seq), "offsets are dense across segments");
        log.trim(Lsn::new(seq.saturating_sub(4)));
    }
    log.close().await.unwrap();
    let (log, frames) = start(&config, Arc::new(RealDisk)).unwrap();
    let replayed = seqs(&frames);
    assert_eq!(replayed.last(), Some(&100));
    assert!(replayed.len() < 20, "{replayed:?}");
    assert!(
        replayed.windows(2).all(|w| w[1] == w[0] + 1),
        "{replayed:?}"
    );
    assert_eq!(append(&log, 101, vec![2; 10]).await.unwrap(), Lsn::new(101));
}

#[tokio::test]
async fn a_log_trimmed_empty_goes_on_counting_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    for seq in 1..=3 {
        append(&log, seq, vec![1; 10]).await.unwrap();
    }
    let uuid = log.uuid();
    log.roll().await.unwrap();
    log.trim(log.durable());
    log.close().await.unwrap();
    let (opener, mut replay) = open(config.clone(), Arc::new(RealDisk)).unwrap();
    assert_eq!(replay.take_checkpoint().as_deref(), Some(&b"state"[..]));
    assert_eq!((replay.tail(), opener.uuid()), (Lsn::new(3), uuid));
    assert_eq!(replay.count(), 0);
    let log = opener.start(Arc::new(Recorder::default())).unwrap();
    assert_eq!(append(&log, 4, vec![1; 10]).await.unwrap(), Lsn::new(4));
}

#[tokio::test]
async fn a_full_log_pushes_back_and_recovers_after_a_trim() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        bytes_max: 12 * 1024,
        ..config(dir.path())
    };
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    let mut last = Lsn::ZERO;
    let full = loop {
        match append(&log, last.get() + 1, vec![0; 1000]).await {
            Ok(offset) => last = offset,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full { .. }), "{full}");
    log.trim(last);
    assert_eq!(
        append(&log, last.get() + 1, vec![0; 1000]).await.unwrap(),
        last.next()
    );
}

proptest! {
    #[test]
    fn a_frame_reads_back_as_it_was_written(
        producer in "[a-z]{0,40}", payload in prop::collection::vec(any::<u8>(), 0..600),
        epoch in any::<u64>(), seq in any::<u64>(), crc in any::<u32>(), chain in any::<u32>(), offset in 1u64..1 << 60,
    ) {
        let cut = payload.len() / 2;
        let head = payload[..cut].to_vec();
        let body_crc = crc32c::crc32c(&payload[cut..]);
        let body = payload[cut..].chunks(100).map(bytes::Bytes::copy_from_slice).collect();
        let new = NewFrame { producer: producer.into(), epoch, seq, batch_crc: crc, payload: Payload::new(head, body, body_crc), ..data(0, Vec::new()) };
        let place = Place { uuid: [3; 16], segment: 9, offset: Lsn::new(offset), group_start: Lsn::new(offset), chain };
        let mut bytes = Vec::new();
        let header_crc = frame::encode_header(&new, &place, &mut bytes);
        bytes.extend_from_slice(&payload);
        prop_assert_eq!(bytes.len() as u64, new.encoded_len());
        let parsed = frame::parse(&bytes).unwrap();
        prop_assert_eq!(parsed.place, place);
        prop_assert_eq!(parsed.crc, header_crc);
        prop_assert_eq!((parsed.frame.seq, parsed.frame.epoch, &parsed.frame.payload[..]), (seq, epoch, &payload[..]));
        prop_assert_eq!(parsed.frame.producer, new.producer);
        for cut in 0..bytes.len() {
            prop_assert!(frame::parse(&bytes[..cut]).is_none());
        }
    }
}
