//! Reports for people: what works, what does not, and what to do about it. They are data that `cli/` prints.

pub mod audit;
pub mod changes;
pub mod doctor;
pub mod drill;
pub mod explain;
pub mod gaps;
pub mod hosts_toml;
pub mod routes;
pub mod sheet;
pub mod sites;
pub mod workloads;
