//! The demo: a world of embedded registries that speak the real protocols over real sockets.
//!
//! The same world serves the demo, the stories and the tests: there are no mocks.

pub mod story;
pub mod world;
