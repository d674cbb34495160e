//! What each replica, and of them the leader, keeps in step with the cluster.

pub mod certificates;
