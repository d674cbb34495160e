//! Landfall: every image comes ashore at the nearest harbor that can prove it holds it.
//!
//! A mutating admission webhook for clusters beside geo-replicated registries. The folders stand from the
//! centre outwards; a module imports only what its row of the table in `tests/tidy.rs` allows.

pub mod admission;
pub mod certs;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controllers;
#[cfg(feature = "demo")]
pub mod demo;
pub mod domain;
pub mod evidence;
pub mod harbor;
pub mod pod;
pub mod registry;
pub mod report;
pub mod server;
