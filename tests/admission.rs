//! The doors `/mutate` and `/validate`, knocked at over TLS as the API server does, the registries behind it real ones over real sockets.
#![cfg(feature = "demo")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

#[path = "admission/denials.rs"]
mod denials;
#[path = "admission/forced.rs"]
mod forced;
#[path = "admission/gaps.rs"]
mod gaps;
#[path = "admission/input.rs"]
mod input;
#[path = "admission/layers.rs"]
mod layers;
#[path = "admission/loops.rs"]
mod loops;
#[path = "admission/pin.rs"]
mod pin;
#[path = "admission/placeholder.rs"]
mod placeholder;
#[path = "admission/recorded.rs"]
mod recorded;
#[path = "admission/second_door.rs"]
mod second_door;
#[path = "support/support.rs"]
#[expect(dead_code, reason = "no suite needs all of it")]
mod support;
#[path = "admission/verdict_cache.rs"]
mod verdict_cache;
#[path = "admission/verdicts.rs"]
mod verdicts;
