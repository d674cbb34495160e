//! What `landfall doctor` says of registries, each with one mistake planted, over real TLS. (Of a cluster:
//! `cluster/doctor.rs`.)
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use http::StatusCode;
use landfall::facade::config::{self, Files};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed::{Demo, demo};
use landfall::facade::demo::world::{
    Account, Certificate, Embedded, Namespace, PathClass, Permission, Reachable, Standing,
};
use landfall::facade::domain::settings::Settings;
use landfall::facade::report::doctor::{self, Found, Line, TestImage};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use proxy::Proxy;

#[path = "../src/registry/tests/open_proxy.rs"]
mod proxy;
#[path = "support/site.rs"]
#[expect(dead_code, reason = "no reviews come here")]
mod site;

fn settings(text: &str) -> Settings {
    let loaded = config::parse(text, "site.yaml", Files::Check, jiff::Timestamp::now());
    loaded.unwrap_or_else(|problems| panic!("{problems}")).settings
}

/// What is said of the registry of that name; of the others only good.
async fn said(settings: &Settings, image: Option<&str>, name: &str) -> Vec<Found> {
    let image = TestImage::of(settings, image, jiff::Timestamp::now()).unwrap();
    let lines = doctor::registries(settings, Some(&image)).await;
    let lines = lines.into_iter().filter(|line| line.about != "image");
    let (ours, others): (Vec<Line>, Vec<Line>) =
        lines.partition(|line| line.about == format!("registry {name}"));
    for Line { about, found } in others {
        assert!(matches!(found, Found::Ok { .. }), "{name}: of {about}: {found:?}");
    }
    ours.into_iter().map(|line| line.found).collect()
}

/// Where, what is planted, what is said, what is to be done.
type Planted = (&'static str, fn(&Demo, &Embedded), &'static str, &'static str);

fn robot(at: &Embedded, permissions: &[Permission]) {
    at.store().remove_account("robot$landfall");
    at.store().add_account(Account::robot("landfall", Namespace::All, permissions));
}

fn manifests(at: &Embedded, fault: Fault) {
    at.faults().add(Scope::Only(PathClass::Manifests), fault);
}

/// The answer of `/v2/` names this token realm.
fn realm(at: &Embedded, realm: &str) {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"harbor-registry\"");
    at.faults().add(Scope::Only(PathClass::V2), Fault::Challenge(challenge));
}

