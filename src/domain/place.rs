//! The position of a Place in its Case.

/// An index into [`Routed::places`](super::case::Routed::places), which has at most 256 entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlaceIx(pub u8);
