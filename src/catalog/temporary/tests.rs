#![expect(clippy::unwrap_used, reason = "tests")]
use arrow::array::{ArrayRef, Int64Array};

use super::*;
use crate::cold::Lake;
use crate::dataset::{Column, ColumnType, Contract};

const KIB: usize = 1024;

fn memory() -> Arc<TemporaryMemory> {
    TemporaryMemory::new(Limits {
        bytes: 48 * KIB,
        session_bytes: 32 * KIB,
        tables: 2,
    })
}

fn by(name: &str) -> Arc<Validator> {
    let name = TableName::new(TEMPORARY_SCHEMA, name).unwrap();
    let column = Column::new("a", ColumnType::Long);
    Arc::new(Validator::new(Arc::new(Contract::plain(
        name,
        vec![column],
    ))))
}

fn numbers(count: i64) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    RecordBatch::try_from_iter_with_nullable([("a", values, true)]).unwrap()
}

fn filled(tables: &TemporaryTables, count: i64) -> Result<TemporaryRows, Fault> {
    let mut rows = tables.rows();
    rows.push(numbers(count))?;
    Ok(rows)
}

#[tokio::test]
async fn bytes_are_bounded_a_session_and_in_all_and_go_with_their_tables() {
    let lake = Lake::open("memory://temporary/").await.unwrap();
    let memory = memory();
    let (one, other) = (TemporaryTables::new(&memory), TemporaryTables::new(&memory));
    let create = |tables: &TemporaryTables, name: &str, there, count| {
        let by = by(name);
        let cold = PinnedFiles::empty(&lake, by.contract().table_schema(), Vec::new());
        tables.create(by, Arc::new(cold), there, filled(tables, count)?)
    };
    assert_eq!(create(&one, "t", IfThere::Refuse, 3000).unwrap(), 3000);
    let (count, held) = one.held();
    assert_eq!((count, memory.held()), (1, held));
    assert!(held >= 24_000, "{held}");
    let full = |fault: Fault, setting: &str| {
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Exhausted, "temporary_full")
        );
        assert!(fault.message.contains(setting), "{fault}");
    };
    full(
        create(&one, "u", IfThere::Refuse, 3000).unwrap_err(),
        "session_bytes_max",
    );
    full(
        create(&other, "t", IfThere::Refuse, 3500).unwrap_err(),
        "limits.temporary_bytes_max",
    );
    assert_eq!(
        (memory.held(), other.held()),
        (held, (0, 0)),
        "what was refused is given back"
    );
    // Rows that stay are counted once.
    let table = one.get(&by("T").contract().table).unwrap();
    let mut rows = batches(&table.view.hot);
    rows.push(numbers(10));
    one.exchange(&table.view.name, &table.by, rows).unwrap();
    assert_eq!(
        one.get(&table.view.name)
            .unwrap()
            .view
            .hot
            .iter()
            .map(|c| c.batch.num_rows())
            .sum::<usize>(),
        3010
    );
    let fault = create(&one, "t", IfThere::Refuse, 1).unwrap_err();
    assert_eq!(&*fault.reason, "table_exists");
    assert_eq!(create(&one, "t", IfThere::Keep, 1).unwrap(), 0);
    create(&one, "u", IfThere::Refuse, 1).unwrap();
    let fault = create(&one, "v", IfThere::Refuse, 1).unwrap_err();
    assert_eq!(&*fault.reason, "temporary_tables_max");
    // Whoever judged rows for the table before cannot add them to the new one.
    create(&one, "t", IfThere::Replace, 1).unwrap();
    let fault = one
        .append(&table.view.name, &table.by, filled(&one, 1).unwrap())
        .unwrap_err();
    assert_eq!(&*fault.reason, "contract_changed");
    assert_eq!(
        table
            .view
            .hot
            .iter()
            .map(|c| c.batch.num_rows())
            .sum::<usize>(),
        3000,
        "who reads it goes on"
    );
    assert!(one.drop_table(&table.view.name, false).unwrap());
    assert!(!one.drop_table(&table.view.name, true).unwrap());
    assert_eq!(
        one.drop_table(&table.view.name, false).unwrap_err().kind,
        Kind::NotFound
    );
    drop(one);
    assert_eq!(memory.held(), 0);
}
