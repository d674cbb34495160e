//! Leaders before an API server that knows one Lease, by a clock that moves only when nothing else happens.

use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::*;

/// The API server: its one Lease, and whether it answers.
#[derive(Debug, Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    silent: bool,
}

impl Server {
    fn cluster(&self) -> Cluster {
        let this = self.clone();
        Cluster::answered_by(move |head, body| {
            let this = this.clone();
            async move {
                if this.0.lock().unwrap().silent {
                    std::future::pending::<()>().await;
                }
                let (status, answer) = this.answer(&head.method, body);
                (status, answer.to_string())
            }
        })
    }

    fn answer(&self, method: &Method, body: Value) -> (StatusCode, Value) {
        let mut state = self.0.lock().unwrap();
        let refuse = |status: StatusCode| {
            let code = status.as_u16();
            let answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                                "message": "refused", "reason": if code == 404 { "NotFound" } else { "Conflict" }});
            (status, answer)
        };
        let before = state.lease.clone();
        let mut lease = match (method, before) {
            (&Method::GET, Some(lease)) => return (StatusCode::OK, lease),
            (&Method::GET, None) => return refuse(StatusCode::NOT_FOUND),
            (&Method::POST, None) => body,
            (&Method::PATCH, Some(lease))
                if lease["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"] =>
            {
                let mut lease = lease;
                for (key, value) in body["spec"].as_object().unwrap() {
                    lease["spec"][key] = value.clone();
                }
                lease
            }
            _ => return refuse(StatusCode::CONFLICT),
        };
        state.version += 1;
        lease["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.lease = Some(lease.clone());
        (StatusCode::OK, lease)
    }

    fn holder(&self) -> String {
        let state = self.0.lock().unwrap();
        let holder = state.lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_default().to_owned()
    }

    fn silence(&self, silent: bool) {
        self.0.lock().unwrap().silent = silent;
    }

    /// Starts a replica. It leaves when the sender is used or dropped.
    fn replica(&self, pod: &str) -> (Leading, Gauge, oneshot::Sender<()>) {
        let candidate = Candidate {
            namespace: "landfall".to_owned(),
            lease: "landfall".to_owned(),
            pod: pod.to_owned(),
            term: Term::default(),
        };
        let metrics = LeaderMetrics::default();
        let leader = Leader::new(&self.cluster(), &candidate, metrics.clone(), Timestamp::now);
        let (leading, (leave, left)) = (leader.leading(), oneshot::channel());
        tokio::spawn(leader.run(async move { drop(left.await) }));
        (leading, metrics.leading, leave)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lease_is_taken_from_nobody_who_renews_it() {
    let (lasts, just_under) = (Duration::from_secs(15), Duration::from_millis(14_999));
    for (holder, unchanged, expected) in [
        ("", Duration::ZERO, Claim::Hold),
        ("me", Duration::ZERO, Claim::Hold),
        ("me", lasts, Claim::Hold),
        ("you", Duration::ZERO, Claim::Leave),
        ("you", just_under, Claim::Leave),
        ("you", lasts, Claim::Hold),
    ] {
        assert_eq!(claim(holder, "me", lasts, unchanged), expected, "{holder:?} {unchanged:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_replica_makes_the_lease_and_the_second_waits_until_it_is_given_up() {
    let server = Server::default();
    let (mut a, gauge, leave) = server.replica("a");
    a.changed().await;
    assert!(a.now() && gauge.get() == 1 && server.holder() == "a");
    let (mut b, _, _stay) = server.replica("b");
    sleep(60 * SECOND).await;
    assert!(a.now() && !b.now(), "it renews what it holds");

    leave.send(()).unwrap();
    a.changed().await;
    assert!(!a.now() && gauge.get() == 0);
    let given_up = Instant::now();
    b.changed().await;
    assert!(b.now() && server.holder() == "b");
    assert!(given_up.elapsed() < 6 * SECOND, "it need not wait until the Lease runs out");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_gives_up_before_another_one_may_lead() {
    let server = Server::default();
    let (mut a, _, _stay) = server.replica("a");
    a.changed().await;
    assert!(a.now());
    // It has just renewed; from here on nobody answers it.
    server.silence(true);
    let silent = Instant::now();
    a.changed().await;
    assert!(!a.now());
    assert_eq!(silent.elapsed().as_secs(), 10, "two thirds of 15 s");
    server.silence(false);
    a.changed().await;
    assert!(a.now(), "nobody else has taken it");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_renews_is_taken_after_its_own_time() {
    let server = Server::default();
    let held = json!({
        "metadata": {"name": "landfall", "resourceVersion": "x"},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 40, "leaseTransitions": 3},
    });
    server.0.lock().unwrap().lease = Some(held);
    let (mut b, _, _stay) = server.replica("b");
    let began = Instant::now();
    b.changed().await;
    assert!(b.now() && server.holder() == "b");
    assert!((40..46).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(server.0.lock().unwrap().lease.as_ref().unwrap()["spec"]["leaseTransitions"], 4);
}
