//! Failed pulls, as kubelets report them in Events of Pods.
//!
//! They are hints and no more: whoever may create Events can write what he likes, and a node may have reasons of its own. So
//! they are bounded in number and length, and whoever is told looks for himself.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Event as PodEvent;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use tokio::time::{Instant, sleep};

use super::{Cluster, ClusterError, call};
use crate::domain::error_chain::error_chain;
use crate::domain::image::Reference;
use crate::domain::text::plain;

/// What kubelets write about pulls that failed. They write other failures of containers under the same reason.
const FAILED: &str = "reason=Failed,involvedObject.kind=Pod,type=Warning";

/// How many Events are looked at where those of the past are asked for.
const MOST_RECENT: u32 = 1000;

/// How many Events one answer lists: whoever may create Events may create large ones (etcd takes 1.5 MiB).
const PAGE: u32 = 8;

/// The longest text that is taken for an image. References of registries are shorter.
const LONGEST_IMAGE: usize = 1024;

/// An image is told once in this time: its kubelets try again every five minutes at most.
const AGAIN: Duration = Duration::from_secs(300);

/// The most images that are told apart. Each may be told once more when so many others were.
const MOST_IMAGES: usize = 1000;

/// At most so many hints are told at once, and one more each second.
const BURST: u32 = 20;
const EACH: Duration = Duration::from_secs(1);

/// The words before the image: kubelet's own, and containerd's, where kubelet's are missing.
const KUBELET: &str = "Failed to pull image ";
const CONTAINERD: &str = "failed to pull and unpack image ";

/// A pull that a kubelet says has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPull {
    /// The image as the Pod names it, a reference that can be parsed.
    pub image: String,
    /// The namespace of the Pod.
    pub namespace: String,
    /// The name of the Pod.
    pub pod: String,
    /// What the kubelet says, as one line of plain characters.
    pub message: String,
}

/// The Events of one cluster about failed pulls.
#[derive(Debug, Clone)]
pub struct FailedPulls {
    api: Api<PodEvent>,
}

impl Cluster {
    /// The failed pulls in all namespaces. It needs `list` and `watch` of `events`.
    pub fn failed_pulls(&self) -> FailedPulls {
        FailedPulls { api: Api::all(self.client.clone()) }
    }
}

impl FailedPulls {
    /// Those that the API server still has: of the last hour, by default. Each image once, 1,000 Events at most.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn recent(&self) -> Result<Vec<FailedPull>, ClusterError> {
        let only = ListParams::default().fields(FAILED).limit(MOST_RECENT);
        let found = call(|| "list the Events of Pods".to_owned(), self.api.list(&only)).await?;
        let mut pulls: Vec<FailedPull> = found.items.iter().filter_map(read).collect();
        pulls.sort_by(|a, b| a.image.cmp(&b.image));
        pulls.dedup_by(|a, b| a.image == b.image);
        Ok(pulls)
    }

    /// Tells of failed pulls for as long as it is polled: of those that are reported after it began. After a failure the watch
    /// begins anew, and what was reported in between is not told.
    pub async fn watch(&self, mut tell: impl FnMut(FailedPull)) {
        let (mut pauses, mut gate) = (DefaultBackoff::default(), Gate::new(Instant::now()));
        loop {
            let failure = self.follow(&mut gate, &mut tell).await;
            tracing::warn!(
                error = error_chain(&failure),
                "failed pulls of nodes are not seen: the watch of Events is begun anew"
            );
            sleep(pauses.next().unwrap_or_default()).await;
        }
    }

    async fn follow(&self, gate: &mut Gate, tell: &mut impl FnMut(FailedPull)) -> ClusterError {
        let config = watcher::Config::default().fields(FAILED).page_size(PAGE);
        let mut events = pin!(watcher::watcher(self.api.clone(), config));
        loop {
            match events.try_next().await {
                Ok(Some(Event::Apply(event))) => {
                    if let Some(failed) = read(&event).filter(|failed| gate.passes(failed, Instant::now())) {
                        tell(failed);
                    }
                }
                // What was reported before, and what expires.
                Ok(Some(Event::Init | Event::InitApply(_) | Event::InitDone | Event::Delete(_))) => {}
                // The version that the watch starts from is too old: the watcher lists again by itself.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => {}
                Err(error) => return ClusterError::watch("the Events of Pods", error),
                Ok(None) => return ClusterError::Silent { what: "watch the Events of Pods".to_owned() },
            }
        }
    }
}

