//! Tries Pods as dry runs: the whole admission at once, and the other admission plugins.

use std::collections::BTreeMap;

use super::{Installation, Line, NAME, Sample, TestImage};
use crate::cluster::{Cluster, ClusterError, Registration, Trial, TrialPod};
use crate::domain::case::Routed;
use crate::domain::finding::{FindingKind, PolicyKey};
use crate::domain::name::RegistryName;
use crate::domain::policy::{LabelRequirement, LabelTest, Labels, NAMESPACE_NAME, Selector};
use crate::domain::registry::folded;
use crate::domain::route::Rewrite;
use crate::domain::verdict::Reason;
use crate::pod::Entry;
use crate::pod::annotation::{self, AnnotatedImage};
use crate::pod::surface::{IMAGES, MODE};

/// What to do where a namespace cannot be used.
pub(super) const OTHER_NAMESPACE: &str =
    "name a namespace whose Pods are sent to Landfall: --pods-in (`doctor.namespace` of the chart)";

/// Tries Pods. Returns the lines, and whether the API server called Landfall and got an answer.
pub(super) async fn check(
    cluster: &Cluster,
    entries: &[Registration],
    installation: &Installation,
    image: &TestImage,
    namespace: &str,
) -> (Vec<Line>, bool) {
    let labels = match labels_of_usable(cluster, namespace).await {
        Ok(labels) => labels,
        Err(line) => return (vec![line], false),
    };
    let trials = Trials { cluster, entries, installation, image, namespace };
    let skipped = Line::skipped_by_error;
    let (pod, answered) = match selected(entries, &labels, namespace) {
        Ok(()) => trials.whole_admission().await.unwrap_or_else(|error| (skipped("pod", &error), false)),
        Err(line) => (line, false),
    };
    let mut lines = vec![pod, trials.order().await.unwrap_or_else(|error| skipped("order", &error))];
    lines.extend(trials.other_hosts().await.unwrap_or_else(|error| vec![skipped("admission", &error)]));
    (lines, answered)
}

/// The labels of this namespace, if Pods can be tried in it.
pub(super) async fn labels_of_usable(cluster: &Cluster, namespace: &str) -> Result<Labels, Line> {
    let skipped = |error: ClusterError| Line::skipped_by_error("pod", &error);
    let labels = cluster.labels_of(namespace).await.map_err(skipped)?;
    let Some(labels) = labels else {
        return Err(Line::wrong("pod", format!("there is no namespace `{namespace}`"), OTHER_NAMESPACE));
    };
    if cluster.may_create_pods(namespace).await.map_err(skipped)? {
        return Ok(labels);
    }
    Err(Line::skipped(
        "pod",
        format!("we have no permission to create Pods in `{namespace}`, not even as a dry run"),
    ))
}

/// Whether the API server sends this namespace's Pods to Landfall.
fn selected(entries: &[Registration], labels: &Labels, namespace: &str) -> Result<(), Line> {
    let mut requirements = entries.iter().flat_map(|entry| entry.namespaces.requirements());
    let misses =
        |requirement: &&LabelRequirement| !Selector::new(vec![(*requirement).clone()]).matches(labels);
    let Some(LabelRequirement { key, test }) = requirements.find(misses) else { return Ok(()) };
    let (asks, label) = match test {
        LabelTest::In(values) => (
            format!("{key} in [{}]", values.join(", ")),
            values.first().map(|value| format!("{key}={value}")),
        ),
        LabelTest::NotIn(values) => {
            (format!("{key} not in [{}]", values.join(", ")), Some(format!("{key}-")))
        }
        LabelTest::Exists => (format!("a label {key}"), Some(format!("{key}=true"))),
        LabelTest::DoesNotExist => (format!("no label {key}"), Some(format!("{key}-"))),
    };
    let todo = match label.filter(|_| **key != *NAMESPACE_NAME) {
        Some(label) => format!("`kubectl label namespace {namespace} {label}`, or {OTHER_NAMESPACE}"),
        None => OTHER_NAMESPACE.to_owned(),
    };
    let said = format!(
        "Pods of `{namespace}` are not sent to Landfall: the webhook's namespaceSelector requires {asks}"
    );
    Err(Line::wrong("pod", said, todo))
}

