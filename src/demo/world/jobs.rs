//! A Harbor's job service: it runs the executions that requests have started.
//!
//! What the filters of a rule let through is copied as Harbor copies it (src/controller/replication/transfer/image/transfer.go):
//! where the same digest is, nothing is done; where the tag names another, it is moved only if the rule overrides.

use jiff::Timestamp;

use super::content::{Content, Role};
use super::replication::{Ending, Execution, ReplicationRule};
use super::store::Store;
use crate::domain::digest::Digest;
use crate::domain::mapping::{Flatten, Mapping};

/// What one execution is to copy, and how it ends.
pub(super) struct Run {
    ending: Ending,
    overrides: bool,
    copies: Vec<Copy>,
    /// Why nothing can be copied at all.
    refused: Option<String>,
}

struct Copy {
    target: String,
    tag: Option<String>,
    digest: Digest,
    content: Content,
    source: String,
}

/// How an execution ended, and what the log of its tasks says.
pub(super) struct Ended(Execution, String);

/// What this execution would copy; `None`: the rule is gone.
pub(super) fn run(store: &Store, rule: u64) -> Option<Run> {
    let rule = store.rules.iter().find(|one| one.id == rule)?;
    let mut run =
        Run { ending: rule.ending.clone(), overrides: rule.overrides, copies: Vec::new(), refused: None };
    let (namespace, levels) = &rule.destination;
    let flatten = u8::try_from(*levels).map_or(Flatten::All, Flatten::Levels);
    let mapping = Mapping { namespace: namespace.as_str().into(), flatten };
    for (source, repository) in
        store.repositories.iter().filter(|(name, _)| rule.lets_through("name", Some(name)))
    {
        let target = match mapping.map(source) {
            Ok(target) => target.to_string(),
            Err(error) => {
                let parents: Vec<&str> = source.split('/').rev().skip(1).collect();
                run.refused = Some(format!(
                    "the source repository \"{source}\" contains only {} path components [{}] excepting the last one, but the \
                     destination namespace flattening level is {}",
                    parents.len(),
                    parents.join(" "),
                    error.levels
                ));
                return Some(run);
            }
        };
        let tagged = repository.tags.iter().map(|(tag, held)| (Some(tag.clone()), held.digest));
        let untagged = repository.artifacts.iter().filter(|(digest, artifact)| {
            artifact.role == Role::Image && !repository.tags.values().any(|tag| tag.digest == **digest)
        });
        let all = tagged.chain(untagged.map(|(digest, _)| (None, *digest)));
        for (tag, digest) in all.filter(|(tag, _)| takes(rule, tag.as_deref())) {
            let Some(artifact) = repository.artifacts.get(&digest) else { continue };
            let content = Content::clone(&artifact.content);
            let (target, source) = (target.clone(), source.clone());
            run.copies.push(Copy { target, tag, digest, content, source });
        }
    }
    Some(run)
}

fn takes(rule: &ReplicationRule, tag: Option<&str>) -> bool {
    rule.lets_through("tag", tag)
}

impl Run {
    /// Copies to this registry; `None`: it is down, or the rule leads nowhere.
    pub(super) fn copy(&self, destination: Option<&mut Store>) -> Option<Ended> {
        let now = Timestamp::now();
        let tasks = |status: &'static str| -> Vec<(&'static str, &str)> {
            self.copies.iter().map(|copy| (status, copy.source.as_str())).collect()
        };
        if let Some(why) = &self.refused {
            return Some(Ended(Execution::failed(now, why), String::new()));
        }
        let ended =
            |status, log: &str| Ended(Execution::new(status, "", now, &tasks(status)), log.to_owned());
        Some(match (&self.ending, destination) {
            (Ending::Never, _) => return None,
            (Ending::Refused(why), _) => Ended(Execution::failed(now, why), String::new()),
            (Ending::Failed(log), _) => ended("Failed", log),
            (Ending::Nothing, _) => ended("Succeed", ""),
            (Ending::Copied, None) => {
                let why = "failed to ping the registry: Get \"https://there/v2/\": dial tcp: connect: connection refused";
                Ended(Execution::failed(now, why), String::new())
            }
            (Ending::Copied, Some(store)) => {
                for copy in &self.copies {
                    copy.to(store, self.overrides);
                }
                ended("Succeed", "")
            }
        })
    }
}

impl Copy {
    fn to(&self, store: &mut Store, overrides: bool) {
        let held = self.tag.as_deref().and_then(|tag| store.digest(&self.target, tag));
        if held.is_some_and(|held| held != self.digest) && !overrides {
            return;
        }
        if store.find(&self.target, &self.digest.to_string()).is_none() {
            store.push_untagged(&self.target, &self.content);
        }
        if let Some(tag) = self.tag.as_deref().filter(|_| held != Some(self.digest)) {
            store.tag(&self.target, tag, &self.digest);
        }
    }
}

/// Notes how an execution ended.
pub(super) fn finish(store: &mut Store, rule: u64, execution: u64, Ended(ended, log): &Ended) {
    let rule = store.rules.iter_mut().find(|one| one.id == rule);
    let found = rule.and_then(|rule| rule.executions.iter_mut().find(|one| one.id == execution));
    if let Some(found) = found {
        found.ends(ended, log);
    }
}
