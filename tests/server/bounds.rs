//! What somebody can do who may only reach a port, and who is answered meanwhile.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use landfall::facade::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::fixture::{self, Site, eventually, get, post};
use super::{PATIENCE, h2, pass};

const ANOTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn refused(reason: &str) -> String {
    format!("landfall_connections_refused_total{{port=\"Webhook\",reason=\"{reason}\"}}")
}

fn no_room() -> &'static str {
    "landfall_http_requests_refused_total{port=\"Webhook\",reason=\"NoRoom\"}"
}

/// The head of a request with a body of `length` bytes, and the first of them.
fn part(length: usize, sent: usize) -> String {
    format!("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(sent))
}

#[tokio::test]
async fn a_peer_has_no_more_connections_than_are_free() {
    let site = Site::start(Limits { connections: 4, ..Limits::default() }).await;
    let (mut first, second) = (site.connect().await, site.connect().await);
    for times in [1.0, 2.0] {
        assert!(site.try_connect().await.is_err(), "closed at once");
        assert_eq!(site.metric(&refused("Share")), times);
    }
    let mut other = site.connect_from(ANOTHER).await;
    assert_eq!(other.ask(&get("/hello")).await.status, 200);
    assert_eq!(first.ask(&get("/hello")).await.status, 200);
    assert_eq!(site.metric("landfall_connections"), 3.0);
    drop((second, other));
    eventually(|| site.metric("landfall_connections") == 1.0).await;
    assert_eq!(site.connect().await.ask(&get("/hello")).await.status, 200);
}

#[tokio::test]
async fn who_never_asks_is_let_go_and_who_asked_once_may_be_idle() {
    let short = Duration::from_millis(300);
    let site = Site::start(Limits { first_request: short, ..Limits::default() }).await;
    let mut asked = site.connect().await;
    assert_eq!(asked.ask(&get("/hello")).await.status, 200);

    let mut silent = site.connect().await;
    let mut half = site.connect().await;
    half.send("GET /hello HTTP/1.1\r\nhost: ").await;
    let mut h2_silent = site.connect_h2().await;
    h2_silent.write_all(&h2::hello(&[])).await.unwrap();
    assert!(silent.is_closed().await && half.is_closed().await);
    timeout(PATIENCE, h2_silent.read_to_end(&mut Vec::new())).await.unwrap().ok();
    eventually(|| site.metric(&refused("FirstRequest")) == 3.0).await;

    // Go keeps it for 90 s.
    pass(Duration::from_secs(125)).await;
    assert_eq!(asked.ask(&get("/hello")).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_slow_is_given_up_long_before_its_request_is() {
    let patient = Duration::from_secs(3600);
    let limits = Limits { grace: Duration::from_secs(3), rate: 100, request: patient, ..Limits::default() };
    let site = Site::start(limits).await;
    // 30,000 bytes earn 300 s, 10 bytes nearly nothing.
    for (sent, status) in [(30_000, 200), (10, 408), (0, 408)] {
        let mut client = site.connect().await;
        client.send(&part(30_001, sent)).await;
        // Answered behind it, so what was sent before has arrived.
        assert_eq!(site.connect().await.ask(&get("/hello")).await.status, 200);
        if status == 408 {
            let answer = client.answer_after(|| pass(Duration::from_secs(4))).await;
            assert_eq!((answer.status, answer.says_close()), (408, true), "{sent} bytes");
        } else {
            pass(Duration::from_secs(200)).await;
            client.send("x").await;
            assert_eq!(client.answer().await.status, 200, "{sent} bytes");
        }
    }
    assert_eq!(site.metric("landfall_http_requests_refused_total{port=\"Webhook\",reason=\"Slow\"}"), 2.0);
}

#[tokio::test]
async fn slow_large_bodies_keep_no_ordinary_review_out() {
    let site = Site::start(Limits::default()).await;
    let mut slow = Vec::new();
    // All from one peer, which is the API server's, too.
    for _ in 0..9 {
        let mut client = site.connect().await;
        // Where it is refused, it cannot send all of it.
        let _ = client.try_send(&part(8 * MIB, 8 * MIB - 1)).await;
        slow.push(client);
        for _ in 0..20 {
            let answer = site.connect().await.ask(&post("/length", &"x".repeat(5 * KIB))).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "5120"));
        }
    }
    assert!(site.metric(no_room()) > 0.0, "what the large ones may have was taken");
}

#[tokio::test]
async fn what_is_only_announced_takes_no_memory() {
    let site = Site::start(Limits::default()).await;
    let mut announced = Vec::new();
    for _ in 0..100 {
        let mut client = site.connect().await;
        client.send(&part(20 * MIB, 1)).await;
        announced.push(client);
    }
    let answer = site.connect().await.ask(&post("/length", &"x".repeat(20 * MIB))).await;
    assert_eq!((answer.status, answer.body), (200, (20 * MIB).to_string()));
    assert_eq!(site.metric(no_room()), 0.0);
}

#[tokio::test]
async fn large_bodies_have_a_bound_and_each_peer_its_share_of_it() {
    let limits = Limits { small_body: 100, small_bodies: 10 * KIB, large_bodies: 2000, ..Limits::default() };
    let site = Site::start(limits).await;
    let filler = "x".repeat(1000);
    let mut first = site.connect().await;
    first.send(&post("/gate", &filler).replacen("POST", "GET", 1)).await;
    site.gate.entered().await;
    let answer = site.connect().await.ask(&post("/length", &"x".repeat(101))).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "too many requests at once\n"));
    assert!(answer.says_close() && answer.head.contains("retry-after: 1"), "{}", answer.head);
    assert_eq!(site.metric(no_room()), 1.0);
    assert_eq!(site.connect().await.ask(&post("/length", &"x".repeat(100))).await.status, 200);
    assert_eq!(site.connect_from(ANOTHER).await.ask(&post("/length", &"x".repeat(500))).await.status, 200);
    site.gate.open(1);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(site.connect().await.ask(&post("/length", &filler)).await.status, 200);
}

