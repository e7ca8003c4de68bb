//! Lives from a seed: steps in any order, cut at any call, a few servers after each other on one disk.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::life::{Life, row};
use super::lives::{VERIFIED, VERIFIED_AND_KILLED, damaged, live};
use super::world::Random;
use super::*;

const LIVES: u64 = 4;
const STEPS: u64 = 12;

/// # Errors
/// What was seen, what was expected, and the calls that led there.
pub(super) fn life(seed: u64) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(seed);
    let model = Arc::new(Mutex::new(Model::default()));
    let mut random = Random(seed ^ 0x5eed);
    let mut run = || {
        for number in 1..=LIVES {
            let mut cuts = vec![Cut {
                at: 1 + random.below(90),
                how: [How::Before, How::Torn, How::After][random.below(3) as usize],
            }];
            if random.below(2) == 0 {
                cuts.push(Cut {
                    at: 1 + random.below(60),
                    how: [How::Fails, How::FailsAfter, How::NoRoom][random.below(3) as usize],
                });
            }
            let steps = Random(random.next());
            let work = of_any_life(move |life| steps_of(life, steps, number as i64).boxed());
            live(&world, dir.path(), &model, &cuts, work, VERIFIED)?;
        }
        // Twice: what the first start mends, the second one reads.
        for _ in 0..2 {
            let work = scenarios::nothing;
            live(&world, dir.path(), &model, &[], work, VERIFIED)?;
        }
        // Rows that the log alone has, and then a bit of it changes. After a power cut what the last group held is not told from a torn
        // one, by design; after the end of the process it is.
        let steps = Random(random.next());
        let work = of_any_life(move |life| steps_of(life, steps, LIVES as i64 + 1).boxed());
        live(&world, dir.path(), &model, &[], work, VERIFIED_AND_KILLED)?;
        world.damage();
        damaged(&world, dir.path(), &model)
    };
    run().map_err(|why: String| format!("{why}\n{}", world.trace()))
}

/// The compiler takes the closure for what it is.
fn of_any_life<F>(work: F) -> F
where
    F: for<'a> FnOnce(&'a Life) -> BoxFuture<'a, Result<(), Fault>>,
{
    work
}

async fn steps_of(life: &Life, mut random: Random, number: i64) -> Result<(), Fault> {
    let mut k = number * 1000;
    let mut versions = Vec::new();
    for _ in 0..STEPS {
        let state = life.model().state;
        if !state.is_there {
            life.create().await?;
            versions.clear();
            continue;
        }
        let mut fresh = |random: &mut Random| {
            let rows = (0..1 + random.below(3)).map(|_| {
                k += 1;
                row(k, random.below(8) as i64 - 2)
            });
            let mut rows = rows.collect::<Vec<_>>();
            if random.below(4) == 0 {
                // A key that may be there.
                rows[0] = row(k - 3, 1);
            }
            rows
        };
        match random.below(16) {
            0..3 => {
                let name = ["p", "q"][random.below(2) as usize];
                let mut producer = life.producer(name).await?;
                let next = producer.durable + 1;
                if random.below(4) == 0 {
                    // A batch of an older stream waits for its sync while a newer one opens, which has the next word.
                    let waits = producer.push(next, fresh(&mut random)).await?;
                    let mut newer = life.producer(name).await?;
                    producer.acked(waits).await?;
                    producer.is_fenced(next + 1, fresh(&mut random)).await?;
                    newer.send(next + 1, fresh(&mut random)).await?;
                } else if random.below(3) == 0 {
                    // Two at once.
                    let (a, b) = (fresh(&mut random), fresh(&mut random));
                    let one = producer.push(next, a).await?;
                    let two = producer.push(next + 1, b).await?;
                    producer.acked(one).await?;
                    producer.acked(two).await?;
                } else {
                    producer.send(next, fresh(&mut random)).await?;
                }
            }
            3 => {
                // What was acked before comes again.
                let mut producer = life.producer("p").await?;
                let rows = vec![row(1, 1)];
                if producer.durable > 0 {
                    let seq = producer.durable;
                    let _ = producer.repeat(seq, rows).await;
                }
            }
            4..6 => {
                let good = fresh(&mut random)
                    .into_iter()
                    .map(|(k, v, s)| (k, v.abs(), s));
                let good = good.filter(|row| !state.has_key(row.0));
                let good: Vec<_> = good.collect();
                if !good.is_empty() {
                    life.insert(good).await?;
                }
            }
            6 => life.commit().await?,
            7 => life.commit_beside_a_reader().await?,
            8 => {
                life.commit().await?;
                life.roll().await?;
            }
            9 => life.delete_below(k - random.below(6) as i64).await?,
            10 => life.replay().await?,
            11 if state.columns < 7 => life.add_column(&format!("e{}", state.columns)).await?,
            12 if !state.has_view => {
                life.drop_table().await?;
                versions.clear();
            }
            13 => {
                life.commit().await?;
                versions.push((life.version()?, state.columns, life.model().state.rows));
            }
            14 => match versions.pop() {
                Some((version, columns, rows)) if columns == state.columns => {
                    life.restore(version, rows).await?;
                }
                _ => {
                    life.sql("OPTIMIZE public.t").await?;
                    life.sql("VACUUM public.t RETAIN 0 HOURS").await?;
                    versions.clear();
                }
            },
            15 if !state.has_view => life.create_view().await?,
            _ => life.refresh().await,
        }
    }
    Ok(())
}
