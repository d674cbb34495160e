//! What somebody can do who may only reach the port, and what somebody can do who has the secret.

use std::time::Duration;

use futures::StreamExt as _;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::server::Limits;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::delivered::pushed;
use super::replica::{AMS, FRA, Town};
use super::site::manifests;
use super::support::wait::{ends, until};

const NO_SCAN: &str = "{scan: {required: Never}}";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_a_few_times_and_then_costs_nothing_and_keeps_nobody_out() {
    let town = Town::new(NO_SCAN).await;
    let replica = town.replica().await;
    let body = pushed("production/x", &format!("sha256:{:064x}", 1), "v1").to_string();
    let mut statuses = Vec::new();
    for secret in [None, Some(""), Some("Bearer"), Some("bearer the-secret-of-amsterdam-0001")] {
        statuses.push(replica.post(secret, "application/json", body.clone()).await);
    }
    for n in 0..26 {
        statuses.push(replica.post(Some(&format!("{AMS}{n}")), "text/plain", "no matter what").await);
    }
    assert_eq!(statuses, [vec![401; 10], vec![429; 20]].concat());
    assert_eq!(replica.post(Some(AMS), "application/json", body).await, 202, "from the same address");
    let refused = |reason| replica.metric("landfall_notifications_refused_total", &[("reason", reason)]);
    assert_eq!((refused("WrongSecret"), refused("TooMany")), (10.0, 20.0));
    assert_eq!(replica.sum("landfall_notifications_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_what_is_not_known_is_accepted() {
    let town = Town::new(NO_SCAN).await;
    let replica = town.replica().await;
    let generation = replica.observatory.generation();
    for (media_type, body, status) in [
        ("text/plain", "{}", 415),
        ("", "{}", 415),
        ("application/json", "", 400),
        ("application/json", "not JSON", 400),
        ("application/json", "{\"type\":\"PUSH_ARTIFACT\",\"event_data\":7}", 400),
        ("application/json; charset=utf-8", "{\"type\":\"PULL_ARTIFACT\"}", 202),
        ("application/cloudevents+json", "{\"type\":\"harbor.of.tomorrow\",\"data\":[]}", 202),
        ("application/json", "{\"type\":\"QUOTA_EXCEED\",\"event_data\":{}}", 202),
        (
            "application/json",
            "{\"type\":\"landfall.relayed\",\"changes\":[{\"registry\":\"mars\",\"repository\":\"a/b\"}]}",
            202,
        ),
    ] {
        assert_eq!(replica.post(Some(AMS), media_type, body).await, status, "{media_type} {body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(replica.post(Some(AMS), "application/json", deep).await, 400);
    assert_eq!(replica.observatory.generation(), generation, "nothing is outdated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_8_mib_and_one_that_does_not_come_are_cut_off() {
    let town = Town::new(NO_SCAN).await;
    let limits = Limits { grace: Duration::from_millis(200), ..Limits::hooks() };
    let replica = town.replica_beside(std::sync::Arc::default(), limits).await;
    assert_eq!(replica.post(Some(AMS), "application/json", vec![b' '; 8 * 1024 * 1024]).await, 413);
    let refused = |reason| {
        replica.metric("landfall_http_requests_refused_total", &[("port", "Hooks"), ("reason", reason)])
    };
    assert_eq!(refused("TooLarge"), 1.0);

    // One byte, and no more.
    let ca = town.demo.world.authority().pem();
    let mut roots = rustls::RootCertStore::empty();
    let ca = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        ca.as_bytes(),
    );
    roots.add(ca.unwrap()).unwrap();
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(replica.address).await.unwrap();
    let name = rustls::pki_types::ServerName::from(replica.address.ip());
    let mut stream =
        tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls)).connect(name, tcp).await.unwrap();
    let head = format!(
        "POST /hooks/harbor HTTP/1.1\r\nhost: x\r\nauthorization: {AMS}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    ends("it is answered", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    assert_eq!(refused("Slow"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_yesterday_changes_no_verdict_however_often_it_is_sent() {
    let town = Town::new(NO_SCAN).await;
    let replica = town.replica().await;
    let Named { repository, tag } = seed::PRESENT;
    let digest = town.demo.ams.store().digest(repository, tag).unwrap().to_string();
    // As recorded; and as if what was recorded was an image of ours.
    let text = include_str!("../vectors/harbor/replication-and-notifications.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let deliveries = cases.iter().flat_map(|case| case["deliveries"].as_array().into_iter().flatten());
    let mut bodies: Vec<String> = deliveries.map(|delivery| delivery["body"].to_string()).collect();
    let (gone, missing) = (pushed(repository, &digest, tag), seed::MISSING);
    bodies.push(gone.to_string().replace("PUSH_ARTIFACT", "DELETE_ARTIFACT"));
    bodies.push(pushed(missing.repository, &format!("sha256:{:064x}", 1), missing.tag).to_string());
    assert!(bodies.len() > 60);
    let before = [replica.judged(seed::PRESENT).await, replica.judged(missing).await];
    assert_eq!(before, ["Local(ams) []", "Fallback(fra) [Missing]"]);
    for body in bodies.iter().chain(bodies.iter().rev()) {
        assert_eq!(replica.post(Some(AMS), "application/json", body.clone()).await, 202, "{body}");
        assert_eq!(replica.post(Some(FRA), "application/json", body.clone()).await, 202);
    }
    let asked =
        || replica.metric("landfall_cache_invalidations_total", &[("registry", "ams"), ("scope", "Digest")]);
    until("the last of them is taken", || asked() >= 1.0).await;
    assert_eq!([replica.judged(seed::PRESENT).await, replica.judged(missing).await], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_of_ten_thousand_doors_stay_warm_and_a_push_arrives() {
    let town = Town::new(NO_SCAN).await;
    let replica = town.replica().await;
    let warm = [seed::PRESENT, seed::VULNERABLE, seed::MULTI_ARCH];
    for named in warm {
        replica.judged(named).await;
    }
    assert_eq!(replica.judged(seed::MISSING).await, "Fallback(fra) [Missing]");
    town.demo.ams.clear_log();
    // Each names an image of its own that nothing here runs, and every tenth the same.
    let storm = async |range: std::ops::Range<u32>| {
        let posts = futures::stream::iter(range).map(|n| {
            let n = if n % 10 == 0 { 0 } else { n };
            let body =
                pushed(&format!("production/noise-{n}"), &format!("sha256:{n:064x}"), "v1").to_string();
            let replica = &replica;
            async move { replica.post(Some(AMS), "application/json", body).await }
        });
        posts.buffer_unordered(24).collect::<Vec<u16>>().await
    };
    let mut statuses = storm(0..5000).await;
    for named in warm {
        replica.judged(named).await;
    }
    assert_eq!(manifests(&town.demo.ams), 0, "what is known is not asked again");
    // In the midst of it.
    let Named { repository, tag } = seed::MISSING;
    let digest = town
        .demo
        .ams
        .store()
        .push(repository, tag, &Content::image(&format!("{repository} {tag}")))
        .to_string();
    let second = async {
        replica.tell(&pushed(repository, &digest, tag)).await;
        replica.until(seed::MISSING, "Local(ams) []").await;
    };
    let (more, ()) = tokio::join!(storm(5000..10_000), second);
    statuses.extend(more);
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 10_000, "{statuses:?}");
    let changes = |result| replica.metric("landfall_notification_changes_total", &[("result", result)]);
    until("the rest is taken", || changes("Unused") + changes("Dropped") >= 18_000.0).await;
    assert!(changes("Invalidated") <= 10.0, "{}", changes("Invalidated"));
    for named in warm {
        replica.judged(named).await;
    }
}

/// Who has the secret names what is in use, again and again: registries are asked more often, but not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_secret_cannot_keep_the_cache_cold() {
    let town = Town::new(NO_SCAN).await;
    let replica = town.replica().await;
    let Named { repository, tag } = seed::PRESENT;
    let digest = town.demo.ams.store().digest(repository, tag).unwrap().to_string();
    assert_eq!(replica.judged(seed::PRESENT).await, "Local(ams) []");
    for _ in 0..300 {
        replica.tell(&pushed(repository, &digest, tag)).await;
    }
    let invalidated = || replica.metric("landfall_notification_changes_total", &[("result", "Invalidated")]);
    until("it is taken", || invalidated() >= 2.0).await;
    // Two for each round, of which there are five a second at most, and not two for each notification.
    assert!(invalidated() < 300.0, "{}", invalidated());
    assert_eq!(replica.judged(seed::PRESENT).await, "Local(ams) []");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_rotated_counts_at_once_and_one_that_two_registries_have_not_at_all() {
    let town = Town::new(NO_SCAN).await;
    let replica = town.replica().await;
    let body = pushed("production/x", &format!("sha256:{:064x}", 1), "v1").to_string();
    let next = "Bearer another-secret-of-amsterdam";
    town.demo.world.write("notifications/ams", next).unwrap();
    let accepted = async {
        while replica.post(Some(next), "application/json", body.clone()).await != 202 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    ends("the new one is known", accepted).await;
    assert_ne!(replica.post(Some(AMS), "application/json", body.clone()).await, 202, "the old one");
    town.demo.world.write("notifications/ams", FRA).unwrap();
    let told = async {
        loop {
            let problems = replica.receiver.look_at_secrets().await;
            if let [problem] = problems.as_slice() {
                return problem.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let problem = ends("it is said", told).await;
    assert_eq!(problem, "fra has the secret of ams: neither is believed until they differ");
    assert_ne!(replica.post(Some(FRA), "application/json", body).await, 202);
}
