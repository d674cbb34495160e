//! Whether a registry still hands out what it holds: its front may answer while the storage behind it says nothing.
//!
//! A Harbor's API and its 404s come from its database, `/v2/` comes from nowhere; only what it holds comes from its
//! storage. So when questions for that end out of time, probes ask for a manifest, too, until they get one: the one that
//! was handed out last, for one odd manifest must not close a registry to all others.

use crate::domain::evidence::{Cause, Children, Observation, Presence, TagDigest};

use crate::evidence::question::{Question, What, unknown};

/// So many attempts in a row that ended at the deadline call for a probe.
pub(super) const UNRESPONSIVE_AFTER: u32 = 3;

/// What is known of it.
#[derive(Debug, Default)]
pub struct Storage {
    /// What it handed out last.
    given: Option<Question>,
    /// Questions that ended out of time since then.
    consecutive_failures: u32,
    /// What probes ask for.
    doubted: Option<Question>,
}

impl Storage {
    /// An attempt ended so. True: somebody should ask for what it holds.
    pub fn ended(&mut self, question: &Question, answer: &Observation) -> bool {
        if matches!(question.what, What::Scan(..)) {
            // Its database's.
            return false;
        }
        if is_given(answer) {
            (self.consecutive_failures, self.doubted) = (0, None);
            if self.given.as_ref() != Some(question) {
                self.given = Some(question.clone());
            }
            return false;
        }
        if unknown(answer).is_none_or(|unknown| unknown.cause != Cause::Deadline) {
            return false;
        }
        self.consecutive_failures += 1;
        if self.consecutive_failures < UNRESPONSIVE_AFTER {
            return false;
        }
        self.consecutive_failures = 0;
        if self.doubted.is_none() {
            self.doubted = self.given.clone().or_else(|| Some(question.clone()));
        }
        true
    }

    /// What a probe should ask for.
    pub fn doubted(&self) -> Option<Question> {
        self.doubted.clone()
    }

    /// A probe asked for that, and was answered.
    pub fn answered(&mut self) {
        self.doubted = None;
    }

    /// It was answered that there is no such thing (any more), which its storage need not know. There is nothing better
    /// to ask for than what is asked for next.
    pub fn gone(&mut self) {
        (self.given, self.doubted) = (None, None);
    }
}

/// Does this come from its storage?
fn is_given(answer: &Observation) -> bool {
    matches!(
        answer,
        Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })
            | Observation::Children(Children::Listed(_))
            | Observation::TagDigest(TagDigest::Known(_))
    )
}

#[cfg(test)]
mod tests {
    use crate::domain::digest::Digest;
    use crate::domain::evidence::Unknown;
    use crate::domain::image::{Repository, Tag};
    use crate::domain::scan::Detail;
    use crate::evidence::question::UpstreamId;
    use crate::evidence::question::unanswered;
    use crate::evidence::upstream::no_scans;

    use super::*;

    fn asks(tag: &str) -> Question {
        Question {
            upstream: UpstreamId(0),
            repository: Repository::new("a"),
            what: What::Meaning(Tag::new(tag)),
        }
    }

    fn given() -> Observation {
        Observation::TagDigest(TagDigest::Known(Digest::Sha256([0; 32])))
    }

    fn silence(question: &Question) -> Observation {
        unanswered(question.aspect(), Unknown::new(Cause::Deadline, "a test"))
    }

    #[test]
    fn silences_doubt_what_was_given_last_until_something_is_given() {
        let mut storage = Storage::default();
        assert!(!storage.ended(&asks("good"), &given()));
        let silent = asks("silent");
        for called in [false, false, true, false, false, true] {
            assert_eq!(storage.ended(&silent, &silence(&silent)), called);
            // That there is none, and scans, its database tells.
            let scan =
                Question { what: What::Scan(Digest::Sha256([0; 32]), Detail::Summary), ..silent.clone() };
            assert!(!storage.ended(&asks("none"), &Observation::TagDigest(TagDigest::Absent)));
            assert!(!storage.ended(&scan, &Observation::Scan(no_scans())));
            assert!(!storage.ended(&scan, &silence(&scan)));
        }
        assert_eq!(storage.doubted(), Some(asks("good")));
        storage.ended(&asks("another"), &given());
        assert_eq!(storage.doubted(), None);
    }

    #[test]
    fn where_nothing_was_given_the_silent_one_is_asked_for_again() {
        let mut storage = Storage::default();
        let silent = asks("silent");
        let consecutive_failures =
            |storage: &mut Storage| (0..3).map(|_| storage.ended(&silent, &silence(&silent))).last();
        assert_eq!(consecutive_failures(&mut storage), Some(true));
        assert_eq!(storage.doubted(), Some(silent.clone()));
        storage.answered();
        storage.ended(&asks("deleted"), &given());
        assert_eq!(consecutive_failures(&mut storage), Some(true));
        storage.gone();
        assert_eq!(consecutive_failures(&mut storage), Some(true));
        assert_eq!(storage.doubted(), Some(silent.clone()));
    }
}
