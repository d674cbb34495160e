//! An API server with optimistic locking, in memory: ReplicationGaps, and the Events that were written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::ledger::Record;

const GAPS: &str = "/apis/landfall.dev/v1alpha1/replicationgaps";

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Serving,
    /// The resource is not known.
    NoKind,
    /// Every answer is 503.
    Away,
}

#[derive(Debug)]
pub struct State {
    pub mode: Mode,
    version: u64,
    objects: BTreeMap<String, Value>,
    log: Vec<(u64, Value)>,
    /// When each write came, refused ones too.
    pub writes: Vec<Instant>,
    pub conflicts: usize,
    /// Reason, owner and note of each Event.
    pub events: Vec<(String, String, String)>,
}

#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    pub fn start() -> Self {
        Self(Arc::new(Mutex::new(State {
            mode: Mode::Serving,
            version: 1,
            objects: BTreeMap::new(),
            log: Vec::new(),
            writes: Vec::new(),
            conflicts: 0,
            events: Vec::new(),
        })))
    }

    pub fn cluster(&self) -> Cluster {
        let this = self.clone();
        Cluster::answered_by(move |head, body| {
            let this = this.clone();
            async move {
                // A round trip, so that others come in between.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let (status, said) = this.with(|state| state.answer(&head, &body));
                (status, said.as_str().map_or_else(|| said.to_string(), str::to_owned))
            }
        })
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// All records, by the image or the rule.
    pub fn records(&self) -> BTreeMap<String, Record> {
        self.with(|state| {
            let record = |object: &Value| {
                let spec = &object["spec"];
                let about = spec["image"].as_str().or(spec["rule"].as_str()).unwrap().to_owned();
                let record = serde_json::from_value(object.get("status")?.clone()).unwrap();
                Some((about, record))
            };
            state.objects.values().filter_map(record).collect()
        })
    }

    /// The most writes in any second.
    pub fn most_writes_in_a_second(&self) -> usize {
        self.with(|state| {
            state.writes.sort();
            let within = |from: &Instant| {
                state
                    .writes
                    .iter()
                    .filter(|at| *at >= from && at.duration_since(*from) < Duration::from_secs(1))
                    .count()
            };
            state.writes.iter().map(within).max().unwrap_or_default()
        })
    }
}

fn failure(code: u16, reason: &str) -> (StatusCode, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason,
                        "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), status)
}

impl State {
    fn answer(&mut self, head: &Parts, body: &Value) -> (StatusCode, Value) {
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        if self.mode == Mode::Away {
            return failure(503, "ServiceUnavailable");
        }
        if path.starts_with("/apis/events.k8s.io/") {
            // A repetition comes as a patch of the first.
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let event = (text(&body["reason"]), text(&body["regarding"]["name"]), text(&body["note"]));
            self.events.push(event);
            return (StatusCode::OK, body.clone());
        }
        let Some(rest) = path.strip_prefix(GAPS).filter(|_| self.mode == Mode::Serving) else {
            return failure(404, "NotFound");
        };
        let (name, status) = match rest.trim_start_matches('/').split_once('/') {
            Some((name, _)) => (name, true),
            None => (rest.trim_start_matches('/'), false),
        };
        if head.method != Method::GET {
            self.writes.push(Instant::now());
        }
        match (head.method.as_str(), name.is_empty()) {
            ("GET", true) if query.contains("watch=true") => {
                let from = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
                let from: u64 = from.unwrap().parse().unwrap();
                let news = self.log.iter().filter(|(version, _)| *version > from);
                (StatusCode::OK, news.map(|(_, event)| format!("{event}\n")).collect::<String>().into())
            }
            ("GET", true) => {
                let limit = query.split('&').find_map(|part| part.strip_prefix("limit="));
                let one = limit == Some("1");
                let most = if one { 1 } else { usize::MAX };
                let items: Vec<&Value> = self.objects.values().take(most).collect();
                let more = self.objects.len() - items.len();
                let kind = if one { "PartialObjectMetadataList" } else { "ReplicationGapList" };
                let api = if one { "meta.k8s.io/v1" } else { "landfall.dev/v1alpha1" };
                let mut list = json!({"kind": kind, "apiVersion": api,
                    "metadata": {"resourceVersion": self.version.to_string()}, "items": items});
                if more > 0 {
                    list["metadata"]["remainingItemCount"] = more.into();
                }
                (StatusCode::OK, list)
            }
            ("GET", false) => match self.objects.get(name) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => failure(404, "NotFound"),
            },
            ("PATCH", false) => {
                if !self.objects.contains_key(name) {
                    let mut object = body.clone();
                    object["metadata"]["uid"] = format!("u{}", self.version).into();
                    self.put(name, object, "ADDED");
                }
                (StatusCode::OK, self.objects[name].clone())
            }
            ("PUT", false) if status => {
                let Some(held) = self.objects.get(name) else { return failure(404, "NotFound") };
                if held["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                    self.conflicts += 1;
                    return failure(409, "Conflict");
                }
                let mut object = held.clone();
                object["status"] = body["status"].clone();
                self.put(name, object, "MODIFIED");
                (StatusCode::OK, self.objects[name].clone())
            }
            ("DELETE", false) => {
                let Some(held) = self.objects.get(name) else { return failure(404, "NotFound") };
                if held["metadata"]["resourceVersion"] != body["preconditions"]["resourceVersion"] {
                    return failure(409, "Conflict");
                }
                let object = self.objects.remove(name).unwrap();
                self.version += 1;
                self.log.push((self.version, json!({"type": "DELETED", "object": object})));
                (
                    StatusCode::OK,
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
                )
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }

    fn put(&mut self, name: &str, mut object: Value, how: &str) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push((self.version, json!({"type": how, "object": object})));
        self.objects.insert(name.to_owned(), object);
    }
}
