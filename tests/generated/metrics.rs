//! `helm/landfall/METRICS.md`: every metric, with what a scraped page says of it and what its labels may be.
//!
//! Type, unit and meaning come from pages. The names of the labels and their values are written here, and the pages must
//! not show any others. Seven pages together show every family: that of `landfall serve` in a process of its own, that of a
//! door at which a little of everything happens, the metrics of self-managed certificates, of replication, of pull secrets
//! and of the ledger, which only a leader has, and those of notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use landfall::facade::certs;
use landfall::facade::certs::rotation::Step;
use landfall::facade::config::{self, Files};
use landfall::facade::controllers::leader::Leading;
use landfall::facade::controllers::notifications::{NotificationMetrics, Received, Receiver};
use landfall::facade::controllers::pull_secrets::{Count, PullSecretMetrics, Wrote};
use landfall::facade::controllers::replication::{ReplicationMetrics, RuleWatch};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::demo::world::{Embedded, Execution, PathClass, ReplicationRule, entry};
use landfall::facade::domain::case::Subject;
use landfall::facade::domain::finding::FindingKind;
use landfall::facade::domain::gap::{Gap, GapKey, GapKind, Version};
use landfall::facade::domain::healing::{HealOutcome, Remedy};
use landfall::facade::domain::image::Tag;
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::verdict::Reason;
use landfall::facade::evidence::{Look, Observatory};
use landfall::facade::ledger::{Book, LedgerMetrics, Met, Recorder, Sighting};
use prometheus_client::registry::Registry;
use serde_json::json;
use strum::VariantArray as _;
use strum::VariantNames;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::process::Process;
use super::site::{ROUTES, Site};
use super::support::case_for;
use super::support::door::Door;
use super::support::metrics::{Family, Page};
use super::support::site::review;
use super::support::wait::{HELD, until};

