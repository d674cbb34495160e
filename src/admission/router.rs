//! The routers of the doors: each is served on a port of its own, so that what exhausts one does not stop the other.

use std::sync::Arc;

use axum::Router;

use super::door::{DoorState, Doors};
use super::{mutate, validate};

/// The endpoints of both doors. They share what they know. The server must limit the size of bodies.
#[derive(Debug)]
pub struct Routers {
    /// `POST /mutate`.
    pub mutate: Router,
    /// `POST /validate/<selector>`.
    pub validate: Router,
}

impl Doors {
    /// Returns the endpoints.
    #[must_use]
    pub fn routers(self) -> Routers {
        let state = Arc::new(DoorState::new(self));
        Routers { mutate: mutate::router(state.clone()), validate: validate::router(state) }
    }
}
