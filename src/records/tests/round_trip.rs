use proptest::prelude::*;

use super::made::{any_record, batch};
use super::*;
use crate::validate::Verdict;

proptest! {
    #[test]
    fn every_record_comes_back_as_it_was_written((stamp, record) in any_record()) {
        let bytes = on_disk(&record, stamp);
        let (stamp_read, back) = read(&bytes);
        prop_assert_eq!(stamp_read, stamp);
        prop_assert_eq!(&back, &record);
        prop_assert_eq!(on_disk(&back, stamp), bytes, "written again");
        if let (Record::Data(sent), Record::Data(back)) = (&record, &back) {
            prop_assert_eq!(back.batch(), sent.batch());
        }
    }
}

#[test]
fn a_batch_is_not_copied_into_its_frame_nor_out_of_it() {
    let encoded = Encoded::of(&batch(100_000)).unwrap();
    let data = Data::made(Sender::Unnamed, 7, Verdict::empty(), encoded.stored());
    let frame = Record::Data(data).encode(Stamp::default()).unwrap();
    let stored = encoded.stored();
    let places = |pieces: &[bytes::Bytes]| pieces.iter().map(|p| p.as_ptr()).collect::<Vec<_>>();
    assert!(frame.payload.body.len() > 6, "columns are pieces");
    assert_eq!(places(&frame.payload.body), places(&stored.into_body().0));

    let read = read_frame(&frame_bytes(&frame)).unwrap();
    let Record::Data(data) = Record::decode(&read).unwrap() else {
        panic!("not data");
    };
    let (body, _) = data.into_batch().into_body();
    let within = read.payload.as_ptr_range();
    assert!(body.iter().all(|piece| within.contains(&piece.as_ptr())));
}
