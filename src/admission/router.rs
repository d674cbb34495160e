//! The doors, each under its path.

use std::sync::Arc;

use axum::Router;

use super::door::{DoorState, Doors};
use super::mutate;

impl Doors {
    /// The endpoints as a router: `POST /mutate`. The size of bodies is for the server to bound.
    pub fn router(self) -> Router {
        mutate::router(Arc::new(DoorState::new(self)))
    }
}
