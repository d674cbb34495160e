//! `landfall audit`: what of all that runs, or of manifests, is not here, judged by the door's own judgement.
//!
//! ```text
//! Collection ─needs─► each different image once, in each context ─judging─► Rows ─► Audit ─► table, JSON, SARIF, JUnit, CSV
//! ```

mod csv;
mod fail_on;
mod judging;
mod junit;
mod needs;
mod result;
mod sarif;
mod table;

pub use csv::csv;
pub use fail_on::FailOn;
pub use judging::{Depth, Ground, audit};
pub use junit::junit;
pub use needs::namespaces;
pub use result::{Audit, Class, Row, Summary, Target};
pub use sarif::sarif;
pub use table::table;
