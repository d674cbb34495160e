//! The webhook's entry, and the way from the API server to those who answer.

use std::time::Duration;

use futures::future::join_all;
use rustls::CertificateError;

use super::certificate::{Greeting, greet, roots};
use super::{Installation, Line};
use crate::cluster::{Backend, Backends, Called, Cluster, Registration};

/// Is the entry as the chart renders it, and does Landfall answer in time for it? `budget`: what Landfall takes at most.
pub(super) fn entry(
    entry: &Registration,
    installation: &Installation,
    budget: Option<Duration>,
) -> Vec<Line> {
    let Installation { release, namespace, path, margin } = installation;
    let again = format!(
        "`helm upgrade {release} …` puts it back; `kubectl get mutatingwebhookconfiguration {release} -o yaml --show-managed-fields` tells who changed it"
    );
    let mut wrong = Vec::new();
    let right =
        Called { namespace: namespace.clone(), name: release.clone(), path: (*path).to_owned(), port: 0 };
    match &entry.service {
        None => wrong.push(("it calls a URL, and no Service".to_owned(), again.clone())),
        Some(called) if (Called { port: 0, ..called.clone() }) != right => {
            let Called { namespace: their, name, path: at, .. } = called;
            let said = format!(
                "it calls `{at}` of Service `{name}` in `{their}`, and not `{path}` of `{release}` in `{namespace}`"
            );
            wrong.push((
                said,
                format!("{again}; if this is another release, name it: --release, --namespace"),
            ));
        }
        Some(_) => {}
    }
    if !entry.pods {
        wrong.push(("it is not called for new Pods".to_owned(), again.clone()));
    }
    if entry.failure_policy != "Ignore" {
        let said = format!("failurePolicy {}: no Pod starts while Landfall is away", entry.failure_policy);
        wrong.push((said, again.clone()));
    }
    if entry.reinvocation != "IfNeeded" {
        let said =
            format!("reinvocationPolicy {}: what others inject later is not rewritten", entry.reinvocation);
        wrong.push((said, again.clone()));
    }
    if let Some(budget) = budget.filter(|budget| *budget + *margin > entry.timeout) {
        let (waits, may) = (entry.timeout, entry.timeout.saturating_sub(*margin));
        let said = format!(
            "the API server waits {waits:?}, less than `budget.request` ({budget:?}) and {margin:?} for the way"
        );
        wrong.push((
            said,
            format!(
                "set `budget.request` to {may:?} at most, or `timeoutSeconds` back to what the chart says"
            ),
        ));
    }
    let about = "webhook";
    if wrong.is_empty() {
        let said = format!(
            "`{}` is called for new Pods, within {:?}, and ignored where it fails",
            entry.name, entry.timeout
        );
        return vec![Line::ok(about, said)];
    }
    wrong.into_iter().map(|(said, todo)| Line::wrong(about, said, todo)).collect()
}

/// What was seen of the way.
#[derive(Default)]
pub(super) struct Way {
    pub lines: Vec<Line>,
    /// Why no certificate could be looked at.
    pub unseen: Option<String>,
}

/// Is somebody there, and does the bundle verify what each of them shows?
pub(super) async fn way(cluster: &Cluster, entry: &Registration, installation: &Installation) -> Way {
    let Some(called) = &entry.service else { return Way::default() };
    let backends = match cluster.backends(&called.namespace, &called.name, called.port).await {
        Ok(backends) => backends,
        Err(error) => {
            return Way {
                lines: vec![Line::untold("service", &error)],
                unseen: Some("nobody to greet is known".to_owned()),
            };
        }
    };
    match service(called, &backends, installation) {
        Ok((line, backends)) => match certificate(entry, called, backends, installation).await {
            Ok(seen) => Way { lines: vec![line, seen], unseen: None },
            Err(why) => Way { lines: vec![line], unseen: Some(why) },
        },
        Err(line) => Way { lines: vec![line], unseen: Some("there is nobody to greet".to_owned()) },
    }
}

