//! Checks the webhook's entry, and the way from the API server to Landfall's Pods.

use std::time::Duration;

use futures::future::join_all;
use rustls::CertificateError;

use super::certificate::{Handshake, handshake, roots};
use super::{Installation, Line};
use crate::cluster::{Backend, Backends, Called, Cluster, Registration};

/// Checks that the entry is as the chart renders it, and that Landfall answers within its timeout. `budget` is the longest
/// time that Landfall takes.
pub(super) fn entry(
    entry: &Registration,
    installation: &Installation,
    budget: Option<Duration>,
) -> Vec<Line> {
    let Installation { release, namespace, path, margin } = installation;
    let again = format!(
        "restore it with `helm upgrade {release} …`; `kubectl get mutatingwebhookconfiguration {release} -o yaml --show-managed-fields` shows who changed it"
    );
    let mut wrong = Vec::new();
    let right =
        Called { namespace: namespace.clone(), name: release.clone(), path: (*path).to_owned(), port: 0 };
    match &entry.service {
        None => wrong.push(("it calls a URL, not a Service".to_owned(), again.clone())),
        Some(called) if (Called { port: 0, ..called.clone() }) != right => {
            let Called { namespace: their, name, path: at, .. } = called;
            let said = format!(
                "it calls `{at}` of Service `{name}` in `{their}`, not `{path}` of `{release}` in `{namespace}`"
            );
            wrong.push((
                said,
                format!("{again}; if this is another release, name it with --release and --namespace"),
            ));
        }
        Some(_) => {}
    }
    if !entry.pods {
        wrong.push(("it is not called for new Pods".to_owned(), again.clone()));
    }
    if entry.failure_policy != "Ignore" {
        let said =
            format!("failurePolicy {}: no Pod starts while Landfall does not answer", entry.failure_policy);
        wrong.push((said, again.clone()));
    }
    if entry.reinvocation != "IfNeeded" {
        let said = format!(
            "reinvocationPolicy {}: images that other webhooks inject later are not rewritten",
            entry.reinvocation
        );
        wrong.push((said, again.clone()));
    }
    if let Some(budget) = budget.filter(|budget| *budget + *margin > entry.timeout) {
        let (waits, may) = (entry.timeout, entry.timeout.saturating_sub(*margin));
        let said = format!(
            "the API server waits {waits:?}, less than `budget.request` ({budget:?}) plus {margin:?} for the way back"
        );
        wrong.push((
            said,
            format!(
                "set `budget.request` to {may:?} at most, or restore `timeoutSeconds` with `helm upgrade {release} …`"
            ),
        ));
    }
    let about = "webhook";
    if wrong.is_empty() {
        let said = format!(
            "`{}` is called for new Pods, has {:?} to answer, and is ignored if it fails",
            entry.name, entry.timeout
        );
        return vec![Line::ok(about, said)];
    }
    wrong.into_iter().map(|(said, todo)| Line::wrong(about, said, todo)).collect()
}

/// The checks of the Pods behind the webhook's Service.
#[derive(Default)]
pub(super) struct BackendChecks {
    pub lines: Vec<Line>,
    /// Why no certificate could be verified.
    pub unverified: Option<String>,
}

/// Checks that Pods are ready behind the Service, and that the bundle verifies the certificate of each.
pub(super) async fn backends(
    cluster: &Cluster,
    entry: &Registration,
    installation: &Installation,
) -> BackendChecks {
    let Some(called) = &entry.service else { return BackendChecks::default() };
    let backends = match cluster.backends(&called.namespace, &called.name, called.port).await {
        Ok(backends) => backends,
        Err(error) => {
            return BackendChecks {
                lines: vec![Line::skipped_by_error("service", &error)],
                unverified: Some("the Pods behind the Service are not known".to_owned()),
            };
        }
    };
    match service(called, &backends, installation) {
        Ok((line, backends)) => match certificate(entry, called, backends, installation).await {
            Ok(verified) => BackendChecks { lines: vec![line, verified], unverified: None },
            Err(why) => BackendChecks { lines: vec![line], unverified: Some(why) },
        },
        Err(line) => BackendChecks {
            lines: vec![line],
            unverified: Some("no Pod is ready behind the Service".to_owned()),
        },
    }
}

/// The Pods that are ready behind the Service.
fn service<'b>(
    called: &Called,
    backends: &'b Backends,
    Installation { release, namespace: home, .. }: &Installation,
) -> Result<(Line, &'b [Backend]), Line> {
    let Called { namespace, name, port, .. } = called;
    let wrong = |said: String, todo: String| Err(Line::wrong("service", said, todo));
    match backends {
        Backends::NoService => wrong(
            format!("there is no Service `{name}` in `{namespace}`"),
            format!("create it again with `helm upgrade {release} …`"),
        ),
        Backends::NoPort(ports) => wrong(
            format!("the webhook calls port {port} of Service `{name}`, which has {ports:?}"),
            format!("restore the webhook's port with `helm upgrade {release} …`"),
        ),
        Backends::Some(backends) if backends.is_empty() => wrong(
            format!("no Pod is ready behind Service `{name}`"),
            format!(
                "see `kubectl -n {home} get pods`; `kubectl -n {home} logs deployment/{release}` shows what they wait for"
            ),
        ),
        Backends::Some(backends) => {
            let many = backends.len();
            let said = format!("{many} Pods are ready behind port {port} of `{name}` in `{namespace}`");
            Ok((Line::ok("service", said), backends))
        }
    }
}

