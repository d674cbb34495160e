//! Stories: a world, a Pod that is sent through the real door, and what must become of it.
//!
//! ```text
//! script ─ Act ─ events ──► Stage: world (fra, ams, edge) ◄── Observatory ◄── /mutate ◄─ TLS ─┐
//!           └─ Story ─ review ──────────────────────────────────────────────────── HTTPS ─────┘
//!                 └─ ending foretold ──► Told ◄── ending seen: the answer, its patch applied
//! ```
//!
//! A [`Story`] is data. `landfall demo` tells them to people; `tests/scenarios.rs` holds each against a golden file.
//! Nothing here judges: what a Pod becomes is read from the door's answer, as an API server would read it.

mod answer;
mod pod;
mod script;
mod settings;
mod stage;
mod told;

use std::time::Duration;

pub use pod::{Becomes, Image, Pod, Stands};
pub use script::{Act, Event, Sent, Story, Who, example_reviews, script};
pub use stage::Stage;
pub use told::{Admission, Ending, Found, GapState, Performance, SeenGap, Told, ToldAct, ToldImage, tally};

use super::world;
use crate::config::Problems;
use crate::server::TlsError;

/// How long an act may take until Landfall has noticed its events: longer than any answer of the demo lives, and
/// than a breaker stays open that has been tried in vain three times.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// Why a story could not be told. (One that ends otherwise than told is no error: see [`Told::as_told`].)
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// There is no world.
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
    /// A recorded review is no JSON.
    #[error("a recorded review cannot be read")]
    Recording {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The door did not answer.
    #[error("the door did not answer")]
    Door {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer, or its patch, is not what the protocol says.
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
