//! `landfall explain`: why an image of a Pod becomes what it becomes, from the judgement itself.
//!
//! ```text
//! image, namespace ─case_for→ Case ─Observatory::judge→ Verdict and Evidence ─ImageDecision, Plan→ Explanation ─→ text, JSON
//! ```
//!
//! Nothing here judges: it is the door's own judgement, with every question and its answer kept.

mod text;
mod words;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::words::{answer, question};
use crate::domain::case::{Case, Exemption, Locality, PodContext, Role, Subject};
use crate::domain::decision::ImageDecision;
use crate::domain::digest::Digest;
use crate::domain::evidence::Evidence;
use crate::domain::finding::Finding;
use crate::domain::messages;
use crate::domain::name::PolicyName;
use crate::domain::place::PlaceIx;
use crate::domain::policy::{Enforcement, Labels, Regime, SYSTEM_NAMESPACES};
use crate::domain::settings::Settings;
use crate::evidence::{Answers, Asking, Judgement, Observatory, Share};
use crate::pod::platform::demand;
use crate::pod::{AdmissionKind, Mode, Plan, Pod, Slot, annotation};

pub use text::{line, text};

/// How long one image may take. A door has less time, but nobody waits here, and an answer that comes late explains more than
/// none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `--output json` prints.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Each image of the Pod.
    pub images: Vec<Explanation>,
    /// What could not be read, and does not count therefore.
    pub notes: Vec<String>,
}

impl Explained {
    /// Whether a door would deny the Pod.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.images.iter().any(|one| one.left_alone.is_none() && one.denied.is_some())
    }
}

/// One image of a Pod, explained.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The image as the Pod writes it.
    pub image: String,
    /// Where the Pod writes it: `containers/web`.
    pub slot: String,
    /// The namespace of the Pod.
    pub namespace: String,
    /// Why Landfall leaves the namespace alone. Not given: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<String>,
    /// What the annotation of the Pod says was decided when it was created. Anybody can write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// The Route that covers the image. Not given: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The image's name at its primary, `host/repository`. Exceptions and excludes match this name.
    pub name: String,
    /// The platforms that the Pod may run on.
    pub platforms: Vec<String>,
    /// The policies that select the namespace; without one that enforces, the `defaults` of the configuration count.
    pub policies: Vec<Applied>,
    /// The copies, in the order of preference, and what became of each.
    pub places: Vec<Copy>,
    /// Each question that was asked, and its answer, in their order.
    pub answers: Vec<Answer>,
    /// Why local copies were not simply used.
    pub findings: Vec<Found>,
    /// What was decided, in one word of REASONS.md.
    pub reason: String,
    /// The image that the Pod gets. Not given: it stays as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub becomes: Option<String>,
    /// The pull secret that is added to the Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<String>,
    /// Why the Pod is denied, as its developer reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// The JSON patch (RFC 6902) of a Pod that has this image alone. Not given for an image of a Pod that is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<serde_json::Value>>")]
    pub patch: Option<Box<RawValue>>,
}

/// What was decided when the Pod was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Then {
    /// The image that the Pod was created with.
    pub was: String,
    /// What it became.
    pub is: String,
    /// Why, in one word of REASONS.md.
    pub why: String,
    /// What was found.
    pub findings: Vec<String>,
    /// The registry that serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// A policy that selects the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Its name; `defaults` for those of the configuration.
    pub policy: String,
    /// `Enforce`, or `Observe`: it only reports, or somebody has opened it for some time.
    pub enforcement: String,
    /// What an observing policy would have decided alone, in one word of REASONS.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<String>,
}

/// One copy of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// The registry, by its name in the configuration.
    pub registry: String,
    /// `host/repository` there.
    pub repository: String,
    /// The site of the registry.
    pub site: String,
    /// Whether that is our site.
    pub local: bool,
    /// Whether it is the Route's primary.
    pub primary: bool,
    /// What became of it.
    pub state: CopyState,
    /// What was found about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema, strum::Display)]
pub enum CopyState {
    /// The Pod gets it.
    #[strum(serialize = "used")]
    Used,
    /// It was looked at, and not used.
    #[strum(serialize = "passed over")]
    PassedOver,
    /// It was not needed.
    #[strum(serialize = "not asked")]
    NotAsked,
}

/// A question to a registry, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The registry that was asked.
    pub registry: String,
    /// What was asked.
    pub question: String,
    /// What it answered.
    pub answer: String,
    /// How old the answer is, in seconds.
    pub age_seconds: u64,
}

