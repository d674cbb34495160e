//! A Harbor over real HTTP that answers only what was recorded. A request must have the recorded method and path, `%252F`
//! included, and the credentials of the recorded caller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Request, Response as Reply, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::registry::Registry as Page;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::name::{RegistryName, Site};
use crate::domain::registry::{CredentialSource, Kind, Registry, Service};
use crate::registry::{Client, Metrics, Tasks};

use super::Harbor;
use super::recordings::{Recording, Response, named};

/// The answers of a test's Harbor to one caller.
#[derive(Clone)]
pub(super) struct Script {
    caller: &'static str,
    answers: BTreeMap<String, Option<Response>>,
}

/// The test's Harbor and the client that asks it.
pub(super) struct Replay {
    pub harbor: Arc<Harbor>,
    heard: Arc<Mutex<Vec<String>>>,
    gate: Arc<Semaphore>,
    server: tokio::task::JoinHandle<()>,
    _credentials: tempfile::TempDir,
}

/// Recordings name one robot in more than one way.
fn caller(name: &str) -> &str {
    match name {
        "project robot" => "projrobot",
        "system robot" => "sysrobot",
        "min robot" | "project robot (min)" => "minrobot",
        "anonymous" => "anon",
        other => other,
    }
}

/// What a self-test asks before it says that credentials are rejected.
pub(super) const PUBLIC_PROJECTS: &str = "GET /api/v2.0/projects?page_size=1";

impl Script {
    /// The caller, and the recordings of this caller.
    pub fn of(caller: &'static str, names: &[&str]) -> Self {
        names.iter().fold(Self { caller, answers: BTreeMap::new() }, |script, name| {
            let recording = named(name);
            let asked = recording.request.as_ref().and_then(|request| request.caller.as_deref());
            assert_eq!(asked.map(self::caller), Some(caller), "{name} was recorded of another caller");
            script.add(recording)
        })
    }

    /// Adds a recording of another caller or another moment. The test states why it is valid here as well.
    pub fn borrow(self, name: &str) -> Self {
        self.add(named(name))
    }

    /// Adds this answer at another path.
    pub fn at(mut self, method: &str, path: &str, answer: Response) -> Self {
        self.answers.insert(format!("{method} {path}"), Some(answer));
        self
    }

    fn add(mut self, recording: &Recording) -> Self {
        let request = recording.request.as_ref().unwrap();
        self.answers.insert(format!("{} {}", request.method, request.path), recording.response.clone());
        self
    }

    /// Starts the Harbor.
    pub async fn play(self) -> Replay {
        self.start(Semaphore::MAX_PERMITS).await
    }

    /// Starts it, but it answers only as many requests as [`Replay::let_through`] allows.
    pub async fn play_held_back(self) -> Replay {
        self.start(0).await
    }

    async fn start(self, permits: usize) -> Replay {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let credentials = tempfile::tempdir().unwrap();
        let source = match self.caller {
            "anon" => CredentialSource::Anonymous,
            caller => {
                std::fs::write(credentials.path().join("username"), caller).unwrap();
                std::fs::write(credentials.path().join("password"), "secret").unwrap();
                CredentialSource::Dir(credentials.path().into())
            }
        };
        let registry = Arc::new(registry(url, source));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let (script, log, door) = (Arc::new(self), heard.clone(), gate.clone());
        let router = axum::Router::new().fallback(move |request: Request<Body>| {
            let (script, log, door) = (script.clone(), log.clone(), door.clone());
            async move {
                let question = format!("{} {}", request.method(), request.uri());
                if question != PUBLIC_PROJECTS {
                    log.lock().unwrap().push(question.clone());
                }
                door.acquire().await.unwrap().forget();
                script.answer(&request.into_parts().0, &question).await
            }
        });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client =
            Client::new(&registry, Metrics::register(&mut Page::default()), Tasks::default()).unwrap();
        let harbor = Arc::new(Harbor::new(Arc::new(client)));
        Replay { harbor, heard, gate, server, _credentials: credentials }
    }

    async fn answer(&self, request: &Parts, question: &str) -> Reply<Body> {
        let refuse = |why: &str| {
            Reply::builder().status(StatusCode::NOT_IMPLEMENTED).body(Body::from(why.to_owned())).unwrap()
        };
        let sent = request.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
        if question == PUBLIC_PROJECTS {
            // Not recorded. Anybody may ask, and whoever does must not show credentials that may be wrong.
            return match (sent, self.answers.get(question)) {
                (Some(_), _) => refuse("credentials where none are needed"),
                (None, Some(Some(answer))) => {
                    Reply::builder().status(answer.status).body(answer.body().into()).unwrap()
                }
                (None, _) => Reply::new(Body::from("[]")),
            };
        }
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:secret", self.caller)));
        if sent != Some(basic.as_str()).filter(|_| self.caller != "anon") {
            return refuse("other credentials than the recorded caller's");
        }
        match self.answers.get(question) {
            None => refuse("not recorded"),
            // In the recording there was no answer for many seconds.
            Some(None) => std::future::pending().await,
            Some(Some(answer)) => {
                let mut reply = Reply::builder().status(answer.status);
                for (name, value) in &answer.headers {
                    // The JSON is serialized again, so its length may differ from Harbor's.
                    if request.method == Method::HEAD || !name.eq_ignore_ascii_case("content-length") {
                        reply = reply.header(name, value);
                    }
                }
                let body = if request.method == Method::HEAD { Vec::new() } else { answer.body() };
                reply.body(body.into()).unwrap()
            }
        }
    }
}

impl Replay {
    /// The requests so far, in order.
    pub fn requests(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// How many requests there were of this kind.
    pub fn times(&self, method_and_path: &str) -> usize {
        self.requests().iter().filter(|request| *request == method_and_path).count()
    }

    /// Stops listening.
    pub async fn stop(mut self) {
        self.server.abort();
        let _aborted = (&mut self.server).await;
    }

    /// Answers this many more requests.
    pub fn let_through(&self, answers: usize) {
        self.gate.add_permits(answers);
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The image of a recording, from its path in `/v2` or the artifact API.
pub(super) fn image_of(name: &str) -> (Repository, Digest) {
    let recording = named(name);
    let path = recording.path().split('?').next().unwrap();
    let parts: Vec<_> = path.split('/').collect();
    let (repository, digest) = match parts[..] {
        ["", "v2", .., "manifests", digest] => (parts[2..parts.len() - 2].join("/"), digest),
        ["", "api", "v2.0", "projects", project, "repositories", name, "artifacts", digest] => {
            (format!("{project}/{}", name.replace("%252F", "/")), digest)
        }
        _ => panic!("{name} is not about an image"),
    };
    (Repository::new(repository), digest.parse().unwrap())
}

/// A deadline that is reached only if Harbor does not answer.
pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A deadline for requests that are never answered.
pub(super) fn at_once() -> Instant {
    Instant::now() + Duration::from_millis(200)
}

/// The Harbor at this URL.
pub fn registry(url: url::Url, credentials: CredentialSource) -> Registry {
    Registry {
        name: RegistryName::new("test"),
        host: "harbor.example.com".into(),
        aliases: Vec::new(),
        url,
        kind: Kind::Harbor,
        site: Site::new("here"),
        credentials,
        ca_file: None,
        pull_secret: None,
        realm: None,
        service: Service::Open,
        healing: None,
        requests_per_hour: None,
    }
}
