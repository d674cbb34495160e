//! Sends one recorded request and compares the answer.

use landfall::demo::world::content::{Content, Flavour};
use landfall::demo::world::faults::{Fault, Scope};
use landfall::demo::world::{
    Account, Allowlist, Cve, Embedded, Namespace, Permission, Reachable, Report, Scan, ScannerState,
    Signatures, Standing, Store, Visibility, World,
};
use landfall::domain::digest::Digest;
use landfall::domain::scan::Severity::{self, Critical, High, Low, Medium, Negligible, Unknown};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

use super::ask::client;

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
    "accessories",
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
        self.circumstances(name);
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
    fn circumstances(&self, name: &str) {
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
            store.database = Reachable::Down;
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
            let hex = from.find(|c: char| c.is_ascii_hexdigit()).and_then(|_| {
                ["%253A", "%3A", ":"]
                    .into_iter()
                    .find_map(|colon| Some((colon, from.strip_prefix(colon)?.get(..64)?)))
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

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

fn image(seed: &str) -> Content {
    Content::image(seed)
}

/// A success as the recorded scanner gave it: CVE-2024-1000 and on, every other one with a fix.
fn found(severities: &[Severity]) -> Scan {
    let cve = |(at, severity): (usize, &Severity)| Cve {
        id: format!("CVE-2024-{}", 1000 + at),
        severity: *severity,
        fix_version: (at % 2 == 0).then(|| "1.1".into()),
    };
    let vulnerabilities = severities.iter().enumerate().map(cve).collect();
    Scan::Success(Report { end_time: jiff::Timestamp::now(), vulnerabilities })
}

fn low_and_medium() -> Scan {
    found(&[Low, Medium])
}

/// Everything the recorded Harbor held. `digests` gets ours for the first six digits of each recorded one.
fn seed(store: &mut Store, digests: &mut HashMap<String, Digest>) {
    use Permission::{ArtifactRead, Pull};
    let robot = |name: &str, project: &str, may: &[Permission]| {
        Account::robot(name, Namespace::Project(project.into()), may)
    };
    for account in [
        Account::admin("Admin-Secret1"),
        Account::user("bob", "Bob-Secret1"),
        robot("min", "priv", &[Pull, ArtifactRead]),
        robot("pullonly", "priv", &[Pull]),
        robot("full", "gate", &Permission::ALL),
        robot("dis", "priv", &Permission::ALL).standing(Standing::Disabled),
        robot("exp", "priv", &Permission::ALL).standing(Standing::Expired),
        Account::robot("sysr", Namespace::All, &Permission::ALL),
        Account::robot("star", Namespace::All, &Permission::ALL),
    ] {
        store.add_account(account);
    }
    for public in ["pub", "lib"] {
        store.project(public).visibility = Visibility::Public;
    }
    for (prefix, repository, tag) in [
        ("67ba31", "priv/app", "v1"),
        ("67ba31", "other/app", "v1"),
        ("9f787e", "priv/app", "unscanned"),
        ("3e4aff", "priv/app", "slow"),
        ("8bf3bd", "priv/app", "err"),
        ("c9878b", "priv/app", "err2"),
        ("8c715b", "priv/app", "err3"),
        ("c314fa", "priv/app", "clean"),
        ("b45f0d", "priv/app", "unk"),
        ("4d9d76", "priv/team/app", "v1"),
        ("cdd55e", "pub/app", "v1"),
        ("38c67f", "gate/app", "clean"),
        ("e77ee0", "gate/app", "high"),
        ("268495", "gate/app", "uns"),
        ("49849d", "gate/app", "err"),
        ("65ab68", "gate/app", "slow"),
    ] {
        digests.insert(prefix.into(), store.push(repository, tag, &image(prefix)));
    }
    digests.insert("28d55b".into(), store.push("priv/dapp", "v1", &Content::docker_image("28d55b")));
    for (index, repository, tag, flavour, amd64, arm64) in [
        ("aeca26", "priv/multi", "v1", Flavour::Oci, "336052", "1372dd"),
        ("dd75d6", "priv/dmulti", "v1", Flavour::Docker, "4ab6a0", "0e3ae0"),
        ("f3905a", "priv/fmulti", "v1", Flavour::Oci, "43cc6a", "815ac4"),
        ("c900af", "priv/rmulti", "v1", Flavour::Oci, "bf23c8", "6e03d7"),
        ("e5f5f6", "priv/emulti", "v1", Flavour::Oci, "9b2089", "d6365d"),
        ("d4b2e7", "priv/vmulti", "v2", Flavour::Oci, "91ebc5", "e29b6b"),
        ("bd7184", "gate/multi", "v1", Flavour::Oci, "a3af00", "709ac6"),
        ("0de85f", "gate/multi", "v2", Flavour::Oci, "5c5878", "3a8db6"),
        ("701910", "gate/multi", "v3", Flavour::Oci, "013bd5", "000001"),
    ] {
        let content = Content::index(index, flavour, &PLATFORMS);
        digests.insert(index.into(), store.push(repository, tag, &content));
        digests.insert(amd64.into(), content.child("linux/amd64").unwrap().digest);
        digests.insert(arm64.into(), content.child("linux/arm64").unwrap().digest);
    }
    let attested = Content::index_with_attestation("d48cc2", &PLATFORMS[..1]);
    digests.insert("d48cc2".into(), store.push("priv/attmulti", "v1", &attested));
    digests.insert("73cc8b".into(), attested.child("linux/amd64").unwrap().digest);
    digests.insert("93a8fa".into(), attested.child("unknown/unknown").unwrap().digest);
    hold_lost(store, digests);
}

/// The images that a real storage was made to lose.
fn hold_lost(store: &mut Store, digests: &mut HashMap<String, Digest>) {
    for (prefix, repository) in LOST {
        digests.insert(prefix.into(), store.push(repository, "v1", &image(prefix)));
    }
    let index = Content::index("4da434", Flavour::Oci, &PLATFORMS);
    digests.insert("4da434".into(), store.push("pub/gone5", "v1", &index));
    digests.insert("842fd6".into(), index.child("linux/amd64").unwrap().digest);
    digests.insert("5b4cc0".into(), index.child("linux/arm64").unwrap().digest);
    for (repository, lost) in
        [("pub/gone1", "540e25"), ("pub/gone2", "505df4"), ("pub/gone4", "f68ab4"), ("pub/gone5", "842fd6")]
    {
        store.lose(repository, &digests[lost]);
    }
}

const LOST: [(&str, &str); 4] =
    [("540e25", "pub/gone1"), ("505df4", "pub/gone2"), ("1bf86d", "pub/gone3"), ("f68ab4", "pub/gone4")];

fn seed_upstream(store: &mut Store, digests: &mut HashMap<String, Digest>) {
    digests.insert("052305".into(), store.push("lib/pcimg", "v1", &image("052305")));
    digests.insert("8c79b4".into(), store.push("lib/pcimg", "v2", &image("8c79b4")));
    let index = Content::index("eba7e0", Flavour::Oci, &PLATFORMS);
    digests.insert("eba7e0".into(), store.push("lib/pc", "v1", &index));
    digests.insert("8a10d9".into(), index.child("linux/amd64").unwrap().digest);
    digests.insert("353849".into(), index.child("linux/arm64").unwrap().digest);
}

/// The state in which most rows were recorded.
fn default_state(store: &mut Store, digests: &HashMap<String, Digest>) {
    let now = jiff::Timestamp::now();
    store.scanner = ScannerState::Healthy;
    store.database = Reachable::Up;
    store.storage = Reachable::Up;
    store.allowlist = Allowlist::default();
    let gate = store.project("gate");
    (gate.prevent_vul, gate.signatures) = (Some(High), Signatures::Optional);
    store.add_account(Account::robot("full", Namespace::Project("priv".into()), &Permission::ALL));
    for repository in
        ["proxya/lib/pcimg", "proxya/lib/pc", "pub/gone1", "pub/gone2", "pub/gone3", "pub/gone4", "pub/gone5"]
    {
        store.delete_repository(repository);
    }
    for (prefix, scan) in [
        ("67ba31", low_and_medium()),
        ("aeca26", low_and_medium()),
        ("dd75d6", low_and_medium()),
        ("28d55b", low_and_medium()),
        ("4d9d76", low_and_medium()),
        ("3e4aff", low_and_medium()),
        ("8bf3bd", Scan::Error(now)),
        ("c9878b", Scan::Error(now)),
        ("8c715b", Scan::Error(now)),
        ("43cc6a", found(&[High, Low, Unknown])),
        ("815ac4", Scan::Error(now)),
        ("bf23c8", low_and_medium()),
        ("6e03d7", Scan::Running(now)),
        ("9b2089", Scan::Error(now)),
        ("d6365d", Scan::Error(now)),
        ("91ebc5", found(&[Low])),
        ("e29b6b", found(&[Critical, Unknown, Negligible])),
        ("c314fa", found(&[])),
        ("b45f0d", found(&[Unknown, Unknown])),
        ("d48cc2", low_and_medium()),
        ("38c67f", found(&[Low])),
        ("e77ee0", found(&[High, Low])),
        ("49849d", Scan::Error(now)),
        ("65ab68", Scan::Running(now)),
        ("a3af00", found(&[Low])),
        ("709ac6", found(&[Critical])),
        ("5c5878", Scan::Error(now)),
        ("3a8db6", found(&[Low])),
    ] {
        store.set_scan(&digests[prefix], scan);
    }
}