/// What a label may say.
#[derive(Clone)]
pub enum Values {
    /// One of these words.
    Closed(&'static [&'static str]),
    /// The word of a [`Reason`].
    Reasons,
    /// The word of a [`FindingKind`].
    Findings,
    /// The word of a [`GapKind`].
    Gaps,
    /// A name from the configuration.
    Configured(&'static str),
    /// Something else: what, in words.
    Free(&'static str),
}

use Values::{Closed, Configured, Findings, Free, Gaps, Reasons};

const REGISTRY: (&str, Values) = ("registry", Configured("a registry"));
const PORT: (&str, Values) = ("port", Closed(&["Webhook", "Validate", "Hooks", "Admin"]));
const DOOR: (&str, Values) = ("door", Closed(&["Mutate", "Validate"]));
const ASPECT: (&str, Values) = ("aspect", Closed(&["Presence", "Children", "Scan", "TagDigest"]));

const RULE: (&str, Values) =
    ("rule", Free("the name of a replication rule, of at most 64 for each registry"));
const STATUS: (&str, Values) = ("status", Closed(&["InProgress", "Succeed", "Failed", "Stopped"]));

/// Every family, as its page calls it, and its labels.
fn families() -> Vec<(&'static str, Vec<(&'static str, Values)>)> {
    vec![
        (
            "landfall_admissions",
            vec![
                ("verdict", Closed(&["Patched", "Unchanged", "Denied", "Internal"])),
                ("reason", Reasons),
                ("dry_run", Closed(&["true", "false"])),
                DOOR,
            ],
        ),
        ("landfall_admission_duration_seconds", vec![DOOR]),
        ("landfall_admission_not_ours", vec![]),
        ("landfall_admission_panics", vec![]),
        (
            "landfall_admission_recreated_pods",
            vec![("preset", Closed(&["cnpg", "kubevirt", "nifikop", "olm", "none"]))],
        ),
        ("landfall_admission_too_many_images", vec![]),
        (
            "landfall_images",
            vec![
                ("route", Configured("a route; empty: no route")),
                ("place", Configured("the registry that serves it; empty: another one")),
                ("reason", Reasons),
            ],
        ),
        (
            "landfall_findings",
            vec![("place", Configured("a registry; empty: no place on this site")), ("finding", Findings)],
        ),
        ("landfall_verdicts", vec![("source", Closed(&["Cache", "Judged"]))]),
        (
            "landfall_observed_policy_verdicts",
            vec![
                ("policy", Configured("a policy")),
                ("verdict", Closed(&["Allowed", "Denied", "Opened", "Dropped"])),
            ],
        ),
        (
            "landfall_lookups",
            vec![
                REGISTRY,
                ASPECT,
                (
                    "outcome",
                    Closed(&[
                        "Answered",
                        "Absent",
                        "Refused",
                        "Unreachable",
                        "Unauthorized",
                        "RateLimited",
                        "Deadline",
                        "BreakerOpen",
                        "Overloaded",
                        "Malformed",
                    ]),
                ),
            ],
        ),
        ("landfall_lookup_duration_seconds", vec![REGISTRY, ASPECT]),
        ("landfall_lookup_queue_wait_seconds", vec![REGISTRY]),
        ("landfall_lookups_coalesced", vec![ASPECT]),
        (
            "landfall_blobs",
            vec![
                REGISTRY,
                ("result", Closed(&["Present", "Absent", "Cut", "Refused", "Unknown", "Remembered"])),
            ],
        ),
        ("landfall_background_lookups", vec![REGISTRY, ("task", Closed(&["Proof", "Renewal", "Dropped"]))]),
        ("landfall_cache_requests", vec![ASPECT, ("result", Closed(&["Fresh", "Stale", "Miss"]))]),
        ("landfall_cache_entries", vec![]),
        ("landfall_cache_bytes", vec![]),
        (
            "landfall_cache_invalidations",
            vec![REGISTRY, ("scope", Closed(&["Digest", "Tag", "Repository", "Registry"]))],
        ),
        (
            "landfall_registry_requests",
            vec![
                REGISTRY,
                (
                    "outcome",
                    Closed(&[
                        "Success",
                        "Redirect",
                        "NotFound",
                        "Refused",
                        "Unauthorized",
                        "Forbidden",
                        "RateLimited",
                        "Spent",
                        "ClientError",
                        "ServerError",
                        "Connect",
                        "Tls",
                        "Broken",
                        "Malformed",
                        "Deadline",
                    ]),
                ),
            ],
        ),
        ("landfall_registry_request_duration_seconds", vec![REGISTRY]),
        (
            "landfall_registry_health",
            vec![
                REGISTRY,
                (
                    "state",
                    Closed(&[
                        "Unprobed",
                        "Up",
                        "Slow",
                        "RateLimited",
                        "BadCredentials",
                        "NotARegistry",
                        "DatabaseDown",
                        "Down",
                        "Unresponsive",
                        "Drained",
                        "Unusable",
                    ]),
                ),
            ],
        ),
        ("landfall_registry_probe_duration_seconds", vec![REGISTRY]),
        ("landfall_registry_breaker", vec![REGISTRY]),
        ("landfall_registry_backoff", vec![REGISTRY]),
        ("landfall_registry_limited_projects", vec![REGISTRY]),
        ("landfall_config_generation", vec![]),
        ("landfall_config_loaded_timestamp_seconds", vec![]),
        ("landfall_config_errors", vec![]),
        ("landfall_config_warnings", vec![]),
        (
            "landfall_condition",
            vec![
                (
                    "condition",
                    Closed(&[
                        "Settings",
                        "Certificate",
                        "Callers",
                        "Namespaces",
                        "Entries",
                        "Policies",
                        "Registries",
                        "Inventory",
                        "Notifications",
                        "PullSecrets",
                        "Serving",
                    ]),
                ),
                ("state", Closed(&["Good", "Degraded", "Unready"])),
            ],
        ),
        ("landfall_build", vec![("version", Free("the release")), ("features", Free("`demo`, or empty"))]),
        ("landfall_http_requests", vec![("class", Closed(&["2xx", "3xx", "4xx", "5xx"]))]),
        (
            "landfall_http_requests_refused",
            vec![PORT, ("reason", Closed(&["TooLarge", "NoRoom", "Slow", "Broken"]))],
        ),
        ("landfall_http_panics", vec![]),
        ("landfall_connections", vec![]),
        (
            "landfall_connections_refused",
            vec![PORT, ("reason", Closed(&["Share", "FirstRequest", "Stalled"]))],
        ),
        ("landfall_tls_handshake_failures", vec![("reason", Closed(&["Timeout", "Closed", "Tls"]))]),
        ("landfall_draining", vec![]),
        ("landfall_certificate_expiry_timestamp_seconds", vec![]),
        ("landfall_certificate_authority_expiry_timestamp_seconds", vec![]),
        ("landfall_certificate_rotation_step", vec![("step", Closed(Step::VARIANTS))]),
        ("landfall_ca_bundle_writes", vec![]),
        ("landfall_leader", vec![]),
        ("landfall_replication_lag_seconds", vec![("route", Configured("a route"))]),
        ("landfall_replication_executions", vec![REGISTRY, RULE, STATUS]),
        ("landfall_replication_tasks", vec![REGISTRY, RULE, STATUS]),
        ("landfall_replication_rule_last_run_timestamp_seconds", vec![REGISTRY, RULE]),
        ("landfall_pull_secrets", vec![REGISTRY, ("state", Closed(&["Current", "Outdated", "Foreign"]))]),
        (
            "landfall_pull_secret_writes",
            vec![
                REGISTRY,
                (
                    "result",
                    Closed(&["Created", "Exists", "Updated", "Deleted", "Outdated", "NoNamespace", "Failed"]),
                ),
            ],
        ),
        ("landfall_pull_secrets_dropped", vec![]),
        (
            "landfall_policies",
            vec![("source", Closed(&["File", "Object"])), ("enforcement", Closed(&["Enforce", "Observe"]))],
        ),
        ("landfall_policies_refused", vec![]),
        ("landfall_policies_opened", vec![]),
        (
            "landfall_inventory_reads",
            vec![(
                "outcome",
                Closed(&[
                    "Used",
                    "Nothing",
                    "Torn",
                    "OtherVersion",
                    "OtherSite",
                    "TooOld",
                    "FromFuture",
                    "TooLarge",
                    "Malformed",
                    "Unreachable",
                ]),
            )],
        ),
        (
            "landfall_inventory_answers",
            vec![(
                "result",
                Closed(&[
                    "Taken",
                    "NotConfigured",
                    "ConfiguredOtherwise",
                    "TooOld",
                    "Known",
                    "Full",
                    "Malformed",
                ]),
            )],
        ),
        ("landfall_inventory_writes", vec![("outcome", Closed(&["Written", "Outdated", "Failed"]))]),
        ("landfall_inventory_bytes", vec![]),
        ("landfall_inventory_left_out", vec![]),
        ("landfall_gap_sightings", vec![("finding", Gaps)]),
        ("landfall_gaps_unrecorded", vec![("finding", Gaps)]),
        ("landfall_gaps_closed", vec![]),
        ("landfall_gap_write_failures", vec![]),
        ("landfall_gaps", vec![("finding", Gaps), REGISTRY]),
        ("landfall_gap_oldest_age_seconds", vec![REGISTRY, ("axis", Closed(&["Presence", "Scan", "Risk"]))]),
        (
            "landfall_healing_attempts",
            vec![
                REGISTRY,
                ("what", Closed(&["Scan", "Replicate"])),
                ("outcome", Closed(HealOutcome::VARIANTS)),
            ],
        ),
        ("landfall_healing_gaps_given_up", vec![REGISTRY]),
        ("landfall_sweep_duration_seconds", vec![]),
        ("landfall_sweep_ended_timestamp_seconds", vec![]),
        ("landfall_sweep_failures", vec![]),
        ("landfall_sweep_pods", vec![]),
        ("landfall_sweep_images", vec![]),
        ("landfall_sweep_images_unknown", vec![]),
        ("landfall_sweep_images_left_out", vec![]),
        ("landfall_sweep_manifests", vec![("result", Closed(&["Complete", "Lost", "Absent", "Unknown"]))]),
        ("landfall_sweep_copies", vec![]),
        ("landfall_sweep_copies_inspected", vec![]),
        (
            "landfall_pull_failures",
            vec![("result", Closed(&["Damaged", "Absent", "Unexplained", "Unknown"]))],
        ),
        ("landfall_validating_entries", vec![("state", Closed(&["Standing", "Missing", "Refused"]))]),
        ("landfall_validating_entry_restores", vec![]),
        (
            "landfall_notifications",
            vec![
                REGISTRY,
                (
                    "event",
                    Closed(&[
                        "Pushed",
                        "Pulled",
                        "Deleted",
                        "ScanCompleted",
                        "ScanFailed",
                        "ScanStopped",
                        "Replicated",
                        "Retained",
                        "QuotaExceeded",
                        "QuotaWarned",
                        "Relayed",
                        "Unknown",
                    ]),
                ),
            ],
        ),
        (
            "landfall_notifications_refused",
            vec![("reason", Closed(&["WrongSecret", "TooMany", "MediaType", "Malformed"]))],
        ),
        ("landfall_notification_changes", vec![("result", Closed(&["Invalidated", "Unused", "Dropped"]))]),
        ("landfall_notification_relays", vec![("result", Closed(&["Sent", "Failed", "Dropped"]))]),
    ]
}

