//! Notifications of Harbors, over real sockets: the embedded Harbor delivers, as its webhook policies say, to a port as
//! `landfall serve --hooks-listen` opens it.
//!
//! Every TTL is longer than a test: what is judged anew was outdated by a notification.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

#[path = "hooks/bounds.rs"]
mod bounds;
#[path = "hooks/delivered.rs"]
mod delivered;
#[path = "hooks/replica.rs"]
mod replica;
#[path = "hooks/set_up.rs"]
mod set_up;
#[path = "evidence/site.rs"]
#[expect(dead_code, reason = "a replica here is put together otherwise")]
mod site;
#[path = "support/support.rs"]
#[expect(dead_code, reason = "no suite needs all of it")]
mod support;
