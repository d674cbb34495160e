//! Pods, as dry runs: the whole way at once, and who else stands in it.

use std::collections::BTreeMap;

use super::{Installation, Line, NAME, Sample, Specimen};
use crate::cluster::{Cluster, ClusterError, Registration, Trial, TrialPod};
use crate::domain::case::Routed;
use crate::domain::policy::{LabelRequirement, LabelTest, Labels, NAMESPACE_NAME, Selector};
use crate::domain::registry::{RegistryName, folded};
use crate::domain::route::Rewrite;
use crate::domain::verdict::{FindingKind, PolicyKey, Reason};
use crate::pod::Entry;
use crate::pod::annotation::{self, AnnotatedImage};
use crate::pod::surface::{IMAGES, MODE};

/// What to do where a namespace will not do.
pub(super) const ANOTHER: &str =
    "name a namespace whose Pods come to Landfall: --pods-in (`doctor.namespace` of the chart)";

/// What became of Pods; and whether the API server called Landfall and was answered.
pub(super) async fn look(
    cluster: &Cluster,
    entries: &[Registration],
    installation: &Installation,
    specimen: &Specimen,
    namespace: &str,
) -> (Vec<Line>, bool) {
    let labels = match reach(cluster, namespace).await {
        Ok(labels) => labels,
        Err(line) => return (vec![line], false),
    };
    let ground = Ground { cluster, entries, installation, specimen, namespace };
    let (pod, answered) = match selected(entries, &labels, namespace) {
        Ok(()) => ground.come_ashore().await.unwrap_or_else(|error| (Line::untold("pod", &error), false)),
        Err(line) => (line, false),
    };
    let mut lines = vec![pod, ground.order().await.unwrap_or_else(|error| Line::untold("order", &error))];
    lines.extend(ground.others().await.unwrap_or_else(|error| vec![Line::untold("admission", &error)]));
    (lines, answered)
}

/// Can Pods be tried in this namespace? Its labels.
async fn reach(cluster: &Cluster, namespace: &str) -> Result<Labels, Line> {
    let untold = |error: ClusterError| Line::untold("pod", &error);
    let labels = cluster.labels_of(namespace).await.map_err(untold)?;
    let Some(labels) = labels else {
        return Err(Line::wrong("pod", format!("there is no namespace `{namespace}`"), ANOTHER));
    };
    if cluster.may_create_pods(namespace).await.map_err(untold)? {
        return Ok(labels);
    }
    Err(Line::skipped("pod", format!("we may not create Pods in `{namespace}`, not even as a dry run")))
}

/// Do this namespace's Pods come to Landfall?
fn selected(entries: &[Registration], labels: &Labels, namespace: &str) -> Result<(), Line> {
    let mut requirements = entries.iter().flat_map(|entry| &entry.namespaces.requirements);
    let misses = |requirement: &&LabelRequirement| {
        !Selector { requirements: vec![(*requirement).clone()] }.matches(labels)
    };
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
        Some(label) => format!("`kubectl label namespace {namespace} {label}`, or {ANOTHER}"),
        None => ANOTHER.to_owned(),
    };
    let said = format!(
        "Pods of `{namespace}` do not come to Landfall: the webhook's namespaceSelector asks for {asks}"
    );
    Err(Line::wrong("pod", said, todo))
}

/// Labels that the webhook's objectSelector asks for.
fn wanted(entries: &[Registration]) -> BTreeMap<String, String> {
    let requirements = entries.iter().flat_map(|entry| &entry.objects.requirements);
    let label = |LabelRequirement { key, test }: &LabelRequirement| match test {
        LabelTest::In(values) => Some((key.to_string(), values.first()?.to_string())),
        LabelTest::Exists => Some((key.to_string(), "true".to_owned())),
        LabelTest::NotIn(_) | LabelTest::DoesNotExist => None,
    };
    requirements.filter_map(label).collect()
}

/// Where Pods are tried, and with what.
struct Ground<'a> {
    cluster: &'a Cluster,
    entries: &'a [Registration],
    installation: &'a Installation,
    specimen: &'a Specimen,
    namespace: &'a str,
}