impl Values {
    /// Whether a label may have this value.
    pub fn allow(&self, value: &str) -> bool {
        match self {
            Closed(words) => words.contains(&value),
            Reasons => Reason::all().any(|reason| reason.as_str() == value),
            Findings => FindingKind::VARIANTS.iter().any(|kind| kind.as_str() == value),
            Gaps => value.parse::<GapKind>().is_ok(),
            Configured(_) | Free(_) => true,
        }
    }

    fn shown(&self) -> String {
        match self {
            Closed(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Reasons => "a [reason](REASONS.md)".to_owned(),
            Findings => "a [finding](REASONS.md#findings)".to_owned(),
            Gaps => "a finding of a gap".to_owned(),
            Configured(what) => format!("the name of {what}"),
            Free(what) => (*what).to_owned(),
        }
    }
}

fn image(named: Named) -> String {
    format!("harbor.fra.example.com/{}:{}", named.repository, named.tag)
}

/// The page of `landfall serve`, as Prometheus would scrape it.
async fn served() -> Page {
    let site = Site::start().await.unwrap();
    let config = site.configure("metrics", ROUTES).unwrap();
    let process = Process::landfall(&config, &site.folder().unwrap()).await.unwrap();
    let answer = process.admin("/metrics").await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // It may come in chunks, each behind a line with its length.
    Page::read(&body.lines().filter(|line| line.contains(' ')).collect::<Vec<_>>().join("\n"))
}

/// The page of a door at which a little of everything happened.
async fn busy() -> Page {
    let door = Door::open().await;
    let page = || Page::of(&door.page);
    let observatory = door.observatory.clone();
    let probes = tokio::spawn(async move { observatory.watch(|| {}).await });
    until("probed", || door.observatory.health().iter().all(|report| report.health.is_good())).await;
    probes.abort();
    // Two who ask at once ask once.
    door.demo
        .ams
        .faults()
        .add(Scope::Only(PathClass::Manifests), Fault::Delay(std::time::Duration::from_millis(20)));
    let one = image(seed::PRESENT);
    let pod = async |namespace: &str| door.pod(namespace, &[&one]).await;
    tokio::join!(pod("shop"), pod("moving"));
    door.demo.ams.faults().clear();
    let mut dry = review("shop", &[&one, "busybox", "no image at all"]);
    dry["request"]["dryRun"] = true.into();
    door.review(&dry).await;
    for name in [seed::VULNERABLE, seed::MISSING, seed::UNSCANNED, seed::REFUSED, seed::PROXIED] {
        for namespace in ["shop", "bank", "trial"] {
            door.pod(namespace, &[&image(name)]).await;
        }
    }
    door.observatory.invalidate(&RegistryName::new("ams"), landfall::facade::evidence::Scope::Registry);
    look_at_layers(&door).await;
    // An operator creates its Pod again and again.
    let mut catalog = review("shop", &[&one]);
    let owner =
        json!({"apiVersion": "operators.coreos.com/v1alpha1", "kind": "CatalogSource", "name": "one"});
    catalog["request"]["object"]["metadata"]["ownerReferences"] = json!([owner]);
    for _ in 0..10 {
        door.review(&catalog).await;
    }
    door.demo.ams.down().await;
    door.pod("shop", &[&image(seed::MULTI_ARCH)]).await;
    // It goes away before it has said anything.
    drop(tokio::net::TcpStream::connect(door.address()).await.unwrap());
    let shown = |family: &str| page().families.contains_key(family);
    until("its failure is counted", || shown("landfall_tls_handshake_failures")).await;
    until("the observing policy is counted", || shown("landfall_observed_policy_verdicts")).await;
    until("a tag is proved", || shown("landfall_background_lookups")).await;
    page()
}

/// Looks at the layers of an image that is there.
async fn look_at_layers(door: &Door) {
    let Named { repository, tag } = seed::PRESENT;
    let digest = door.demo.ams.store().digest(repository, tag).unwrap();
    let case = case_for(&door.settings.load(), &format!("harbor.fra.example.com/{repository}@{digest}"));
    let Subject::Routed(routed) = case.subject else { panic!("no route leads to it") };
    let place = routed.places.iter().find(|place| place.registry.name.as_str() == "ams").unwrap();
    door.observatory.layers(place, digest, Look::Deep, Instant::now() + HELD).await;
}

/// What a replica shows of certificates that it manages itself.
fn certificates() -> Page {
    let mut page = Registry::default();
    certs::Metrics::register(&mut page).rotation(Some(&Step::Publish));
    Page::of(&page)
}

/// What the leader shows of replication: of a rule that ran, and of a copy that came.
async fn replication() -> Page {
    let demo = seed::demo().await.unwrap();
    let now = jiff::Timestamp::now();
    let rule = demo.fra.store().add_rule(ReplicationRule::to("production", &demo.ams.url()));
    demo.fra.store().execute(rule, Execution::succeeded(now));
    let entry =
        |at: &Embedded, name: &str| entry(&at.registry(name, &format!("harbor.{name}.example.com")), "");
    let text = format!(
        "site: ams\nregistries: {{fra: {}, ams: {}}}\nroutes:\n  - name: production\n    \
         primary: {{registry: fra, repositories: \"production/**\"}}\n    \
         replicas: [{{registry: ams, namespace: production, flatten: 1}}]\n",
        entry(&demo.fra, "fra"),
        entry(&demo.ams, "ams"),
    );
    let settings = config::parse(&text, "test.yaml", Files::Check, now).unwrap().settings;
    let mut page = Registry::default();
    let observatory = Observatory::new(&settings, &mut Registry::default());
    let metrics = ReplicationMetrics::register(&mut page);
    metrics.lag(&settings.routes[0].name, std::time::Duration::from_secs(2));
    let settings = std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(settings));
    let watch = RuleWatch::new(
        observatory.into(),
        settings,
        Leading::told_by(tokio::sync::watch::channel(true).1),
        jiff::Timestamp::now,
        metrics,
    );
    let mut report = watch.report();
    let task = tokio::spawn(watch.run());
    report.wait_for(|report| !report.read.is_empty()).await.unwrap();
    task.abort();
    Page::of(&page)
}

