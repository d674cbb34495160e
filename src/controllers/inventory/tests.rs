//! The loop over an API server that keeps ConfigMaps.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::{Method, StatusCode};
use prometheus_client::registry::Registry as Page;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::config::{self, Files};
use crate::controllers::leader::{Candidate, Leader, LeaderMetrics, Term};
use crate::domain::case::{Exemption, PodContext, Pull};
use crate::domain::policy::Labels;
use crate::domain::settings::Settings;
use crate::ledger::Swept;

const SITE: &str = "site: ams
registries:
  fra: {host: fra.example.com, site: fra, kind: distribution}
  ams: {host: ams.example.com, site: ams, kind: distribution}
routes:
- name: shop
  primary: {registry: fra, repositories: 'shop/**'}
  replicas: [{registry: ams, namespace: ''}]
";

const DIGEST: &str = "sha256:abababababababababababababababababababababababababababababababab";

/// ConfigMaps by name; what was asked, as `PATCH 0`.
#[derive(Clone, Default)]
struct Server {
    maps: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
    away: Arc<Mutex<bool>>,
}

impl Server {
    fn new() -> Self {
        let server = Self::default();
        for part in 0..8 {
            let name = format!("landfall-inventory-{part}");
            let map = json!({"metadata": {"name": name, "resourceVersion": "1"}});
            server.maps.lock().unwrap().insert(name, map);
        }
        server
    }

    fn cluster(&self) -> Cluster {
        let server = self.clone();
        Cluster::answered_by(move |head, body| {
            let server = server.clone();
            async move {
                if *server.away.lock().unwrap()
                    || head.uri.query().is_some_and(|query| query.contains("watch=true"))
                {
                    std::future::pending::<()>().await;
                }
                server.answer(&head, &body)
            }
        })
    }

    fn answer(&self, head: &http::request::Parts, body: &Value) -> (StatusCode, String) {
        let name = head.uri.path().rsplit('/').next().unwrap();
        let mut maps = self.maps.lock().unwrap();
        let Some(map) = maps.get_mut(name) else {
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                              "metadata": {"resourceVersion": "1"}, "items": []});
            return (StatusCode::OK, list.to_string());
        };
        self.asked.lock().unwrap().push(format!("{} {}", head.method, name.rsplit('-').next().unwrap()));
        if head.method == Method::PATCH {
            let next = map["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() + 1;
            for key in ["data", "binaryData"] {
                map[key] = body[key].clone();
            }
            map["metadata"]["resourceVersion"] = json!(next.to_string());
        }
        (StatusCode::OK, map.to_string())
    }

    /// Holds this as somebody's write.
    async fn holds(&self, id: &str, inventory: &Inventory) {
        let (bytes, _) = encode(inventory.clone(), MOST_BYTES);
        self.holds_bytes(id, &bytes).await;
    }

    async fn holds_bytes(&self, id: &str, bytes: &[u8]) {
        let parts = self.cluster().inventory("landfall", "landfall");
        assert_eq!(parts.write(id, bytes).await.unwrap(), Written::Done);
        self.asked.lock().unwrap().clear();
    }

    fn writes(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == "PATCH 0").count()
    }
}

fn settings() -> Settings {
    config::parse(SITE, "site.yaml", Files::Skip, Timestamp::now()).unwrap().settings
}

fn swept(settings: &Settings) -> Arc<Survey> {
    let now = Timestamp::now();
    let context = PodContext {
        regime: settings.regime(&Labels::new(), now),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now,
    };
    let case = settings.case_for(&format!("fra.example.com/shop/web@{DIGEST}"), Pull::Registry, &context);
    let swept = Swept { found: Vec::new(), good: Vec::new(), unlearned: Vec::new(), complete: true, at: now };
    Arc::new(Survey { cases: vec![case], swept, carried: Arc::default(), standings: None })
}

/// An inventory of one digest in Amsterdam, as this observatory would write it, learned by somebody just now.
fn one(observatory: &Observatory, settings: &Settings) -> Inventory {
    let now = Timestamp::now();
    let empty = observatory.export(std::iter::empty(), now, now);
    let registry = &settings.registries[&crate::domain::name::RegistryName::new("ams")];
    let text = json!({
        "version": 1, "site": "ams", "written": now, "sweep": now,
        "registries": [{"name": "ams", "fingerprint": crate::evidence::fingerprint(registry)}],
        "digests": [DIGEST], "platforms": [],
        "repositories": [{"at": 0, "repository": "shop/web", "answers": [[0, {"digest": [0, "image"]}]]}],
        "somethingNew": {"is": "ignored"},
    });
    let inventory: Inventory = serde_json::from_value(text).unwrap();
    assert_eq!((empty.answers(), inventory.answers()), (0, 1));
    inventory
}

