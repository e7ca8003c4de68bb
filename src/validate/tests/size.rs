//! What a batch may become in memory.

use super::*;

/// What a batch becomes is bounded, however few bytes it came in.
#[test]
fn a_batch_that_would_become_too_large_is_refused_before_it_does() {
    let contract = ruled("{ column = \"b\", min = 0, max = 10 }");
    let refused = |batch: &RecordBatch, bytes_max: usize| {
        let scope = Scope {
            bytes_max,
            ..scope()
        };
        let fault = judged(&contract, batch, scope).map(|_| ()).unwrap_err();
        assert_eq!(fault.kind, crate::fault::Kind::Exhausted, "{fault}");
        assert_eq!(fault.reason, "batch_too_large");
        assert!(fault.message.contains("limits.batch_memory_max"), "{fault}");
        fault.message.to_string()
    };
    // A gigabyte of columns out of nothing.
    let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(64_000_000));
    let batch = RecordBatch::try_from_iter([("a", nothing)]).unwrap();
    assert!(refused(&batch, 256 << 20).contains("rows=64000000"));
    // Rows that are rejected, with the first of them in the text.
    let nothing: ArrayRef = Arc::new(arrow::array::NullArray::new(100_000));
    let batch = RecordBatch::try_from_iter([("a", nothing)]).unwrap();
    assert!(refused(&batch, 8 << 20).contains("the first: row=0, column=a"));
    assert!(judged(&contract, &batch, scope()).is_ok());
    // Values that are changed.
    let clamped = ruled("{ column = \"b\", min = 0, max = 10, action = \"clamp\" }");
    let b: ArrayRef = Arc::new(Float64Array::from(vec![99.0; 100_000]));
    let a = long((0..100_000).map(Some));
    let batch = RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap();
    let small = Scope {
        bytes_max: 4 << 20,
        ..scope()
    };
    assert!(judged(&clamped, &batch, small).is_err());
    assert!(judged(&clamped, &batch, scope()).is_ok());
}

/// One long text that a dictionary or a view names again and again is as long as all of it, written out.
#[test]
fn a_text_that_is_named_often_counts_as_often() {
    let columns = "columns = [ { name = \"s\", type = \"string\" } ]";
    let toml = format!("dataset = \"d\"\n[[table]]\nname = \"t\"\n{columns}");
    let contract = from_toml(&toml).unwrap().tables.remove(0);
    let text = "x".repeat(1 << 20);
    let keys = arrow::array::Int32Array::from(vec![0; 4096]);
    let values: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
    let dictionary = arrow::array::DictionaryArray::new(keys, values);
    let mut views = arrow::array::StringViewBuilder::new();
    let block = views.append_block(text.as_bytes().into());
    for _ in 0..4096 {
        views.try_append_view(block, 0, 1 << 20).unwrap();
    }
    let columns: [ArrayRef; 2] = [Arc::new(dictionary), Arc::new(views.finish())];
    for column in columns {
        let batch = RecordBatch::try_from_iter([("s", column)]).unwrap();
        let fault = judged(&contract, &batch, scope()).map(|_| ()).unwrap_err();
        assert_eq!(fault.reason, "batch_too_large", "{fault}");
        let few = batch.slice(0, 10);
        let (applied, ..) = judged(&contract, &few, scope()).unwrap().into_parts();
        assert_eq!(applied.into_sides().0.unwrap().num_rows(), 10);
    }
}

/// A row's text is as long as its value, however many others the column's dictionary has: it is asked for every rejected row.
#[test]
fn a_row_of_a_dictionary_is_as_long_as_its_own_value() {
    use crate::validate::size::RowText;
    let text =
        |column: ArrayRef| RowText::of(&RecordBatch::try_from_iter([("s", column)]).unwrap());
    let texts: Vec<String> = (0..3000).map(|n| "x".repeat(n % 7)).collect();
    let keys = arrow::array::Int32Array::from_iter((0..3000).map(|n| (n % 5 != 0).then_some(n)));
    let values: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    let dictionary: ArrayRef = Arc::new(arrow::array::DictionaryArray::new(keys.clone(), values));
    let plain = keys.iter().zip(&texts);
    let plain: StringArray = plain
        .map(|(key, text)| key.map(|_| text.as_str()))
        .collect();
    let (dictionary, plain) = (text(dictionary), text(Arc::new(plain)));
    for row in 0..3000 {
        let quotes = if row % 5 == 0 { 0 } else { 2 };
        assert_eq!(dictionary.bytes(row), plain.bytes(row) + quotes, "{row}");
    }
    let bytes: Vec<&[u8]> = vec![b"12345"; 2];
    let large = arrow::array::LargeBinaryArray::from(bytes.clone());
    let (large, small) = (
        text(Arc::new(large)),
        text(Arc::new(arrow::array::BinaryArray::from(bytes))),
    );
    assert_eq!(large.bytes(1), small.bytes(1) + 2);
}
