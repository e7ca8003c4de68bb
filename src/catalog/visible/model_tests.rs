//! A model check of the swap of version and hot rows: groups of the log, commits and queries under thousands of schedules.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tokio::sync::Notify;

use super::*;
use crate::catalog::Registry;
use crate::catalog::in_flight::InFlight;
use crate::catalog::table::{Cold, Committed};
use crate::cold::{ColdFile, ColdTable, Columns, Described, Lake, Mapping};
use crate::dataset::from_toml;
use crate::records::Totals;
use crate::sync::schedule::{check, spawn};
use crate::types::Incarnation;
use crate::validate::{Applied, Origin, References, Scope, Source};

/// What all schedules share: nothing of it changes but the table's place in [`Visible`].
#[derive(Clone)]
struct World {
    table: Arc<Table>,
    empty: Arc<PinnedFiles>,
    rejected: Arc<PinnedFiles>,
    /// A row for the table and one for its quarantine.
    batch: Applied,
}

fn world(lake: &Lake) -> World {
    let text = "dataset = \"d\"\n[[table]]\nname = \"t\"\ncolumns = [{ name = \"n\", type = \"long\", required = true }]";
    let contract = Arc::new(from_toml(text).unwrap().tables.remove(0));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let create = |folder: &'static str, schema| {
        let made = ColdTable::create(lake, folder, schema, &[], BTreeMap::new(), Vec::new());
        runtime.block_on(made).unwrap()
    };
    let main = create("t", contract.table_schema());
    let quarantine = create("q", dataset::quarantine_schema());
    let (empty, rejected) = (main.view(), quarantine.view());
    let cold = Cold::new(main, quarantine);
    let table = Table::new(
        Incarnation::new(1),
        contract,
        "t".to_owned(),
        cold,
        Committed::default(),
    );
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let sent = RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap();
    let origin = Origin {
        ingest_ts: 1,
        source: &Source::new("p"),
        seq: 1,
    };
    let scope = Scope {
        keys: None,
        lateness: false,
        bytes_max: 1 << 20,
    };
    let validator = table.validator();
    let judged = validator.judge(&sent, &origin, &References::new(), scope);
    World {
        table: Arc::new(table),
        empty,
        rejected,
        batch: judged.unwrap().into_parts().0,
    }
}

/// One more file, of so many rows.
fn with_file(list: &PinnedFiles, name: u64, rows: usize) -> Arc<PinnedFiles> {
    let stats = format!("{{\"numRecords\":{rows}}}");
    let described = Described {
        path: &format!("{name}.parquet"),
        size: 1,
        modified_ms: 0,
        stats: Some(&stats),
        partition_values: &HashMap::new(),
        in_one_form: false,
    };
    let columns = Columns {
        schema: &list.schema(),
        partition_by: &[],
        mapping: &Mapping::default(),
    };
    let root = object_store::path::Path::default();
    let file = ColdFile::new(&root, described, columns).unwrap();
    let files = list.files().iter().cloned().chain([file]).collect();
    Arc::new(list.with_files(files))
}

struct Model {
    world: World,
    visible: Visible,
    registry: RwLock<Registry>,
    memory: InFlight,
}

impl Model {
    fn new(world: &World) -> Arc<Model> {
        let visible = Visible::default();
        let (main, rejected) = (world.empty.clone(), world.rejected.clone());
        visible.add_table(world.table.clone(), main, rejected);
        Arc::new(Model {
            world: world.clone(),
            visible,
            registry: RwLock::default(),
            memory: InFlight::new(Arc::new(Notify::new())),
        })
    }

    /// The log's thread, in groups of two and of three frames.
    fn write(&self, frames: u64) {
        let (table, effects) = (&self.world.table, Effects::default());
        for offset in 1..=frames {
            let charge = self
                .memory
                .charge(&table.in_flight, 1, HotBytes::default(), 1 << 20);
            effects.push(FrameEffect::Rows {
                table: table.clone(),
                applied: self.world.batch.clone(),
                arrival: Arrival {
                    day: 0,
                    counts: Totals::default(),
                    violations: BTreeMap::new(),
                    moved: None,
                    offset: Lsn::new(offset),
                },
                charge: charge.unwrap(),
            });
            if offset % 3 == 2 {
                let durable = Lsn::new(offset);
                let group = effects.take();
                self.visible
                    .apply_group(&self.registry, group, durable, usize::MAX);
            }
        }
    }

    /// One flush: the quarantine's commit, then the table's.
    fn commit(&self) {
        let table = &self.world.table;
        let Some(span) = self.visible.span(table) else {
            return;
        };
        let now = self.visible.snapshot();
        for (part, chunks) in [
            (Part::Quarantine, &span.quarantine),
            (Part::Main, &span.main),
        ] {
            let taken = chunks.iter().filter(|c| c.last <= span.cut);
            let rows = taken.map(|c| c.batch.num_rows()).sum();
            if rows > 0 {
                let list = with_file(&cold_of(&now, table, part).cold, span.cut.get(), rows);
                self.visible.swap(table, part, list, span.cut, &[]);
            }
        }
    }

    /// A query: every frame up to the read point once, in the table and in its quarantine, and none behind it. Returns the read point.
    fn look(&self) -> u64 {
        let snapshot = self.visible.snapshot();
        let read_point = snapshot.read_point.get();
        for part in [Part::Main, Part::Quarantine] {
            let view = cold_of(&snapshot, &self.world.table, part);
            let committed = view.cold.rows().unwrap() as u64;
            let mut next = committed + 1;
            for chunk in view.hot.iter() {
                assert_eq!(chunk.first.get(), next, "{part:?}: committed {committed}");
                next = chunk.last.get() + 1;
                assert_eq!(chunk.batch.num_rows() as u64, next - chunk.first.get());
            }
            assert_eq!(next, read_point + 1, "{part:?}: committed {committed}");
        }
        read_point
    }
}

fn cold_of<'a>(snapshot: &'a Snapshot, table: &Table, part: Part) -> &'a TableView {
    let name = match part {
        Part::Main => table.name(),
        Part::Quarantine => table.name().quarantine(),
    };
    snapshot.tables.get(&name.folded()).unwrap()
}

#[test]
fn a_query_beside_groups_and_commits_sees_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lake = runtime.block_on(Lake::open(&dir.path().to_string_lossy()));
    drop(runtime);
    let world = world(&lake.unwrap());
    check(300, move || {
        let model = Model::new(&world);
        let work: [fn(&Model); 4] = [
            // Enough for chunks that become one, beside commits that take a part of them.
            |model| model.write(20),
            |model| (0..5).for_each(|_| model.commit()),
            |model| {
                let mut before = 0;
                for _ in 0..3 {
                    let now = model.look();
                    assert!(now >= before, "the read point went back");
                    before = now;
                }
            },
            |model| {
                model.look();
            },
        ];
        let threads = work.map(|work| {
            let model = model.clone();
            spawn(move || work(&model))
        });
        for thread in threads {
            thread.join();
        }
        assert_eq!(model.look(), 20);
        model.commit();
        assert_eq!(model.look(), 20);
        assert_eq!(
            model.visible.all_cold(&model.world.table),
            Some(Lsn::new(20))
        );
    });
}