/// One replica, and everything it has shown.
struct Replica {
    observatory: Arc<Observatory>,
    settings: Settings,
    shown: Arc<Mutex<Vec<Standing>>>,
    swept: watch::Sender<Option<Arc<Survey>>>,
    page: Page,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Replica {
    /// It starts now. `leads`: it gets the Lease.
    fn start(server: &Server, leads: bool) -> Self {
        let (settings, mut page) = (settings(), Page::default());
        let observatory = Arc::new(Observatory::new(&settings, &mut page));
        let metrics = InventoryMetrics::register(&mut page);
        let lease = Cluster::answered_by(move |_, _| async move {
            if !leads {
                std::future::pending::<()>().await;
            }
            let metadata = json!({"name": "landfall", "namespace": "landfall", "resourceVersion": "1"});
            let lease =
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata});
            (StatusCode::OK, lease.to_string())
        });
        let candidate = Candidate {
            namespace: "landfall".into(),
            lease: "landfall".into(),
            pod: "landfall-0".into(),
            term: Term::default(),
        };
        let leader = Leader::new(&lease, &candidate, LeaderMetrics::default(), Timestamp::now);
        let (swept, last) = watch::channel(None);
        let keeper = InventoryKeeper::new(
            &server.cluster(),
            ("landfall", "landfall"),
            observatory.clone(),
            leader.leading(),
            last,
            metrics,
            Timestamp::now,
        );
        let shown = Arc::new(Mutex::new(Vec::new()));
        let running = tokio::spawn({
            let shown = shown.clone();
            async move {
                tokio::select! {
                    () = leader.run(std::future::pending()) => {}
                    () = keeper.run(|standing| shown.lock().unwrap().push(standing)) => {}
                }
            }
        });
        Self { observatory, settings, shown, swept, page, running }
    }

    fn last_shown(&self) -> Option<Standing> {
        self.shown.lock().unwrap().last().cloned()
    }

    /// What it would write.
    fn knows(&self) -> usize {
        let (swept, now) = (swept(&self.settings), Timestamp::now());
        self.observatory.export(swept.cases.iter(), now, now).answers()
    }

    fn page(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.page).unwrap();
        text
    }
}

/// Waits for a state. The clock is paused: it goes on by itself whenever nobody can.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn a_replica_reads_it_before_it_is_ready() {
    let server = Server::new();
    let replica = Replica::start(&server, false);
    until("it says so", || replica.last_shown().is_some()).await;
    assert_eq!(replica.last_shown(), Some(Standing::Good("none was written yet".into())));
    let inventory = one(&replica.observatory, &replica.settings);
    server.holds("w1", &inventory).await;
    let replica = Replica::start(&server, false);
    until("it says so", || replica.last_shown().is_some()).await;
    assert_eq!((replica.last_shown(), replica.knows()), (Some(Standing::Good("kept".into())), 1));
    assert!(replica.page().contains("landfall_inventory_answers{result=\"Taken\"} 1"), "{}", replica.page());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_says_nothing_keeps_nobody_waiting() {
    let server = Server::new();
    *server.away.lock().unwrap() = true;
    let began = Instant::now();
    let replica = Replica::start(&server, false);
    until("it says so", || replica.last_shown().is_some()).await;
    assert!(began.elapsed() <= FIRST + Duration::from_millis(200));
    assert!(matches!(replica.last_shown(), Some(Standing::Degraded(_))));
}

