//! The script: the acts, in the order in which they are told.

mod everyday;
mod outage;
mod policies;
mod recorded;
mod registries;
mod troubles;

use serde_json::Value;

use super::StoryError;
use super::pod::{Image, Pod};
use super::told::Admission;
use super::world::faults::Fault;
use super::world::seed::Named;
pub(super) use recorded::recordings;

/// Some stories, and what happens before them.
#[derive(Debug, Clone)]
pub struct Act {
    /// Its title.
    pub title: &'static str,
    /// What has happened, in a line.
    pub narration: &'static str,
    /// What happens to the world.
    pub events: Vec<Event>,
    /// The stories.
    pub stories: Vec<Story>,
}

/// One Pod on its way through the door, and what must become of it.
#[derive(Debug, Clone)]
pub struct Story {
    /// Its name; its golden file has it, too.
    pub name: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// What is sent.
    pub sent: Sent,
    /// Whether the Pod must be let in.
    pub admission: Admission,
    /// Words that must be said, to the person at `kubectl` or in the audit log; `None`: no warning may be given.
    pub says: Option<&'static str>,
}

impl Story {
    fn says(mut self, words: &'static str) -> Self {
        self.says = Some(words);
        self
    }
}

/// What is sent to the door.
#[derive(Debug, Clone)]
pub enum Sent {
    /// A small Pod, each image with its ending.
    Pod(Pod),
    /// A review as a real API server sent it, byte for byte.
    Recorded {
        /// The body.
        body: &'static str,
        /// So many images must be answered with each reason; `-` where none is to be given.
        reasons: &'static [(&'static str, usize)],
    },
}

/// Something that happens to the world.
#[derive(Debug, Clone)]
pub enum Event {
    /// A registry goes dark: connections are refused.
    Down(Who),
    /// It accepts connections and says nothing.
    Freezes(Who),
    /// It is back.
    Up(Who),
    /// It answers, but so; what it suffered from before is over.
    Suffers(Who, Fault),
    /// It suffers from nothing any more.
    Recovers(Who),
    /// Replication brings an image of this content to Amsterdam, where it is scanned clean.
    Arrives(Named, &'static str),
    /// Amsterdam has scanned an image, clean.
    Scanned(Named),
}

/// A registry that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Frankfurt.
    Fra,
    /// Amsterdam.
    Ams,
}

/// On a route that is judged only.
pub(super) const TRIAL: Named = Named { repository: "production/trial/canary", tag: "1" };
/// Copied to the edge only.
pub(super) const TILL: Named = Named { repository: "production/edge/till", tag: "v3" };
/// In Amsterdam's proxy-cache project only.
pub(super) const VENDORED: Named = Named { repository: "production/vendor/kit", tag: "2" };
/// A service whose tag moves with every release.
pub(super) const PILOT: Named = Named { repository: "production/fleet/pilot", tag: "stable" };
/// Five more, unheard of until Frankfurt is dark: as many as failures in a row say that a registry is down.
pub(super) const FLEET: [Named; 5] = [
    Named { repository: "production/fleet/cargo", tag: "stable" },
    Named { repository: "production/fleet/crane", tag: "stable" },
    Named { repository: "production/fleet/ferry", tag: "stable" },
    Named { repository: "production/fleet/lighter", tag: "stable" },
    Named { repository: "production/fleet/tug", tag: "stable" },
];

/// All acts.
#[must_use]
pub fn script() -> Vec<Act> {
    let mut acts = everyday::acts();
    acts.push(recorded::act());
    acts.extend([troubles::act(), policies::act()]);
    acts.extend(registries::acts());
    acts.extend(outage::acts());
    acts
}

impl Sent {
    /// The review.
    pub(super) fn review(&self, seed: &str) -> Result<Value, StoryError> {
        match self {
            Self::Pod(pod) => Ok(pod.review(seed)),
            Self::Recorded { body, .. } => {
                serde_json::from_str(body).map_err(|source| StoryError::Recording { source })
            }
        }
    }

    /// The body of the request.
    pub(super) fn body(&self, review: &Value) -> String {
        match self {
            Self::Pod(_) => review.to_string(),
            Self::Recorded { body, .. } => (*body).to_owned(),
        }
    }
}

/// Reviews to try the door with: a file name, what it shows, and the body.
#[must_use]
pub fn example_reviews() -> [(&'static str, &'static str, Value); 2] {
    use super::world::seed::{PRESENT, VULNERABLE};
    let payments = Pod::new("billing", [fra(VULNERABLE)]).namespace("payments");
    [
        ("web.json", "A Pod that comes ashore.", Pod::new("web", [fra(PRESENT)]).review("try web")),
        ("billing.json", "A Pod that a policy denies.", payments.review("try billing")),
    ]
}

/// A story of a Pod that is let in.
fn allowed(name: &'static str, about: &'static str, pod: Pod) -> Story {
    Story { name, about, sent: Sent::Pod(pod), admission: Admission::Allowed, says: None }
}

/// A story of a Pod that is kept out.
fn denied(name: &'static str, about: &'static str, pod: Pod) -> Story {
    Story { name, about, sent: Sent::Pod(pod), admission: Admission::Denied, says: None }
}

/// An image by its name in Frankfurt.
fn fra(name: Named) -> Image {
    at("harbor.fra.example.com", name)
}

/// An image by its name at a host.
fn at(host: &str, Named { repository, tag }: Named) -> Image {
    Image::of(format!("{host}/{repository}:{tag}"))
}
