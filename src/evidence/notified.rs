//! What notifications of a registry outdate: only what is held, or is being asked for.
//!
//! A registry that is busy tells of thousands of images that nothing here runs. If each of them was an invalidation, all
//! cached verdicts would end with each, and answers would end that nobody spoke of. So what concerns nothing that we hold is
//! no invalidation.

use std::collections::HashSet;

use crate::domain::digest::Digest;
use crate::domain::name::RegistryName;

use super::invalidation::Scope;
use super::observatory::Observatory;

impl Observatory {
    /// Which of these scopes concern an answer that is held or being looked up: those, and the indexes that list one of the
    /// digests. A registry that is not configured has none. It reads the whole cache: ask for many scopes at once, and not
    /// often.
    #[must_use]
    pub fn concerned(&self, registry: &RegistryName, scopes: &HashSet<Scope>) -> HashSet<Scope> {
        let upstreams = self.upstreams.load();
        let Some(upstream) = upstreams.upstreams.get(registry) else { return HashSet::new() };
        let digests: HashSet<Digest> = scopes
            .iter()
            .filter_map(|scope| match scope {
                Scope::Digest(digest) => Some(*digest),
                _ => None,
            })
            .collect();
        // What had no room is not held, and a verdict that rests on it may still count.
        let is_full = self.lookups.answers.is_full(&upstreams.terms.life);
        let mut concerned = if is_full { scopes.clone() } else { HashSet::new() };
        // First the look-ups: one that begins after this asks after the change.
        for question in self.lookups.in_progress() {
            if question.upstream == upstream.id {
                concerned.extend(question.scopes().filter(|scope| scopes.contains(scope)));
            }
        }
        self.lookups.answers.each(|answer| {
            // An index lists the same everywhere, whoever was asked.
            concerned.extend(answer.parent_of(&digests).map(Scope::Digest));
            if answer.question.upstream == upstream.id {
                concerned.extend(answer.scopes().filter(|scope| scopes.contains(scope)));
            }
        });
        concerned
    }
}
