//! The control loops: what each replica, or only the leader, keeps in step with the cluster and the configuration.

pub mod certificates;
pub mod entries;
pub mod inventory;
pub mod leader;
pub mod notifications;
pub mod policies;
pub mod pull_secrets;
pub mod replication;
pub mod reports;
pub mod settings;
pub mod sweep;
