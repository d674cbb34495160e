//! The Observatory over real registries on real sockets: what is judged, what is asked for it, and how often.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "evidence/cache_life.rs"]
mod cache_life;
#[path = "evidence/facts.rs"]
mod facts;
#[path = "evidence/harbor_states.rs"]
mod harbor_states;
#[path = "evidence/health.rs"]
mod health;
#[path = "evidence/invalidation.rs"]
mod invalidation;
#[path = "evidence/inventory.rs"]
mod inventory;
#[path = "evidence/judgement.rs"]
mod judgement;
#[path = "evidence/layers.rs"]
mod layers;
#[path = "evidence/look_up.rs"]
mod look_up;
#[path = "evidence/neighbours.rs"]
mod neighbours;
#[path = "evidence/remembered.rs"]
mod remembered;
#[path = "evidence/replication.rs"]
mod replication;
#[path = "evidence/site.rs"]
mod site;
#[path = "evidence/split_dns.rs"]
mod split_dns;
#[path = "support/support.rs"]
#[expect(dead_code, reason = "no suite needs all of it")]
mod support;
#[path = "evidence/tag_proof.rs"]
mod tag_proof;
#[path = "evidence/trouble.rs"]
mod trouble;
#[path = "evidence/verdict_cache.rs"]
mod verdict_cache;
