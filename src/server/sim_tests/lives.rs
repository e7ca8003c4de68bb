//! One server after the other on one disk: how each ends, and what the next one must answer.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::life::Life;
use super::*;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// What a server leaves that loses its power.
pub(super) fn lose_power(world: &World, dir: &Path) {
    world.lose_power();
    // Neither is synced for each change, and both may be as old as they like.
    for file in ["running", "suspects"] {
        let _ = std::fs::remove_file(dir.join(file));
    }
}

/// What is done with a life beside its work.
#[derive(Clone, Copy, Default)]
pub(super) struct Kinds {
    /// It is verified before its work.
    pub(super) verified: bool,
    /// The server is stopped behind it.
    pub(super) stopped: bool,
    /// The process is killed in the end, and the power stays.
    pub(super) killed: bool,
}

pub(super) const VERIFIED: Kinds = Kinds {
    verified: true,
    stopped: false,
    killed: false,
};

/// It ends as a process that is killed: what it has written is there, synced or not.
pub(super) const VERIFIED_AND_KILLED: Kinds = Kinds {
    killed: true,
    ..VERIFIED
};

/// A life with cuts: it starts, is verified, does the work, and loses its power in the end. `Ok(true)`: it has come to its end.
pub(super) fn live(
    world: &Arc<World>,
    dir: &Path,
    model: &Arc<Mutex<Model>>,
    cuts: &[Cut],
    work: impl for<'a> FnOnce(&'a Life) -> BoxFuture<'a, Result<(), Fault>>,
    how: Kinds,
) -> Result<bool, String> {
    let runtime = runtime();
    let ended = runtime.block_on(async {
        let life = match Life::start(world, dir, model, cuts).await {
            Ok(life) => life,
            Err(fault) if world.has_met() => {
                lose_power(world, dir);
                tracing::debug!("no start: {fault}");
                return Ok(false);
            }
            Err(fault) => return Err(format!("it does not start: {fault}")),
        };
        let mut ended = match how.verified {
            true => life.verify().await,
            false => Ok(()),
        };
        if ended.is_ok() {
            ended = work(&life).await.map_err(|fault| fault.to_string());
        }
        if ended.is_ok() && how.stopped {
            ended = life.shutdown().await.map_err(|fault| fault.to_string());
            lose_power(world, dir);
        } else if how.killed {
            world.kill();
            life.end().await;
        } else {
            lose_power(world, dir);
            life.end().await;
        }
        let may_fail = world.has_met();
        match ended {
            Ok(()) => Ok(true),
            Err(_) if may_fail => Ok(false),
            Err(why) => Err(why),
        }
    });
    runtime.shutdown_background();
    ended
}

/// A start on a damaged disk. It may refuse, or answer right.
///
/// # Errors
/// It answers with other rows.
pub(super) fn damaged(
    world: &Arc<World>,
    dir: &Path,
    model: &Arc<Mutex<Model>>,
) -> Result<(), String> {
    let runtime = runtime();
    let wrong = runtime.block_on(async {
        let life = Life::start(world, dir, model, &[]).await.ok()?;
        let wrong = life.is_silently_wrong().await;
        lose_power(world, dir);
        life.end().await;
        wrong
    });
    runtime.shutdown_background();
    wrong.map_or(Ok(()), Err)
}

/// A life that the cut ends, one whose start is cut again, and one without a cut that has to answer what the model says. `Ok(true)`:
/// the cut was met.
pub(super) fn lives(scenario: &Scenario, cut: Cut, seed: u64) -> Result<bool, String> {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(seed);
    let model = Arc::new(Mutex::new(Model::default()));
    let run = || {
        live(
            &world,
            dir.path(),
            &model,
            &[],
            scenario.before,
            Kinds::default(),
        )?;
        let stopped = Kinds {
            stopped: scenario.is_stopped,
            ..Kinds::default()
        };
        live(&world, dir.path(), &model, &[cut], scenario.cut, stopped)?;
        let met = world.has_met();
        let again = Cut {
            at: 1 + world.random(30),
            how: [How::Before, How::Torn, How::After][world.random(3) as usize],
        };
        let nothing = scenarios::nothing;
        live(&world, dir.path(), &model, &[again], nothing, VERIFIED)?;
        live(&world, dir.path(), &model, &[], nothing, VERIFIED)?;
        Ok(met)
    };
    run().map_err(|why: String| format!("{why}\n{}", world.trace()))
}