/// Verifies the certificate of each Pod. The error says why it cannot be verified from here.
async fn certificate(
    entry: &Registration,
    called: &Called,
    backends: &[Backend],
    Installation { release, namespace, .. }: &Installation,
) -> Result<Line, String> {
    let about = "certificate";
    let roots = roots(&entry.bundle);
    let source = format!(
        "SelfManaged: Landfall sets it, see `kubectl -n {namespace} logs deployment/{release}` for errors; CertManager: its cainjector sets it; Provided: set `certificates.provided.caBundle`"
    );
    if roots.is_empty() {
        let said = "caBundle holds no certificate: the API server trusts no Pod of Landfall, and images are not rewritten";
        return Ok(Line::wrong(about, said, source));
    }
    let name = format!("{}.{}.svc", called.name, called.namespace);
    let handshakes = backends
        .iter()
        .map(async |backend| (backend, handshake(backend.address, &name, roots.clone()).await));
    let handshakes = join_all(handshakes).await;
    let (mut until, mut unverified) = (None, Vec::new());
    for (Backend { pod, address }, handshake) in handshakes {
        let who = pod.clone().unwrap_or_else(|| address.to_string());
        match handshake {
            Handshake::Verified(end) => until = until.into_iter().chain(end).min(),
            Handshake::Refused(error) => match refused(&error, &name, &source) {
                Some((said, todo)) => return Ok(Line::wrong(about, format!("{who}: {said}"), todo)),
                None => unverified.push(format!("{who}: {error}")),
            },
            Handshake::Unreachable(why) => unverified.push(format!("{who} ({address}): {why}")),
        }
    }
    if !unverified.is_empty() {
        // This is no error: only the API server must reach the Pods, and a NetworkPolicy may block everybody else.
        return Err(format!("cannot be verified from here: {}", unverified.join("; ")));
    }
    let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
    let many = backends.len();
    Ok(Line::ok(about, format!("caBundle verifies the certificates of {many} Pods for `{name}`{until}")))
}

/// Why the API server does not trust a certificate, and what to do about it. `None` where the API server may trust it: for
/// example, it accepts a leaf certificate that is in the bundle itself.
fn refused(error: &CertificateError, name: &str, source: &str) -> Option<(String, String)> {
    Some(match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "caBundle does not verify its certificate: it holds another authority, so images are not rewritten"
                .to_owned(),
            source.to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (error.to_string(), format!("issue it for `{name}`, the name that the API server uses"))
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => (
            error.to_string(),
            "check why it was not renewed (in the log of Landfall, or of cert-manager, or where you provide it), and whether this clock is right"
                .to_owned(),
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Selector;
    use crate::report::doctor::Found;

    fn installation() -> Installation {
        let margin = Duration::from_millis(500);
        Installation { release: "landfall".into(), namespace: "landfall".into(), path: "/mutate", margin }
    }

    fn registration() -> Registration {
        Registration {
            name: concat!("mutate.", crate::domain::api_group::api_group!()).into(),
            service: Some(Called {
                namespace: "landfall".into(),
                name: "landfall".into(),
                path: "/mutate".into(),
                port: 443,
            }),
            bundle: Vec::new(),
            failure_policy: "Ignore".into(),
            reinvocation: "IfNeeded".into(),
            timeout: Duration::from_secs(5),
            pods: true,
            namespaces: Selector::default(),
            objects: Selector::default(),
        }
    }

    #[test]
    fn each_difference_from_the_charts_entry_has_its_own_message() {
        let budget = Some(Duration::from_millis(2500));
        let judge = |change: fn(&mut Registration)| {
            let mut changed = registration();
            change(&mut changed);
            entry(&changed, &installation(), budget)
        };
        assert!(matches!(&judge(|_| {})[..], [Line { found: Found::Ok { .. }, .. }]));
        type Change = fn(&mut Registration);
        let cases: [(Change, &str); 7] = [
            (|entry| entry.service = None, "it calls a URL, not a Service"),
            (
                |entry| entry.service.as_mut().unwrap().path = "/".into(),
                "it calls `/` of Service `landfall` in `landfall`, not `/mutate` of `landfall` in `landfall`",
            ),
            (
                |entry| entry.service.as_mut().unwrap().namespace = "old".into(),
                "it calls `/mutate` of Service `landfall` in `old`",
            ),
            (|entry| entry.pods = false, "it is not called for new Pods"),
            (|entry| entry.failure_policy = "Fail".into(), "failurePolicy Fail: no Pod starts"),
            (|entry| entry.reinvocation = "Never".into(), "reinvocationPolicy Never"),
            (|entry| entry.timeout = Duration::from_secs(2), "the API server waits 2s, less than"),
        ];
        for (change, words) in cases {
            let lines = judge(change);
            let [Line { found: Found::Wrong { said, .. }, .. }] = &lines[..] else { panic!("{lines:?}") };
            assert!(said.starts_with(words), "{said}");
        }
    }
}