/// Why a copy was not simply used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The finding, in one word of REASONS.md.
    pub finding: String,
    /// The registry. Not given: it is about the image as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The manifest that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Details.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What is done about it: `Accept`, `Fallback` or `Block`.
    pub action: String,
    /// The key of a policy that says so, such as `onMissing`.
    pub key: String,
    /// The policies that say so; empty: the `defaults`.
    pub policies: Vec<String>,
    /// What can be done.
    pub advice: String,
}

/// Who asks, and under which rules.
#[derive(Clone, Copy)]
pub struct Circumstance<'a> {
    /// The settings, with the policies that count.
    pub settings: &'a Settings,
    /// What the registries are asked by.
    pub observatory: &'a Observatory,
    /// The labels of the namespace.
    pub labels: &'a Labels,
    /// Its name.
    pub namespace: &'a str,
    /// The time of the judgement.
    pub now: Timestamp,
}

impl Circumstance<'_> {
    /// Explains each image of a Pod that would be created now, with its patch.
    pub async fn new_pod(&self, pod: &Pod<'_>) -> Vec<Explanation> {
        let (context, slots) = (self.context(pod), pod.slots_to_judge(AdmissionKind::Create, None));
        let mut explained = Vec::new();
        for slot in &slots {
            let (mut one, decision) = self.image(slot, slot.image, &context).await;
            if decision.outcome.denies() || one.left_alone.is_some() {
                explained.push(one);
                continue;
            }
            let plan = Plan {
                pod,
                kind: AdmissionKind::Create,
                slots: std::slice::from_ref(slot),
                decisions: vec![&decision],
                settings: self.settings,
                context: &context,
            };
            one.patch = RawValue::from_string(plan.patch().as_json().to_owned()).ok();
            explained.push(one);
        }
        explained
    }

    /// Explains each image of a Pod that runs: what was decided then, and what would be decided now.
    pub async fn running_pod(&self, pod: &Pod<'_>) -> Vec<Explanation> {
        let (context, slots) = (self.context(pod), pod.slots_to_judge(AdmissionKind::Create, None));
        let told = pod.annotations().and_then(|annotations| annotations.images.as_deref());
        let told = told.map(annotation::read).unwrap_or_default();
        let mut explained = Vec::new();
        for slot in &slots {
            let then = told.get(&slot.to_string()).filter(|then| then.is == slot.image);
            let written = then.map_or(slot.image, |then| &then.entry.was);
            let (mut one, _) = self.image(slot, written, &context).await;
            one.then = then.map(|then| Then {
                was: then.entry.was.to_string(),
                is: then.is.to_string(),
                why: then.entry.why.to_string(),
                findings: then.entry.findings.iter().map(ToString::to_string).collect(),
                place: then.entry.place.as_ref().map(ToString::to_string),
            });
            explained.push(one);
        }
        explained
    }

    fn context(&self, pod: &Pod<'_>) -> PodContext {
        PodContext {
            regime: self.settings.regime(self.labels, self.now),
            platforms: self.settings.platforms(&demand(pod)),
            exemption: if pod.mode() == Mode::Skip { Exemption::Skip } else { Exemption::None },
            now: self.now,
        }
    }

    async fn image(
        &self,
        slot: &Slot<'_>,
        written: &str,
        context: &PodContext,
    ) -> (Explanation, ImageDecision) {
        let case = self.settings.case_for(written, slot.pull_policy.pull(), context);
        let Judgement { verdict, evidence, .. } = self.judge(&case).await;
        let decision = ImageDecision::of(&case, verdict);
        let mut one = explanation(&case, &decision, &evidence);
        (one.slot, one.namespace) = (slot.to_string(), self.namespace.to_owned());
        one.left_alone = self.left_alone();
        one.policies = self.applied(written, slot, context).await;
        (one, decision)
    }

    async fn judge(&self, case: &Case) -> Judgement {
        let deadline = Instant::now() + PATIENCE;
        let asking =
            Asking { share: Share::Mutating, namespace: self.namespace, deadline, answers: Answers::Cached };
        self.observatory.judge_with_tags(case, asking).await
    }

    /// Why no door judges Pods of the namespace.
    fn left_alone(&self) -> Option<String> {
        let name = self.namespace;
        if SYSTEM_NAMESPACES.contains(&name) {
            return Some("Landfall leaves it alone in every cluster".to_owned());
        }
        let excluded = self.settings.exclude.namespaces.iter().any(|excluded| **excluded == *name);
        excluded.then(|| "`exclude.namespaces` of the configuration names it".to_owned())
    }

    /// The policies that select the namespace, and what each of those that only observe would have decided.
    async fn applied(&self, written: &str, slot: &Slot<'_>, context: &PodContext) -> Vec<Applied> {
        let mut applied = Vec::new();
        for policy in self.settings.selecting(self.labels) {
            let would = match policy.enforcement(self.namespace, self.now) {
                Enforcement::Enforce => None,
                Enforcement::Observe => {
                    let regime = Regime::of_one(self.settings.defaults.clone(), policy.clone());
                    let context = PodContext { regime: regime.into(), ..context.clone() };
                    let case = self.settings.case_for(written, slot.pull_policy.pull(), &context);
                    let verdict = self.judge(&case).await.verdict;
                    Some(ImageDecision::of(&case, verdict).outcome.reason.to_string())
                }
            };
            applied.push(Applied {
                policy: policy.name.to_string(),
                enforcement: policy.enforcement(self.namespace, self.now).to_string(),
                would,
            });
        }
        if !context.regime.enforces() {
            let defaults = Applied {
                policy: "defaults".to_owned(),
                enforcement: Enforcement::Enforce.to_string(),
                would: None,
            };
            applied.insert(0, defaults);
        }
        applied
    }
}