const PLANTED: [Planted; 23] = [
    ("ams", |_, _| {}, "answers and accepts our credentials", ""),
    (
        "ams",
        |world, _| drop(world.world.credentials("ams", "robot$landfall", "old").unwrap()),
        "rejects our credentials",
        "present secret",
    ),
    (
        "ams",
        |_, ams| {
            ams.store().remove_account("robot$landfall");
            let robot = Account::robot("landfall", Namespace::All, &Permission::ALL);
            ams.store().add_account(robot.standing(Standing::Expired));
        },
        "rejects our credentials",
        "neither disabled nor expired",
    ),
    (
        "fra",
        |world, fra| fra.present(&world.world, Certificate::Foreign).unwrap(),
        "UnknownIssuer",
        "ca.pem` must hold the authority",
    ),
    (
        "fra",
        |world, fra| fra.present(&world.world, Certificate::WrongName).unwrap(),
        "not valid for name",
        "valid for the host of `registries.fra.url`",
    ),
    (
        "fra",
        |world, fra| fra.present(&world.world, Certificate::Expired).unwrap(),
        "expired",
        "the certificate must be valid",
    ),
    ("ams", |_, ams| ams.store().database = Reachable::Down, "cannot read its database", "Harbor's database"),
    (
        "ams",
        |_, ams| ams.faults().add(Scope::Everything, Fault::Delay(Duration::from_millis(700))),
        "slowly",
        "`budget.attempt`, now 1s",
    ),
    (
        "ams",
        |_, ams| ams.faults().add(Scope::Everything, Fault::Html(StatusCode::OK)),
        "Harbor's API does not",
        "something else answers there",
    ),
    (
        "ams",
        |_, ams| robot(ams, &[Permission::ArtifactRead, Permission::ScannerRead, Permission::ProjectRead]),
        "may not pull from `production/landfall-doctor",
        "repository:pull",
    ),
    (
        "ams",
        |_, ams| robot(ams, &[Permission::Pull, Permission::ScannerRead]),
        "may not see its scans",
        "`artifact:read` of the project `production`",
    ),
    (
        "ams",
        |_, ams| robot(ams, &[Permission::Pull, Permission::ArtifactRead]),
        "whether it has a scanner",
        "`scanner:read` of the project `production`",
    ),
    // The registry behind a healthy core.
    (
        "ams",
        |_, ams| manifests(ams, Fault::Html(StatusCode::BAD_GATEWAY)),
        "serves no manifests of `production/`: ",
        "Harbor's `registry` and its storage",
    ),
    (
        "ams",
        |_, ams| manifests(ams, Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        "serves no manifests",
        "nodes cannot pull either",
    ),
    ("ams", |_, ams| manifests(ams, Fault::HangUp), "serves no manifests", "Harbor's `registry`"),
    // Where it sends nodes for tokens.
    (
        "ams",
        |_, ams| realm(ams, "https://harbor-core.harbor.svc/service/token"),
        "sends nodes to `https://harbor-core.harbor.svc/service/token` for tokens",
        "external URL (`external_url` in harbor.yml, `externalURL` of its chart) to `https://harbor.ams.example.com`",
    ),
    (
        "ams",
        |_, ams| realm(ams, "https://core.harbor.domain/service/token"),
        "`https://core.harbor.domain/service/token`",
        "`externalURL`",
    ),
    (
        "ams",
        |_, ams| realm(ams, "http://harbor.ams.example.com/service/token"),
        "not https",
        "`external_url`",
    ),
    (
        "edge",
        |_, edge| realm(edge, "https://tokens.registry.svc.cluster.local/auth"),
        "sends nodes to `https://tokens.registry.svc.cluster.local/auth`",
        "`auth.token.realm`",
    ),
    (
        "edge",
        |_, edge| manifests(edge, Fault::Status(StatusCode::BAD_GATEWAY)),
        "serves no manifests",
        "see the log",
    ),
    ("edge", |_, _| {}, "answers (200)", ""),
    (
        "edge",
        |world, _| drop(world.world.credentials("edge", "edge", "old").unwrap()),
        "credentials",
        "present secret",
    ),
    (
        "edge",
        |_, edge| edge.faults().add(Scope::Everything, Fault::Status(StatusCode::BAD_GATEWAY)),
        "502",
        "see the log of the server at",
    ),
];

fn holds(name: &str, found: &[Found], words: &str, remedy: &str) {
    let right = match found {
        [Found::Ok { said }] => remedy.is_empty() && said.contains(words),
        [Found::Wrong { said, todo }] => !remedy.is_empty() && said.contains(words) && todo.contains(remedy),
        _ => false,
    };
    assert!(right, "{name}: expected `{words}` and `{remedy}`: {found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_told_in_words_of_its_own_and_with_what_to_do() {
    let cases = PLANTED.map(|(name, plant, words, remedy)| {
        Box::pin(async move {
            let world = demo().await.unwrap();
            let at = match name {
                "fra" => &world.fra,
                "ams" => &world.ams,
                _ => &world.edge,
            };
            plant(&world, at);
            let settings = settings(&site::configuration(&world));
            holds(name, &said(&settings, None, name).await, words, remedy);
        })
    });
    // Not all at once: on a busy machine, a registry that is well is slow.
    stream::iter(cases).buffer_unordered(4).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_and_who_is_silent_are_told_apart() {
    let world = demo().await.unwrap();
    let settings = settings(&site::configuration(&world));
    world.fra.down().await;
    holds("fra", &said(&settings, None, "fra").await, "cannot connect to", "its name must resolve here");
    world.fra.up().await;
    world.ams.freeze().await;
    holds("ams", &said(&settings, None, "ams").await, "timed out", "a firewall or NetworkPolicy that drops");
}

#[tokio::test]
async fn the_test_image_is_made_up_for_a_route_or_must_be_covered_by_one() {
    let world = demo().await.unwrap();
    let settings = settings(&site::configuration(&world));
    let of = |image| TestImage::of(&settings, image, jiff::Timestamp::now());
    let made_up = of(None).unwrap();
    let nowhere =
        "harbor.fra.example.com/production/landfall-doctor/landfall-doctor:landfall-doctor@sha256:d0d0";
    assert!(made_up.image.starts_with(nowhere), "{}", made_up.image);
    assert!(!made_up.real && of(Some("harbor.fra.example.com/production/a:1")).unwrap().real);
    let why = of(Some("quay.io/a/b:1")).unwrap_err();
    assert_eq!(why, "no route covers `quay.io/a/b:1`, so Landfall does not change it");
    let why = of(Some("auto")).unwrap_err();
    assert_eq!(why, "`auto` is what an injector replaces: name the image that it writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_the_wrong_scheme_is_told_apart_from_a_certificate() {
    let world = demo().await.unwrap();
    world.ams.present(&world.world, Certificate::Plaintext).unwrap();
    let plain = site::configuration(&world).replace("http://", "https://");
    holds(
        "ams",
        &said(&settings(&plain), None, "ams").await,
        "without TLS, but `registries.ams.url` says",
        "`url: http://",
    );
    world.ams.present(&world.world, Certificate::Valid).unwrap();
    let secure = format!("url: \"{}", world.ams.url());
    let wrong = site::configuration(&world).replace(&secure, &secure.replace("https://", "http://"));
    holds("ams", &said(&settings(&wrong), None, "ams").await, "speaks TLS", "`url: https://");
    // One that waits for the end of a line, which never comes in TLS.
    let patient =
        site::configuration(&world).replace(&world.ams.url(), &format!("https://{}", patient().await));
    holds("ams", &said(&settings(&patient), None, "ams").await, "speaks HTTP without TLS", "`url: http://");
}

/// A server that answers what ends as a request of HTTP does; where it listens.
async fn patient() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = Vec::new();
                while stream.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
                    if line.ends_with(b"\r\n\r\n") {
                        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
                    }
                }
            });
        }
    });
    address
}

