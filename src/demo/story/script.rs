//! The script: the acts, in their order.

mod closing;
mod everyday;
mod night;
mod outage;
mod policies;
mod recorded;
mod registries;
mod second_door;
mod troubles;

use serde_json::Value;

use super::StoryError;
use super::pod::{Image, Pod};
use super::told::Admission;
use super::world::content::Role;
use super::world::faults::Fault;
use super::world::seed::Named;
pub(super) use closing::{TORN, UNCOPIED, UNSEEN};
pub(super) use recorded::recordings;

/// Some stories, and the events before them.
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

/// One Pod that is sent through the door, and its expected ending.
#[derive(Debug, Clone)]
pub struct Story {
    /// Its name, which is also the name of its golden file.
    pub name: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// What is sent.
    pub sent: Sent,
    /// Whether the Pod must be admitted.
    pub admission: Admission,
    /// To which doors it is sent.
    pub way: Way,
    /// How often the same is sent before, with no look at the answers.
    pub before: usize,
    /// Words that must be said, in a warning, the denial or the audit log; `None`: there must be no warning.
    pub says: Option<&'static str>,
}

impl Story {
    fn before(mut self, before: usize) -> Self {
        self.before = before;
        self
    }

    fn at_the_second_door(self) -> Self {
        Self { way: Way::SecondDoor, ..self }
    }

    fn says(mut self, words: &'static str) -> Self {
        self.says = Some(words);
        self
    }
}

/// To which doors a Pod is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To `/mutate`; what became of it, to `/validate`, where a policy enforces.
    BothDoors,
    /// To `/validate` alone: the first door was skipped, does not see updates, or did not have the last word.
    SecondDoor,
}

/// What is sent to the door.
#[derive(Debug, Clone)]
pub enum Sent {
    /// A small Pod, each image with its ending.
    Pod(Pod),
    /// A recorded review of a real API server, byte for byte.
    Recorded {
        /// The body.
        body: &'static str,
        /// The expected number of images for each reason; `-` for images without a reason.
        reasons: &'static [(&'static str, usize)],
    },
}

/// An event in the world.
#[derive(Debug, Clone)]
pub enum Event {
    /// A registry goes down: connections are refused.
    Down(Who),
    /// It accepts connections and does not answer.
    Freezes(Who),
    /// It is back.
    Up(Who),
    /// It answers with this fault, which replaces its earlier ones.
    Suffers(Who, Fault),
    /// The database behind it is down.
    LosesDatabase(Who),
    /// All its faults end, and its database is back.
    Recovers(Who),
    /// Replication brings an image of this content to Amsterdam, where it is scanned clean.
    Arrives(Named, &'static str),
    /// Amsterdam has scanned an image, clean.
    Scanned(Named),
    /// Amsterdam scans everything again, and has not finished.
    ScansAll,
    /// Amsterdam's storage loses the layers of an image, and a sweep finds it.
    LosesLayers(Named),
    /// Landfall leads the site and heals what is lacking of these images.
    Heals(Vec<Named>),
    /// Somebody copies an image to Amsterdam by `landfall copy`.
    IsCopied(Named),
}

/// A registry that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Frankfurt.
    Fra,
    /// Amsterdam.
    Ams,
}

/// On a route with `rewrite: false`.
pub(super) const TRIAL: Named = Named { repository: "production/trial/canary", tag: "1" };
/// On a route with `pin: Digest`.
pub(super) const ARCHIVED: Named = Named { repository: "production/archive/vault", tag: "4.1" };
/// Copied to the edge only.
pub(super) const TILL: Named = Named { repository: "production/edge/till", tag: "v3" };
/// In Amsterdam's proxy-cache project only.
pub(super) const VENDORED: Named = Named { repository: "production/vendor/kit", tag: "2" };
/// Amsterdam holds another application's image where this one would be copied to.
pub(super) const ROSTER: Named = Named { repository: "production/crew/roster", tag: "1" };
/// On both Harbors, and asked for in the night only.
pub(super) const NIGHTLY: Named = Named { repository: "production/shop/stock", tag: "2.0.0" };
/// A model: no scanner can scan it.
pub(super) const MODEL: Named = Named { repository: "production/ai/llama", tag: "1" };
/// Indexes that hide their image for amd64 nodes, each in another way: its platform as the index spells it, and its role.
pub(super) const HIDING: [(Named, &str, Role); 3] = [
    (Named { repository: "production/masks/annotated", tag: "1" }, "linux/amd64", Role::Disguised),
    (Named { repository: "production/masks/renamed", tag: "1" }, "linux/x86_64", Role::Image),
    (Named { repository: "production/masks/unnamed", tag: "1" }, "", Role::Image),
];
/// A service whose tag moves with every release.
pub(super) const PILOT: Named = Named { repository: "production/fleet/pilot", tag: "stable" };
/// Five more that are first asked for while Frankfurt is down: five failures in a row open the breaker.
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
    acts.extend([troubles::act(), policies::act(), second_door::act()]);
    acts.extend(registries::acts());
    acts.extend(outage::acts());
    acts.extend(closing::acts());
    acts.push(night::act());
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

/// A story of a Pod that is admitted.
fn allowed(name: &'static str, about: &'static str, pod: Pod) -> Story {
    story(name, about, pod, Admission::Allowed)
}

/// A story of a Pod that is denied.
fn denied(name: &'static str, about: &'static str, pod: Pod) -> Story {
    story(name, about, pod, Admission::Denied)
}

fn story(name: &'static str, about: &'static str, pod: Pod, admission: Admission) -> Story {
    Story { name, about, sent: Sent::Pod(pod), admission, way: Way::BothDoors, before: 0, says: None }
}

/// An image by its name in Frankfurt.
fn fra(name: Named) -> Image {
    at("harbor.fra.example.com", name)
}

/// An image by its name at a host.
fn at(host: &str, Named { repository, tag }: Named) -> Image {
    Image::of(format!("{host}/{repository}:{tag}"))
}
