//! Everything that a contract says can be said in DDL and in Delta properties, and comes back from both.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::tests::created;
use crate::dataset::{Contract, from_toml};

/// Contracts of every shape that a `dataset.toml` can say and [`Contract::validate_self`] takes.
mod whole {
    use proptest::prelude::*;

    use crate::dataset::{
        Action, Column, ColumnType, Contract, ElementType, EntryType, EpochUnit, Rule, RuleKind,
        StructField, UnknownColumns,
    };
    use crate::types::TableName;

    /// Texts with what SQL, JSON and shells trip over.
    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec![
                "a", "B", "'", "''", "\"", "\\", "\n", "%", "ü", "--", ";", ",", "(", "{", "1",
            ]),
            0..8,
        )
        .prop_map(|parts| parts.concat())
    }

    fn bound() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-1000i32..1000).prop_map(f64::from),
            -1e300..1e300f64,
            Just(0.1),
            Just(-1e-9),
        ]
    }

    fn action() -> impl Strategy<Value = Action> {
        prop::sample::select(vec![
            Action::Reject,
            Action::Null,
            Action::Clamp,
            Action::Warn,
            Action::Fail,
        ])
    }

    fn column_type() -> impl Strategy<Value = ColumnType> {
        prop::sample::select(vec![
            ColumnType::Boolean,
            ColumnType::Byte,
            ColumnType::Short,
            ColumnType::Int,
            ColumnType::Long,
            ColumnType::Float,
            ColumnType::Double,
            ColumnType::String,
            ColumnType::Binary,
            ColumnType::Date,
            ColumnType::Timestamp,
            ColumnType::TimestampNtz,
            ColumnType::Decimal {
                precision: 10,
                scale: 2,
            },
        ])
    }

    /// Lists, structs and maps of such types and of each other.
    fn nested_type() -> impl Strategy<Value = ColumnType> {
        column_type().boxed().prop_recursive(3, 12, 3, |inner| {
            let fields = prop::collection::vec((inner.clone(), any::<bool>()), 1..4);
            prop_oneof![
                (inner.clone(), any::<bool>()).prop_map(|(element, nullable)| {
                    ColumnType::Array(Box::new(ElementType { element, nullable }))
                }),
                fields.prop_map(|fields| {
                    let named = fields.into_iter().enumerate();
                    let named = named.map(|(at, (data_type, nullable))| StructField {
                        name: format!("f{at}"),
                        data_type,
                        nullable,
                    });
                    ColumnType::Struct(named.collect())
                }),
                (column_type(), inner, any::<bool>()).prop_map(|(key, value, nullable)| {
                    ColumnType::Map(Box::new(EntryType {
                        key,
                        value,
                        nullable,
                    }))
                }),
            ]
        })
    }

    fn column(name: String) -> impl Strategy<Value = Column> {
        let zone = prop::option::of(Just("Europe/Berlin".to_owned()));
        let unit = prop::option::of(prop::sample::select(vec![
            EpochUnit::S,
            EpochUnit::Ms,
            EpochUnit::Us,
            EpochUnit::Ns,
        ]));
        (
            column_type(),
            any::<bool>(),
            prop::option::of(text()),
            prop::option::of(text()),
            prop::option::of(text()),
            zone,
            unit,
            prop::option::of(Just("_ingest_ts".to_owned())),
        )
            .prop_map(
                move |(data_type, required, unit, description, default, zone, time, from)| {
                    let time_of_day = data_type == ColumnType::Timestamp;
                    Column {
                        required,
                        unit,
                        description,
                        default: default.map(serde_json::Value::String),
                        timezone: zone.filter(|_| time_of_day),
                        time_unit: time.filter(|_| time_of_day),
                        from,
                        ..Column::new(name.clone(), data_type)
                    }
                },
            )
    }

    /// A rule for a column, if the kind drawn fits it.
    fn rule(
        column: &Column,
        kind: u8,
        low: f64,
        high: f64,
        words: Vec<String>,
        action: Action,
    ) -> Option<Rule> {
        let kind = match (kind, &column.data_type) {
            (0, t) if t.is_number() => RuleKind::Range {
                min: Some(low.min(high)),
                max: Some(low.max(high)),
            },
            (1, t) if t.is_number() => RuleKind::Range {
                min: Some(low),
                max: None,
            },
            (2, t) if t.is_number() => RuleKind::Range {
                min: None,
                max: Some(high),
            },
            (3, ColumnType::String) => RuleKind::Enum { values: words },
            (4, ColumnType::String) => RuleKind::Regex {
                pattern: r"^[a-z']+\d*$".to_owned(),
            },
            (5, ColumnType::Timestamp) => RuleKind::MaxFuture { micros: 10_000_000 },
            (6, ColumnType::Timestamp) => RuleKind::MaxLate { micros: 60_000_000 },
            (7, ColumnType::String) => RuleKind::Referential {
                table: TableName::new("d", "dim").ok()?,
                column: "id".to_owned(),
            },
            (8, _) => RuleKind::Unique {
                columns: vec![column.name.clone(), "c0".to_owned()],
            },
            (9, _) => RuleKind::Monotonic {
                by: vec!["c0".to_owned()],
            },
            (10, ColumnType::String) => RuleKind::MaxLength { chars: 3 },
            _ => return None,
        };
        Some(Rule::new(&column.name, kind, action))
    }

    pub(super) fn contract() -> impl Strategy<Value = Contract> {
        let columns = (1usize..6)
            .prop_flat_map(|n| (0..n).map(|i| column(format!("c{i}"))).collect::<Vec<_>>());
        let draws = prop::collection::vec(
            (
                0usize..6,
                0u8..11,
                bound(),
                bound(),
                prop::collection::vec(text(), 1..3),
                action(),
            ),
            0..8,
        );
        let switches = (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            prop::sample::select(vec![
                UnknownColumns::Reject,
                UnknownColumns::Ignore,
                UnknownColumns::Add,
            ]),
            action(),
        );
        let kept = (
            prop::option::of(Just("3d".to_owned())),
            prop::option::of(Just("interval 7 days".to_owned())),
        );
        let nested = prop::option::of(nested_type());
        (columns, draws, switches, kept, 1u32..9, nested).prop_map(
            |(
                columns,
                draws,
                (event, partition, system, unknown, on_violation),
                (retention, removed_files),
                version,
                nested,
            )| {
                let name = TableName::new("d", "t").unwrap();
                let mut contract = Contract::plain(name, columns);
                for (at, kind, low, high, words, action) in draws {
                    let column = contract.columns[at % contract.columns.len()].clone();
                    let mut next = contract.clone();
                    next.rules
                        .extend(rule(&column, kind, low, high, words, action));
                    if next.validate_self().is_ok() {
                        contract = next;
                    }
                }
                let times = contract
                    .columns
                    .iter()
                    .filter(|c| c.data_type == ColumnType::Timestamp);
                contract.event_time = times.map(|c| c.name.clone()).next().filter(|_| event);
                if partition {
                    contract.partition_by = vec![contract.columns[0].name.clone()];
                }
                if contract.event_time.is_some() {
                    contract.partition_by.push("event_date".to_owned());
                    contract.key = vec!["c0".to_owned()];
                    contract.retention = retention;
                }
                if let Some(kept) = removed_files {
                    let property = "delta.deletedFileRetentionDuration";
                    contract.delta.insert(property.to_owned(), kept);
                }
                let nested = nested.map(|data_type| Column::new("n", data_type));
                contract.columns.extend(nested);
                contract.on_violation = on_violation;
                contract.system_columns = system;
                contract.version = version;
                contract.unknown_columns = unknown;
                contract
            },
        )
    }
}