/// What the leader shows of pull secrets.
fn pull_secrets() -> Page {
    let mut page = Registry::default();
    let (metrics, ams) = (PullSecretMetrics::register(&mut page), RegistryName::new("ams"));
    Wrote::VARIANTS.iter().for_each(|wrote| metrics.wrote(&ams, *wrote));
    metrics.count(std::iter::once((&ams, Count::default())));
    Page::of(&page)
}

/// What the leader shows of a ledger that is full.
fn ledger() -> Page {
    let mut page = Registry::default();
    let metrics = LedgerMetrics::register(&mut page);
    let (book, recorder) = (Book::default(), Recorder::new(metrics.clone(), Timestamp::now));
    for n in 0..=2_000 {
        let version = Version::Tag(Tag::new(n.to_string()));
        let key = GapKey::image("harbor.fra.example.com/shop/web", version, RegistryName::new("ams"));
        let gap = Gap { key, kind: GapKind::Finding(FindingKind::Missing), detail: "".into() };
        recorder.see(&Sighting { gaps: &[gap], tag: None, met: Met::Used, namespace: "shop", owner: None });
    }
    book.fold(&recorder);
    metrics.attempted(&RegistryName::new("ams"), Remedy::Scan, HealOutcome::Healed);
    let entries = book.entries();
    metrics.show(entries.iter().map(|(key, record)| (key, record)), Timestamp::now());
    Page::of(&page)
}

