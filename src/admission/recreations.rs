//! Finds out that somebody creates the same Pod again and again after its images were changed.
//!
//! Some operators compare a Pod's image with the one that they wrote, delete the Pod if it differs, and create the next
//! one, for ever. The door sees only that Pods are created. What tells a loop from ordinary work:
//!
//! - Controllers of Kubernetes itself compare nothing. Their Pods are not counted, however many they are.
//! - Two Pods of one name cannot exist at once, so a name that comes again was deleted before.
//! - Operators that are known to compare make one Pod at a time for each prefix of a name (`generateName`).
//! - Any other owner may just be scaled up, which is a burst and ends. Its Pods count once in ten seconds, and only a
//!   pace that is kept up for minutes is a loop.
//! - Pods without an owner and without a name are not counted: runners of CI jobs make such Pods all day.
//!
//! Pods with other images are other Pods: an update is no loop. A Pod that another webhook denies again and again looks
//! like a loop, too; so this warns, and does nothing else.
//!
//! [`Recreations`] is pure: the time is given to it. It holds at most twice [`ROOM`] Pods.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::review::Review;
use crate::domain::text::plain;
use crate::pod::Slot;
use crate::pod::owner::{OwnerReference, Preset};

/// How far back Pods are counted, and how long a loop is not told again.
pub(super) const WINDOW: Duration = Duration::from_secs(30 * 60);

/// How many Pods are remembered in each of two generations.
const ROOM: usize = 1024;

/// How many Pods are a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// One exists at a time, so each creation counts.
    OneByOne,
    /// Many may exist at a time.
    Scales,
}

impl Pace {
    /// So many in [`WINDOW`] are a loop.
    pub(super) fn many(self) -> usize {
        match self {
            Self::OneByOne => 10,
            Self::Scales => 30,
        }
    }

    /// What comes within this time after one that counted does not count.
    pub(super) fn apart(self) -> Duration {
        match self {
            Self::OneByOne => Duration::ZERO,
            Self::Scales => Duration::from_secs(10),
        }
    }
}

/// What a Pod's creation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Ordinary,
    /// A loop that was not told within [`WINDOW`].
    Loop,
    /// A loop that was told already.
    StillLoop,
}

/// A Pod that may be created again: which one, and how often is too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recurring {
    key: u64,
    pace: Pace,
}

/// What was created lately.
#[derive(Debug, Default)]
pub(super) struct Recreations {
    hasher: RandomState,
    recent: HashMap<u64, Created>,
    older: HashMap<u64, Created>,
}

#[derive(Debug, Default)]
struct Created {
    /// When those were created that count, at most [`Pace::many`].
    counted: VecDeque<Instant>,
    told: Option<Instant>,
}

impl Recreations {
    /// Which Pod this is; `None` where no controller could compare its images.
    pub(super) fn recurring(&self, review: &Review<'_>, slots: &[Slot<'_>]) -> Option<Recurring> {
        let metadata = review.pod.metadata.as_ref()?;
        let owner = metadata.owner_references.first();
        let name = metadata.name.as_deref().filter(|name| !name.is_empty());
        let pace = match (owner, name) {
            (Some(owner), _) if owner.is_builtin() => return None,
            (Some(_), Some(_)) => Pace::OneByOne,
            (Some(owner), None) if owner.preset().is_some() => Pace::OneByOne,
            (Some(_), None) | (None, Some(_)) => Pace::Scales,
            (None, None) => return None,
        };
        let owner = owner.map(|owner| [&owner.api_version, &owner.kind, &owner.name, &owner.uid]);
        let images = slots.iter().map(|slot| slot.image).collect::<Vec<_>>();
        let named = (name, name.map_or(metadata.generate_name.as_deref(), |_| None));
        Some(Recurring { key: self.hasher.hash_one((&*review.namespace, owner, named, images)), pace })
    }

    /// Counts a Pod that is created now, with changed images.
    pub(super) fn created(&mut self, Recurring { key, pace }: Recurring, now: Instant) -> Seen {
        let known = self.recent.remove(&key).or_else(|| self.older.remove(&key));
        let mut created = known.unwrap_or_default();
        let since = |then: &Instant| now.saturating_duration_since(*then);
        while created.counted.front().is_some_and(|first| since(first) > WINDOW) {
            created.counted.pop_front();
        }
        if created.counted.back().is_none_or(|last| since(last) >= pace.apart()) {
            created.counted.push_back(now);
            if created.counted.len() > pace.many() {
                created.counted.pop_front();
            }
        }
        let seen = if created.counted.len() < pace.many() {
            Seen::Ordinary
        } else if created.told.as_ref().is_some_and(|told| since(told) <= WINDOW) {
            Seen::StillLoop
        } else {
            created.told = Some(now);
            Seen::Loop
        };
        // Whoever comes again is recent; what nobody created for long is forgotten with its generation.
        if self.recent.len() >= ROOM {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, created);
        seen
    }
}

/// A loop, for whoever tells the owner of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLoop {
    /// The namespace of the Pods, and of their owner.
    pub namespace: String,
    /// The owner's `apiVersion`.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// Which object of that name.
    pub uid: Option<String>,
    /// What happens, and what helps.
    pub message: String,
}

