//! One workload: what the doors would make of its Pod, and with which credentials its images would be pulled.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use tokio::time::{Duration, Instant, sleep_until};

use super::forecast::{Obstacle, Subject};
use super::keys::Held;
use super::node::{Credentials, Node, Pull};
use super::scene::Drill;
use crate::cluster::PodSecret;
use crate::domain::case::{Case, Exemption, PodContext, Subject as Routing};
use crate::domain::credential::Credential;
use crate::domain::decision::ImageDecision;
use crate::domain::evidence::{Observation, TagDigest};
use crate::domain::finding::FindingKind;
use crate::domain::image::Reference;
use crate::domain::keyring::{Keyring, SecretBody};
use crate::domain::messages;
use crate::domain::platform::PlatformPattern;
use crate::domain::policy::{Labels, NAMESPACE_NAME};
use crate::domain::pull_secrets::Source;
use crate::evidence::{Answers, Asking, Share};
use crate::pod::plan::{Original, originals};
use crate::pod::platform::demand;
use crate::pod::slots::{AdmissionKind, Field, PullPolicy};
use crate::pod::{Mode, Pod};

/// How long one judgement may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long is waited until a primary is asked again for the digest of a tag, which is looked up behind.
const GLANCE: Duration = Duration::from_millis(50);

/// A workload, judged.
pub(super) struct Judged {
    pub images: Vec<JudgedImage>,
    /// What was taken for granted for it.
    pub assumed: Vec<String>,
}

/// An image, judged.
pub(super) struct JudgedImage {
    pub slot: String,
    pub written: String,
    pub decision: Option<ImageDecision>,
    /// What will become of it, where that is known without asking for it, or what a node would ask for.
    pub next: Next,
    /// Whether its credentials are not known, and were taken for good ones.
    pub notes: Vec<String>,
}

/// What is known of an image once it is judged.
pub(super) enum Next {
    /// It is pulled.
    Pull(Pull),
    /// This hinders it.
    Stuck(Obstacle, String),
}

impl Judged {
    pub fn pulls(&self) -> impl Iterator<Item = &Pull> {
        self.images.iter().filter_map(|image| match &image.next {
            Next::Pull(pull) => Some(pull),
            Next::Stuck(..) => None,
        })
    }
}