#[tokio::test]
async fn heads_count_until_they_are_answered() {
    let site = Site::start(Limits { small_bodies: 40 * KIB, ..Limits::default() }).await;
    let long = "x".repeat(8 * KIB);
    let mut held = site.connect_h2().await;
    let streams = (0..10).map(|n| h2::head(2 * n + 1, "POST", "/length", &[("x-long", &long)]));
    held.write_all(&[h2::hello(&[]), streams.flatten().collect()].concat()).await.unwrap();
    // Two of them are half of the memory.
    eventually(|| site.metric(no_room()) == 8.0).await;
    let request = get("/hello").replacen("\r\n\r\n", &format!("\r\nx-long: {long}\r\n\r\n"), 1);
    assert_eq!(site.connect().await.ask(&request).await.status, 503);
    assert_eq!(site.connect_from(ANOTHER).await.ask(&request).await.status, 200);
    drop(held);
    eventually(|| site.metric("landfall_connections") == 0.0).await;
    assert_eq!(site.connect().await.ask(&request).await.status, 200);
}

#[tokio::test]
async fn heads_are_small_and_streams_are_few() {
    let site = Site::start(Limits::default()).await;
    let long = "x".repeat(16 * KIB);
    let request = get("/hello").replacen("\r\n\r\n", &format!("\r\nx-long: {long}\r\n\r\n"), 1);
    assert_eq!(site.connect().await.ask(&request).await.status, 431);
    let answer = site.reqwest().get(site.url("/hello")).header("x-long", &long).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 431));

    let mut raw = site.connect_h2().await;
    raw.write_all(&h2::hello(&[])).await.unwrap();
    let mut head = [0; 9];
    raw.read_exact(&mut head).await.unwrap();
    let mut settings = vec![0; usize::from(head[2])];
    raw.read_exact(&mut settings).await.unwrap();
    assert_eq!((head[0], head[1], head[3]), (0, 0, 4), "SETTINGS come first");
    let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
    let settings: BTreeMap<u32, u32> =
        settings.chunks(6).map(|pair| (number(&pair[..2]), number(&pair[2..]))).collect();
    let (streams, window, list) = (settings.get(&3), settings.get(&4), settings.get(&6));
    assert_eq!((streams, window, list), (Some(&32), Some(&65_536), Some(&16_384)));
}

#[tokio::test]
async fn who_takes_no_answer_is_let_go_and_its_answer_counts_meanwhile() {
    let stall = Duration::from_millis(500);
    let site = Site::start(Limits { stall, large_bodies: 40 * MIB, ..Limits::default() }).await;
    let mut deaf = site.connect().await;
    deaf.send(&get("/long")).await;
    eventually(|| site.metric("landfall_http_requests_total{class=\"2xx\"}") == 1.0).await;
    assert_eq!(site.connect().await.ask(&get("/long")).await.status, 503);
    assert_eq!(site.connect_from(ANOTHER).await.ask(&get("/long")).await.body.len(), fixture::LONG);
    eventually(|| site.metric(&refused("Stalled")) == 1.0).await;
    eventually(|| site.metric("landfall_connections") == 0.0).await;
    assert_eq!(site.connect().await.ask(&get("/long")).await.body.len(), fixture::LONG);
}