impl PodLoop {
    /// The loop of this owner. Its Pods are called `pods`.
    pub(super) fn of(owner: &OwnerReference<'_>, namespace: &str, pods: &str) -> Self {
        let text = |text: &Option<std::borrow::Cow<'_, str>>| {
            text.as_deref().map(plain).unwrap_or_default().into_owned()
        };
        Self {
            namespace: namespace.to_owned(),
            api_version: text(&owner.api_version),
            kind: text(&owner.kind),
            name: text(&owner.name),
            uid: owner.uid.as_deref().map(|uid| plain(uid).into_owned()),
            message: message(pods, owner.preset()),
        }
    }
}

/// What the owner's Event and the log say.
pub(super) fn message(pods: &str, preset: Option<Preset>) -> String {
    let what = format!(
        "Pod {pods} is created again and again with the same images, each time rewritten by Landfall. A controller that \
         compares a Pod's image with its own deletes it and creates the next"
    );
    match preset {
        Some(preset) => {
            format!(
                "{what}: leave such Pods alone with the preset of the chart, `presets/{}.yaml`",
                preset.as_str()
            )
        }
        None => format!(
            "{what}: if that is so here, leave such Pods alone by their labels (`pods.leaveAlone` of the chart) or by the \
             annotation `landfall.dev/mode: Skip`"
        ),
    }
}

/// The warning in the answer. It is at most 120 characters, so the help comes first.
pub(super) fn warning(preset: Option<Preset>) -> String {
    match preset {
        Some(preset) => format!(
            "landfall: created again and again after a rewrite; the preset {}.yaml leaves such Pods alone",
            preset.as_str()
        ),
        None => "landfall: created again and again after a rewrite; does its controller compare images?"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn pod(key: u64, pace: Pace) -> Recurring {
        Recurring { key, pace }
    }

    fn pace() -> impl Strategy<Value = Pace> {
        prop_oneof![Just(Pace::OneByOne), Just(Pace::Scales)]
    }

    /// Creations of a few Pods: which one, and how many seconds after the one before.
    fn creations() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let after = prop_oneof![4 => 0..5_u64, 4 => 5..120_u64, 1 => 600..4000_u64];
        prop::collection::vec((0..3_u64, after), 1..400)
    }

    proptest! {
        /// A loop is said exactly where enough of what counts lies within the window, and once in a window.
        #[test]
        fn it_is_a_loop_where_enough_were_created_in_the_window(pace in pace(), creations in creations()) {
            let (mut recreations, mut now) = (Recreations::default(), Instant::now());
            let (mut counted, mut told): (HashMap<u64, Vec<Instant>>, HashMap<u64, Instant>) = Default::default();
            for (key, after) in creations {
                now += Duration::from_secs(after);
                let counted = counted.entry(key).or_default();
                if counted.last().is_none_or(|last| now - *last >= pace.apart()) {
                    counted.push(now);
                }
                let is_loop = counted.iter().filter(|then| now - **then <= WINDOW).count() >= pace.many();
                let was_told = told.get(&key).is_some_and(|then| now - *then <= WINDOW);
                let expected = match (is_loop, was_told) {
                    (false, _) => Seen::Ordinary,
                    (true, true) => Seen::StillLoop,
                    (true, false) => Seen::Loop,
                };
                if expected == Seen::Loop {
                    told.insert(key, now);
                }
                prop_assert_eq!(recreations.created(pod(key, pace), now), expected);
            }
        }

        /// Whoever scales up, however far and fast, is done within minutes.
        #[test]
        fn scaling_is_no_loop(count in 1..5000_u32, milliseconds in 1..280_000_u64) {
            let (mut recreations, began) = (Recreations::default(), Instant::now());
            for n in 0..count {
                let now = began + Duration::from_millis(milliseconds) * n / count;
                prop_assert_eq!(recreations.created(pod(1, Pace::Scales), now), Seen::Ordinary);
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_who_loops_is_not_forgotten_for_others() {
        let (mut recreations, began) = (Recreations::default(), Instant::now());
        let mut seen = Vec::new();
        for round in 0..12_u64 {
            let now = began + MINUTE * u32::try_from(round).unwrap();
            seen.push(recreations.created(pod(u64::MAX, Pace::OneByOne), now));
            for other in 0..ROOM as u64 / 2 {
                recreations.created(pod(round * 10_000 + other, Pace::OneByOne), now);
            }
            assert!(recreations.recent.len() + recreations.older.len() <= 2 * ROOM);
        }
        let ordinary = vec![Seen::Ordinary; 9];
        assert_eq!(seen, [ordinary, vec![Seen::Loop, Seen::StillLoop, Seen::StillLoop]].concat());
    }

    #[test]
    fn warnings_fit_and_messages_name_the_preset() {
        for preset in <Preset as strum::VariantArray>::VARIANTS {
            let name = format!("{}.yaml", preset.as_str());
            assert!(warning(Some(*preset)).len() <= super::super::answer::LONGEST_WARNING);
            assert!(warning(Some(*preset)).contains(&name) && message("p", Some(*preset)).contains(&name));
            let file = format!("{}/helm/landfall/presets/{name}", env!("CARGO_MANIFEST_DIR"));
            assert!(std::fs::exists(&file).unwrap(), "{file}");
        }
        assert!(warning(None).len() <= super::super::answer::LONGEST_WARNING);
    }
}
