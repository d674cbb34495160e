//! What became of an image with a gap.

/// What became of an image with a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Met {
    /// A copy of this site is used in spite of it, or nothing was changed.
    Used,
    /// Another site's copy is used.
    FellBack,
    /// The Pod was denied because of it.
    Denied,
}
