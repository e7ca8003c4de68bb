//! The canonical scenarios: what stands before the cuts, and what is cut at each of its calls.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::life::{Life, row};
use super::*;

type Work = for<'a> fn(&'a Life) -> BoxFuture<'a, Result<(), Fault>>;

pub(super) struct Scenario {
    pub(super) before: Work,
    pub(super) cut: Work,
    /// The server is stopped behind it, within the cuts.
    pub(super) is_stopped: bool,
}

/// One whose server runs until it has no power.
fn running(before: Work, cut: Work) -> Scenario {
    Scenario {
        before,
        cut,
        is_stopped: false,
    }
}

pub(super) fn nothing(_: &Life) -> BoxFuture<'_, Result<(), Fault>> {
    async { Ok(()) }.boxed()
}

fn a_table(life: &Life) -> BoxFuture<'_, Result<(), Fault>> {
    async { life.create().await }.boxed()
}

/// Rows committed and hot, rejected ones among them.
fn rows(life: &Life) -> BoxFuture<'_, Result<(), Fault>> {
    async {
        life.create().await?;
        let mut producer = life.producer("p").await?;
        producer.send(1, vec![row(1, 10), row(2, -1)]).await?;
        life.commit().await?;
        producer.send(2, vec![row(3, 30), row(4, -1)]).await
    }
    .boxed()
}

pub(super) fn creation() -> Scenario {
    running(nothing, |life| {
        async {
            life.create().await?;
            life.insert(vec![row(1, 10)]).await
        }
        .boxed()
    })
}

pub(super) fn stream() -> Scenario {
    running(a_table, |life| {
        async {
            let mut producer = life.producer("p").await?;
            for seq in 1..=6 {
                let k = seq as i64;
                producer
                    .send(seq, vec![row(k, k), row(100 + k, -1)])
                    .await?;
                if seq == 3 {
                    life.roll().await?;
                }
            }
            Ok(())
        }
        .boxed()
    })
}

pub(super) fn resend() -> Scenario {
    running(rows, |life| {
        async {
            let mut producer = life.producer("p").await?;
            producer.send(2, vec![row(3, 30), row(4, -1)]).await?;
            life.commit().await?;
            life.roll().await?;
            producer.send(1, vec![row(1, 10), row(2, -1)]).await?;
            producer.send(2, vec![row(3, 30), row(4, -1)]).await?;
            producer.send(3, vec![row(5, 50)]).await
        }
        .boxed()
    })
}

pub(super) fn two_epochs() -> Scenario {
    running(rows, |life| {
        async {
            let mut older = life.producer("p").await?;
            older.send(3, vec![row(5, 50)]).await?;
            let waits = older.push(4, vec![row(6, 60)]).await?;
            let mut newer = life.producer("p").await?;
            older.acked(waits).await?;
            older.is_fenced(5, vec![row(7, 70)]).await?;
            newer.send(5, vec![row(8, 80)]).await
        }
        .boxed()
    })
}

pub(super) fn coalesced_group() -> Scenario {
    running(a_table, |life| {
        async {
            let (mut p, mut q) = (life.producer("p").await?, life.producer("q").await?);
            for seq in 1..=3 {
                let k = seq as i64 * 10;
                let one = p.push(2 * seq - 1, vec![row(k, 1)]).await?;
                let two = p.push(2 * seq, vec![row(k + 1, 1), row(k + 2, -1)]).await?;
                let three = q.push(seq, vec![row(k + 3, 1)]).await?;
                p.acked(one).await?;
                p.acked(two).await?;
                q.acked(three).await?;
            }
            Ok(())
        }
        .boxed()
    })
}

pub(super) fn flush() -> Scenario {
    running(rows, |life| {
        async {
            life.commit().await?;
            life.roll().await?;
            life.insert(vec![row(5, 50)]).await?;
            life.commit_beside_a_reader().await?;
            life.roll().await
        }
        .boxed()
    })
}

pub(super) fn quarantine() -> Scenario {
    running(a_table, |life| {
        async {
            let mut producer = life.producer("p").await?;
            producer.send(1, vec![row(1, -1)]).await?;
            life.commit().await?;
            producer.send(2, vec![row(2, 20), row(3, -1)]).await?;
            life.commit().await
        }
        .boxed()
    })
}

pub(super) fn replay() -> Scenario {
    running(rows, |life| async { life.replay().await }.boxed())
}

/// A key comes again while the batch that has it waits for its sync, and while that is committed.
pub(super) fn keys() -> Scenario {
    running(rows, |life| {
        async {
            let (mut p, mut q) = (life.producer("p").await?, life.producer("q").await?);
            for seq in 1..=2 {
                let k = 100 * seq as i64;
                let one = p.push(seq + 2, vec![row(k, 1), row(1, 1)]).await?;
                let two = q.push(seq, vec![row(k, 2), row(k + 1, 2)]).await?;
                life.commit().await?;
                p.acked(one).await?;
                q.acked(two).await?;
                life.delete_below(k).await?;
            }
            life.replay().await
        }
        .boxed()
    })
}

pub(super) fn alter() -> Scenario {
    running(rows, |life| {
        async {
            life.add_column("extra").await?;
            life.insert(vec![row(5, 50)]).await?;
            life.commit().await
        }
        .boxed()
    })
}

pub(super) fn drop_and_create_again() -> Scenario {
    running(rows, |life| {
        async {
            life.drop_table().await?;
            life.create().await?;
            life.producer("p").await?.send(1, vec![row(9, 90)]).await?;
            life.commit().await
        }
        .boxed()
    })
}

pub(super) fn restore() -> Scenario {
    running(rows, |life| {
        async {
            life.commit().await?;
            let (version, then) = (life.version()?, life.model().state.rows);
            life.delete_below(3).await?;
            life.insert(vec![row(7, 70)]).await?;
            life.restore(version, then).await
        }
        .boxed()
    })
}

pub(super) fn compaction_and_vacuum() -> Scenario {
    running(rows, |life| {
        async {
            life.commit().await?;
            life.insert(vec![row(5, 50)]).await?;
            life.sql("OPTIMIZE public.t").await?;
            life.sql("VACUUM public.t RETAIN 0 HOURS").await
        }
        .boxed()
    })
}

pub(super) fn view() -> Scenario {
    running(rows, |life| {
        async {
            life.create_view().await?;
            life.refresh().await;
            life.producer("q")
                .await?
                .send(1, vec![row(2, 5), row(50, 5)])
                .await?;
            life.commit().await?;
            life.refresh().await;
            life.delete_below(2).await?;
            life.refresh().await;
            Ok(())
        }
        .boxed()
    })
}

/// What a server leaves that was stopped, and whose power goes meanwhile.
pub(super) fn shutdown() -> Scenario {
    Scenario {
        is_stopped: true,
        ..running(rows, |life| {
            async { life.insert(vec![row(5, 50)]).await }.boxed()
        })
    }
}
