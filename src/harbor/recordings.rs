//! Answers of a real Harbor 2.15.2, recorded (`tests/vectors/harbor/`): what the tests of this folder replay.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct Recording {
    pub name: Box<str>,
    pub request: Option<Request>,
    pub response: Option<Response>,
}

#[derive(Deserialize)]
pub(super) struct Request {
    pub method: Box<str>,
    pub path: Box<str>,
    #[serde(rename = "as")]
    pub caller: Option<Box<str>>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Response {
    pub status: u16,
    pub headers: std::collections::BTreeMap<String, String>,
    body: Value,
}

impl Recording {
    /// The answer.
    pub fn response(&self) -> &Response {
        self.response.as_ref().unwrap_or_else(|| panic!("{} has no answer", self.name))
    }

    /// The path of the question.
    pub fn path(&self) -> &str {
        self.request.as_ref().map_or("", |request| &request.path)
    }
}

impl Response {
    /// An answer that was not recorded.
    pub fn new(status: u16, kind: &str, body: &str) -> Self {
        let headers = [("Content-Type".to_owned(), kind.to_owned())].into();
        Self { status, headers, body: Value::String(body.to_owned()) }
    }

    /// The body as bytes: JSON was recorded as such, everything else as text.
    pub fn body(&self) -> Vec<u8> {
        match &self.body {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            json => serde_json::to_vec(json).unwrap(),
        }
    }

    /// The body as JSON.
    pub fn json(&self) -> &Value {
        &self.body
    }
}

/// All recordings of artifacts, scans, projects, callers, replication and `/v2`.
pub(super) fn all() -> &'static [Recording] {
    macro_rules! files {
        ($($file:literal)*) => {
            [$(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/harbor/", $file, ".json"))),*]
        };
    }
    static ALL: LazyLock<Vec<Recording>> = LazyLock::new(|| {
        let files = files![
            "absent-and-forbidden" "accept-header" "artifact" "auth" "database-and-cache-down" "flattening-runs"
            "index-scan" "late-probes" "other" "override" "path-encoding" "proxy-cache" "pull-refused-412"
            "replication-and-notifications" "resources-by-caller" "robots" "same-digest-elsewhere"
            "scan-errors" "scan-states" "scanner-down" "storage-lost"
        ];
        files.iter().flat_map(|file| serde_json::from_str::<Vec<Recording>>(file).unwrap()).collect()
    });
    &ALL
}

/// The one recording of this name.
pub(super) fn named(name: &str) -> &'static Recording {
    all().iter().find(|recording| &*recording.name == name).unwrap_or_else(|| panic!("no recording {name}"))
}
