//! Checks the second door: the validating webhook, which refuses what the policies deny and fails closed.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::certificate::{Caller, caller, roots};
use super::{Found, Installation, Line, NAME, Sample, TestImage, pods, webhook};
use crate::cluster::{Backends, Called, Cluster, Entry, Registered, Registration, Trial, TrialPod};
use crate::domain::finding::{Action, FindingKind};
use crate::domain::policy::{Enforcement, Labels, Selector, VALIDATE};
use crate::domain::settings::Settings;

const ABOUT: &str = "second door";

/// How often the entries are read until they are right: the leader writes them once it is ready, which may be a few seconds
/// after the Deployment says that it is rolled out.
const LOOKS: u32 = 15;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn check(
    cluster: &Cluster,
    installation: &Installation,
    settings: Option<&Settings>,
    image: Option<&TestImage>,
    namespace: &str,
) -> Vec<Line> {
    let Installation { release, .. } = installation;
    let mut looks = 1;
    let (registered, mut lines) = loop {
        let registered = cluster.validators(release).read().await;
        let lines = match &registered {
            Ok(Some(registered)) => entries(registered, installation, settings),
            Ok(None) | Err(_) => Vec::new(),
        };
        if looks == LOOKS || !lines.iter().any(|line| matches!(line.found, Found::Wrong { .. })) {
            break (registered, lines);
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    };
    let registered = match registered {
        Ok(Some(registered)) => registered,
        Ok(None) => {
            let said = format!(
                "there is no ValidatingWebhookConfiguration `{release}`: what policies deny is refused only where the first door is asked"
            );
            return vec![Line::wrong(
                ABOUT,
                said,
                format!("create it again with `helm upgrade {release} …`"),
            )];
        }
        Err(error) => return vec![Line::skipped_by_error(ABOUT, &error)],
    };
    // All entries lead to the same Pods.
    let Some(first) = registered.entries.first().map(Entry::registration) else { return lines };
    let backends = webhook::backends(cluster, &first, installation).await;
    lines.extend(backends.lines);
    lines
        .extend(backends.unverified.map(|why| Line::ok("certificate", format!("of the second door: {why}"))));
    lines.extend(callers(cluster, &first).await);
    if let (Some(settings), Some(image)) = (settings, image) {
        let tried = Tried { cluster, registered: &registered, settings, image, namespace };
        lines.push(tried.pod().await.unwrap_or_else(|line| line));
    }
    lines
}

/// Compares the entries with what the policies of the file need, and each with what its own name says.
fn entries(registered: &Registered, installation: &Installation, settings: Option<&Settings>) -> Vec<Line> {
    let Installation { release, namespace, .. } = installation;
    let logs =
        format!("see `Entries` in `/readyz?verbose`, and `kubectl -n {namespace} logs deployment/{release}`");
    let mut lines = Vec::new();
    let policies = settings.into_iter().flat_map(|settings| &settings.policies);
    for policy in policies.filter(|policy| policy.enforcement == Enforcement::Enforce) {
        if registered.entry(policy.selector.id()).is_none() {
            let said = format!(
                "policy `{}` has no entry: what it denies is admitted where the first door is passed by",
                policy.name
            );
            lines.push(Line::wrong(ABOUT, said, logs.clone()));
        }
    }
    let budget = settings.map(|settings| settings.budget.request + installation.margin);
    for entry in &registered.entries {
        for said in differences(entry, installation, budget) {
            let who = format!(
                "Landfall writes it again within seconds: {logs}; `kubectl get validatingwebhookconfiguration {release} -o yaml --show-managed-fields` shows who changed it"
            );
            lines.push(Line::wrong(ABOUT, format!("`{}`: {said}", entry.name()), who));
        }
    }
    let bundles: BTreeSet<_> = registered.entries.iter().map(Entry::bundle).collect();
    if bundles.len() > 1 {
        lines.push(Line::wrong(ABOUT, "its entries have different authorities in caBundle", logs));
    }
    if lines.is_empty() {
        let said = match registered.entries.len() {
            0 => "no policy enforces, so it has no entry".to_owned(),
            1 => "one entry, for the namespaces of its policies, and closed where nobody answers".to_owned(),
            many => format!(
                "{many} entries, each for the namespaces of its policies, and closed where nobody answers"
            ),
        };
        lines.push(Line::ok(ABOUT, said));
    }
    lines
}

/// What of an entry is not as Landfall writes it.
fn differences(
    entry: &Entry,
    Installation { release, namespace: home, .. }: &Installation,
    budget: Option<Duration>,
) -> Vec<String> {
    let Registration { service, failure_policy, timeout, pods, namespaces, objects, .. } =
        entry.registration();
    let Some(id) = entry.selector_id() else { return vec!["it is no entry of Landfall".to_owned()] };
    let mut wrong = Vec::new();
    let right = |called: &Called| {
        called.namespace == *home && called.name == *release && called.path == format!("{VALIDATE}/{id}")
    };
    if !service.as_ref().is_some_and(right) {
        wrong.push(format!("it does not call `{VALIDATE}/{id}` of Service `{release}` in `{home}`"));
    }
    if namespaces.id() != id {
        wrong.push("its namespaceSelector is not the one that it is named by".to_owned());
    }
    if objects != Selector::default() {
        wrong.push("it has an objectSelector: labels of a Pod keep it away".to_owned());
    }
    if failure_policy != "Fail" {
        wrong.push(format!("failurePolicy {failure_policy}: it is open where nobody answers"));
    }
    if !pods {
        wrong.push("it is not called for new Pods".to_owned());
    }
    if let Some(budget) = budget.filter(|budget| *budget > timeout) {
        wrong.push(format!("the API server waits {timeout:?}, and an answer may take {budget:?}"));
    }
    wrong
}

/// Whether whoever reaches the port gets an answer.
async fn callers(cluster: &Cluster, entry: &Registration) -> Option<Line> {
    let Called { namespace, name, port, .. } = entry.service.as_ref()?;
    let Ok(Backends::Some(backends)) = cluster.backends(namespace, name, *port).await else { return None };
    let server = format!("{name}.{namespace}.svc");
    let said = match caller(backends.first()?.address, &server, roots(&entry.bundle)).await? {
        Caller::Anyone => {
            "whoever reaches the port gets an answer; `clientCA` of the chart lets in the API server alone, which is recommended where a policy enforces"
        }
        Caller::Known => "only callers with a certificate get an answer (`clientCA`)",
    };
    Some(Line::ok("callers", said))
}

/// A Pod that no registry holds, in one namespace.
struct Tried<'a> {
    cluster: &'a Cluster,
    registered: &'a Registered,
    settings: &'a Settings,
    image: &'a TestImage,
    namespace: &'a str,
}

