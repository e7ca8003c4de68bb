//! The text of a statement: it is bounded, cut into tokens once, and told apart by its first words. All readers of
//! statements begin here.
//!
//! Spaces and comments are left out of the tokens, so that a comment may stand wherever a space may. Each token keeps its
//! line and column, and so do the errors. This module knows no tables and no engine.

mod cursor;
mod dialect;
mod ignored;
mod in_list;
mod list_sizes;
mod mentions;
mod names;
mod parameters;
mod parser;
mod printed;
mod statement;
mod syntax_error;
mod text;
mod text_limits;
mod text_size;
mod type_names;
mod versions;
mod visit;

pub use cursor::Cursor;
pub use mentions::{names_it, needs_column};
pub use names::{parts, placed, resolve};
pub use parameters::{parameter, parameters, placeholder};
pub(crate) use parser::{check_size, parse_own, parse_own_expr, parse_own_tokens, tokens_of_own};
pub use parser::{expression, parse_numbered, parse_one, parse_tokens, parse_type};
pub use printed::printed;
pub use statement::{Kind, Statement, parse};
pub use syntax_error::syntax;
pub(crate) use text::check_bytes;
pub use text::{first_word, tokenize};
pub use text_limits::TextLimits;
pub use type_names::usual_type;
pub use versions::literal as version_literal;
pub(crate) use visit::{each_expr, each_expr_mut, visit, visit_mut};