/// What a replica shows that was notified once.
async fn notifications() -> Page {
    let demo = seed::demo().await.unwrap();
    let secret = "Bearer 0123456789abcdef";
    let file = demo.world.write("notifications/ams", secret).unwrap();
    let more = format!("notifications: {{secretFile: {:?}}}", file.display().to_string());
    let ams = entry(&demo.ams.registry("ams", "harbor.ams.example.com"), &more);
    let text = format!(
        "site: ams\nregistries: {{ams: {ams}}}\nroutes: [{{name: p, primary: {{registry: ams, repositories: 'p/**'}}}}]\n"
    );
    let settings = config::parse(&text, "test.yaml", Files::Check, Timestamp::now()).unwrap().settings;
    let observatory = std::sync::Arc::new(Observatory::new(&settings, &mut Registry::default()));
    let settings = std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(settings));
    let mut page = Registry::default();
    let metrics = NotificationMetrics::register(&mut page);
    let (receiver, _worker) = Receiver::new(settings, observatory, None, None, metrics);
    assert!(receiver.look_at_secrets().await.is_empty());
    let headers = [(http::header::AUTHORIZATION, secret), (http::header::CONTENT_TYPE, "application/json")];
    let headers = headers.map(|(name, value)| (name, http::HeaderValue::from_static(value)));
    let peer = std::net::Ipv4Addr::LOCALHOST.into();
    let body = br#"{"type":"QUOTA_EXCEED"}"#;
    assert_eq!(receiver.receive(peer, &headers.into_iter().collect(), body).await, Received::Accepted);
    Page::of(&page)
}

