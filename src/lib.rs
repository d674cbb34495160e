//! Landfall: every image comes ashore at the nearest harbor that can prove it holds it.
//!
//! An admission webhook for clusters beside geo-replicated registries. The folders stand from the
//! centre outwards; a module imports only what its row of the table in `tests/tidy.rs` allows.

mod admission;
mod certs;
pub mod cli;
mod cluster;
mod config;
mod controllers;
mod copy;
#[cfg(feature = "demo")]
mod demo;
mod domain;
mod evidence;
pub mod facade;
mod harbor;
mod ledger;
mod pod;
mod registry;
mod report;
mod server;
