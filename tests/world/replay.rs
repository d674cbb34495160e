//! Sends one recorded request and compares the answer.

use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{
    Configuration, Descriptors, Embedded, Reachable, Scan, ScannerState, Signatures, World,
};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::scan::Severity::{self, Critical, Low, Medium};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

use super::ask::client;
use super::recorded::{PLATFORMS, default_state, hold_lost, image, low_and_medium, seed, seed_upstream};

/// Headers that are compared, present and absent alike.
const HEADERS: [&str; 6] = [
    "content-type",
    "docker-content-digest",
    "docker-distribution-api-version",
    "etag",
    "www-authenticate",
    "x-total-count",
];

/// Body fields whose presence is compared, but not what they say: numbers, times, names of the rig.
const ANY: &[&str] = &[
    "id",
    "artifact_id",
    "repository_id",
    "project_id",
    "child_id",
    "parent_id",
    "report_id",
    "size",
    "duration",
    "push_time",
    "pull_time",
    "generated_at",
    "creation_time",
    "current_time",
    "issued_at",
    "token",
    "scanner",
    "harbor_version",
    "external_url",
    "registry_url",
    "notification_enable",
    "project_creation_restriction",
    "read_only",
    "registry_storage_provider_name",
    "repo_count",
    "url",
    "uuid",
    "vendor",
    "version",
    "adapter",
    "description",
    "create_time",
    "update_time",
    "package",
    "fix_version",
    "links",
    "preferred_cvss",
    "cwe_ids",
    "use_internal_addr",
    "skip_certVerify",
];

/// Body fields that are not looked at: what the world does not model and no reader here needs.
const IGNORED: &[&str] = &[
    "current_user_role_id",
    "current_user_role_ids",
    "reuse_sys_cve_allowlist",
    "retention_id",
    "auto_scan",
    "admin_role_in_auth",
    "comment",
    "realname",
    "user_id",
    "email",
];

/// The Harbor of the recordings, rebuilt, and the one that its proxy project looks at.
pub struct Stage {
    harbor: Embedded,
    upstream: Embedded,
    client: reqwest::Client,
    digests: HashMap<String, Digest>,
    _world: World,
}

