//! What runs and what would run: the Pods and templates of a cluster, or of manifests before they are applied.
//!
//! ```text
//! lists of the API server, page by page ─live─┐
//! YAML and JSON: files, charts, stdin ─manifests─┴─► Collection: Workloads with what their new Pods are made from, and what stands
//! ```
//!
//! Nothing here judges. What is not looked at (kinds that are unknown, namespaces that are left alone, what the user may not
//! read) is counted or named, so that a report never looks more complete than it is.

mod collection;
mod live;
mod manifests;
mod yaml;

pub use collection::{Collection, Source, Workload};
pub use live::live;
pub use manifests::Manifests;