fn explanation(case: &Case, decision: &ImageDecision, evidence: &Evidence) -> Explanation {
    let (places, platforms) = match &case.subject {
        Subject::Routed(routed) => {
            let copies = routed.iter().map(|(ix, place)| Copy {
                registry: place.registry.name.to_string(),
                repository: format!("{}/{}", place.registry.host, place.repository),
                site: place.registry.site.to_string(),
                local: place.locality == Locality::Local,
                primary: place.role == Role::Primary,
                state: state(ix, decision, evidence),
                findings: of_place(ix, decision).map(|finding| finding.kind.to_string()).collect(),
            });
            (copies.collect(), routed.platforms.iter().map(ToString::to_string).collect())
        }
        Subject::Kept(_) => (Vec::new(), Vec::new()),
    };
    let answers = evidence.iter().map(|(query, observation, age)| {
        let (place, asked) = question(case, query);
        Answer {
            registry: place,
            question: asked,
            answer: answer(observation, case.now),
            age_seconds: age.as_secs(),
        }
    });
    Explanation {
        image: case.written.to_string(),
        slot: String::new(),
        namespace: String::new(),
        left_alone: None,
        then: None,
        route: decision.route.as_ref().map(ToString::to_string),
        name: case.name.to_string(),
        platforms,
        policies: Vec::new(),
        places,
        answers: answers.collect(),
        findings: decision.findings.iter().map(|finding| found(finding, decision)).collect(),
        reason: decision.outcome.reason.to_string(),
        becomes: decision.outcome.image.as_deref().map(str::to_owned),
        pull_secret: decision.outcome.pull_secret.as_ref().map(ToString::to_string),
        denied: decision.outcome.denies().then(|| messages::denial(&case.written, decision)),
        patch: None,
    }
}

fn of_place(ix: PlaceIx, decision: &ImageDecision) -> impl Iterator<Item = &Finding> {
    decision.findings.iter().filter(move |finding| finding.place == Some(ix))
}

fn state(ix: PlaceIx, decision: &ImageDecision, evidence: &Evidence) -> CopyState {
    if decision.outcome.place == Some(ix) {
        return CopyState::Used;
    }
    let asked = evidence.iter().any(|(query, ..)| words::place(query) == Some(ix));
    if asked || of_place(ix, decision).next().is_some() { CopyState::PassedOver } else { CopyState::NotAsked }
}

fn found(finding: &Finding, decision: &ImageDecision) -> Found {
    Found {
        finding: finding.kind.to_string(),
        registry: decision.registry_of(finding).map(ToString::to_string),
        digest: finding.digest.as_ref().map(Digest::to_string),
        detail: finding.detail.to_string(),
        action: finding.action.to_string(),
        key: finding.kind.key().to_string(),
        policies: finding.policies.iter().map(PolicyName::to_string).collect(),
        advice: messages::advice(finding.kind).to_owned(),
    }
}