pub fn recordings(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/harbor/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Stage {
    pub async fn new() -> Self {
        let world = World::new().unwrap();
        let harbor = world.harbor("recorded").await.unwrap();
        let upstream = world.harbor("upstream").await.unwrap();
        harbor.proxy(&world, "proxya", &upstream).unwrap();
        let mut digests = HashMap::new();
        seed(&mut harbor.store(), &mut digests);
        seed_upstream(&mut upstream.store(), &mut digests);
        Self { harbor, upstream, client: client(&world), digests, _world: world }
    }

    /// Puts the Harbor into the state of the recording, asks, and says how the answer differs.
    pub async fn replay(&self, name: &str, row: &Value) -> Result<(), String> {
        self.harbor.faults().clear();
        default_state(&mut self.harbor.store(), &self.digests);
        self.context(name);
        if name.starts_with("s3") {
            self.upstream.down().await;
        } else {
            self.upstream.up().await;
        }
        let request = &row["request"];
        let url = format!("{}{}", self.harbor.url(), self.translated(request["path"].as_str().unwrap()));
        let method: Method = request["method"].as_str().unwrap().parse().unwrap();
        let head = method == Method::HEAD;
        let mut ask = self.client.request(method, &url).header("accept", "");
        for (header, value) in request["headers"].as_object().unwrap() {
            let value = self.translated(value.as_str().unwrap());
            ask = match header.as_str() {
                "Authorization" => continue,
                "Accept" if value == "<all four manifest types>" => ask.header(
                    "accept",
                    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                     application/vnd.docker.distribution.manifest.list.v2+json, \
                     application/vnd.docker.distribution.manifest.v2+json",
                ),
                _ => ask.header(header, value),
            };
        }
        // reqwest appends to what is there: the empty Accept of above must go where one is recorded.
        let mut ask = ask.build().unwrap();
        let accepts: Vec<_> = ask.headers().get_all("accept").iter().cloned().collect();
        if let [_, last] = accepts.as_slice() {
            ask.headers_mut().insert("accept", last.clone());
        }
        if let Some(authorization) = self.authorization(request).await {
            ask.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        if name.starts_with("r27-") || name.starts_with("r28-") {
            self.harbor.store().remove_account("robot$priv+full");
        }
        let answer = self.client.execute(ask).await.map_err(|error| format!("no answer: {error:?}"))?;
        self.compare(&row["response"], head, answer).await
    }

    /// What was different when this row was recorded.
    fn context(&self, name: &str) {
        let digest = |prefix: &str| self.digests[prefix];
        let now = jiff::Timestamp::now();
        let mut store = self.harbor.store();
        let is = |start: &str| name.starts_with(start);
        if is("a00-") || is("a01-") {
            store.set_scan(&digest("67ba31"), Scan::NotScanned);
        } else if is("a02-") {
            store.set_scan(&digest("67ba31"), Scan::Pending);
        } else if is("a10-") || is("a12-") {
            store.set_scan(&digest("aeca26"), Scan::NotScanned);
        } else if is("a11-") || is("a11c-") {
            store.set_scan(&digest("1372dd"), Scan::NotScanned);
        } else if is("a12b-") {
            store.set_scan(&digest("aeca26"), Scan::Pending);
        } else if is("c00-") {
            store.set_scan(&digest("3e4aff"), Scan::NotScanned);
        } else if is("c01-scan-status-Pending") || is("c04-") {
            store.set_scan(&digest("3e4aff"), Scan::Pending);
        } else if is("c01-scan-status-Running") || is("c02-") {
            store.set_scan(&digest("3e4aff"), Scan::Running(now));
        } else if is("c06") {
            store.set_scan(&digest("3e4aff"), Scan::Stopped(now));
        } else if is("f08") {
            store.set_scan(&digest("d48cc2"), Scan::NotScanned);
        } else if is("s18-") || is("s20-") || is("s22-") || is("s3") {
            store.push_untagged("proxya/lib/pcimg", &image("052305"));
            store.set_scan(&digest("052305"), low_and_medium());
            let pc = Content::index("eba7e0", Flavour::Oci, &PLATFORMS);
            store.push_untagged("proxya/lib/pc", pc.child("linux/amd64").unwrap());
        } else if is("p0") {
            hold_lost(&mut store, &mut self.digests.clone());
            let remembered = is("p04-") || is("p05-");
            store.descriptors = if remembered { Descriptors::Cache } else { Descriptors::Storage };
        } else if is("e0") && !is("e00-") {
            store.scanner = ScannerState::Unhealthy;
        } else if is("j05") {
            store.allowlist.cves = vec!["CVE-2024-1000".into()];
        } else if is("j1") {
            // Recorded with the other gate off.
            let gate = store.project("gate");
            (gate.prevent_vul, gate.signatures) = (None, Signatures::Cosign);
            if name.contains("-signed-") {
                store.sign("gate/app", &digest("38c67f"));
                store.sign("gate/multi", &digest("bd7184"));
            }
        } else if is("j07-prevent-vul-") {
            let severities =
                [("critical", Critical), ("low", Low), ("medium", Medium), ("none", Severity::None)];
            let (_, severity) =
                severities.into_iter().find(|(word, _)| name.contains(&format!("vul-{word}-"))).unwrap();
            store.project("gate").prevent_vul = Some(severity);
        } else if is("p1") && !is("p16-") {
            store.storage = Reachable::Down;
        } else if name.contains("-pg-stopped") {
            (store.database, store.configuration) = (Reachable::Down, Configuration::Expired);
        } else if name.contains("-core-down") {
            let bad_gateway = Fault::Html(reqwest::StatusCode::BAD_GATEWAY);
            self.harbor.faults().add(Scope::Everything, bad_gateway);
        }
    }

    /// The header for the recorded caller.
    async fn authorization(&self, request: &Value) -> Option<String> {
        let caller = request["as"].as_str().unwrap();
        let scheme = request["headers"]["Authorization"].as_str()?.split(' ').next()?.to_owned();
        let project = if request["path"].as_str().unwrap().contains("/gate/") { "gate" } else { "priv" };
        let full = match project {
            "gate" => ("robot$gate+full", "full-Secret1"),
            _ => ("robot$priv+full", "full-Secret1"),
        };
        let (user, password) = match caller.trim_end_matches(" bearer") {
            "garbage" => return Some("Bearer garbage".into()),
            "garbage basic" => return Some("Basic !!!".into()),
            "project robot"
            | "projrobot"
            | "robot"
            | "extended robot"
            | "bearer of disabled robot"
            | "bearer of expired robot"
            | "project robot pull+artifact:read" => full,
            "project robot (min)" | "minrobot" | "min robot" => ("robot$priv+min", "min-Secret1"),
            "pullonly" => ("robot$priv+pullonly", "pullonly-Secret1"),
            "sysrobot" | "system robot" | "system robot B" => ("robot$sysr", "sysr-Secret1"),
            "starrobot" => ("robot$star", "star-Secret1"),
            "admin" => ("admin", "Admin-Secret1"),
            "user" | "user-nomember" => ("bob", "Bob-Secret1"),
            "disabled-robot" => ("robot$priv+dis", "dis-Secret1"),
            "expired-robot" => ("robot$priv+exp", "exp-Secret1"),
            "nosuchrobot" | "deleted-robot" => ("robot$priv+nobody", "nobody-Secret1"),
            "no prefix" => ("priv+full", "full-Secret1"),
            "empty pw" => ("robot$priv+full", ""),
            "admin-wrongpw" => ("admin", "wrong"),
            "wrongpw" | "old secret" => ("robot$priv+full", "wrong"),
            "anon" => ("", ""),
            other => panic!("who is {other}?"),
        };
        if scheme.eq_ignore_ascii_case("basic") {
            use base64::Engine;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            return Some(format!("{scheme} {pair}"));
        }
        let url = format!(
            "{}/service/token?service=harbor-registry&scope=repository:priv/app:pull",
            self.harbor.url()
        );
        let mut ask = self.client.get(url);
        if !user.is_empty() {
            ask = ask.basic_auth(user, Some(password));
        }
        let down = std::mem::replace(&mut self.harbor.store().database, Reachable::Up);
        let answer: Value = serde_json::from_str(&ask.send().await.unwrap().text().await.unwrap()).unwrap();
        self.harbor.store().database = down;
        Some(format!("Bearer {}", answer["token"].as_str().unwrap()))
    }

    /// Compares status, [`HEADERS`], and all of the body but [`ANY`] and [`IGNORED`].
    async fn compare(&self, recorded: &Value, head: bool, answer: reqwest::Response) -> Result<(), String> {
        let mut differences = Vec::new();
        let mut differ = |what: &str, recorded: String, ours: String| {
            if recorded != ours {
                differences.push(format!("\n  {what}\n    recorded {recorded}\n    ours     {ours}"));
            }
        };
        differ("status", recorded["status"].to_string(), answer.status().as_u16().to_string());
        for header in HEADERS {
            let recorded = recorded["headers"].as_object().into_iter().flatten();
            let recorded = recorded.filter(|(name, _)| name.eq_ignore_ascii_case(header));
            let recorded = recorded.map(|(_, value)| self.translated(value.as_str().unwrap())).next();
            let ours = answer.headers().get(header).map(|value| value.to_str().unwrap().to_owned());
            differ(header, format!("{recorded:?}"), format!("{ours:?}"));
        }
        let ours = answer.text().await.map_err(|error| error.to_string())?;
        let body = match &recorded["body"] {
            Value::String(text) => self.translated(text),
            other => self.translated(&other.to_string()),
        };
        if head {
            differ("body", String::new(), ours);
        } else {
            differ("body", essence(&body), essence(&ours));
        }
        if differences.is_empty() { Ok(()) } else { Err(differences.concat()) }
    }

    /// Recorded digests, address and scanner replaced by ours.
    fn translated(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("sha256") {
            let (before, from) = rest.split_at(at + "sha256".len());
            out.push_str(before);
            let hex = ["%253A", "%3A", ":"].into_iter().find_map(|colon| {
                let hex = from.strip_prefix(colon)?.get(..64)?;
                Some((colon, hex))
            });
            rest = from;
            if let Some((colon, hex)) = hex {
                let ours = self.digests.get(&hex[..6]).map(|digest| digest.to_string()[7..].to_owned());
                out.push_str(colon);
                out.push_str(ours.as_deref().unwrap_or(hex));
                rest = &from[colon.len() + 64..];
            }
        }
        out.push_str(rest);
        out.replace("http://127.0.0.1:8000", &self.harbor.url()).replace("FakeScan", "DemoScan")
    }
}

/// A body reduced to what is compared, as text.
fn essence(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else { return body.trim().replace("\r\n", "\n") };
    if value.get("schemaVersion").is_some() {
        // The bytes of a manifest are ours; what it says it is, is compared.
        return value["mediaType"].to_string();
    }
    reduced(&value).to_string()
}

fn reduced(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(reduced).collect();
            items.sort_by_key(ToString::to_string);
            items.into()
        }
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| !IGNORED.contains(&key.as_str()));
            let one = |(key, value): (&String, &Value)| {
                let time = key == "start_time" || key == "end_time";
                let unset = value.as_str().is_some_and(|text| text.starts_with("0001-"));
                let any = ANY.contains(&key.as_str()) && !(key == "id" && value.is_string());
                let value = if any || time && !unset { json!("…") } else { reduced(value) };
                (key.clone(), value)
            };
            Value::Object(kept.map(one).collect::<Map<_, _>>())
        }
        // A database's own words.
        Value::String(text) if text.starts_with("failed to connect to ") => json!("failed to connect"),
        other => other.clone(),
    }
}