#[tokio::test]
async fn an_h2_peer_that_takes_nothing_outlives_its_age_by_no_more_than_the_time_to_finish() {
    let (age, finish) = (Duration::from_secs(20), Duration::from_millis(100));
    let site = Site::start(Limits { recycle_age: age, finish, ..Limits::default() }).await;
    let mut deaf = site.connect_h2().await;
    // SETTINGS_INITIAL_WINDOW_SIZE 0: it never lets us send a body, and reads on.
    let ask = h2::head(1, "GET", "/long", &[]);
    deaf.write_all(&[h2::hello(&[(4, 0)]), ask, h2::frame(0, 1, 1, b"")].concat()).await.unwrap();
    eventually(|| site.metric("landfall_http_requests_total{class=\"2xx\"}") == 1.0).await;
    // Younger than the first ping, so that it is not the missing answer to it that ends the connection.
    pass(Duration::from_secs(25)).await;
    timeout(PATIENCE, deaf.read_to_end(&mut Vec::new())).await.unwrap().ok();
    eventually(|| site.metric("landfall_connections") == 0.0).await;
}

#[tokio::test]
async fn the_admin_port_has_the_same_bounds() {
    let (metrics, conditions, registry) = fixture::instruments();
    let admin = fixture::admin(conditions, registry.clone(), &metrics).await;
    let count = |reason: &str| {
        let sample = format!("landfall_connections_refused_total{{port=\"Admin\",reason=\"{reason}\"}}");
        fixture::sample(&registry, &sample)
    };
    let connect = async |from: IpAddr| -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(admin.address()).await.unwrap()
    };
    let ask = async |mut tcp: TcpStream, request: &str| {
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        timeout(PATIENCE, tcp.read_exact(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    };
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let large = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(17 * KIB));
    assert_eq!(ask(connect(here).await, &large).await, "HTTP/1.1 431");
    assert_eq!(ask(connect(here).await, &part(2 * KIB, 2 * KIB)).await, "HTTP/1.1 413");

    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(connect(here).await);
    }
    eventually(|| count("Share") > 0.0).await;
    assert_eq!(ask(connect(ANOTHER).await, &get("/livez")).await, "HTTP/1.1 200");
    // Nobody of them asks.
    for mut tcp in idle {
        let mut byte = [0];
        let read = async {
            loop {
                pass(Duration::from_secs(11)).await;
                if let Ok(read) = timeout(Duration::from_millis(50), tcp.read(&mut byte)).await {
                    return read;
                }
            }
        };
        assert!(matches!(read.await, Ok(0) | Err(_)));
    }
    assert!(count("FirstRequest") > 0.0);
    assert_eq!(ask(connect(here).await, &get("/livez")).await, "HTTP/1.1 200");
}

/// The lines that were logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A Pod whose review is refused is admitted without a verdict, where the webhook fails open. Who reads the log must see that,
/// and who floods the port must not fill the log.
#[tokio::test]
async fn what_is_refused_is_logged_once_a_while_and_counted_each_time() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
    let _here = tracing::subscriber::set_default(subscriber.finish());
    let site = Site::start(Limits { body: 1000, small_bodies: 10 * KIB, ..Limits::default() }).await;
    for _ in 0..5 {
        let answer = site.connect().await.ask(&post("/hello", &"x".repeat(1001))).await;
        assert_eq!(answer.status, 413);
    }
    let chunked = "POST /length?secret HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = site.connect().await;
    assert_eq!(client.ask(&format!("{chunked}3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001))).await.status, 413);
    let (client, announced) = (site.connect().await, part(900, 10));
    let mut client = client;
    client.send(&announced).await;
    drop(client);
    let broken = "landfall_http_requests_refused_total{port=\"Webhook\",reason=\"Broken\"}";
    eventually(|| site.metric(broken) == 1.0).await;

    assert_eq!(site.metric(&no_room().replace("NoRoom", "TooLarge")), 6.0);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |reason: &str| told.iter().filter(|line| line["reason"] == reason).collect::<Vec<_>>();
    let too_large = of("TooLarge");
    assert_eq!(too_large.len(), 1, "{text}");
    let line = too_large[0];
    assert_eq!((&line["level"], &line["http.path"]), (&"WARN".into(), &"/hello".into()));
    assert_eq!((&line["client.address"], &line["limit"]), (&"127.0.0.1".into(), &1000.into()));
    assert_eq!(of("Broken").len(), 1, "each reason has a line of its own: {text}");
}
