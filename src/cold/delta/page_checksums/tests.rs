#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::*;

fn rows() -> RecordBatch {
    let ids: Int64Array = (0..5000).map(|n| (n % 7 > 0).then_some(n)).collect();
    let texts: StringArray = (0..5000)
        .map(|n| Some(format!("name {}", n % 40)))
        .collect();
    let values: Float64Array = (0..5000).map(|n| Some(f64::from(n) / 3.0)).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("text", Arc::new(texts)),
        ("value", Arc::new(values)),
    ])
    .unwrap()
}

fn encoded(properties: WriterProperties) -> (Vec<u8>, ParquetMetaData) {
    let batch = rows();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let metadata = writer.finish().unwrap();
    (std::mem::take(writer.inner_mut()), metadata)
}

fn small_pages() -> parquet::file::properties::WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_data_page_row_count_limit(500)
        .set_write_batch_size(100)
        .set_max_row_group_row_count(Some(2000))
}

type Bounds = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>);

fn bounds_of(metadata: &ParquetMetaData) -> Vec<Bounds> {
    let groups = metadata.row_groups().iter();
    let columns = groups.flat_map(RowGroupMetaData::columns);
    let bounds = columns
        .filter_map(ColumnChunkMetaData::statistics)
        .map(|s| {
            let bytes = |b: Option<&[u8]>| b.map(<[u8]>::to_vec);
            (
                bytes(s.min_bytes_opt()),
                bytes(s.max_bytes_opt()),
                s.null_count_opt(),
            )
        });
    bounds.collect()
}

fn read(file: &Bytes) -> Result<RecordBatch, arrow::error::ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone())?;
    // Without the entries of the footer, which Arrow takes for the schema's.
    let schema = Arc::new(Schema::new(builder.schema().fields().clone()));
    let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
    arrow::compute::concat_batches(&schema, &batches)
}

#[test]
fn rows_page_index_and_footer_are_the_same_with_checksums() {
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            let properties = small_pages()
                .set_writer_version(version)
                .set_compression(compression)
                .build();
            let (plain, metadata) = encoded(properties);
            let bounds = bounds_of(&metadata);
            let file = Bytes::from(with_page_checksums(&plain, metadata).unwrap());
            assert!(file.len() > plain.len());
            assert_eq!(read(&file).unwrap(), rows());
            // By the page index alone: wrong places would show as errors or other rows.
            let options =
                ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
            let builder =
                ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options)
                    .unwrap();
            assert_eq!(bounds_of(builder.metadata()), bounds);
            let selection = RowSelection::from(vec![
                RowSelector::skip(1700),
                RowSelector::select(10),
                RowSelector::skip(2500),
                RowSelector::select(20),
            ]);
            let picked = builder.with_row_selection(selection).build().unwrap();
            let picked: Vec<_> = picked.map(Result::unwrap).collect();
            let picked = arrow::compute::concat_batches(&rows().schema(), picked.iter()).unwrap();
            let expected = arrow::compute::concat_batches(
                &rows().schema(),
                [&rows().slice(1700, 10), &rows().slice(4210, 20)],
            )
            .unwrap();
            assert_eq!(picked, expected);
        }
    }
}

#[test]
fn a_changed_byte_of_a_page_is_an_error_and_never_another_value() {
    let properties = small_pages()
        .set_compression(Compression::UNCOMPRESSED)
        .build();
    let (plain, metadata) = encoded(properties);
    let end = metadata
        .row_groups()
        .last()
        .unwrap()
        .columns()
        .last()
        .unwrap()
        .byte_range();
    let pages = 4..usize::try_from(end.0 + end.1).unwrap();
    let file = with_page_checksums(&plain, metadata).unwrap();
    let mut unnoticed_without = 0;
    for at in pages.step_by(97) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        if let Ok(rows_read) = read(&Bytes::from(damaged)) {
            // The few bytes of a header that say nothing about values, such as the encoding of unused levels.
            assert_eq!(rows_read, rows(), "byte {at}");
        }
        let mut damaged = plain.clone();
        damaged[at] ^= 0x10;
        if read(&Bytes::from(damaged)).is_ok_and(|read| read != rows()) {
            unnoticed_without += 1;
        }
    }
    assert!(unnoticed_without > 100, "{unnoticed_without}");
}

#[test]
fn checksums_are_not_given_twice_and_a_foreign_file_is_refused() {
    let (plain, metadata) = encoded(small_pages().build());
    let once = with_page_checksums(&plain, metadata.clone()).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(
        Bytes::from(once.clone()),
        ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required),
    )
    .unwrap();
    let again = with_page_checksums(&once, reader.metadata().as_ref().clone()).unwrap();
    assert_eq!(read(&Bytes::from(again)).unwrap(), rows());
    assert!(with_page_checksums(&plain[..plain.len() / 2], metadata.clone()).is_err());
    assert!(with_page_checksums(&vec![0xff; plain.len()], metadata).is_err());
}