impl Tried<'_> {
    /// Whether a Pod that must be denied is denied. The error is the line that says why that is not known.
    async fn pod(&self) -> Result<Line, Line> {
        let Self { cluster, namespace, .. } = self;
        let labels = pods::labels_of_usable(cluster, namespace).await?;
        let selects = |entry: &&Entry| entry.registration().namespaces.matches(&labels);
        let Some(entry) = self.registered.entries.iter().find(selects) else {
            let said =
                format!("no policy enforces in `{namespace}`, so no Pod of it comes to the second door");
            return Ok(Line::ok(ABOUT, said));
        };
        let policy = self.must_deny(&labels);
        let image = self.image.others.first().and_then(|routed| {
            let place = routed.place(routed.named)?;
            Some(pods::reference(&Sample { routed, place }))
        });
        let image = image.unwrap_or_else(|| self.image.image.clone());
        let pod = TrialPod { name: NAME, image, ..TrialPod::default() };
        let trial = cluster.try_pod(namespace, &pod).await;
        let entry = entry.name();
        Ok(match (trial.map_err(|error| Line::skipped_by_error(ABOUT, &error))?, policy) {
            (Trial::Admitted { .. }, Some(policy)) => Line::wrong(
                ABOUT,
                format!(
                    "policy `{policy}` must deny an image that no registry holds, but a Pod of `{namespace}` with it is admitted"
                ),
                format!("see whether `{entry}` is as it should be, and the log of every replica"),
            ),
            (Trial::Admitted { .. }, None) => Line::ok(
                ABOUT,
                format!(
                    "a Pod of `{namespace}` went through `{entry}`, which fails closed: somebody answers"
                ),
            ),
            (Trial::Refused(said), _) if said.contains(&format!("failed calling webhook \"{entry}\"")) => {
                let todo = "until somebody answers there, no Pod of its namespaces starts: correct what is wrong above; `landfall break-glass` does not help, see \"Break the glass\" in the chart's README";
                Line::wrong(ABOUT, said, todo)
            }
            (Trial::Refused(said), _) => Line::ok(
                ABOUT,
                format!("a Pod of `{namespace}` with an image that no registry holds is refused: {said}"),
            ),
        })
    }

    /// A policy of the file that denies an image that no registry holds.
    fn must_deny(&self, labels: &Labels) -> Option<String> {
        let regime = self.settings.regime(labels, Timestamp::now());
        let blocks = regime.enforcing.iter().find(|policy| {
            policy.rules.exceptions.is_empty()
                && policy.rules.actions.on(FindingKind::Missing) == Action::Block
        });
        blocks.map(|policy| policy.name.to_string())
    }
}