impl Ground<'_> {
    fn pod(&self, image: &str, annotations: BTreeMap<String, String>) -> TrialPod {
        TrialPod { name: NAME, image: image.to_owned(), labels: wanted(self.entries), annotations }
    }

    async fn admit(&self, image: &str) -> Result<Trial, ClusterError> {
        self.cluster.try_pod(self.namespace, &self.pod(image, BTreeMap::new())).await
    }

    /// Left alone by Landfall: only others have a say.
    async fn admit_as_it_is(&self, image: &str) -> Result<Trial, ClusterError> {
        let skip = BTreeMap::from([(MODE.to_owned(), "Skip".to_owned())]);
        self.cluster.try_pod(self.namespace, &self.pod(image, skip)).await
    }

    /// Was it Landfall that refused?
    fn ours(&self, refusal: &str) -> bool {
        let named = |entry: &Registration| format!("admission webhook \"{}\" denied the request", entry.name);
        self.entries.iter().any(|entry| refusal.contains(&named(entry)))
    }

    /// One Pod, the whole way; and whether Landfall answered.
    async fn come_ashore(&self) -> Result<(Line, bool), ClusterError> {
        let Specimen { image, real, routed, .. } = self.specimen;
        let Installation { release, namespace: home, .. } = self.installation;
        let (about, namespace) = ("pod", self.namespace);
        let refusal = match self.admit(image).await? {
            Trial::Refused(refusal) => refusal,
            Trial::Admitted { image: now, annotations } => {
                return Ok(match written(&annotations) {
                    Some(written) => (self.told(&now, &written), true),
                    None if routed.rewrite == Rewrite::Observe => {
                        let said = format!(
                            "route `{}` says `rewrite: false`: Landfall leaves no trace on its Pods",
                            routed.route
                        );
                        (Line::skipped(about, said), false)
                    }
                    None => {
                        let said = format!(
                            "a Pod of `{namespace}` came back as it was: the API server got no answer of Landfall, and ignored that"
                        );
                        let todo = format!(
                            "mend what is wrong above; else the API server's own log says why (`failed calling webhook`), or `kubectl -n {home} logs deployment/{release}`. A change takes a second or two"
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
                    "a policy asks for this: put right what it names, or name another image",
                ),
                false => Line::ok(
                    about,
                    format!(
                        "the API server calls Landfall, which denied an image that nobody has, as a policy asks in `{namespace}`. {NOT_PROVED}"
                    ),
                ),
            };
            return Ok((line, true));
        }
        let todo = match self.admit_as_it_is(image).await? {
            Trial::Admitted { .. } => {
                "the same Pod is let in when Landfall leaves it alone: see `admission` for the hosts that are refused"
            }
            Trial::Refused(_) => {
                "the same Pod is refused without Landfall, too: name another namespace (--pods-in) or image (--image)"
            }
        };
        Ok((Line::wrong(about, refusal, todo), false))
    }

    /// What Landfall answered.
    fn told(&self, now: &str, written: &AnnotatedImage<'_>) -> Line {
        let AnnotatedImage { is, entry: Entry { why, findings, place, .. } } = written;
        let Specimen { image, real, .. } = self.specimen;
        let about = "pod";
        if now != is {
            let said =
                format!("Landfall wrote `{is}`, and the Pod has `{now}`: somebody changed it afterwards");
            return Line::wrong(
                about,
                said,
                "one rewriter of images is enough: see `order` for who is called after Landfall",
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
                "the API server calls Landfall, which answers {why}{why_not} for an image that nobody has. {NOT_PROVED}"
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
                "see the registries above; if they are well from here, Landfall's replicas see them otherwise: `kubectl -n {home} logs deployment/{release}`"
            )
        } else {
            "mend that at this site's registry (README, \"What happens when\"), or name another image"
                .to_owned()
        };
        Line::wrong(about, said, todo)
    }

    /// Who has a say after us.
    async fn order(&self) -> Result<Line, ClusterError> {
        let release = &self.installation.release;
        let mutators = self.cluster.mutators().await?;
        let after: Vec<_> =
            mutators.iter().filter(|name| *name > release).map(|name| format!("`{name}`")).collect();
        let said = match after.is_empty() {
            true => "no other mutating webhook is called for Pods after Landfall".to_owned(),
            false => format!(
                "called for Pods after Landfall: {}; of what they change Landfall is told again",
                after.join(", ")
            ),
        };
        Ok(Line::ok("order", said))
    }

    /// The image under each other host that Landfall may write into a Pod, by host.
    fn hosts(&self) -> BTreeMap<&str, String> {
        let Routed { named, .. } = self.specimen.routed;
        let named = self.specimen.routed.place(named).map(|place| &*place.registry.host);
        let mut hosts = BTreeMap::new();
        for sample in self.specimen.samples() {
            let host = &*sample.place.registry.host;
            if Some(folded(host)) != named.map(folded) {
                hosts.entry(host).or_insert_with(|| under(&sample));
            }
        }
        hosts
    }

    /// Does anybody refuse Pods for a host that Landfall may write? The same Pod under each, which Landfall leaves alone.
    async fn others(&self) -> Result<Vec<Line>, ClusterError> {
        let (about, namespace) = ("admission", self.namespace);
        if let Trial::Refused(said) = self.admit_as_it_is(&self.specimen.image).await? {
            let why = match self.ours(&said) {
                true => format!(
                    "a policy of Landfall enforces in `{namespace}`, so it cannot be left out: --pods-in"
                ),
                false => format!("the Pod is refused even as it is written: {said}"),
            };
            return Ok(vec![Line::skipped(about, why)]);
        }
        let (mut wrong, mut fine) = (Vec::new(), Vec::new());
        for (host, image) in self.hosts() {
            match self.admit_as_it_is(&image).await? {
                Trial::Admitted { .. } => fine.push(format!("`{host}`")),
                Trial::Refused(said) => {
                    let todo = format!(
                        "have it allow `{host}`: Landfall writes it into Pods. (As written, the same Pod is let in.)"
                    );
                    wrong.push(Line::wrong(about, said, todo));
                }
            }
        }
        if wrong.is_empty() {
            let said = format!("Pods of `{namespace}` may name {}: nobody refuses them", fine.join(", "));
            wrong.push(Line::ok(about, said));
        }
        Ok(wrong)
    }
}

/// An image as it would be named there.
fn under(Sample { routed: Routed { tag, digest, .. }, place }: &Sample<'_>) -> String {
    let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{}/{}{tag}{digest}", place.registry.host, place.repository)
}

/// What a made-up image leaves open.
const NOT_PROVED: &str =
    "That an image comes ashore is not proved by that: name one, --image (`doctor.image` of the chart)";

/// What Landfall wrote down of our container.
fn written(annotations: &BTreeMap<String, String>) -> Option<AnnotatedImage<'_>> {
    annotation::read(annotations.get(IMAGES)?).remove(&format!("containers/{NAME}"))
}
