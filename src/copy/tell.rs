//! What is told while an image is copied.

use std::time::Duration;

use serde::Serialize;

use crate::domain::digest::Digest;

/// One step. As JSON, `event` names it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event<'a> {
    /// What the image consists of.
    Found {
        /// The digest that is copied.
        digest: Digest,
        /// How many manifests, indexes included.
        manifests: usize,
        /// How many blobs.
        blobs: usize,
        /// Their bytes, as the manifests tell them.
        bytes: u64,
    },
    /// So many bytes have come from the source.
    Bytes {
        /// How many.
        bytes: u64,
    },
    /// So many of them have to come again.
    Again {
        /// How many.
        bytes: u64,
    },
    /// A blob is done.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Its size.
        size: u64,
        /// How.
        done: Blob,
    },
    /// A manifest is at the target.
    Manifest {
        /// Its digest.
        digest: Digest,
        /// The tag that names it; `None` where only its digest does.
        tag: Option<&'a str>,
        /// Whether it was there before.
        there: bool,
    },
    /// All of it was looked at again at the target.
    Verified {
        /// How many manifests, by the hash of what the target serves.
        manifests: usize,
        /// How many blobs, by their first bytes.
        blobs: usize,
    },
    /// A request is tried again after a pause.
    Retry {
        /// Why.
        why: &'a str,
        /// The pause in seconds.
        #[serde(serialize_with = "seconds")]
        pause: Duration,
    },
    /// Something that is good to know.
    Note {
        /// What.
        note: &'a str,
    },
}

/// What was done about a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Blob {
    /// It was there already: its first byte was read.
    There,
    /// The target took it from another of its repositories.
    Mounted,
    /// It was streamed.
    Copied,
    /// It was streamed, although the target said that it was there: its storage had lost it.
    Repaired,
    /// It would be copied.
    Lacking,
}

/// Whom it is told.
pub type Tell<'a> = &'a (dyn Fn(Event<'_>) + 'a);

fn seconds<S: serde::Serializer>(pause: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(pause.as_secs_f64())
}