proptest::proptest! {
    #[test]
    fn everything_a_contract_says_can_be_said_in_ddl_and_comes_back(contract in whole::contract()) {
        contract.validate_self().unwrap();
        let ddl = contract.to_ddl();
        proptest::prop_assert_eq!(&created(&ddl), &contract, "{}", ddl);
        // What `SHOW CREATE TABLE` prints of a table is what made it.
        proptest::prop_assert_eq!(created(&ddl).to_ddl(), ddl);
    }

    #[test]
    fn everything_a_contract_says_stands_in_delta_properties_and_comes_back(contract in whole::contract()) {
        let back = Contract::from_properties(contract.table.clone(), contract.partition_by.clone(), &contract.to_properties());
        proptest::prop_assert_eq!(back.unwrap(), contract);
    }

    /// No change, no statement; and the statement of a change leads there.
    #[test]
    fn apply_of_the_same_contract_has_nothing_to_do(contract in whole::contract()) {
        proptest::prop_assert_eq!(created(&contract.to_ddl()).alter_statement(&contract).unwrap(), None);
    }
}

#[test]
fn every_table_of_every_bundled_dataset_comes_back_from_ddl_and_delta_properties() {
    let files = [
        include_str!("../../data/reactor/dataset.toml"),
        include_str!("../../data/satellite/dataset.toml"),
        include_str!("../../data/building/dataset.toml"),
        include_str!("../../data/energy/dataset.toml"),
        include_str!("../../data/vehicle/dataset.toml"),
    ];
    for contract in files.iter().flat_map(|f| from_toml(f).unwrap().tables) {
        assert_eq!(created(&contract.to_ddl()), contract);
        let properties = contract.to_properties();
        let (name, parts) = (contract.table.clone(), contract.partition_by.clone());
        assert_eq!(
            Contract::from_properties(name, parts, &properties).unwrap(),
            contract
        );
    }
}
