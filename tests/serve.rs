//! `landfall serve`, whole and in process: files, sockets, reload, readiness, drain.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

#[path = "support/site.rs"]
mod site;

use std::path::PathBuf;
use std::time::Duration;

use landfall::cli::serve::certificate::Source;
use landfall::cli::serve::{Ended, Parts};
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::seed::{self, Demo};
use landfall::facade::server::{CertificateFiles, TlsVersions};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    demo: Demo,
    config: PathBuf,
    door: String,
    admin: String,
    /// The port of notifications.
    hooks: String,
    leave: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<Ended>>,
}

/// Starts a server with this configuration, the world's files and any free ports.
async fn start(demo: Demo, text: impl FnOnce(&Demo) -> String) -> Running {
    let config = demo.world.write("site.yaml", &text(&demo)).unwrap();
    let identity = demo.world.authority().issue(&["127.0.0.1"], Validity::Current).unwrap();
    let certificate = Source::Files(CertificateFiles {
        certificate: demo.world.write("tls/tls.crt", &identity.certificate_pem).unwrap(),
        key: demo.world.write("tls/tls.key", &identity.key_pem).unwrap(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let validate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hooks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let notified = format!("https://{}/hooks/harbor", hooks.local_addr().unwrap());
    let door = format!("https://{}/mutate?timeout=5s", listener.local_addr().unwrap());
    let port = format!("http://{}", admin.local_addr().unwrap());
    let parts = Parts {
        config: config.clone(),
        listener,
        validate,
        admin,
        hooks: Some(hooks),
        certificate,
        entries: None,
        versions: TlsVersions::default(),
        callers: None,
        own_namespace: Some("landfall".into()),
        cluster: None,
        candidate: None,
        policies: None,
        sweep: None,
        gap_retention: Duration::from_hours(168),
        propagation: Duration::ZERO,
    };
    let (leave, asked) = oneshot::channel();
    let task = tokio::spawn(parts.run(async move {
        asked.await.unwrap();
        "SIGTERM"
    }));
    Running { demo, config, door, admin: port, hooks: notified, leave, task }
}

impl Running {
    fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.demo.world.authority().pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).no_proxy().http1_only().build().unwrap()
    }

    async fn admin(&self, path: &str) -> (u16, String) {
        let answer = self.client().get(format!("{}{path}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits until `/readyz?verbose` is as wanted.
    async fn until(&self, status: u16, says: &str) -> String {
        let wait = async {
            loop {
                match self.admin("/readyz?verbose").await {
                    (found, text) if found == status && text.contains(says) => return text,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {status} {says}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_up_serves_reloads_and_leaves() {
    let demo = seed::demo().await.unwrap();
    // One of its registries is down: no reason not to be ready.
    demo.edge.down().await;
    let running = start(demo, site::configuration).await;
    let ready = running.until(200, "[!] Registries: 2 of 3 are well").await;
    assert!(ready.contains("\n    [+] ams: Up: answers and accepts our credentials (v2."), "{ready}");
    assert!(ready.contains("\n    [!] edge: Down: cannot connect to "), "{ready}");
    assert!(ready.contains("[+] Settings: generation 1") && ready.contains("[+] Certificate"), "{ready}");

    let web = "harbor.fra.example.com/production/shop/web:1.4.2";
    let review = async |client: &reqwest::Client| {
        let body = site::review("shop", &[web]).to_string();
        let request = client.post(&running.door).header("content-type", "application/json").body(body);
        request.send().await.unwrap().text().await.unwrap()
    };
    let client = running.client();
    assert!(review(&client).await.contains("\"patchType\":\"JSONPatch\""));
    let (status, page) = running.admin("/metrics").await;
    let counted =
        r#"landfall_admissions_total{verdict="Patched",reason="Local",dry_run="false",door="Mutate"} 1"#;
    assert!(status == 200 && page.contains(counted), "{page}");
    for family in [
        "landfall_registry_requests",
        "landfall_http_requests",
        "landfall_condition",
        "landfall_registry_health",
    ] {
        assert!(page.contains(family), "{family}");
    }
    assert!(page.contains("\nlandfall_config_generation 1\n"), "{page}");
    assert!(page.contains("\nlandfall_config_errors 0\n"), "{page}");

    // A file that cannot be used changes nothing but the condition; a good one does.
    let good = std::fs::read_to_string(&running.config).unwrap();
    std::fs::write(&running.config, good.replace("site: ams ", "site: nowhere ")).unwrap();
    let refused = running.until(200, "[!] Settings: generation 1").await;
    assert!(
        refused.contains("is refused: line 1: site: no registry stands on a site `nowhere`"),
        "{refused}"
    );
    std::fs::rename(&running.config, running.config.with_extension("away")).unwrap();
    running.until(200, "is refused: cannot be read: ").await;
    let (_, page) = running.admin("/metrics").await;
    assert!(page.contains("\nlandfall_config_generation 1\n"), "{page}");
    assert!(!page.contains("\nlandfall_config_errors 0\n"), "{page}");
    assert!(review(&client).await.contains("\"patchType\":\"JSONPatch\""));
    std::fs::write(&running.config, good.replace("namespaces: [harbor]", "namespaces: [harbor, shop]"))
        .unwrap();
    running.until(200, "[+] Settings: generation 2").await;
    let (_, page) = running.admin("/metrics").await;
    assert!(page.contains("\nlandfall_config_generation 2\n"), "{page}");
    assert!(page.contains("\nlandfall_config_errors 0\n"), "{page}");
    assert!(!review(&client).await.contains("patchType"), "`shop` is excluded now");

    running.leave.send(()).unwrap();
    let ended = timeout(PATIENCE, running.task).await.unwrap().unwrap().unwrap();
    assert!(matches!(ended, Ended::Left(served) if served.abandoned == 0), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_when_each_registry_was_probed_whatever_it_answered() {
    let demo = seed::demo().await.unwrap();
    demo.fra.down().await;
    // It takes its probe some seconds to find out.
    demo.edge.freeze().await;
    let running = start(demo, site::configuration).await;
    let waiting = running.until(503, "\n    [!] edge: Unprobed").await;
    assert!(waiting.contains("[-] Registries: "), "{waiting}");
    let ready = running.until(200, "\n    [!] edge: Unresponsive: ").await;
    assert!(ready.contains("\n    [!] fra: Down: cannot connect to "), "{ready}");
    running.leave.send(()).unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_refused_with_its_problems() {
    let running = start(seed::demo().await.unwrap(), |_| "site: ams\nroutes: 5\n".to_owned()).await;
    let ended = timeout(PATIENCE, running.task).await.unwrap().unwrap().unwrap();
    let Ended::Refused(problems) = ended else { panic!("{ended:?}") };
    assert!(problems.errors().count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harbor_with_a_secret_may_notify_and_nobody_else() {
    let demo = seed::demo().await.unwrap();
    let running = start(demo, site::configuration).await;
    running.until(200, "[!] Notifications: no registry has `notifications`, so each is answered 401").await;
    let secret = "Bearer 0123456789abcdef";
    let notify = async |path: &str| {
        let request = running.client().post(format!("{}{path}", running.hooks));
        let request = request.header("authorization", secret).header("content-type", "application/json");
        request.body("{\"type\":\"PUSH_ARTIFACT\",\"event_data\":{}}").send().await.unwrap().status().as_u16()
    };
    assert_eq!(notify("").await, 401);
    assert_eq!(notify("/more").await, 404);
    // The secret comes with the next configuration.
    let file = running.demo.world.write("notifications/ams", secret).unwrap();
    let text = std::fs::read_to_string(&running.config).unwrap();
    let more = format!(
        "pullSecret: harbor-ams-creds, notifications: {{secretFile: {:?}}}",
        file.display().to_string()
    );
    std::fs::write(&running.config, text.replace("pullSecret: harbor-ams-creds", &more)).unwrap();
    running.until(200, "[+] Notifications: registries that may notify: 1").await;
    assert_eq!(notify("").await, 202);
    std::fs::write(&file, "too short").unwrap();
    running.until(200, "less than 16 bytes").await;
    running.leave.send(()).unwrap();
    let ended = timeout(PATIENCE, running.task).await.unwrap().unwrap().unwrap();
    assert!(matches!(ended, Ended::Left(served) if served.abandoned == 0), "{ended:?}");
}