/// All families of all pages. One that several pages show says the same on each. The pages are made once.
async fn shown() -> &'static BTreeMap<String, Family> {
    static SHOWN: OnceCell<BTreeMap<String, Family>> = OnceCell::const_new();
    SHOWN.get_or_init(pages).await
}

async fn pages() -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    let leader = [certificates(), replication().await, ledger(), pull_secrets()];
    for page in [served().await, busy().await, notifications().await].into_iter().chain(leader) {
        for (name, family) in page.families {
            let Some(known) = all.get_mut(&name) else {
                all.insert(name, family);
                continue;
            };
            assert_eq!(
                (&known.kind, &known.unit, &known.help),
                (&family.kind, &family.unit, &family.help),
                "{name}"
            );
            known.labels.extend(family.labels);
            for (label, values) in family.values {
                known.values.entry(label).or_default().extend(values);
            }
        }
    }
    all
}

/// The names of metrics that stand in the source. A family without samples is on no page, so a page alone would not show
/// that one is forgotten here.
fn registered(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(registered(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let quoted = text.split('"').filter(|text| text.starts_with("landfall_"));
            names.extend(
                quoted
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
                    .map(str::to_owned),
            );
        }
    }
    names
}

/// The name of a family's samples; of a histogram what they have in common.
fn sample(name: &str, family: &Family) -> String {
    match family.kind.as_str() {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

/// Every name that a query may ask for: the labels of its samples, and what they may say.
pub async fn samples() -> BTreeMap<String, Vec<(&'static str, Values)>> {
    let shown = shown().await;
    let mut samples = BTreeMap::new();
    for (name, labels) in families() {
        let family = &shown[name];
        if family.kind != "histogram" {
            samples.insert(sample(name, family), labels);
            continue;
        }
        samples.insert(format!("{name}_sum"), labels.clone());
        samples.insert(format!("{name}_count"), labels.clone());
        samples
            .insert(format!("{name}_bucket"), [labels, vec![("le", Free("the bound of a bucket"))]].concat());
    }
    samples
}

/// The reference, as the pages and the table say it.
///
/// # Panics
/// Where a family, a label or a value is in one of them and not in the other.
pub async fn reference() -> String {
    let shown = shown().await;
    let families = families();
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        names(shown.keys().map(String::as_str).collect()),
        names(families.iter().map(|(name, _)| *name).collect()),
        "left: what pages show, right: the table in tests/generated/metrics.rs"
    );
    let registered = registered(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let on_a_page = |literal: &str| {
        // The status page reads samples of a family.
        let literal =
            ["_total", "_bucket", "_count"].iter().find_map(|of| literal.strip_suffix(of)).unwrap_or(literal);
        let units = ["", "_seconds", "_bytes"].map(|unit| format!("{literal}{unit}"));
        units.iter().any(|family| shown.contains_key(family))
    };
    let never: Vec<_> = registered.iter().filter(|literal| !on_a_page(literal)).collect();
    assert!(registered.len() > 30, "{registered:?}");
    assert!(never.is_empty(), "named in src, and on no page: {never:?}");
    let mut text = HEAD.to_owned();
    for (name, labels) in families {
        let family = &shown[name];
        let known = names(labels.iter().map(|(label, _)| *label).collect());
        assert_eq!(family.labels, known, "the labels of {name}: left on pages, right in the table");
        for (label, values) in &labels {
            let strange: Vec<_> = family.values[*label].iter().filter(|value| !values.allow(value)).collect();
            assert!(
                strange.is_empty(),
                "{name}: {label} is {strange:?} on a page, and the table does not know it"
            );
        }
        let sample = sample(name, family);
        let unit = family.unit.as_deref().unwrap_or(if name.ends_with("_seconds") { "seconds" } else { "" });
        let labels: Vec<String> =
            labels.iter().map(|(label, values)| format!("`{label}`: {}", values.shown())).collect();
        let help = family.help.trim_end_matches('.');
        writeln!(text, "| `{sample}` | {} | {unit} | {} | {help} |", family.kind, labels.join("<br>"))
            .unwrap();
    }
    text
}

const HEAD: &str = "# Metrics

Made from the code by `LANDFALL_GENERATE=1 cargo test --test generated`. Every replica serves them at `/metrics` of its admin port, in the OpenMetrics format.

- A counter or histogram with labels appears when it has been counted once.
- Label values are names from the configuration (of registries, routes and policies), names of replication rules, or one of the words below. No image, namespace or Pod is ever a label.
- The three about self-managed certificates (`landfall_certificate_authority_…`, `…_rotation_step`, `landfall_ca_bundle_writes`) are
  there only where Landfall is its own certificate authority.

| metric | type | unit | labels | meaning |
|---|---|---|---|---|
";