/// Which hints are told.
#[derive(Debug)]
struct Gate {
    told: HashMap<String, Instant>,
    credit: u32,
    since: Instant,
}

impl Gate {
    fn new(now: Instant) -> Self {
        Self { told: HashMap::new(), credit: BURST, since: now }
    }

    fn passes(&mut self, failed: &FailedPull, now: Instant) -> bool {
        if self.told.get(&failed.image).is_some_and(|told| now < *told + AGAIN) {
            return false;
        }
        while self.credit < BURST && now >= self.since + EACH {
            self.credit += 1;
            self.since += EACH;
        }
        if self.credit == BURST {
            self.since = now;
        }
        let Some(left) = self.credit.checked_sub(1) else { return false };
        self.credit = left;
        if self.told.len() >= MOST_IMAGES {
            self.told.retain(|_, told| now < *told + AGAIN);
        }
        if self.told.len() >= MOST_IMAGES {
            self.told.clear();
        }
        self.told.insert(failed.image.clone(), now);
        true
    }
}

fn read(event: &PodEvent) -> Option<FailedPull> {
    let message = event.message.as_deref()?;
    let image = image(message)?;
    let about = &event.involved_object;
    Some(FailedPull {
        image,
        namespace: plain(about.namespace.as_deref()?).into_owned(),
        pod: plain(about.name.as_deref()?).into_owned(),
        message: plain(message).into_owned(),
    })
}

