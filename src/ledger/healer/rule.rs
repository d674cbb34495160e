//! Which replication rule brings an image to its Place: by the rules that its primary and its replica keep.

use std::sync::Arc;

use tokio::time::Instant;

use super::Healer;
use super::attempt::refused;
use crate::domain::case::{Place, Role};
use crate::domain::facts::Held;
use crate::domain::gap::{GapKey, GapSubject, Version};
use crate::domain::healing::{Cover, HealOutcome, Remedy, Way, covering};
use crate::domain::name::RegistryName;
use crate::domain::registry::Kind;
use crate::domain::replication::Rule;
use crate::evidence::{Asked, CopyFacts};
use crate::ledger::record::Record;

/// The right that reading rules needs. Only a system robot can have it.
const LIST_RULES: &str = "replication-policy:list";

/// What was found out about the rule for an image.
pub enum Found {
    Rule(RegistryName, Box<Rule>),
    /// None can be executed, for this reason.
    None(HealOutcome, String),
    /// It could not be learned now.
    Unknown,
}

impl Healer {
    /// The rule that brings the image to its Place, of those that its primary and its replica keep.
    pub async fn rule(&self, key: &GapKey, record: &Record, primary: &Place, place: &Place) -> Found {
        let tags = match self.tags(key, record, primary).await {
            Ok(tags) => tags,
            Err(found) => return found,
        };
        let way = Way {
            primary: &primary.registry,
            source: &primary.repository,
            tags: &tags,
            replica: &place.registry,
            target: &place.repository,
        };
        let mut best = Found::None(HealOutcome::NeedsCopy, Self::copy(key));
        let (mut rank, mut without) = (3, None);
        for keeper in [primary, place] {
            let name = &keeper.registry.name;
            if keeper.registry.kind != Kind::Harbor {
                continue;
            }
            let rules = match self.rules(name).await {
                Ok(rules) => rules,
                Err(Some((HealOutcome::NoCredentials, _))) => {
                    without = without.or(Some(name.clone()));
                    continue;
                }
                Err(Some((outcome, detail))) => {
                    // The replica's robot often has no right to read rules; those of the primary count.
                    if keeper.role == Role::Primary && rank > 2 {
                        (rank, best) = (2, Found::None(outcome, detail));
                    }
                    continue;
                }
                Err(None) => return Found::Unknown,
            };
            let (new, found) = match covering(&rules, name, &way) {
                Cover::By(rule) => (0, Found::Rule(name.clone(), Box::new(rule.clone()))),
                Cover::TooShallow(rule) => {
                    (1, Found::None(HealOutcome::RuleTooShallow, format!("rule `{}` of {name}", rule.name)))
                }
                Cover::Disabled(rule) => {
                    (1, Found::None(HealOutcome::RuleDisabled, format!("rule `{}` of {name}", rule.name)))
                }
                Cover::Nothing => continue,
            };
            if new < rank {
                (rank, best) = (new, found);
            }
            if rank == 0 {
                break;
            }
        }
        match (&best, without) {
            (Found::None(HealOutcome::NeedsCopy, _), Some(name)) if name == primary.registry.name => {
                Found::None(HealOutcome::NoCredentials, format!("registry `{name}`"))
            }
            _ => best,
        }
    }

    /// The tags that the image has at its primary, as far as is known.
    async fn tags(&self, key: &GapKey, record: &Record, primary: &Place) -> Result<Vec<Box<str>>, Found> {
        let mut tags: Vec<Box<str>> = record.tag.iter().map(|tag| Box::from(tag.as_str())).collect();
        let GapSubject::Image { version, .. } = &key.subject else { return Ok(tags) };
        match version {
            Version::Tag(tag) => Ok(vec![tag.as_str().into()]),
            Version::Digest(digest) => {
                let deadline = Instant::now() + self.terms.poll;
                match self.observatory.facts(primary, digest, deadline).await {
                    Ok(CopyFacts::Known(facts)) => {
                        if let Held::Tags(held) = facts.held {
                            tags = held;
                        }
                        Ok(tags)
                    }
                    Ok(CopyFacts::Plain) => Ok(tags),
                    Ok(CopyFacts::Absent) => {
                        Err(Found::None(HealOutcome::NotFound, "its primary does not have it".to_owned()))
                    }
                    // A right that is missing there is told by the inspection; the tag in use is enough.
                    Err(_) if !tags.is_empty() => Ok(tags),
                    Err(_) => Err(Found::Unknown),
                }
            }
        }
    }

    async fn rules(&self, keeper: &RegistryName) -> Result<Arc<Vec<Rule>>, Option<(HealOutcome, String)>> {
        let known = self.remembered().rules.get(keeper).cloned();
        if let Some((_, rules)) = known.filter(|(read, _)| read.elapsed() < self.terms.rules) {
            return Ok(rules);
        }
        if self.is_barred(keeper) {
            return Err(None);
        }
        match self.observatory.healing_rules(keeper).await {
            Asked::Done(rules) => {
                let rules = Arc::new(rules);
                self.remembered().rules.insert(keeper.clone(), (Instant::now(), rules.clone()));
                Ok(rules)
            }
            Asked::Refused(refusal) => {
                self.bar(keeper, &refusal);
                let right = format!("{LIST_RULES} at {keeper}");
                Err(Some(refused(refusal, Remedy::Replicate, &right)))
            }
            Asked::NoCredentials => Err(Some((HealOutcome::NoCredentials, String::new()))),
            Asked::Unknown(_) => Err(None),
        }
    }

    pub async fn overrides(&self, keeper: &RegistryName, rule: i64) -> bool {
        let rules = self.rules(keeper).await.unwrap_or_default();
        rules.iter().find(|one| one.id == rule).is_none_or(|rule| rule.overrides)
    }
}
