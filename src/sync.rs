//! Locks between threads. In tests their calls are points at which a model check lets another thread go on, so that such checks
//! run the code of the server and not a copy of it.

#[cfg(test)]
mod modelled;
#[cfg(test)]
pub mod schedule;

#[cfg(test)]
pub use modelled::{Condvar, Mutex, RwLock};
#[cfg(not(test))]
pub use parking_lot::{Condvar, Mutex, RwLock};