/// Who is there.
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
            format!("`helm upgrade {release} …` brings it back"),
        ),
        Backends::NoPort(ports) => wrong(
            format!("the webhook calls port {port} of Service `{name}`, which has {ports:?}"),
            format!("`helm upgrade {release} …` puts the webhook's port back"),
        ),
        Backends::Some(backends) if backends.is_empty() => wrong(
            format!("nobody is ready behind Service `{name}`"),
            format!(
                "`kubectl -n {home} get pods`, and `kubectl -n {home} logs deployment/{release}` says what they wait for"
            ),
        ),
        Backends::Some(backends) => {
            let many = backends.len();
            let said = format!("{many} ready behind port {port} of `{name}` in `{namespace}`");
            Ok((Line::ok("service", said), backends))
        }
    }
}

/// What they show; or why it cannot be seen.
async fn certificate(
    entry: &Registration,
    called: &Called,
    backends: &[Backend],
    Installation { release, namespace, .. }: &Installation,
) -> Result<Line, String> {
    let about = "certificate";
    let roots = roots(&entry.bundle);
    let source = format!(
        "SelfManaged: Landfall fills it, `kubectl -n {namespace} logs deployment/{release}` says what keeps it; CertManager: its cainjector does; Provided: `certificates.provided.caBundle`"
    );
    if roots.is_empty() {
        let said =
            "caBundle holds no certificate: the API server cannot trust anybody, and Pods start as written";
        return Ok(Line::wrong(about, said, source));
    }
    let name = format!("{}.{}.svc", called.name, called.namespace);
    let greetings =
        backends.iter().map(async |backend| (backend, greet(backend.address, &name, roots.clone()).await));
    let greetings = join_all(greetings).await;
    let (mut until, mut away) = (None, Vec::new());
    for (Backend { pod, address }, greeting) in greetings {
        let who = pod.clone().unwrap_or_else(|| address.to_string());
        match greeting {
            Greeting::Verified(end) => until = until.into_iter().chain(end).min(),
            Greeting::Refused(error) => match refused(&error, &name, &source) {
                Some((said, todo)) => return Ok(Line::wrong(about, format!("{who}: {said}"), todo)),
                None => away.push(format!("{who}: {error}")),
            },
            Greeting::Unreachable(why) => away.push(format!("{who} ({address}): {why}")),
        }
    }
    if !away.is_empty() {
        // No fault: it is the API server that must reach them, and a NetworkPolicy may keep everybody else out.
        return Err(format!("cannot be looked at from here: {}", away.join("; ")));
    }
    let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
    let many = backends.len();
    Ok(Line::ok(about, format!("caBundle verifies what each of {many} shows for `{name}`{until}")))
}

/// Why the API server does not trust a certificate, and what to do about it; `None`: perhaps it does. (It takes a leaf that
/// stands in the bundle itself, for one.)
fn refused(error: &CertificateError, name: &str, source: &str) -> Option<(String, String)> {
    Some(match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "caBundle does not verify its certificate: somebody else's authority stands there, so Pods start as written"
                .to_owned(),
            source.to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (error.to_string(), format!("issue it for `{name}`: that is whom the API server asks for"))
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => (
            error.to_string(),
            "see why it was not renewed (the log of Landfall, of cert-manager, or whoever provides it), and whether this clock is right"
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
    fn an_entry_that_is_not_as_the_chart_renders_it_is_told_apart() {
        let budget = Some(Duration::from_millis(2500));
        let judge = |change: fn(&mut Registration)| {
            let mut changed = registration();
            change(&mut changed);
            entry(&changed, &installation(), budget)
        };
        assert!(matches!(&judge(|_| {})[..], [Line { found: Found::Ok { .. }, .. }]));
        type Change = fn(&mut Registration);
        let cases: [(Change, &str); 7] = [
            (|entry| entry.service = None, "it calls a URL, and no Service"),
            (
                |entry| entry.service.as_mut().unwrap().path = "/".into(),
                "it calls `/` of Service `landfall` in `landfall`, and not `/mutate` of `landfall` in `landfall`",
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
