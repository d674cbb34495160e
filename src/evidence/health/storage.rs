//! Whether a registry still serves manifests: it may answer probes while the storage behind it hangs.
//!
//! A Harbor answers its API and each 404 from the database, and `/v2/` without looking anywhere. Only manifests come from
//! its storage. So if look-ups of manifests end at the deadline, probes ask for a manifest as well, until they get one.
//! They ask for the one that was served last, because a single bad manifest must not close a registry to all others.

use crate::domain::evidence::{Children, Observation, Presence, TagDigest};

use crate::domain::unknown::Cause;

use crate::evidence::question::{Question, What, unknown};

/// So many attempts in a row that ended at the deadline call for a probe.
pub(super) const UNRESPONSIVE_AFTER: u32 = 3;

/// What look-ups showed of the storage.
#[derive(Debug, Default)]
pub struct Storage {
    /// The manifest that was served last.
    served: Option<Question>,
    /// Questions in a row that ended at the deadline since then.
    consecutive_failures: u32,
    /// The manifest that probes ask for.
    doubted: Option<Question>,
}

impl Storage {
    /// Records how an attempt ended. True: a probe should ask for a manifest.
    pub fn ended(&mut self, question: &Question, answer: &Observation) -> bool {
        if matches!(question.what, What::Scan(..)) {
            // Scans come from the database.
            return false;
        }
        if is_served(answer) {
            (self.consecutive_failures, self.doubted) = (0, None);
            if self.served.as_ref() != Some(question) {
                self.served = Some(question.clone());
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
            self.doubted = self.served.clone().or_else(|| Some(question.clone()));
        }
        true
    }

    /// The manifest that a probe should ask for, if look-ups got none.
    pub fn doubted(&self) -> Option<Question> {
        self.doubted.clone()
    }

    /// A probe asked for it, and was answered.
    pub fn answered(&mut self) {
        self.doubted = None;
    }

    /// The answer was that the manifest does not exist, which may come from the database. The next question that ends at the
    /// deadline is used instead.
    pub fn gone(&mut self) {
        (self.served, self.doubted) = (None, None);
    }
}

/// Does this answer come from the storage?
fn is_served(answer: &Observation) -> bool {
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
    use crate::domain::image::{Repository, Tag};
    use crate::domain::scan::Detail;
    use crate::domain::unknown::Unknown;
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
