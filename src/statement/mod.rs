//! Statements that change tables. It decides what a text is (a query, or one of these), turns DDL into contracts and hands
//! them to whoever runs the tables' lives.
//!
//! Each statement has a file with what it says and how its text is read. `change` is any of them, `parse` finds out which, and
//! `transaction` holds what they do until its end.

mod admin;
mod alerts;
mod alter;
mod bound;
mod change;
mod checks;
mod columns;
#[cfg(test)]
mod contract_tests;
pub mod create;
mod ddl;
mod declared;
pub mod define;
pub mod dml;
mod insert;
mod nested_types;
mod parse;
mod readers;
mod replay;
pub mod restore;
mod target;
pub mod temporary;
#[cfg(test)]
mod tests;
pub mod transaction;
mod types;
mod upkeep;
pub mod values;
mod views;

pub use admin::TableAdmin;
pub use alerts::AlertChange;
pub use alter::Altering;
pub use bound::Bound;
pub use change::{Change, Done};
pub use insert::Insert;
pub use readers::refuse_with_views;
pub use replay::Replay;
pub use temporary::Temporary;
pub use upkeep::Upkeep;
pub use views::ViewChange;
