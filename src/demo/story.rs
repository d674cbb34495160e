//! Stories: a Pod is sent through the real door in front of a world, and its expected ending is compared with the answer.
//!
//! ```text
//! script ─ Act ─ events ──► Stage: world (fra, ams, edge) ◄── Observatory ◄── /mutate ◄── TLS ─┐
//!           │                                                      ▲────────── /validate ◄ TLS ─┤
//!           └─ Story ─ review ──────────────────────────────────────────────────── HTTPS ──────┘
//!                 └─ ending foretold ──► Told ◄── ending seen: the answer, its patch applied
//! ```
//!
//! A [`Story`] is data. `landfall demo` tells them to people; `tests/scenarios.rs` holds each against a golden file.
//! Nothing here judges: the ending is read from the door's answer, as an API server reads it.

mod answer;
mod closing;
mod control;
mod drill;
mod pod;
mod script;
mod settings;
mod stage;
mod told;

use std::time::Duration;

pub use control::Pages;
pub use script::{Act, example_reviews, script};
pub use stage::Stage;
pub use told::{Admission, Performance, Told, ToldAct, ToldImage, tally};

use super::world;
use crate::config::Problems;
use crate::server::TlsError;

/// The longest time until Landfall has noticed the events of an act. It is longer than any answer is cached here, and longer
/// than a breaker stays open after three failed trials.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// Why a story could not be played. A story that ends in an unexpected way is not an error: see [`Told::as_told`].
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// The world could not be started.
    #[error("the demo's world cannot be built")]
    World(#[from] world::WorldError),
    /// The stage's server has no certificate.
    #[error("the demo's server has no certificate")]
    Certificate(#[from] world::authority::AuthorityError),
    /// The stage's server cannot speak TLS.
    #[error("the demo's server cannot speak TLS")]
    Tls(#[from] TlsError),
    /// The stage's server has no socket.
    #[error("the demo's server has no socket on 127.0.0.1")]
    Socket {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The demo's own configuration is wrong.
    #[error("the demo's configuration is wrong:\n{problems}")]
    Settings {
        /// What is wrong with it.
        problems: Problems,
    },
    /// A recorded review is not JSON.
    #[error("a recorded review cannot be read")]
    Recording {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The API server of the site cannot be asked.
    #[error("the API server of the demo's site cannot be asked")]
    Cluster(#[from] crate::cluster::ClusterError),
    /// A registry cannot be asked.
    #[error("a registry of the demo cannot be asked")]
    Registry {
        /// Why.
        #[source]
        source: crate::registry::ClientError,
    },
    /// The door did not answer.
    #[error("the door did not answer")]
    Door {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer, or its patch, does not follow the protocol.
    #[error("the door's answer cannot be read")]
    Answer {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The patch is not Base64.
    #[error("the door's patch is not Base64")]
    NotBase64 {
        /// Why.
        #[source]
        source: base64::DecodeError,
    },
    /// The patch does not apply: an API server would reject the Pod.
    #[error("the door's patch does not apply")]
    Patch {
        /// Why.
        #[source]
        source: json_patch::PatchError,
    },
}