/// What the kubelet reads of a Pod beside its images, in the Pod's order.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Secrets {
    spec: SecretsSpec,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SecretsSpec {
    image_pull_secrets: Option<Vec<NamedSecret>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedSecret {
    name: Option<String>,
}

impl Drill<'_> {
    /// Judges a workload as the doors would.
    pub(super) async fn judge(&self, subject: &Subject, node: &Node<'_>) -> Judged {
        let mut all = Judged { images: Vec::new(), assumed: Vec::new() };
        for pod in &subject.pods {
            let one = self.judge_pod(subject, pod, node).await;
            all.images.extend(one.images);
            all.assumed.extend(one.assumed);
        }
        all
    }

    async fn judge_pod(&self, subject: &Subject, text: &str, node: &Node<'_>) -> Judged {
        let stuck = |why: String| Judged {
            images: vec![JudgedImage {
                slot: String::new(),
                written: String::new(),
                decision: None,
                next: Next::Stuck(Obstacle::NotTold, why),
                notes: Vec::new(),
            }],
            assumed: Vec::new(),
        };
        let pod: Pod<'_> = match serde_json::from_str(text) {
            Ok(pod) => pod,
            Err(error) => return stuck(format!("its Pod cannot be read: {error}")),
        };
        if pod.unread(AdmissionKind::Create) > 0 {
            return stuck("its Pod has more images than are read".to_owned());
        }
        let alone = self.settings.leaves_alone(&subject.namespace, self.own_namespace);
        let labels = self.labels.get(&subject.namespace).cloned();
        let labels = labels
            .unwrap_or_else(|| Labels::at_least([(NAMESPACE_NAME.to_owned(), subject.namespace.clone())]));
        let context = PodContext {
            regime: self.settings.regime(&labels, self.now),
            platforms: self.settings.platforms(&demand(&pod)),
            exemption: if pod.mode() == Mode::Skip { Exemption::Skip } else { Exemption::None },
            now: self.now,
        };
        let mut images = Vec::new();
        for Original { slot, was } in originals(&pod, self.settings, &context) {
            if slot.field == Field::Ephemeral {
                continue;
            }
            let written = was.map_or_else(|| slot.image.to_owned(), Cow::into_owned);
            let decision = match alone {
                true => None,
                false => {
                    let case = self.settings.case_for(&written, slot.pull_policy.pull(), &context);
                    Some(self.image_decision(&case, &subject.namespace).await)
                }
            };
            images.push((slot, written, decision));
        }
        let added: Vec<_> = images
            .iter()
            .filter_map(|(.., decision)| decision.as_ref())
            .filter(|decision| decision.outcome.image.is_some() || decision.outcome.place.is_some())
            .filter_map(|decision| decision.outcome.pull_secret.clone())
            .collect();
        let mut keys = self
            .credentials(
                subject,
                (text, &pod),
                &labels,
                &added.iter().map(|one| one.as_str()).collect::<Vec<_>>(),
            )
            .await;
        let images = images
            .into_iter()
            .map(|(slot, written, decision)| {
                let next =
                    self.next(&written, slot.pull_policy, decision.as_ref(), &keys, &context.platforms, node);
                let notes = match &next {
                    Next::Pull(pull) if pull.credentials.is_assumed() => {
                        vec!["its pull secrets could not be read: they were taken for good ones".to_owned()]
                    }
                    _ => Vec::new(),
                };
                JudgedImage { slot: slot.plain(), written, decision, next, notes }
            })
            .collect();
        Judged { images, assumed: std::mem::take(&mut keys.assumed) }
    }

    /// As a door that has run for a while: the digest of a tag at a primary that is not lost is known there.
    async fn image_decision(&self, case: &Case, namespace: &str) -> ImageDecision {
        let deadline = Instant::now() + PATIENCE;
        let asking = Asking { share: Share::Mutating, namespace, deadline, answers: Answers::Cached };
        let primary_is_lost = match &case.subject {
            Routing::Routed(routed) => {
                routed.primary().is_none_or(|(_, place)| self.lost.contains(&place.registry.name))
            }
            Routing::Kept(_) => true,
        };
        loop {
            let judged = self.observatory.judge(case, asking).await;
            let awaited = !primary_is_lost
                && judged.evidence.iter().any(|(_, observation, _)| {
                    *observation == Observation::TagDigest(TagDigest::NotRemembered)
                });
            let next = Instant::now() + GLANCE;
            if !awaited || next + Duration::from_secs(25) >= deadline {
                return ImageDecision::of(case, judged.verdict);
            }
            sleep_until(next).await;
        }
    }

    fn next(
        &self,
        written: &str,
        policy: PullPolicy,
        decision: Option<&ImageDecision>,
        keys: &PodKeys,
        platforms: &Arc<[PlatformPattern]>,
        node: &Node<'_>,
    ) -> Next {
        if let Some(decision) = decision.filter(|decision| decision.outcome.denies()) {
            return Next::Stuck(Obstacle::Denied, messages::denial(written, decision));
        }
        if policy == PullPolicy::Never {
            return Next::Stuck(
                Obstacle::NeverPulled,
                "imagePullPolicy is Never, and a new node does not have the image".to_owned(),
            );
        }
        let image = decision.and_then(|decision| decision.outcome.image.as_deref()).unwrap_or(written);
        let reference = match Reference::parse(image) {
            Ok(reference) if !reference.host.is_empty() => reference,
            Ok(_) => {
                return Next::Stuck(
                    Obstacle::NotTold,
                    "runtimes disagree about the host of this image".to_owned(),
                );
            }
            Err(error) => return Next::Stuck(Obstacle::NoReference, error.to_string()),
        };
        let Some(registry) = node.registry(reference.host) else {
            return Next::Stuck(
                Obstacle::NotTold,
                format!("`{}` is no host that can be asked", reference.host),
            );
        };
        if self.lost.contains(&registry.name) {
            return Next::Stuck(Obstacle::RegistryLost, lost(registry.name.as_str(), decision));
        }
        let credentials = match keys.found(reference.host, &reference.path) {
            Ok(credentials) => credentials,
            Err(why) => return Next::Stuck(Obstacle::MalformedSecret, why),
        };
        Next::Pull(Pull {
            image: image.to_owned(),
            registry: registry.name.clone(),
            credentials,
            platforms: platforms.clone(),
        })
    }

    /// What the kubelet would find for the Pod. `added`: the pull secrets that Landfall adds.
    async fn credentials(
        &self,
        subject: &Subject,
        (text, pod): (&str, &Pod<'_>),
        labels: &Labels,
        added: &[&str],
    ) -> PodKeys {
        let own: Secrets = serde_json::from_str(text).unwrap_or_default();
        let own = own.spec.image_pull_secrets.unwrap_or_default();
        let mut names: Vec<String> =
            own.into_iter().filter_map(|named| named.name).filter(|name| !name.is_empty()).collect();
        let mut keys = PodKeys::default();
        if names.is_empty() {
            let account = pod.spec.service_account_name.as_deref().filter(|name| !name.is_empty());
            let account = account.unwrap_or("default");
            match self.keys.account(&subject.namespace, account).await {
                Held::Account(listed) => names = listed,
                Held::Unread(why) => {
                    keys.assume(format!(
                        "ServiceAccount {}/{account} could not be read ({why}): its pull secrets, if it names any, are taken for good",
                        subject.namespace
                    ));
                    keys.unread = true;
                }
                Held::Absent | Held::Secret(_) => {}
            }
        }
        for name in added {
            if !names.iter().any(|known| known == name) {
                names.push((*name).to_owned());
            }
        }
        for name in names {
            match self.keys.secret(&subject.namespace, &name).await {
                Held::Secret(secret) => keys.secrets.push((name, secret)),
                Held::Absent | Held::Account(_) => self.made(&name, labels, &mut keys).await,
                Held::Unread(why) => {
                    let managed =
                        self.settings.pull_secrets.iter().any(|managed| managed.secret.as_str() == name);
                    if managed {
                        self.made(&name, labels, &mut keys).await;
                    } else {
                        keys.assume(format!(
                            "Secret {}/{name} could not be read ({why}): it is taken for good wherever images are pulled with it",
                            subject.namespace
                        ));
                        keys.unread = true;
                    }
                }
            }
        }
        keys
    }

    /// A Secret that is not there: where Landfall makes it, it would be. Otherwise the kubelet goes on without it.
    async fn made(&self, name: &str, labels: &Labels, keys: &mut PodKeys) {
        let Some(managed) = self.settings.pull_secrets.iter().find(|managed| managed.secret.as_str() == name)
        else {
            return;
        };
        match managed.source(labels) {
            Source::Dir(dir) => {
                let (registry, dir) = (managed.registry.clone(), dir.to_owned());
                let source = self.observatory.pull_source(&registry, &dir);
                match source.content().await {
                    Ok(content) => keys.secrets.push((
                        name.to_owned(),
                        PodSecret {
                            kind: "kubernetes.io/dockerconfigjson".to_owned(),
                            data: [(".dockerconfigjson".to_owned(), content.bytes().to_vec())].into(),
                        },
                    )),
                    Err(_) => {
                        keys.assume(format!(
                            "Landfall makes the Secret `{name}`, and the files that it makes it of are not here: they are taken for good"
                        ));
                        keys.unread = true;
                    }
                }
            }
            Source::None => {}
            Source::Unknown => {
                keys.assume(format!(
                    "Landfall makes the Secret `{name}` in each namespace whose Pods need it"
                ));
                keys.unread = true;
            }
        }
    }
}