/// The image that a message says could not be pulled: `Failed to pull image "REF": …` of kubelet, or
/// `… failed to pull and unpack image "REF": …` of containerd.
fn image(message: &str) -> Option<String> {
    let text = message.strip_prefix(KUBELET).or_else(|| Some(message.split_once(CONTAINERD)?.1))?;
    let image = match text.chars().next()? {
        quote @ ('"' | '\'' | '`') => text.strip_prefix(quote)?.split(quote).next()?,
        // Without quotes: up to the colon before the reason.
        _ => text.split(": ").next()?.split_whitespace().next()?,
    };
    // Go's quoting escapes what no reference contains, so what is escaped is none.
    (image.len() <= LONGEST_IMAGE && Reference::parse(image).is_ok()).then(|| image.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_image_is_read_from_what_kubelets_say() {
        let digest = format!("a.example.com/shop/web:1@sha256:{}", "ab".repeat(32));
        let rows = [
            // containerd, in the words of kubelets since 1.9; those of 1.33 and later quote the image again in the reason.
            (
                r#"Failed to pull image "a.example.com/web:1": rpc error: code = NotFound desc = failed to pull and unpack image "a.example.com/web:1": failed to resolve reference "a.example.com/web:1": not found"#,
                Some("a.example.com/web:1"),
            ),
            (r#"Failed to pull image "web": ErrImagePull: pull QPS exceeded"#, Some("web")),
            (
                r#"Failed to pull image "a.example.com/web:1": image pull failed for a.example.com/web:1 because the registry is unavailable."#,
                Some("a.example.com/web:1"),
            ),
            // CRI-O.
            (
                r#"Failed to pull image "a.example.com/web:1": rpc error: code = Unknown desc = initializing source docker://a.example.com/web:1: reading manifest 1: manifest unknown"#,
                Some("a.example.com/web:1"),
            ),
            (
                r#"rpc error: code = Unknown desc = failed to pull and unpack image "a.example.com/web:1": 500"#,
                Some("a.example.com/web:1"),
            ),
            (
                r#"Error: failed to pull and unpack image "a.example.com/web:1": 500"#,
                Some("a.example.com/web:1"),
            ),
            ("Failed to pull image a.example.com:5000/web:1: no such host", Some("a.example.com:5000/web:1")),
            ("Failed to pull image 'a.example.com/web': gone", Some("a.example.com/web")),
            ("Failed to pull image `web`", Some("web")),
            // Other failures, and what nobody writes.
            ("Error: ErrImagePull", None),
            ("Error: ImagePullBackOff", None),
            (r#"Error: failed to create containerd task: "web""#, None),
            (r#"Failed to inspect image "web""#, None),
            (r#"Failed to pull image "": gone"#, None),
            (r#"Failed to pull image "A.example.com/Web:1": gone"#, None),
            (r#"Failed to pull image "a\"b": gone"#, None),
            (r#"Failed to pull image "a\nb": gone"#, None),
            ("Failed to pull image ", None),
            ("Failed to pull image \"", None),
            ("", None),
        ];
        for (message, expected) in rows {
            assert_eq!(image(message).as_deref(), expected, "{message}");
        }
        assert_eq!(image(&format!("Failed to pull image {digest:?}: gone")), Some(digest));
        let long = format!("a.example.com/{}", "x/".repeat(600) + "y");
        assert_eq!(image(&format!("Failed to pull image {long:?}: gone")), None);
    }

    fn failed(image: impl Into<String>) -> FailedPull {
        let (namespace, pod, message) = ("shop".to_owned(), "p".to_owned(), String::new());
        FailedPull { image: image.into(), namespace, pod, message }
    }

    #[tokio::test(start_paused = true)]
    async fn an_image_is_told_once_and_a_flood_is_bounded() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        assert!(gate.passes(&failed("web"), start));
        assert!(!gate.passes(&failed("web"), start + AGAIN - EACH));
        assert!(gate.passes(&failed("web"), start + AGAIN));
        let now = start + 2 * AGAIN;
        let passed = (0..100_000).filter(|n| gate.passes(&failed(format!("i{n}")), now)).count();
        assert_eq!(passed, 20);
        let passed = (0..100_000).filter(|n| gate.passes(&failed(format!("j{n}")), now + 3 * EACH)).count();
        assert_eq!(passed, 3);
        let mut gate = Gate::new(start);
        for n in 0..5000 {
            assert!(gate.passes(&failed(format!("i{n}")), start + n * EACH));
            assert!(gate.told.len() <= MOST_IMAGES);
        }
    }

    fn event(name: &str, message: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Event", "reason": "Failed", "type": "Warning", "message": message,
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": "7"},
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-0"},
        })
    }

    /// What is told of an API server that lists the first Event, and whose first watch brings the others.
    async fn told(listed: Value, watched: Vec<Value>) -> (Vec<FailedPull>, Vec<String>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let cluster = Cluster::answered_by(move |head, _| {
            let (log, listed, watched) = (log.clone(), listed.clone(), watched.clone());
            async move {
                let query = head.uri.query().unwrap_or_default().to_owned();
                let watches = query.contains("watch=true");
                let first = log.lock().unwrap().iter().all(|before: &String| !before.contains("watch=true"));
                log.lock().unwrap().push(format!("{}?{query}", head.uri.path()));
                let line = |event: &Value| format!("{}\n", json!({"type": "ADDED", "object": event}));
                let body = match (watches, first) {
                    (true, true) => watched.iter().map(line).collect(),
                    (true, false) => std::future::pending().await,
                    (false, _) => json!({"kind": "EventList", "apiVersion": "v1", "items": [listed],
                                         "metadata": {"resourceVersion": "7"}})
                    .to_string(),
                };
                (StatusCode::OK, body)
            }
        });
        let mut told = Vec::new();
        let pulls = cluster.failed_pulls();
        let watch = pulls.watch(|failed| told.push(failed));
        drop(tokio::time::timeout(Duration::from_secs(30), watch).await);
        let asked = asked.lock().unwrap().clone();
        (told, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_reported_from_now_on_is_told() {
        let hostile = format!("Failed to pull image \"b/web\": \u{202e}{}\n\u{1b}[31m", "x".repeat(100_000));
        let mut nameless = event("e4", r#"Failed to pull image "c/web": gone"#);
        nameless["involvedObject"] = json!({"kind": "Pod"});
        let (told, asked) = told(
            event("e0", r#"Failed to pull image "old": gone"#),
            vec![
                event("e1", r#"Failed to pull image "a/web": gone"#),
                event("e2", r#"Failed to pull image "a/web": gone"#),
                event("e3", &hostile),
                nameless,
                event("e5", "Error: ErrImagePull"),
            ],
        )
        .await;
        let images: Vec<_> = told.iter().map(|one| one.image.as_str()).collect();
        assert_eq!(images, ["a/web", "b/web"]);
        assert_eq!((told[0].namespace.as_str(), told[0].pod.as_str()), ("shop", "web-0"));
        assert_eq!(told[0].message, r#"Failed to pull image "a/web": gone"#);
        let message = &told[1].message;
        assert!(message.len() < 2000 && message.chars().all(|one| !one.is_control() && one != '\u{202e}'));
        let selected = "fieldSelector=reason%3DFailed%2CinvolvedObject.kind%3DPod%2Ctype%3DWarning";
        assert!(
            asked.iter().all(|one| one.starts_with("/api/v1/events?") && one.contains(selected)),
            "{asked:?}"
        );
    }
}
