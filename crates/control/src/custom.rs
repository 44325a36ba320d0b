//! Custom resources: their definitions, and what follows from each for its objects.
//!
//! A definition is judged by [`definition`]; a version of it becomes [`Compiled`], which knows how its objects are
//! decoded, filled in and judged. Values are `serde_json::Value` throughout.

mod compiled;
pub mod conversion;
mod correlate;
pub mod definition;
pub mod formats;
pub mod go;
mod invariants;
pub mod paths;
pub mod publish;
pub mod rules;
pub mod scale;
pub mod schema;
pub mod structural;
pub mod validate;

pub use compiled::{CompileError, Compiled, Verdict};
