//! What the mutating door wrote counts at the validating door for as long as one admission takes.
//!
//! Between the two doors an answer of a registry may expire, a registry may go down, and another copy may become the
//! nearest one. The Pod was judged already, so none of that denies it, and no registry is asked twice.
//!
//! It opens nothing: an answer counts for exactly the text that was written, in the namespace it was written for, under the
//! same snapshot of the settings, the same policies that enforce, and the same platforms. Whatever differs is judged anew.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use crate::domain::name::RegistryName;
use crate::domain::verdict::Reason;
use crate::evidence::ContextId;

/// How long an answer counts: all admission of one request shares 34 s (`requestTimeoutUpperBound`, apiserver
/// `pkg/endpoints/handlers/rest.go`).
const ADMISSION: Duration = Duration::from_secs(34);

/// The most answers. Each takes some 200 bytes.
const MOST: u64 = 16 * 1024;

/// What the mutating door of this process wrote a moment ago.
#[derive(Debug)]
pub(super) struct FirstAnswers(Cache<[u8; 32], FirstAnswer>);

/// Why an image was written as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FirstAnswer {
    pub(super) reason: Reason,
    /// The registry that serves it.
    pub(super) serving: Option<RegistryName>,
}

impl Default for FirstAnswers {
    fn default() -> Self {
        Self::kept(ADMISSION)
    }
}

impl FirstAnswers {
    fn kept(for_so_long: Duration) -> Self {
        // Least recently used: by default a full cache would refuse the newest.
        let cache = Cache::builder().max_capacity(MOST).time_to_live(for_so_long);
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }

    /// Keeps the answer for an image of a Pod in `namespace`. `context` stands for the settings, the policies that enforce
    /// and the platforms.
    pub(super) fn keep(&self, context: ContextId, namespace: &str, image: &str, answer: FirstAnswer) {
        self.0.insert(key(context, namespace, image), answer);
    }

    /// The answer for this very image, if it still counts.
    pub(super) fn get(&self, context: ContextId, namespace: &str, image: &str) -> Option<FirstAnswer> {
        self.0.get(&key(context, namespace, image))
    }
}

/// A key of fixed size, because a namespace may be any text. It is no hash that somebody could find another text for.
fn key(context: ContextId, namespace: &str, image: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(context.number().to_be_bytes());
    hash.update((namespace.len() as u64).to_be_bytes());
    hash.update(namespace);
    hash.update(image);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::case::{Exemption, PodContext};
    use crate::domain::policy::Regime;
    use crate::domain::settings::{Settings, sample};
    use crate::evidence::VerdictCache;

    fn context(settings: &Settings, exemption: Exemption) -> PodContext {
        PodContext {
            regime: Arc::new(Regime::of_defaults(settings.defaults.clone())),
            platforms: settings.platforms.clone(),
            exemption,
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn an_answer_counts_for_the_same_image_and_namespace_and_context_alone() {
        let contexts = VerdictCache::<()>::default();
        let settings = Arc::new(sample::settings(ADMISSION));
        let id = contexts.context_id(&settings, &context(&settings, Exemption::None));
        let (answers, image) = (FirstAnswers::default(), "ams.example.com/shop/web:1@sha256:ab");
        let answer = FirstAnswer { reason: Reason::Local, serving: Some(RegistryName::new("ams")) };
        answers.keep(id, "bank", image, answer.clone());
        assert_eq!(answers.get(id, "bank", image), Some(answer));
        assert_eq!(answers.get(id, "bank", "ams.example.com/shop/web:1"), None);
        assert_eq!(answers.get(id, "ban", &format!("k{image}")), None);
        assert_eq!(answers.get(id, "shop", image), None);
        let other = contexts.context_id(&settings, &context(&settings, Exemption::Skip));
        assert_eq!(answers.get(other, "bank", image), None, "another context");
        let edited = Arc::new(Settings::clone(&settings));
        let newer = contexts.context_id(&edited, &context(&edited, Exemption::None));
        assert_eq!(answers.get(newer, "bank", image), None, "other settings, though equal");
        let again = contexts.context_id(&settings, &context(&settings, Exemption::None));
        assert_eq!(answers.get(again, "bank", image), None, "the context was closed");
    }

    #[test]
    fn an_answer_ends() {
        let contexts = VerdictCache::<()>::default();
        let settings = Arc::new(sample::settings(ADMISSION));
        let id = contexts.context_id(&settings, &context(&settings, Exemption::None));
        let answers = FirstAnswers::kept(Duration::from_nanos(1));
        answers.keep(id, "bank", "web:1", FirstAnswer { reason: Reason::Fallback, serving: None });
        let began = std::time::Instant::now();
        while began.elapsed().as_nanos() < 2 {}
        assert_eq!(answers.get(id, "bank", "web:1"), None);
    }
}