fn lost(registry: &str, decision: Option<&ImageDecision>) -> String {
    let said = format!("a node would ask `{registry}`, which is lost");
    match decision {
        None => format!("{said}: Landfall leaves the namespace alone"),
        Some(decision) => {
            let kinds: BTreeSet<String> = decision.kinds().iter().map(FindingKind::to_string).collect();
            let kinds: Vec<String> = kinds.into_iter().collect();
            match kinds.is_empty() {
                true => format!("{said} ({})", decision.outcome.reason),
                false => format!("{said} ({})", kinds.join(", ")),
            }
        }
    }
}

/// The pull secrets of a Pod, as far as they could be read.
#[derive(Default)]
struct PodKeys {
    secrets: Vec<(String, PodSecret)>,
    /// Whether there may be more.
    unread: bool,
    assumed: Vec<String>,
}

impl PodKeys {
    fn assume(&mut self, what: String) {
        if !self.assumed.contains(&what) {
            self.assumed.push(what);
        }
    }

    /// All credentials for this repository, in the kubelet's order.
    ///
    /// # Errors
    /// The kubelet cannot read one of the Secrets: for people.
    fn found(&self, host: &str, repository: &str) -> Result<Credentials, String> {
        let bodies = || {
            self.secrets.iter().filter_map(|(name, secret)| {
                Some((name, SecretBody::of(&secret.kind, |key| secret.data.get(key).map(Vec::as_slice))?))
            })
        };
        for (name, body) in bodies() {
            if let Err(error) = Keyring::of_pull_secrets([body]) {
                return Err(format!("the kubelet cannot read the pull secret `{name}`: {error}"));
            }
        }
        let keyring =
            Keyring::of_pull_secrets(bodies().map(|(_, body)| body)).map_err(|error| error.to_string())?;
        let found: Vec<Credential> = keyring.lookup(host, repository).into_iter().cloned().collect();
        Ok(Credentials::new(found, self.unread))
    }
}
