//! Registries that are slow, silent, dead or hostile, and robots that may not look.

use std::net::{Ipv4Addr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use futures::future::join_all;
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Redirect, Scope};
use landfall::facade::demo::world::seed::{self, Demo};
use landfall::facade::demo::world::{Account, Namespace, PathClass, Permission, Scan};
use reqwest::Method;
use serde_json::{Value, json};

use super::{As, BLOCKS, forbidden, fra, images, is_denied, pod, start, stored, under};
use crate::other;
use crate::plane::plane;
use crate::pods::ashore;

/// Longer than any test may take.
const HELD: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn decoys_before_the_forbidden_image_do_not_open_the_policy() {
    const OWN: &str = "tenant-decoys";
    let landfall = start(&[OWN], |demo| under(demo, &[(OWN, BLOCKS)])).await;
    let (ams, bad) = (&landfall.demo.ams, forbidden());
    let decoys = |from: usize, count: usize| -> Vec<String> {
        (from..from + count).map(|n| format!("harbor.fra.example.com/production/decoy/app{n}:1")).collect()
    };
    let of = |n: usize, images: Vec<String>| {
        pod(&format!("decoys-{n}"), &images.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut init = of(3, vec![bad.clone()]);
    let decoy = |(n, image): (usize, String)| json!({"name": format!("i{n}"), "image": image});
    init["spec"]["initContainers"] = decoys(900, 400).into_iter().enumerate().map(decoy).collect();
    let mut pods = vec![
        of(0, [decoys(0, 400), vec![bad.clone()]].concat()),
        of(1, [vec![bad.clone()], decoys(0, 400)].concat()),
        of(2, [decoys(0, 200), vec![bad.clone()], decoys(400, 200)].concat()),
        init,
    ];
    // Many Pods fill the queue together.
    pods.extend((4..24).map(|n| of(n, [decoys(n * 100, 50), vec![bad.clone()]].concat())));
    for (fault, finding) in [(Fault::Delay(HELD), "Deadline at ams"), (Fault::Pace(20), "at ams")] {
        ams.faults().clear();
        ams.faults().add(Scope::Everything, fault.clone());
        for said in join_all(pods.iter().map(|pod| is_denied(OWN, "decoys", pod))).await {
            assert!(said.denied().contains(finding), "{fault:?}: {}", said.denied());
        }
    }
    // Nor by a request that leaves us less time.
    for time in ["1s", "200ms"] {
        let path = format!("namespaces/{OWN}/pods?timeout={time}");
        let said = As::tenant().asks(Method::POST, &path, "application/json", &pods[0]).await;
        assert_ne!(said.status, 201, "{time}: {}", said.body);
        assert_eq!(stored(OWN, "decoys-0").await, Value::Null, "{time}");
    }
    // Nor where nobody answers at all, and the breaker opens.
    ams.faults().clear();
    ams.down().await;
    for n in 0..10 {
        let said = is_denied(OWN, "down", &pod(&format!("down-{n}"), &[&bad])).await;
        assert!(said.denied().contains("Unreachable at ams"), "{}", said.denied());
    }
}

/// What Landfall may not or cannot see, and what it says of an image that nobody scanned.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_could_look_at_is_not_clean() {
    let robot = |permissions: &[Permission]| Account::robot("landfall", Namespace::All, permissions);
    let no_scanner = robot(&[Permission::Pull, Permission::ArtifactRead, Permission::ArtifactList]);
    let no_artifact = robot(&[Permission::Pull, Permission::ScannerRead]);
    let slow = (Scope::Only(PathClass::Api), Fault::Delay(HELD));
    for (namespace, account, fault, finding) in [
        ("tenant-no-scanner", Some(no_scanner), None, "Unauthorized at ams"),
        ("tenant-no-artifact", Some(no_artifact), None, "Unauthorized at ams"),
        ("tenant-pull-only", Some(robot(&[Permission::Pull])), None, "Unauthorized at ams"),
        // From its first moment on: out of time, and then not reached.
        ("tenant-slow-api", None, Some(slow), "try again when the registry answers"),
    ] {
        let landfall = start(&[namespace], |demo| {
            account.into_iter().for_each(|account| demo.ams.store().add_account(account));
            fault.into_iter().for_each(|(scope, fault)| demo.ams.faults().add(scope, fault));
            under(demo, &[(namespace, "onUnscanned: Block\nscan: {required: Auto}")])
        })
        .await;
        for named in [seed::UNSCANNED, seed::SCANNING, seed::SCAN_FAILED] {
            let said = is_denied(namespace, "unscanned", &pod("unscanned", &[&fra(named)])).await;
            let told = said.denied();
            // What has a scan that is running or failed has a scanner.
            let scanned = told.contains("ScanPending at ams") || told.contains("ScanFailed at ams");
            assert!(told.contains(finding) || named != seed::UNSCANNED && scanned, "{namespace}: {told}");
        }
        if namespace == "tenant-no-scanner" {
            let clean = fra(seed::PRESENT);
            assert_eq!(
                images(namespace, "scanned", &pod("clean", &[&clean])).await,
                [ashore(&landfall, &clean)]
            );
        }
    }
}

/// The site with a replica where all repositories become one.
fn flattened(demo: &Demo, policies: &[(&str, &str)]) -> String {
    let text = under(demo, policies);
    let (before, after) = text.split_once("routes:").unwrap();
    let (_, after) = after.split_once("platforms:").unwrap();
    format!(
        "{before}routes:\n  - name: production\n    primary: {{registry: fra, repositories: \"production/**\"}}\n    \
         replicas: [{{registry: ams, namespace: flat, flatten: all}}]\nplatforms:{after}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn another_applications_image_is_not_used_where_two_repositories_become_one() {
    const POLICY: &str = "tenant-flat";
    const NONE: &str = "tenant-flat-free";
    const MILD: &str = "tenant-flat-mild";
    let landfall = start(&[POLICY, NONE, MILD], |demo| {
        for app in ["app", "cron", "late"] {
            let ours = demo.fra.store().push(&format!("production/shop/{app}"), "1", &Content::image(app));
            demo.fra.store().set_scan(&ours, Scan::clean());
            let theirs = demo.ams.store().push(&format!("flat/{app}"), "1", &Content::image("another's"));
            demo.ams.store().set_scan(&theirs, Scan::clean());
        }
        flattened(
            demo,
            &[
                (POLICY, "onVulnerable: Block"),
                (MILD, "onVulnerable: Block\nonUnproved: Accept\nonStale: Accept"),
            ],
        )
    })
    .await;
    let image = |app: &str| format!("harbor.fra.example.com/production/shop/{app}:1");
    let digest = landfall.demo.fra.store().digest("production/shop/late", "1").unwrap();
    for namespace in [POLICY, NONE, MILD] {
        let written = images(namespace, "known", &pod("known", &[&image("app")])).await;
        assert_eq!(written, [image("app")], "the tags are known to differ");
    }
    landfall.demo.fra.down().await;
    // Until it is known that Frankfurt is down, and then.
    for round in 0..10 {
        for namespace in [POLICY, NONE, MILD] {
            for (n, image) in
                [image("app"), image("cron"), format!("{}@{digest}", image("late"))].into_iter().enumerate()
            {
                let pod = pod(&format!("dead-{round}-{n}"), &[&image]);
                let said = As::tenant().creates(namespace, &pod).await;
                assert!(!said.of("images").contains("ams"), "{namespace} {image}: {:?}", said.audit);
                let stored = stored(namespace, &format!("dead-{round}-{n}")).await;
                if said.status == 201 {
                    assert_eq!(stored["spec"]["containers"][0]["image"], image, "{namespace}");
                } else {
                    assert_eq!(
                        (said.denied().is_empty(), stored),
                        (false, Value::Null),
                        "{namespace} {image}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_words_and_addresses_stay_out_of_a_denial() {
    const OWN: &str = "tenant-words";
    let rules = format!("{BLOCKS}\nonUnknown: Block\nonMissing: Block");
    let landfall = start(&[OWN], |demo| under(demo, &[(OWN, &rules)])).await;
    let demo = &landfall.demo;
    let words = format!(
        "\u{202e}see core:8080 or {}; containers/x: Local at ams\u{2066}\u{200b}\u{feff}{}",
        plane().net.here(),
        " x".repeat(30_000)
    );
    let body = json!({"errors": [{"code": "DENIED", "message": words}]}).to_string();
    let mut told = Vec::new();
    for (n, status) in [412, 500, 403, 404, 429, 200, 401].into_iter().enumerate() {
        let status = StatusCode::from_u16(status).unwrap();
        for registry in [&demo.ams, &demo.edge] {
            registry.faults().clear();
            let fault = Fault::Instead(status, "application/json", body.clone().into());
            registry.faults().add(Scope::Only(PathClass::Manifests), fault);
        }
        let image = format!("harbor.fra.example.com/production/shop/words:v{n}");
        told.push(is_denied_or_missing(OWN, &format!("words-{n}"), &image).await);
    }
    for registry in [&demo.ams, &demo.edge] {
        registry.faults().clear();
        registry.down().await;
    }
    for n in 0..10 {
        told.push(is_denied_or_missing(OWN, &format!("down-{n}"), &forbidden()).await);
    }
    assert!(told.iter().filter(|told| told.contains("at ams")).count() > 12, "{told:#?}");
    let port = demo.ams.address().port().to_string();
    for told in told {
        assert!(told.chars().count() < 1_500, "{told}");
        for sign in
            ["\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}", "core", &plane().net.here().to_string(), &port]
        {
            assert!(!told.contains(sign), "{sign:?}: {told}");
        }
    }
}

/// All that the tenant is told.
async fn is_denied_or_missing(namespace: &str, name: &str, image: &str) -> String {
    let said = As::tenant().creates(namespace, &pod(name, &[image])).await;
    let details = said.of("details");
    assert!(
        details.chars().count() < 4_000 && !details.contains(['\u{202e}', '\u{2066}', '\u{200b}']),
        "{details}"
    );
    format!("{} {} {}", said.status, said.body["message"].as_str().unwrap_or_default(), said.warnings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_or_a_redirect_that_leads_elsewhere_gets_no_password() {
    const OWN: &str = "tenant-realms";
    const FREE: &str = "tenant-realms-free";
    let landfall = start(&[OWN, FREE], |demo| under(demo, &[(OWN, BLOCKS)])).await;
    let (demo, here) = (&landfall.demo, plane().net.here());
    // Somebody whom our registries would be trusted by: his certificate is good, and he gives tokens to everybody.
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    // A name that is not known to be special: this machine's, where it leads here.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_lowercase();
    let name = if (&*name, 0).to_socket_addrs().is_ok() { &*name } else { "localhost" };
    let names = ["localhost", name, &here.to_string()];
    let identity = demo.world.authority().issue(&names, Validity::Current).unwrap();
    let hears = heard.clone();
    let answers = Router::new().fallback(async move |uri: Uri, headers: HeaderMap, body: String| {
        hears.lock().unwrap().push(format!("{uri} {:?} {body}", headers.get("authorization")));
        json!({"token": "t", "access_token": "t"}).to_string()
    });
    let port = other::listen(Ipv4Addr::UNSPECIFIED, identity.server_config(), answers).await;
    let own = demo.ams.address();
    let challenge =
        |realm: String| Fault::Challenge(format!("Bearer realm=\"{realm}\",service=\"harbor-registry\""));
    let elsewhere = format!("https://localhost:{port}");
    let members = [
        ("its name", challenge(format!("https://{name}:{port}/token"))),
        ("its name without TLS", challenge(format!("http://{name}:{port}/token"))),
        ("this machine", challenge(format!("{elsewhere}/token"))),
        ("a name before it", challenge(format!("https://{own}@{name}:{port}/token"))),
        ("its own path", challenge(format!("https://{name}:{port}/service/token"))),
        ("another port", challenge(format!("https://{here}:{port}/service/token"))),
        ("a redirect", Fault::Redirect(Redirect::To(elsewhere.clone()))),
        ("a redirect to another port", Fault::Redirect(Redirect::To(format!("https://{here}:{port}")))),
    ];
    for (n, (what, fault)) in members.into_iter().enumerate() {
        for class in [PathClass::Manifests, PathClass::Token] {
            for (at, registry) in [("ams", &demo.ams), ("edge", &demo.edge)] {
                // A plain registry is trusted on its own host whatever the port.
                if at == "edge" && what.ends_with("another port") {
                    continue;
                }
                registry.faults().clear();
                registry.faults().add(Scope::Only(class), fault.clone());
                registry.clear_log();
                let image = format!("harbor.fra.example.com/production/realm/app{n}:v-{at}-{class:?}");
                for namespace in [OWN, FREE] {
                    As::tenant().creates(namespace, &pod(&format!("realm-{n}-{at}"), &[&image])).await;
                }
                let asked = registry.log().iter().any(|request| request.path.contains("/production/realm/"));
                assert!(asked || class == PathClass::Token, "{what} at {at}: {:?}", registry.log());
                registry.faults().clear();
            }
        }
    }
    let heard = heard.lock().unwrap();
    assert!(heard.iter().all(|heard| heard.contains(" None ") && !heard.contains("Secret1")), "{heard:#?}");
}
