//! The server over real TLS sockets on a port of the kernel's choosing.
//!
//! Where time matters the clock is paused, moved and resumed between two steps of the wire, or a limit is made
//! short; nothing sleeps in the hope that something has happened.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects"
)]

#[path = "server/bounds.rs"]
mod bounds;
#[path = "server/fixture.rs"]
mod fixture;
#[path = "support/h2.rs"]
mod h2;

use std::sync::Arc;
use std::time::Duration;

use fixture::{Authority, Client, Site, eventually, get, post};
use jiff::Timestamp;
use landfall::facade::server::{
    CallerCheck, CallerFile, Callers, CertificateFiles, Condition, ConditionName, Conditions, Drain, Limits,
    Served, Signals, State, TlsError, TlsVersions,
};
use prometheus_client::registry::Registry;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, advance, pause, resume, timeout};

const PATIENCE: Duration = Duration::from_secs(10);

// Protocols

#[tokio::test]
async fn http1_keeps_its_connection() {
    let site = Site::start(Limits::default()).await;
    let mut client = site.connect().await;
    for _ in 0..3 {
        let answer = client.ask(&get("/hello")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        assert!(!answer.says_close());
    }
    assert_eq!(site.metric("landfall_http_requests_total{class=\"2xx\"}"), 3.0);
    assert_eq!(site.metric("landfall_connections"), 1.0);
    drop(client);
    eventually(|| site.metric("landfall_connections") == 0.0).await;
}

#[tokio::test]
async fn h2_is_a_courtesy() {
    let site = Site::start(Limits::default()).await;
    let client = site.reqwest();
    for _ in 0..2 {
        let answer = client.post(site.url("/length")).body("12345").send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert_eq!(answer.text().await.unwrap(), "5");
    }
    assert_eq!(site.metric("landfall_connections"), 1.0);
}

#[tokio::test]
async fn tls_12_only_by_option() {
    let site = Site::start(Limits::default()).await;
    let refused = Client::try_connect(site.address, site.authority.client(&[&TLS12])).await;
    assert!(refused.is_err());
    eventually(|| site.metric("landfall_tls_handshake_failures_total{reason=\"Tls\"}") == 1.0).await;

    let site = Site::with(Limits::default(), TlsVersions::Tls12AndTls13, |_| Callers::Anyone).await;
    for version in [&TLS12, &TLS13] {
        let mut client = Client::connect(site.address, site.authority.client(&[version])).await;
        assert_eq!(client.ask(&get("/hello")).await.status, 200);
    }
}

#[tokio::test]
async fn callers_may_have_to_prove_themselves() {
    let signed_by = |authorities: &[u8]| CallerCheck::new(authorities, vec!["localhost".to_owned()]);
    let ours = |site: &Authority| Callers::Known(Arc::new(signed_by(site.pem().as_bytes()).unwrap()));
    let site = Site::with(Limits::default(), TlsVersions::Tls13, ours).await;

    let mut stranger = Client::connect(site.address, site.authority.client(&[&TLS13])).await;
    assert!(stranger.is_refused(&get("/hello")).await, "TLS 1.3 tells a client after its own handshake");
    let mut caller = Client::connect(site.address, site.authority.client_with_identity()).await;
    assert_eq!(caller.ask(&get("/hello")).await.status, 200);

    // A wrong file must not read as "nobody is trusted".
    assert!(matches!(signed_by(b"site: ams\n"), Err(TlsError::NoAuthority)));
}

#[tokio::test]
async fn callers_are_known_by_name_and_by_authorities_that_change() {
    let other = Site::start(Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.crt");
    for (names, good) in [(vec![], false), (vec!["localhost"], true), (vec!["kube-apiserver"], false)] {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let opened = std::cell::RefCell::new(None);
        let ours = |authority: &Authority| {
            std::fs::write(&path, authority.pem()).unwrap();
            let known = CallerFile::open(path.clone(), names.clone()).unwrap();
            let callers = known.callers();
            opened.replace(Some(known));
            callers
        };
        let site = Site::with(Limits::default(), TlsVersions::Tls13, ours).await;
        let known = opened.take().unwrap();
        let passes = async || {
            let mut caller = Client::connect(site.address, site.authority.client_with_identity()).await;
            !caller.is_refused(&get("/hello")).await
        };
        assert_eq!(passes().await, good, "{names:?}");

        // Another authority, from the next handshake on; what is none changes nothing.
        let conditions = Conditions::register(&mut Registry::default());
        let watch = known.watch(&conditions, Duration::from_millis(1));
        let says = async |word: &str| loop {
            let all = conditions.snapshot();
            if all.get(&ConditionName::Callers).is_some_and(|now| now.message.contains(word)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let changes = async {
            says("must show").await;
            std::fs::write(&path, "no PEM").unwrap();
            says("the old authorities stay in use: the file holds no certificate (PEM)").await;
            assert_eq!(passes().await, good, "{names:?}");
            std::fs::write(&path, other.authority.pem()).unwrap();
            says("must show").await;
            assert!(!passes().await, "its authority is known no longer");
        };
        tokio::select! {
            () = watch => {}
            ended = tokio::time::timeout(PATIENCE, changes) => ended.unwrap(),
        }
    }
}

// Certificates

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_the_old_ones_live_on() {
    let site = Site::start(Limits::default()).await;
    let mut first = site.connect().await;
    assert_eq!(first.ask(&get("/hello")).await.status, 200);

    // As the kubelet does it. A watch on the file would miss the second swap.
    let mut seen = vec![first.certificate()];
    for _ in 0..2 {
        let leaf = site.authority.leaf(90);
        site.secret.swap(&leaf.certificate, &leaf.key);
        let condition = site.files.poll(&site.serving, Timestamp::now()).await;
        assert_eq!(condition.state, State::Good, "{}", condition.message);
        let mut next = site.connect().await;
        assert_eq!(next.ask(&get("/hello")).await.status, 200);
        assert!(!seen.contains(&next.certificate()));
        seen.push(next.certificate());
    }
    assert_eq!(first.ask(&get("/hello")).await.status, 200);
    assert_eq!(first.certificate(), seen[0]);
}

#[tokio::test]
async fn the_watch_picks_up_a_swap_and_tells_the_condition() {
    let site = Site::start(Limits::default()).await;
    let (files, serving, conditions) =
        (site.files.clone(), Arc::clone(&site.serving), site.conditions.clone());
    let watch = tokio::spawn(async move {
        files.watch(&serving, &conditions, Duration::from_millis(5)).await;
    });
    eventually(|| site.state(ConditionName::Certificate) == State::Good).await;
    for days in [40, 50] {
        let leaf = site.authority.leaf(days);
        site.secret.swap(&leaf.certificate, &leaf.key);
        eventually(|| site.serving.not_after() == Some(leaf.not_after)).await;
        assert_eq!(
            site.metric("landfall_certificate_expiry_timestamp_seconds"),
            leaf.not_after.as_second() as f64
        );
    }
    watch.abort();
}

#[tokio::test]
async fn what_is_not_a_usable_pair_keeps_the_old_one() {
    let site = Site::start(Limits::default()).await;
    let served = site.connect().await.certificate();
    let old = site.leaf.clone();
    let new = site.authority.leaf(90);
    let expired = site.authority.leaf(-1);
    let half = &new.certificate[..new.certificate.len() / 2];
    for (why, certificate, key) in [
        ("new certificate, old key", new.certificate.as_str(), old.key.as_str()),
        ("old certificate, new key", &old.certificate, &new.key),
        ("half a file", half, &new.key),
        ("an empty file", "", &new.key),
        ("no key", &new.certificate, ""),
        ("expired", &expired.certificate, &expired.key),
    ] {
        site.secret.swap(certificate, key);
        let condition = site.files.poll(&site.serving, Timestamp::now()).await;
        assert_eq!(condition.state, State::Degraded, "{why}: {}", condition.message);
        assert!(condition.message.starts_with("the old one stays, valid until"), "{}", condition.message);
        assert_eq!(site.connect().await.certificate(), served, "{why}");
    }
    site.secret.swap(&new.certificate, &new.key);
    assert_eq!(site.files.poll(&site.serving, Timestamp::now()).await.state, State::Good);
    assert_ne!(site.connect().await.certificate(), served);

    let nowhere = CertificateFiles { certificate: "nowhere.crt".into(), key: site.files.key.clone() };
    let condition = nowhere.poll(&site.serving, Timestamp::now()).await;
    assert_eq!(condition.state, State::Degraded);
    assert!(condition.message.contains("cannot read `nowhere.crt`: "), "{}", condition.message);
}

#[tokio::test]
async fn a_certificate_that_is_about_to_expire_is_not_ready() {
    let site = Site::start(Limits::default()).await;
    let end = site.leaf.not_after;
    let judged = async |now| site.files.poll(&site.serving, now).await.state;
    let last = end - CertificateFiles::LEAD;
    assert_eq!(judged(last).await, State::Good);
    // Until the news has spread that we are not ready, it still holds.
    assert_eq!(judged(last + Duration::from_secs(1)).await, State::Unready);
    assert_eq!(judged(end + Duration::from_secs(1)).await, State::Unready);
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served_until_it_comes() {
    let site = Site::start(Limits::default()).await;
    let late = Site::without_certificate().await;
    let condition = late.files.poll(&late.serving, Timestamp::UNIX_EPOCH).await;
    assert_eq!(condition.state, State::Unready);
    assert!(condition.message.contains("valid only from"), "{}", condition.message);
    assert!(Client::try_connect(late.address, late.authority.client(&[&TLS13])).await.is_err());
    assert_eq!(late.files.poll(&late.serving, Timestamp::now()).await.state, State::Good);
    assert_eq!(late.connect().await.ask(&get("/hello")).await.status, 200);
    drop(site);
}

// Bounds

#[tokio::test]
async fn a_body_too_large_gets_413_however_it_is_sent() {
    let site = Site::start(Limits { body: 1000, ..Limits::default() }).await;
    let fits = site.connect().await.ask(&post("/length", &"x".repeat(1000))).await;
    assert_eq!((fits.status, fits.body.as_str()), (200, "1000"));

    let honest = post("/length", &"x".repeat(1001));
    let promised = "POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\nx".to_owned();
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let head = "POST /length HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{chunk}1\r\nx\r\n0\r\n\r\n");
    let endless = format!("{head}{}", chunk.repeat(100));
    for (how, request) in
        [("honest", honest), ("promised", promised), ("chunked", chunked), ("endless", endless)]
    {
        let mut client = site.connect().await;
        let answer = client.ask(&request).await;
        assert_eq!(answer.status, 413, "{how}");
        assert_eq!(answer.body, "the body is larger than 1000 bytes\n", "{how}");
        assert!(answer.says_close(), "{how}");
    }

    let h2 = site.reqwest().post(site.url("/length")).body("x".repeat(1001)).send().await.unwrap();
    assert_eq!((h2.version(), h2.status().as_u16()), (reqwest::Version::HTTP_2, 413));
}

#[tokio::test]
async fn a_body_between_axums_limit_and_ours_arrives_whole() {
    let site = Site::start(Limits::default()).await;
    let length = 7 * 1024 * 1024;
    let answer = site.connect().await.ask(&post("/length", &"x".repeat(length))).await;
    assert_eq!((answer.status, answer.body), (200, length.to_string()));
}

#[tokio::test]
async fn a_head_too_large_gets_431() {
    let site = Site::start(Limits { head: 8192, ..Limits::default() }).await;
    let request = format!("GET /hello HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(10_000));
    assert_eq!(site.connect().await.ask(&request).await.status, 431);
}

#[tokio::test]
async fn the_slow_block_nobody_and_are_let_go() {
    let short = Duration::from_millis(200);
    let site =
        Site::start(Limits { handshake: short, idle: short, request: short, ..Limits::default() }).await;
    let mut mute = TcpStream::connect(site.address).await.unwrap();
    let mut drip = site.connect().await;
    drip.send("GET /hello HTTP/1.1\r\nhost: ").await;
    let mut stall = site.connect().await;
    stall.send("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await;

    assert_eq!(site.connect().await.ask(&get("/hello")).await.status, 200);

    let answer = stall.answer().await;
    assert_eq!((answer.status, answer.says_close()), (408, true));
    assert!(drip.is_closed().await, "a head that does not arrive ends its connection");
    assert_eq!(timeout(PATIENCE, mute.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    eventually(|| site.metric("landfall_tls_handshake_failures_total{reason=\"Timeout\"}") == 1.0).await;
}

#[tokio::test]
async fn a_panic_is_answered_and_costs_only_its_request() {
    let site = Site::start(Limits::default()).await;
    let mut client = site.connect().await;
    let answer = client.ask(&get("/panic")).await;
    assert_eq!((answer.status, answer.says_close()), (500, false));
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
    assert_eq!(site.metric("landfall_http_panics_total"), 1.0);
    assert_eq!(site.metric("landfall_http_requests_total{class=\"5xx\"}"), 1.0);
}

#[tokio::test]
async fn doors_that_hang_are_answered_for() {
    let site = Site::start(Limits { request: Duration::from_millis(50), ..Limits::default() }).await;
    let mut client = site.connect().await;
    assert_eq!(client.ask(&get("/gate")).await.status, 503);
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
}

// How long connections live

#[tokio::test]
async fn an_idle_connection_outlives_the_callers_patience() {
    let site = Site::start(Limits::default()).await;
    let mut client = site.connect().await;
    assert_eq!(client.ask(&get("/hello")).await.status, 200);
    // Go keeps an idle connection for 90 s. hyper's own default would have closed it after 30 s.
    for _ in 0..2 {
        pass(Duration::from_secs(125)).await;
        assert_eq!(client.ask(&get("/hello")).await.status, 200);
    }
    // The timer is there: without it this connection would be open for ever.
    pass(Limits::default().idle + Duration::from_secs(1)).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_old_connection_is_recycled_by_an_answer_never_while_idle() {
    let site = Site::start(Limits { recycle_age: Duration::from_secs(60), ..Limits::default() }).await;
    let mut client = site.connect().await;
    assert!(!client.ask(&get("/hello")).await.says_close(), "born");
    pass(Duration::from_secs(47)).await;
    assert!(!client.ask(&get("/hello")).await.says_close(), "60 s less the jitter are not over");
    pass(Duration::from_secs(26)).await;
    let answer = client.ask(&get("/hello")).await;
    assert_eq!((answer.status, answer.says_close()), (200, true));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_busy_connection_is_recycled_by_count() {
    let site = Site::start(Limits { recycle_answers: 3, ..Limits::default() }).await;
    let mut client = site.connect().await;
    let mut closes = Vec::new();
    for _ in 0..3 {
        closes.push(client.ask(&get("/hello")).await.says_close());
    }
    assert_eq!(closes, [false, false, true]);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_h2_connection_is_told_to_go_by_age_and_by_the_drain() {
    let site = Site::start(Limits::default()).await;
    let client = site.reqwest();
    let ask = async || client.get(site.url("/hello")).send().await.unwrap().version();
    assert_eq!(ask().await, reqwest::Version::HTTP_2);
    pass(Duration::from_secs(200)).await;
    assert_eq!(ask().await, reqwest::Version::HTTP_2);
    assert_eq!(site.metric("landfall_connections"), 1.0);
    pass(Duration::from_secs(200)).await;
    eventually(|| site.metric("landfall_connections") == 0.0).await;

    assert_eq!(ask().await, reqwest::Version::HTTP_2);
    assert_eq!(site.metric("landfall_connections"), 1.0);
    site.drain.begin();
    eventually(|| site.metric("landfall_connections") == 0.0).await;
    assert_eq!(ask().await, reqwest::Version::HTTP_2, "still accepting");
}

/// Lets time pass at once. The clock stands still only for this step: while it does, tokio would skip to the next
/// timer whenever the wire is quiet.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

// The way out

#[tokio::test]
async fn a_drain_loses_no_request() {
    let site = Site::start(Limits::default()).await;
    let mut idle = site.connect().await;
    let mut forgotten = site.connect().await;
    for client in [&mut idle, &mut forgotten] {
        assert!(!client.ask(&get("/hello")).await.says_close());
    }
    let mut flying = site.connect().await;
    flying.send(&get("/gate")).await;
    site.gate.entered().await;
    let h2 = tokio::spawn(site.reqwest().get(site.url("/gate")).send());
    site.gate.entered().await;

    site.drain.begin();
    let answer = idle.ask(&get("/hello")).await;
    assert_eq!((answer.status, answer.says_close()), (200, true));
    assert!(idle.is_closed().await);
    let mut late = site.connect().await;
    let answer = late.ask(&get("/hello")).await;
    assert_eq!((answer.status, answer.says_close()), (200, true));

    site.drain.close();
    assert!(forgotten.is_closed().await);
    let refused = timeout(PATIENCE, async { while TcpStream::connect(site.address).await.is_ok() {} }).await;
    assert!(refused.is_ok(), "still accepting");

    assert!(!site.task.is_finished());
    site.gate.open(2);
    let answer = flying.answer().await;
    assert_eq!((answer.status, answer.says_close()), (200, true));
    assert_eq!(timeout(PATIENCE, h2).await.unwrap().unwrap().unwrap().status().as_u16(), 200);
    assert_eq!(timeout(PATIENCE, site.task).await.unwrap().unwrap(), Served { abandoned: 0 });
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_and_counted() {
    let site = Site::start(Limits { finish: Duration::from_millis(50), ..Limits::default() }).await;
    let mut flying = site.connect().await;
    flying.send(&get("/gate")).await;
    site.gate.entered().await;
    site.drain.close();
    assert_eq!(timeout(PATIENCE, site.task).await.unwrap().unwrap(), Served { abandoned: 1 });
    assert!(flying.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn readiness_goes_first_and_accepting_ends_after_the_propagation() {
    let (metrics, conditions, _) = fixture::instruments();
    let drain = Drain::default();
    let start = Instant::now();
    let conduct = drain.conduct(async { "SIGTERM" }, Drain::PROPAGATION, &conditions, &metrics);
    let watch = async {
        drain.begun().await;
        let serving = conditions.snapshot()[&ConditionName::Serving].clone();
        assert_eq!(serving, Condition::unready("draining since SIGTERM"));
        assert_eq!((start.elapsed(), metrics.draining.get()), (Duration::ZERO, 1));
        drain.closed().await;
        assert_eq!(start.elapsed(), Duration::from_secs(20));
    };
    tokio::join!(conduct, watch);
}

#[tokio::test]
async fn sigterm_and_sigint_are_heard() {
    let mut signals = Signals::take().unwrap();
    for (flag, name) in [("-TERM", "SIGTERM"), ("-INT", "SIGINT")] {
        let sent = std::process::Command::new("kill").args([flag, &std::process::id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(timeout(PATIENCE, signals.next()).await.unwrap(), name);
    }
}

// What the operator reads

#[tokio::test]
async fn ready_only_when_everything_is_known_to_be_good() {
    let (metrics, conditions, registry) = fixture::instruments();
    let admin = fixture::admin(conditions.clone(), registry, &metrics).await;
    assert_eq!(admin.read("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(
        admin.read("/readyz").await,
        (503, "[-] Settings: not known yet\n[-] Certificate: not known yet\n[-] Policies: not known yet\n[-] Registries: not known yet\n[-] Inventory: not known yet\nnot ready\n".to_owned())
    );

    conditions.set(ConditionName::Settings, Condition::good("3 routes"));
    conditions.set(ConditionName::Registries, Condition::good("2 probed"));
    conditions.set(ConditionName::Policies, Condition::good("1 from objects"));
    conditions.set(ConditionName::Inventory, Condition::good("kept"));
    conditions.set(ConditionName::Certificate, Condition::degraded("keeping the old one"));
    assert_eq!(admin.read("/readyz").await, (200, "ok\n".to_owned()));
    let verbose = "[+] Settings: 3 routes\n[!] Certificate: keeping the old one\n[+] Callers: anyone may call\n[!] Namespaces: not listed yet\n[!] Entries: not looked at yet\n[+] Policies: 1 from objects\n[+] Registries: 2 probed\n[+] Inventory: kept\n[+] Notifications: no port listens for them\n[+] PullSecrets: Landfall makes none\n[+] Serving: takes requests\nok\n";
    assert_eq!(admin.read("/readyz?verbose").await, (200, verbose.to_owned()));
    assert_eq!(admin.read("/readyz?verbose=1").await, (200, verbose.to_owned()));

    conditions.set(ConditionName::Serving, Condition::unready("draining since SIGTERM"));
    assert_eq!(
        admin.read("/readyz").await,
        (503, "[-] Serving: draining since SIGTERM\nnot ready\n".to_owned())
    );
    assert_eq!(admin.read("/livez").await, (200, "ok\n".to_owned()));
}

/// However often it is looked at, the ledger is read at most once in ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_looks_at_the_status_page_read_the_ledger_a_few_times() {
    let (metrics, conditions, registry) = fixture::instruments();
    let admin = fixture::admin(conditions, registry, &metrics).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let look = async || {
        for _ in 0..100 {
            let answer = client.get(admin.url("/")).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(answer.text().await.unwrap().contains("Needs attention"));
        }
    };
    futures::future::join_all((0..10).map(|_| look())).await;
    let asked = admin.asked.load(std::sync::atomic::Ordering::SeqCst);
    assert!((1..=10).contains(&asked), "{asked}");
}

#[tokio::test]
async fn every_line_of_the_metrics_is_open_metrics() {
    let site = Site::start(Limits::default()).await;
    let mut client = site.connect().await;
    client.ask(&get("/hello")).await;
    client.ask(&get("/nowhere")).await;
    let admin = fixture::admin(site.conditions.clone(), Arc::clone(&site.registry), &site.metrics).await;
    let answer = reqwest::get(admin.url("/metrics")).await.unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let samples = fixture::parse(&answer.text().await.unwrap());
    let version = env!("CARGO_PKG_VERSION");
    let features = if cfg!(feature = "demo") { "demo" } else { "" };
    for (name, value) in [
        (format!("landfall_build_info{{version=\"{version}\",features=\"{features}\"}}"), 1.0),
        ("landfall_http_requests_total{class=\"2xx\"}".to_owned(), 1.0),
        ("landfall_http_requests_total{class=\"4xx\"}".to_owned(), 1.0),
        ("landfall_http_requests_total{class=\"5xx\"}".to_owned(), 0.0),
        ("landfall_connections".to_owned(), 1.0),
        ("landfall_draining".to_owned(), 0.0),
        ("landfall_condition{condition=\"Serving\",state=\"Good\"}".to_owned(), 1.0),
        ("landfall_condition{condition=\"Settings\",state=\"Unready\"}".to_owned(), 1.0),
        ("landfall_certificate_expiry_timestamp_seconds".to_owned(), site.leaf.not_after.as_second() as f64),
    ] {
        assert_eq!(samples.get(&name), Some(&value), "{name} in {samples:#?}");
    }
}