#[tokio::test]
async fn what_cannot_be_used_is_said_and_harms_nobody() {
    let replica = Replica::start(&Server::new(), false);
    let good = one(&replica.observatory, &replica.settings);
    let packed = |inventory: &Inventory| encode(inventory.clone(), MOST_BYTES).0;
    let mut versioned = good.clone();
    versioned.version = 2;
    let mut elsewhere = good.clone();
    elsewhere.site = "fra".into();
    let mut old = good.clone();
    old.written -= jiff::SignedDuration::from_hours(48);
    let mut cut = packed(&good);
    cut.truncate(cut.len() / 2);
    for (bytes, said, outcome) in [
        (
            packed(&versioned),
            "it is not used: it is of version 2, and this Landfall reads version 1",
            "OtherVersion",
        ),
        (packed(&elsewhere), "it is not used: it is of site `fra`, and ours is another", "OtherSite"),
        (
            packed(&old),
            "it is not used: it was written 48 h ago, which is longer than `cache.remember`",
            "TooOld",
        ),
        (cut, "it is not used: it cannot be read: ", "Malformed"),
        (b"no zlib at all".to_vec(), "it is not used: it cannot be read: ", "Malformed"),
        (Vec::new(), "it is not used: it cannot be read: ", "Malformed"),
    ] {
        let server = Server::new();
        server.holds_bytes("w", &bytes).await;
        let replica = Replica::start(&server, false);
        until("it says so", || replica.last_shown().is_some()).await;
        let Some(Standing::Degraded(why)) = replica.last_shown() else {
            panic!("{:?}", replica.last_shown())
        };
        assert!(why.starts_with(said), "{why}");
        assert_eq!(replica.knows(), 0);
        let line = format!("landfall_inventory_reads_total{{outcome=\"{outcome}\"}} 1");
        assert!(replica.page().contains(&line), "{}", replica.page());
    }
}

#[tokio::test]
async fn a_torn_one_is_read_again_until_it_is_whole() {
    let server = Server::new();
    let replica = Replica::start(&Server::new(), false);
    server.holds("w1", &one(&replica.observatory, &replica.settings)).await;
    let whole = server.maps.lock().unwrap()["landfall-inventory-0"].clone();
    server.maps.lock().unwrap().get_mut("landfall-inventory-0").unwrap()["data"]["sha256"] = json!("other");
    let replica = Replica::start(&server, false);
    until("it was read", || !server.asked.lock().unwrap().is_empty()).await;
    assert_eq!(replica.last_shown(), None);
    server.maps.lock().unwrap().insert("landfall-inventory-0".into(), whole);
    until("it says so", || replica.last_shown().is_some()).await;
    assert_eq!((replica.last_shown(), replica.knows()), (Some(Standing::Good("kept".into())), 1));
}

#[tokio::test(start_paused = true)]
async fn the_leader_writes_after_a_sweep_and_then_only_what_is_new() {
    let server = Server::new();
    let leader = Replica::start(&server, true);
    until("it has read", || leader.last_shown().is_some()).await;
    let inventory = one(&leader.observatory, &leader.settings);
    let import = |inventory: &Inventory| {
        leader.observatory.import(inventory, Reading::Later, Timestamp::now()).unwrap();
    };
    import(&inventory);
    assert_eq!(server.writes(), 0, "nothing was swept yet");
    leader.swept.send_replace(Some(swept(&leader.settings)));
    until("it is written", || server.writes() == 1).await;
    // A sweep that finds the same.
    for _ in 0..5 {
        leader.swept.send_replace(Some(swept(&leader.settings)));
        tokio::time::sleep(PACE).await;
    }
    assert_eq!(server.writes(), 1);
    // Ages are counted from the last write, so it is renewed from time to time.
    until("it is written again", || server.writes() == 2).await;
    let replica = Replica::start(&server, false);
    until("another reads it", || replica.last_shown().is_some()).await;
    assert_eq!(replica.knows(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_could_not_read_it_at_the_start_forgets_no_damage() {
    let server = Server::new();
    let before = Replica::start(&Server::new(), false);
    let mut inventory = one(&before.observatory, &before.settings);
    inventory.damage = serde_json::from_value(
        json!([{"registry": "ams", "repository": "shop/web", "digest": DIGEST, "seen": Timestamp::now()}]),
    )
    .unwrap();
    server.holds("w1", &inventory).await;
    *server.away.lock().unwrap() = true;
    let leader = Replica::start(&server, true);
    until("it serves without", || leader.last_shown().is_some()).await;
    *server.away.lock().unwrap() = false;
    leader.swept.send_replace(Some(swept(&leader.settings)));
    until("it is written", || server.writes() == 1).await;
    let follower = Replica::start(&server, false);
    until("another reads it", || follower.last_shown().is_some()).await;
    assert_eq!(follower.observatory.damages().len(), 1, "nobody has found it mended");
}

#[tokio::test(start_paused = true)]
async fn followers_write_nothing_and_read_what_the_leader_wrote() {
    let server = Server::new();
    let follower = Replica::start(&server, false);
    until("it has read", || follower.last_shown().is_some()).await;
    follower.swept.send_replace(Some(swept(&follower.settings)));
    server.holds("w1", &one(&follower.observatory, &follower.settings)).await;
    until("it reads again", || follower.knows() == 1).await;
    assert_eq!(server.writes(), 0);
}