/// The labels that the webhook's objectSelector requires.
fn wanted(entries: &[Registration]) -> BTreeMap<String, String> {
    let requirements = entries.iter().flat_map(|entry| entry.objects.requirements());
    let label = |LabelRequirement { key, test }: &LabelRequirement| match test {
        LabelTest::In(values) => Some((key.to_string(), values.first()?.to_string())),
        LabelTest::Exists => Some((key.to_string(), "true".to_owned())),
        LabelTest::NotIn(_) | LabelTest::DoesNotExist => None,
    };
    requirements.filter_map(label).collect()
}

/// Tries Pods with one image in one namespace.
struct Trials<'a> {
    cluster: &'a Cluster,
    entries: &'a [Registration],
    installation: &'a Installation,
    image: &'a TestImage,
    namespace: &'a str,
}

impl Trials<'_> {
    fn pod(&self, image: &str, annotations: BTreeMap<String, String>) -> TrialPod {
        TrialPod { name: NAME, image: image.to_owned(), labels: wanted(self.entries), annotations }
    }

    async fn admit(&self, image: &str) -> Result<Trial, ClusterError> {
        self.cluster.try_pod(self.namespace, &self.pod(image, BTreeMap::new())).await
    }

    /// Tries a Pod that Landfall does not change, so that only other admission plugins can refuse it.
    async fn admit_unchanged(&self, image: &str) -> Result<Trial, ClusterError> {
        let skip = BTreeMap::from([(MODE.to_owned(), "Skip".to_owned())]);
        self.cluster.try_pod(self.namespace, &self.pod(image, skip)).await
    }

    /// Whether it was Landfall that refused the Pod.
    fn ours(&self, refusal: &str) -> bool {
        let named = |entry: &Registration| format!("admission webhook \"{}\" denied the request", entry.name);
        self.entries.iter().any(|entry| refusal.contains(&named(entry)))
    }

    /// Tries one Pod through the whole admission. Also returns whether Landfall answered.
    async fn whole_admission(&self) -> Result<(Line, bool), ClusterError> {
        let TestImage { image, real, routed, .. } = self.image;
        let Installation { release, namespace: home, .. } = self.installation;
        let (about, namespace) = ("pod", self.namespace);
        let refusal = match self.admit(image).await? {
            Trial::Refused(refusal) => refusal,
            Trial::Admitted { image: now, annotations } => {
                return Ok(match written(&annotations) {
                    Some(written) => (self.answer(&now, &written), true),
                    None if routed.rewrite == Rewrite::Observe => {
                        let said = format!(
                            "route `{}` says `rewrite: false`, so Landfall does not change its Pods",
                            routed.route
                        );
                        (Line::skipped(about, said), false)
                    }
                    None => {
                        let said = format!(
                            "a Pod of `{namespace}` came back unchanged: the API server got no answer from Landfall, and ignored that"
                        );
                        let todo = format!(
                            "correct what is wrong above; otherwise see why in the API server's own log (`failed calling webhook`) or in `kubectl -n {home} logs deployment/{release}`. A change takes one or two seconds to have effect"
                        );
                        (Line::wrong(about, said, todo), false)
                    }
                });
            }
        };
        if self.ours(&refusal) {
            let line = match real {
                true => Line::wrong(
                    about,
                    refusal,
                    "a policy denies this image: correct what the message names, or name another image",
                ),
                false => Line::ok(
                    about,
                    format!(
                        "the API server calls Landfall, which denied a made-up image, as a policy requires in `{namespace}`. {NOT_PROVED}"
                    ),
                ),
            };
            return Ok((line, true));
        }
        let todo = match self.admit_unchanged(image).await? {
            Trial::Admitted { .. } => {
                "the same Pod is admitted when Landfall does not change it: see `admission` for the hosts that are refused"
            }
            Trial::Refused(_) => {
                "the same Pod is also refused without Landfall: name another namespace (--pods-in) or image (--image)"
            }
        };
        Ok((Line::wrong(about, refusal, todo), false))
    }

    /// The line for the answer that Landfall wrote into the annotation.
    fn answer(&self, now: &str, written: &AnnotatedImage<'_>) -> Line {
        let AnnotatedImage { is, entry: Entry { why, findings, place, .. } } = written;
        let TestImage { image, real, .. } = self.image;
        let about = "pod";
        if now != is {
            let said = format!(
                "Landfall wrote `{is}`, but the Pod has `{now}`: another webhook changed the image afterwards"
            );
            return Line::wrong(
                about,
                said,
                "let only one webhook rewrite images: see `order` for those that are called after Landfall",
            );
        }
        let words: Vec<_> = findings.iter().map(|finding| finding.as_str()).collect();
        let why_not = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
        let local = [Reason::Local, Reason::AlreadyLocal, Reason::Accepted, Reason::Presumed];
        if local.contains(why) {
            let place = place.as_ref().map(RegistryName::as_str).unwrap_or_default();
            return Line::ok(about, format!("`{image}` came back as `{is}`: {why} at `{place}`{why_not}"));
        }
        if !real && findings.iter().all(|finding| *finding == FindingKind::Missing) {
            let said = format!(
                "the API server calls Landfall, which answers {why}{why_not} for a made-up image. {NOT_PROVED}"
            );
            return Line::ok(about, said);
        }
        let said = format!("Landfall answers {why}{why_not} for `{image}`, and no local copy is used");
        let met = |key| findings.iter().any(|finding| finding.key() == key);
        let Installation { release, namespace: home, .. } = self.installation;
        let todo = if met(PolicyKey::OnMissing) {
            "replicate it to this site, or name another image".to_owned()
        } else if met(PolicyKey::OnUnknown) {
            format!(
                "see the registries above; if they work from here, see what Landfall's replicas say: `kubectl -n {home} logs deployment/{release}`"
            )
        } else {
            "correct this at this site's registry (README, \"What happens when\"), or name another image"
                .to_owned()
        };
        Line::wrong(about, said, todo)
    }

    /// Lists the mutating webhooks that are called after Landfall.
    async fn order(&self) -> Result<Line, ClusterError> {
        let release = &self.installation.release;
        let mutators = self.cluster.mutators().await?;
        let after: Vec<_> =
            mutators.iter().filter(|name| *name > release).map(|name| format!("`{name}`")).collect();
        let said = match after.is_empty() {
            true => "no other mutating webhook is called for Pods after Landfall".to_owned(),
            false => format!(
                "called for Pods after Landfall: {}; if they change a Pod, Landfall is called again",
                after.join(", ")
            ),
        };
        Ok(Line::ok("order", said))
    }

    /// The image as named at each other host that Landfall may write into a Pod, by host.
    fn hosts(&self) -> BTreeMap<&str, String> {
        let Routed { named, .. } = self.image.routed;
        let named = self.image.routed.place(named).map(|place| &*place.registry.host);
        let mut hosts = BTreeMap::new();
        for sample in self.image.samples() {
            let host = &*sample.place.registry.host;
            if Some(folded(host)) != named.map(folded) {
                hosts.entry(host).or_insert_with(|| reference(&sample));
            }
        }
        hosts
    }

    /// Finds admission plugins that refuse a host which Landfall may write: tries the same Pod with each host, in a way
    /// that Landfall does not change it.
    async fn other_hosts(&self) -> Result<Vec<Line>, ClusterError> {
        let (about, namespace) = ("admission", self.namespace);
        if let Trial::Refused(said) = self.admit_unchanged(&self.image.image).await? {
            let why = match self.ours(&said) {
                true => format!(
                    "a policy of Landfall enforces in `{namespace}`, so Pods cannot be tried without Landfall; name another namespace with --pods-in"
                ),
                false => format!("the Pod is refused even as written: {said}"),
            };
            return Ok(vec![Line::skipped(about, why)]);
        }
        let (mut wrong, mut fine) = (Vec::new(), Vec::new());
        for (host, image) in self.hosts() {
            match self.admit_unchanged(&image).await? {
                Trial::Admitted { .. } => fine.push(format!("`{host}`")),
                Trial::Refused(said) => {
                    let todo = format!(
                        "let it allow `{host}`: Landfall writes this host into Pods. (As written, the same Pod is admitted.)"
                    );
                    wrong.push(Line::wrong(about, said, todo));
                }
            }
        }
        if wrong.is_empty() {
            let said = format!(
                "Pods of `{namespace}` may use {}: no admission plugin refuses them",
                fine.join(", ")
            );
            wrong.push(Line::ok(about, said));
        }
        Ok(wrong)
    }
}

/// The reference of an image at a Place.
pub(super) fn reference(Sample { routed: Routed { tag, digest, .. }, place }: &Sample<'_>) -> String {
    let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{}/{}{tag}{digest}", place.registry.host, place.repository)
}

/// What the check with a made-up image does not prove.
const NOT_PROVED: &str = "This does not prove that a local copy is used: name a real image with --image (`doctor.image` of the chart)";

/// The annotation's entry for our container.
fn written(annotations: &BTreeMap<String, String>) -> Option<AnnotatedImage<'_>> {
    annotation::read(annotations.get(IMAGES)?).remove(&format!("containers/{NAME}"))
}