/// What is said of the image of that name.
async fn said_of_image(world: &Demo, image: &str) -> Vec<Found> {
    said_of_image_in(&site::configuration(world), image).await
}

async fn said_of_image_in(text: &str, image: &str) -> Vec<Found> {
    let settings = settings(text);
    let image = TestImage::of(&settings, Some(image), jiff::Timestamp::now()).unwrap();
    let lines = doctor::registries(&settings, Some(&image)).await;
    lines.into_iter().filter(|line| line.about == "image").map(|line| line.found).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_copy_at_this_site_is_named() {
    let world = demo().await.unwrap();
    let web = "harbor.fra.example.com/production/shop/web:1.4.2";
    holds("web", &said_of_image(&world, web).await, "has a copy at this site: `ams`", "");
    let nowhere = "harbor.fra.example.com/production/shop/nowhere:1";
    let found = said_of_image(&world, nowhere).await;
    holds("nowhere", &found, "has no copy at this site: `ams` does not hold", "replicate it");
    // What a proxy cache holds is no copy, unless it is declared to do.
    world.ams.proxy(&world.world, "production", &world.fra).unwrap();
    let found = said_of_image(&world, web).await;
    holds("proxy", &found, "`ams` is a proxy cache", "replicate it");
    let ams = "registry: ams, namespace: production, flatten: 1";
    let declared = site::configuration(&world).replace(ams, &format!("{ams}, proxy: true"));
    let found = said_of_image_in(&declared, web).await;
    holds("declared", &found, "`ams` (through its proxy cache)", "");
    manifests(&world.ams, Fault::Html(StatusCode::BAD_GATEWAY));
    let found = said_of_image(&world, web).await;
    let [Found::Skipped { said }] = &found[..] else { panic!("{found:#?}") };
    assert!(said.contains("502"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_robot_may_not_see_is_told_of_an_image_that_is_scanned_too() {
    let world = demo().await.unwrap();
    robot(&world.ams, &[Permission::Pull, Permission::ArtifactRead]);
    let settings = settings(&site::configuration(&world));
    let found = said(&settings, Some("harbor.fra.example.com/production/shop/web:1.4.2"), "ams").await;
    holds("ams", &found, "whether it has a scanner", "`scanner:read` of the project `production`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_configuration_without_credentials_is_told_as_that() {
    let world = demo().await.unwrap();
    let elsewhere = json!({"auths": {"elsewhere.example.com": {"auth": STANDARD.encode("u:p")}}}).to_string();
    for (name, host) in [("ams", "harbor.ams.example.com"), ("edge", "registry.edge:5000")] {
        let helper = json!({"auths": {}, "credHelpers": {host: "ecr-login"}}).to_string();
        let store = json!({"auths": {host: {}}, "credsStore": "desktop"}).to_string();
        for (file, words, remedy) in [
            (&helper, "credential helper `docker-credential-ecr-login`", "write them into the file"),
            (&store, "credential helper `docker-credential-desktop`", "Landfall runs no such helper"),
            (&elsewhere, "holds no credentials for", "kubectl create secret docker-registry"),
        ] {
            let path = world.world.write(&format!("{name}.json"), file).unwrap();
            let folder =
                world.world.ca_file().parent().unwrap().join("credentials").join(name).display().to_string();
            let (dir, file) = (
                format!("{{dir: {folder:?}}}"),
                format!("{{dockerConfig: {:?}}}", path.display().to_string()),
            );
            let text = site::configuration(&world);
            assert!(text.contains(&dir), "{text}");
            holds(name, &said(&settings(&text.replace(&dir, &file)), None, name).await, words, remedy);
        }
    }
}

/// Runs the program where there is no cluster; its exit status and what it says.
fn run(config: &Path, more: &[&str]) -> (Option<i32>, Value) {
    run_in(&[], config, more)
}

/// Runs the program in this environment.
fn run_in(environment: &[(&str, &str)], config: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_landfall"));
    program.env_clear().envs(environment.iter().copied());
    let program = program.args(["doctor", "--output=json", "--config"]).arg(config).args(more);
    let output = program.output().unwrap();
    let said = serde_json::from_slice(&output.stdout);
    (output.status.code(), said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_skipped_is_neither_well_nor_wrong() {
    let world = demo().await.unwrap();
    let config = world.world.write("site.yaml", &site::configuration(&world)).unwrap();
    let (status, said) = run(&config, &[]);
    assert_eq!(
        (status, &said["ok"], &said["wrong"], &said["skipped"]),
        (Some(2), &4.into(), &0.into(), &1.into()),
        "{said:#}"
    );
    let no_cluster =
        "no API server is known: this is no Pod with a ServiceAccount's token, and no kubeconfig is named";
    assert_eq!(said["lines"][4], json!({"about": "cluster", "state": "skipped", "said": no_cluster}));
    world.edge.down().await;
    let (status, said) = run(&config, &[]);
    assert_eq!(
        (status, &said["lines"][2]["about"], &said["lines"][2]["state"]),
        (Some(1), &"registry edge".into(), &"wrong".into())
    );
    world.edge.up().await;
    let (status, said) = run(&config, &["--image=quay.io/a/b:1"]);
    let line = json!({
        "about": "image", "state": "wrong", "said": "no route covers `quay.io/a/b:1`, so Landfall does not change it",
        "todo": "name an image that has a copy at this site, as Pods write it",
    });
    let lines = said["lines"].as_array().unwrap();
    assert!(status == Some(1) && lines.contains(&line), "{status:?} {said}");
    let (status, said) = run(&config, &["--no-files"]);
    assert_eq!((status, &said["skipped"]), (Some(2), &2.into()), "{said}");
    let (status, said) = run(Path::new("nowhere.yaml"), &[]);
    assert_eq!((status, &said["lines"][0]["about"]), (Some(1), &"configuration".into()), "{said}");
}

/// A server at the name `api.test` that has no objects, and its authority.
async fn api_server() -> (SocketAddr, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["api.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let (mut request, body) = ([0; 8192], r#"{"kind":"Status","code":404,"reason":"NotFound"}"#);
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let head = "HTTP/1.1 404 Not Found\r\ncontent-type: application/json";
                    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, certificate.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_asked_through_the_proxy_that_kubectl_would_take() {
    let world = demo().await.unwrap();
    let config = world.world.write("site.yaml", &site::configuration(&world)).unwrap();
    let (address, ca) = api_server().await;
    let ca = world.world.write("api-ca.pem", &ca).unwrap();
    let proxy = Proxy::to(address).await;
    let (http, socks, dead) =
        (proxy.url("http", ""), proxy.url("socks5", ""), "http://user:pa55@127.0.0.1:1");
    let (secret, bare) = (proxy.url("http", "user:pa%40ss@"), http.trim_start_matches("http://"));
    // `proxy-url`, the environment, and whether the proxy is asked.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let cases: [Case<'_>; 12] = [
        (&http, &[], true),
        (&http, &[("NO_PROXY", "*")], true),
        (&http, &[("HTTPS_PROXY", dead)], true),
        (&secret, &[], true),
        (&socks, &[], true),
        ("", &[("HTTPS_PROXY", &http)], true),
        ("", &[("https_proxy", bare)], true),
        // The proxy's own address says nothing of the API server's.
        ("", &[("HTTPS_PROXY", &http), ("NO_PROXY", "127.0.0.1,localhost,10.0.0.0/8")], true),
        // Lists that Go reads.
        ("", &[("HTTPS_PROXY", &http), ("NO_PROXY", "*.svc,, [::1]:80,<local>,api.test:443,")], true),
        ("", &[("HTTPS_PROXY", &http), ("no_proxy", "*.svc,.test")], false),
        ("", &[("HTTPS_PROXY", &http), ("NO_PROXY", "api.test:6443")], false),
        ("", &[("HTTP_PROXY", &http)], false),
    ];
    let mut asked = 0;
    for (proxy_url, environment, through) in cases {
        let kubeconfig = json!({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": "https://api.test:6443", "certificate-authority": ca, "proxy-url": proxy_url,
            }}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        let kubeconfig = world.world.write("kubeconfig", &kubeconfig.to_string()).unwrap();
        let environment: Vec<_> =
            environment.iter().copied().chain([("KUBECONFIG", kubeconfig.to_str().unwrap())]).collect();
        let (_, said) = run_in(&environment, &config, &["--no-files"]);
        let lines = said["lines"].as_array().unwrap();
        let webhook =
            lines.iter().find(|line| line["about"] == "webhook").unwrap_or_else(|| panic!("{said}"));
        let webhook = webhook["said"].as_str().unwrap();
        assert_eq!(
            webhook.starts_with("there is no MutatingWebhookConfiguration"),
            through,
            "{environment:?}: {webhook}"
        );
        asked += usize::from(through);
        assert_eq!(proxy.asked().len(), asked, "{environment:?} {:?}", proxy.asked());
    }
    let asked = proxy.asked();
    assert!(asked.iter().all(|line| line.contains(" api.test:6443")), "{asked:?}");
    assert!(asked.iter().any(|line| line.ends_with("Basic dXNlcjpwYUBzcw==]")), "{asked:?}");
    // What cannot be used is told, without the password.
    for (proxy_url, words) in [
        (dead, "the API server is asked through the proxy http://127.0.0.1:1"),
        (
            "ftp://user:pa55@proxy",
            "the `proxy-url` in the kubeconfig cannot be used: write `http://host:port`",
        ),
    ] {
        let kubeconfig = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://api.test', proxy-url: '{proxy_url}'}}}}]\n"
        );
        let kubeconfig = world.world.write("kubeconfig", &kubeconfig).unwrap();
        let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
        let said = run_in(&environment, &config, &["--no-files"]).1.to_string();
        assert!(said.contains(words) && !said.contains("pa55"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_a_registry_is_named() {
    let world = demo().await.unwrap();
    let text = site::configuration(&world).replace("127.0.0.1:", "harbor.test:");
    let config = world.world.write("site.yaml", &text).unwrap();
    let environment = [("HTTPS_PROXY", "http://user:pa55@127.0.0.1:1"), ("NO_PROXY", "*.svc,.local")];
    let said = run_in(&environment, &config, &[]).1.to_string();
    assert!(said.contains("through the proxy http://127.0.0.1:1: ") && !said.contains("pa55"), "{said}");
    let environment = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*.svc,*.test")];
    let said = run_in(&environment, &config, &[]).1.to_string();
    assert!(!said.contains("through the proxy") && said.contains("cannot connect to harbor.test"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_provider_is_run_and_what_it_does_wrong_is_told() {
    let world = demo().await.unwrap();
    let text = site::configuration(&world);
    let with = |script: &str| {
        let script = world.world.write("provider.sh", script).unwrap();
        let provider = format!("{{provider: {{command: /bin/sh, args: [{}]}}}}", script.display());
        let (before, after) = text.split_once("  edge: ").unwrap();
        let (_, dir) = after.split_once("credentials: ").unwrap();
        let (dir, _) = dir.split_once('}').unwrap();
        world
            .world
            .write(
                "site.yaml",
                &format!("{before}  edge: {}", after.replacen(&format!("{dir}}}"), &provider, 1)),
            )
            .unwrap()
    };
    let edge = |config: &Path| {
        let (_, said) = run(config, &[]);
        let lines = said["lines"].as_array().unwrap().clone();
        lines.into_iter().find(|line| line["about"] == "registry edge").unwrap_or_else(|| panic!("{said}"))
    };
    let answer = json!({
        "kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": "Registry", "auth": {"registry.edge:5000": {"username": "edge", "password": "edge-Secret1"}},
    });
    let line = edge(&with(&format!("cat > /dev/null; echo '{answer}'")));
    assert_eq!((&line["state"], &line["said"]), (&"ok".into(), &"answers (200)".into()), "{line}");
    let line = edge(&with("echo 'no identity is bound' >&2; exit 1"));
    let words = "the credential provider /bin/sh ended with exit status: 1: no identity is bound";
    assert_eq!((&line["state"], &line["said"]), (&"wrong".into(), &words.into()), "{line}");
    assert!(line["todo"].as_str().unwrap().starts_with("run `/bin/sh` as Landfall does"), "{line}");
}
