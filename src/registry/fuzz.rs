//! Parsers for `tests/fuzz`, which otherwise only the network reaches.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::domain::digest::Digest;
use crate::domain::evidence::{Children, Shape};
use crate::domain::unknown::Unknown;

use super::answer::{Answer, By, Sent};
use super::layers::{self, Listed};
use super::manifest;
use super::token;

/// The children of an index of this body.
///
/// # Errors
/// It is not an index that can be read.
pub fn children(body: &[u8]) -> Result<Children, Unknown> {
    manifest::children(&answer(body), &Digest::Sha256(Sha256::digest(body).into()))
}

/// What a manifest of this body lists.
///
/// # Errors
/// It is not a manifest that can be read.
pub fn listed(body: &[u8]) -> Result<Listed, Unknown> {
    layers::listed(&answer(body), &Digest::Sha256(Sha256::digest(body).into()))
}

/// Whether this body is an index or a manifest.
///
/// # Errors
/// It is neither.
pub fn shape(body: &[u8]) -> Result<Shape, Unknown> {
    manifest::shape_in(body)
}

/// The `Authorization` header and its TTL, from the answer of a token server.
///
/// # Errors
/// It holds no token.
pub fn token(body: &[u8]) -> Result<(HeaderValue, Duration), Unknown> {
    token::header(body)
}

fn answer(body: &[u8]) -> Answer {
    let body = Bytes::copy_from_slice(body);
    Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body,
        challenges: vec![],
        sent: Sent::Nothing,
        by: By::Registry,
    }
}
