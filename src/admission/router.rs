//! The router of the doors, each with its own path.

use std::sync::Arc;

use axum::Router;

use super::door::{DoorState, Doors};
use super::mutate;

impl Doors {
    /// Returns the endpoints as a router: `POST /mutate`. The server must limit the size of bodies.
    pub fn router(self) -> Router {
        mutate::router(Arc::new(DoorState::new(self)))
    }
}
