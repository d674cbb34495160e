//! The table: a line says what is wrong, what must be found, and what may be asked for it (`artifact`, `project`, `report`,
//! `scanner`, `exists`, `systeminfo`, `current` are Harbor's API; `head` and `get` are of manifests).

use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::faults::{Fault, Redirect, Scope};
use landfall::facade::demo::world::{
    Account, Allowlist, Certificate, Embedded, Login, Namespace, PathClass, Permission, Reachable, Scan,
    ScannerState, Signatures, Standing, Store,
};
use landfall::facade::domain::finding::FindingKind::{self, *};
use landfall::facade::domain::scan::Severity;
use reqwest::StatusCode;

use super::ground::{Ground, REPOSITORY, TAG};
use super::row::Trouble::*;
use super::row::{Patience, Row, Site};
use super::support::wait::HELD;

const SLOW: Duration = HELD;
/// Longer than a tag is fresh, shorter than a project's facts are.
const SOON: Duration = Duration::from_secs(45);
/// Longer than a presence is fresh, shorter than it is remembered.
const LATER: Duration = Duration::from_secs(11 * 60);
/// Longer than anything is remembered.
const A_DAY: Duration = Duration::from_secs(25 * 3600);
const FINE: &[FindingKind] = &[];
/// What an image in order costs, and an index of two children.
const ALL: &str = "artifact, head, project";
/// The same for a tag: it is asked for, and then the digest that it answered.
const TAGGED: &str = "artifact, 2 head, project";
const INDEX: &str = "2 artifact, get, 3 head, project";
const MIB: usize = 1024 * 1024;

/// All rows.
pub fn rows() -> Vec<Row> {
    [sound(), silence(), tls(), statuses(), lies(), access(), tokens(), inside(), scans(), proofs()]
        .into_iter()
        .flatten()
        .collect()
}

#[rustfmt::skip]
fn sound() -> Vec<Row> {
    vec![
        Row::harbor("nothing is wrong", Nothing, FINE, ALL),
        Row::harbor("nothing is wrong, an index", Nothing, FINE, INDEX).index(),
        Row::harbor("nothing is wrong, a tag", Nothing, FINE, TAGGED).by_tag(),
        Row::plain("nothing is wrong, an open registry", Login::Open, Nothing, FINE, "head"),
        Row::plain("nothing is wrong, a registry that wants Basic", basic(), Nothing, FINE, "2 head"),
        Row::plain("nothing is wrong, a registry that wants tokens", bearer(), Nothing, FINE, "2 head, token"),
    ]
}

#[rustfmt::skip]
fn silence() -> Vec<Row> {
    use Patience::Short;
    vec![
        Row::harbor("connection refused", Down, &[Unreachable], ""),
        Row::harbor("blackhole", Frozen, &[Deadline], "").patience(Short),
        Row::harbor("slow headers", Of(MANIFESTS, Fault::Delay(SLOW)), &[Deadline], "head").patience(Short),
        Row::harbor("slow headers of the API", Of(API, Fault::Delay(SLOW)), &[Deadline], "head, project").patience(Short),
        Row::harbor("slow body of the API", Of(API, Fault::SlowBody(SLOW)), &[Deadline], "head, project").patience(Short),
        Row::harbor("slow body of an index", Of(MANIFESTS, Fault::SlowBody(SLOW)), &[Deadline], "get, head, project").index().patience(Short),
        Row::harbor("slow body without a digest header", Do(slow_and_nameless), &[Deadline], "get, head").patience(Short),
        Row::harbor("every answer delayed past the deadline", Way(Fault::Delay(SLOW)), &[Deadline], "head")
            .patience(Patience::None).at(&[Site::One, Site::PrimaryDown]),
    ]
}

/// A connection that broke may have been stale: it is tried once more, which a registry that is up can bear.
#[rustfmt::skip]
pub fn broken() -> Vec<Row> {
    vec![
        Row::harbor("truncated body of the API", Of(API, Fault::Truncate), &[Unreachable], "2 head, project"),
        Row::harbor("truncated body of an index", Of(MANIFESTS, Fault::Truncate), &[Unreachable], "2 get, head, project").index(),
        Row::harbor("reset in the middle of the API's answer", Of(API, Fault::Reset), &[Unreachable], "2 head, project"),
        Row::harbor("reset in the middle of an index", Of(MANIFESTS, Fault::Reset), &[Unreachable], "2 get, head, project").index(),
        Row::harbor("hung up without an answer", Way(Fault::HangUp), &[Unreachable], "2 head"),
        Row::plain("token endpoint: hung up", bearer(), Of(TOKEN, Fault::HangUp), &[Unreachable], "2 head, 2 token"),
        Row::plain("token endpoint: down", bearer(), Do(|_, at| realm(at, "https://127.0.0.1:1/token")), &[Unreachable], "2 head"),
    ]
}

#[rustfmt::skip]
fn tls() -> Vec<Row> {
    vec![
        Row::harbor("certificate of an unknown authority", Shows(Certificate::Foreign), &[Unreachable], ""),
        Row::harbor("certificate expired", Shows(Certificate::Expired), &[Unreachable], ""),
        Row::harbor("certificate for another name", Shows(Certificate::WrongName), &[Unreachable], ""),
        Row::harbor("HTTP on the TLS port", Shows(Certificate::Plaintext), &[Unreachable], ""),
    ]
}

#[rustfmt::skip]
fn statuses() -> Vec<Row> {
    vec![
        Row::harbor("403", Of(MANIFESTS, status(403)), &[Unauthorized], "head"),
        Row::plain("403 of a plain registry", basic(), Of(MANIFESTS, status(403)), &[Unauthorized], "head"),
        Row::harbor("404: deleted", Inside(|store, held| store.delete(REPOSITORY, &held.digest)), &[Missing], "head"),
        Row::harbor("404: no such repository", Inside(|store, _| store.delete_repository(REPOSITORY)), &[Missing], "head"),
        Row::plain("404 with the registry's body", Login::Open, Inside(|store, _| store.delete_repository(REPOSITORY)), &[Missing], "head"),
        Row::plain("404 without a body", Login::Open, Way(instead(404, "", "")), &[Missing], "head"),
        Row::plain("404 of a web server", Login::Open, Way(Fault::Html(StatusCode::NOT_FOUND)), &[Unreachable], "get, head"),
        Row::harbor("429", Of(MANIFESTS, status(429)), &[RateLimited], "head"),
        Row::harbor("429 with Retry-After", Of(MANIFESTS, retry_after(429)), &[RateLimited], "head"),
        Row::harbor("429 of the API", Of(API, retry_after(429)), &[RateLimited], "head, project"),
        Row::harbor("500", Way(status(500)), &[Unreachable], "head"),
        Row::harbor("500 of the API", Of(API, status(500)), &[Unreachable], "head, project"),
        Row::harbor("502 as HTML", Way(html(502)), &[Unreachable], "head"),
        Row::harbor("503 as HTML", Way(html(503)), &[Unreachable], "head"),
        Row::harbor("503 with Retry-After", Way(retry_after(503)), &[Unreachable], "head"),
        Row::harbor("504 as HTML", Way(html(504)), &[Unreachable], "head"),
        Row::harbor("200 as HTML", Way(html(200)), &[Unreachable], "get, head"),
        Row::harbor("200 as HTML from the API", Of(API, html(200)), &[Unreachable], "head, project"),
        Row::harbor("redirect to another path", Of(MANIFESTS, Fault::Redirect(Redirect::SameHost)), FINE, "artifact, 2 head, project"),
        Row::harbor("redirect to another host", Do(sent_on), FINE, ALL),
        Row::harbor("redirect of the API to another host", Do(api_sent_on), &[Unreachable], "head, project"),
        Row::harbor("redirect in a circle", Of(MANIFESTS, Fault::Redirect(Redirect::Loop)), &[Unreachable], "6 head"),
    ]
}

#[rustfmt::skip]
fn lies() -> Vec<Row> {
    vec![
        Row::harbor("another digest than asked", Way(Fault::WrongDigest), &[Unreachable], "head"),
        Row::harbor("no digest header", Way(Fault::NoDigest), FINE, "artifact, get, head, project"),
        Row::harbor("no digest header, and other bytes", Do(nameless_and_other), &[Unreachable], "get, head"),
        Row::harbor("an index of other bytes", Of(MANIFESTS, instead(200, OCI_INDEX, "{}")), &[Unreachable], "get, head").index(),
        Row::harbor("a huge manifest", Nothing, FINE, ALL).of(|| Content::image("web").padded(5 * MIB)),
        Row::harbor("a huge manifest without a digest header", Way(Fault::NoDigest), &[Unreachable], "get, head")
            .of(|| Content::image("web").padded(5 * MIB)),
        Row::harbor("a huge index", Nothing, &[Unreachable], "get, head, project")
            .of(|| Content::index("web", Flavour::Oci, &["linux/amd64"]).padded(5 * MIB)).at(ALIKE),
        Row::harbor("an index of a thousand and one", Nothing, &[Unreachable], "get, head, project").of(wide).at(ALIKE),
        Row::harbor("an index of indexes", Nothing, FINE, "2 artifact, 2 get, 3 head, project")
            .of(|| Content::nested_index("web", &["linux/amd64"])),
    ]
}

#[rustfmt::skip]
fn access() -> Vec<Row> {
    const BASIC: &str = "Basic realm=\"harbor\"";
    vec![
        Row::plain("401 asking for Basic, whatever is sent", basic(), Way(challenge(BASIC)), &[Unauthorized], "2 head"),
        Row::plain("401 asking for a token, whatever is sent", bearer(), Do(never_welcome), &[Unauthorized], "2 head, token"),
        Row::plain("401 asking for nothing", basic(), Way(challenge("")), &[Unauthorized], "head"),
        Row::plain("401 asking for nothing that can be read", basic(), Way(challenge("Bearer realm=\"https:")), &[Unauthorized], "head"),
        Row::plain("401 asking for a scheme that nobody knows", basic(), Way(challenge("Dance steps=\"3\"")), &[Unauthorized], "head"),
        Row::harbor("401 asking for Basic of a known robot", Of(MANIFESTS, challenge(BASIC)), &[Unauthorized], "current, head, systeminfo"),
        Row::harbor("401 asking for a token of a known robot", Do(|_, at| realm(at, &format!("{}/service/token", at.url()))), &[Unauthorized], "current, 2 head, systeminfo, token"),
        Row::harbor("401 asking for nothing of what the API has", Of(MANIFESTS, challenge("")), &[Unreachable], "artifact, head"),
        Row::harbor("robot disabled", Inside(|store, _| standing(store, Standing::Disabled)), &[Unauthorized], "head, projects, systeminfo"),
        Row::harbor("robot expired", Inside(|store, _| standing(store, Standing::Expired)), &[Unauthorized], "head, projects, systeminfo"),
        Row::harbor("robot deleted", Inside(|store, _| store.remove_account("robot$landfall")), &[Unauthorized], "head, projects, systeminfo"),
        Row::harbor("secret rotated, and nobody told us", Inside(|store, _| rotate(store)), &[Unauthorized], "head, projects, systeminfo"),
        Row::harbor("secret rotated, and our file with it", Do(rotated), FINE, "artifact, 2 head, project"),
        Row::harbor("robot may not pull", Inside(|store, _| may(store, &[Permission::ArtifactRead])), &[Unauthorized], "current, head, systeminfo"),
        Row::harbor("robot may not read scans, but one is required", Inside(|store, _| may(store, &[Permission::Pull])), &[Unauthorized], "2 artifact, exists, head, project")
            .scan("required: Always"),
    ]
}

#[rustfmt::skip]
fn tokens() -> Vec<Row> {
    vec![
        Row::plain("token endpoint: 500", bearer(), Of(TOKEN, status(500)), &[Unreachable], "head, token"),
        Row::plain("token endpoint: 503 as HTML", bearer(), Of(TOKEN, html(503)), &[Unreachable], "head, token"),
        Row::plain("token endpoint: 200 as HTML", bearer(), Of(TOKEN, html(200)), &[Unreachable], "head, token"),
        Row::plain("token endpoint: 429", bearer(), Of(TOKEN, retry_after(429)), &[RateLimited], "head, token"),
        Row::plain("token endpoint: 401", bearer(), Of(TOKEN, status(401)), &[Unauthorized], "head, token"),
        Row::plain("token endpoint: an answer without a token", bearer(), Of(TOKEN, instead(200, "application/json", "{}")), &[Unauthorized], "head, token"),
        Row::plain("token endpoint: a token without rights", bearer(), Of(TOKEN, instead(200, "application/json", r#"{"token":"none"}"#)), &[Unauthorized], "2 head, token"),
        Row::plain("token endpoint: slow", bearer(), Of(TOKEN, Fault::Delay(SLOW)), &[Deadline], "head, token").patience(Patience::Short),
        Row::plain("token endpoint: on a private address of another host", bearer(), Do(|_, at| realm(at, "https://127.0.0.2/token")), &[Unauthorized], "head"),
        Row::plain("token endpoint: without TLS", bearer(), Do(|_, at| realm(at, "http://127.0.0.1/token")), &[Unauthorized], "head"),
    ]
}

#[rustfmt::skip]
fn inside() -> Vec<Row> {
    vec![
        Row::harbor("PostgreSQL down", Inside(|store, _| store.database = Reachable::Down), &[Unreachable], "artifact, head"),
        Row::harbor("Redis down: ten seconds an answer", Way(Fault::Delay(Duration::from_secs(10))), &[Deadline], "head").patience(Patience::Short),
        Row::harbor("job service down", Inside(|store, _| store.job_service = Reachable::Down), FINE, ALL),
        Row::harbor("the registry behind it down", Inside(|store, _| store.storage = Reachable::Down), &[Unreachable], "head"),
        Row::harbor("core down: 502 of its nginx", Way(html(502)), &[Unreachable], "head"),
        Row::harbor("manifest lost: the API knows it still", Inside(|store, held| store.lose(REPOSITORY, &held.digest)), &[Missing], "head"),
        Row::harbor("layer lost: only a pull would tell", Inside(|store, held| store.lose_layers(REPOSITORY, &held.digest)), FINE, ALL),
        Row::harbor("child lost", Inside(|store, held| store.lose(REPOSITORY, &child(held))), &[ChildMissing], "2 artifact, get, 3 head, project").index(),
        Row::harbor("no such project", Inside(|store, _| store.remove_project("production")), &[Missing], "artifact, exists, head"),
        Row::harbor("412: unscanned", Inside(|store, held| gate(store, held, Scan::NotScanned)), &[Refused], "get, head"),
        Row::harbor("412: scan running", Inside(|store, held| gate(store, held, Scan::Running(Timestamp::now()))), &[Refused], "get, head"),
        Row::harbor("412: vulnerable", Inside(|store, held| gate(store, held, bad())), &[Refused], "get, head"),
        Row::harbor("412: unsigned", Inside(|store, _| store.project("production").signatures = Signatures::Cosign), &[Refused], "get, head"),
        Row::harbor("412: the index is signed, its children are not", Inside(signed_index), &[Refused, Refused], "2 artifact, 3 get, 3 head, project").index(),
        Row::harbor("proxy cache, not declared", Do(proxied), &[ProxyCache], "head, project"),
        Row::harbor("proxy cache, declared", Do(proxied), &[ProxyCache], "head, project").replica(", proxy: true").scan("required: Never").at(ALIKE),
        Row::harbor("proxy cache, its upstream down", Do(proxied_from_nowhere), &[Missing], "head"),
    ]
}

#[rustfmt::skip]
fn scans() -> Vec<Row> {
    vec![
        Row::harbor("never scanned", Inside(|store, held| store.set_scan(&held.digest, Scan::NotScanned)), &[Unscanned], "artifact, head, project, scanner"),
        Row::harbor("scan pending", Inside(|store, held| store.set_scan(&held.digest, Scan::Pending)), &[ScanPending], "2 artifact, head, project, report"),
        Row::harbor("scan running", Inside(|store, held| store.set_scan(&held.digest, Scan::Running(Timestamp::now()))), &[ScanPending], "2 artifact, head, project, report"),
        Row::harbor("scan failed", Inside(|store, held| store.set_scan(&held.digest, Scan::Error(Timestamp::now()))), &[ScanFailed], ALL),
        Row::harbor("scan stopped", Inside(|store, held| store.set_scan(&held.digest, Scan::Stopped(Timestamp::now()))), &[ScanFailed], ALL),
        Row::harbor("vulnerable", Inside(|store, held| store.set_scan(&held.digest, bad())), &[Vulnerable], ALL),
        Row::harbor("vulnerable, which the policy does not forgive", Inside(forgiven), &[Vulnerable], ALL),
        Row::harbor("vulnerable, which the project forgives", Inside(forgiven), FINE, "2 artifact, head, project, report")
            .scan("required: Auto, projectAllowlist: true"),
        Row::harbor("scan too old", Inside(|store, held| store.set_scan(&held.digest, scanned_at(-31 * 24))), &[ScanExpired], ALL),
        Row::harbor("clock askew: scanned tomorrow", Inside(|store, held| store.set_scan(&held.digest, scanned_at(24))), FINE, ALL),
        Row::harbor("clock askew: scanned in the year one", Inside(|store, held| store.set_scan(&held.digest, Scan::found_at("0001-01-01T00:00:00Z".parse().unwrap(), &[]))), &[ScanExpired], ALL),
        Row::harbor("scanner down, the report stands", Inside(|store, _| store.scanner = ScannerState::Unhealthy), FINE, "artifact, head, project, report, scanner"),
        Row::harbor("scanner down, no report", Inside(|store, held| { store.scanner = ScannerState::Unhealthy; store.set_scan(&held.digest, Scan::NotScanned) }),
            &[ScannerDown], "artifact, head, project, report, scanner"),
        Row::harbor("scanner down, a bad report", Inside(|store, held| { store.scanner = ScannerState::Unhealthy; store.set_scan(&held.digest, bad()) }),
            &[Vulnerable], "artifact, head, project, report, scanner"),
        Row::harbor("no scanner, and none required", Inside(|store, held| { store.scanner = ScannerState::None; store.set_scan(&held.digest, Scan::NotScanned) }),
            FINE, "artifact, head, project, scanner").at(ALIKE),
        Row::harbor("no scanner, but a scan is required", Inside(|store, held| { store.scanner = ScannerState::None; store.set_scan(&held.digest, Scan::NotScanned) }),
            &[Unscanned], "artifact, head, project, scanner").scan("required: Always"),
        Row::harbor("one child of an index unscanned", Inside(|store, held| store.set_scan(&child(held), Scan::NotScanned)), &[Unscanned], "2 artifact, get, 3 head, project, scanner").index(),
    ]
}

#[rustfmt::skip]
fn proofs() -> Vec<Row> {
    vec![
        Row::harbor("the tag has moved on at the primary", Inside(move_on), &[Stale], TAGGED).primary(),
        Row::harbor("the primary has no such tag", Inside(|store, _| store.untag(REPOSITORY, TAG)), &[Unproved], TAGGED).primary(),
        Row::harbor("the primary is down", Down, &[Unproved], TAGGED).primary(),
        Row::harbor("the primary answers 503", Way(html(503)), &[Unproved], TAGGED).primary(),
        Row::harbor("the primary knows us no longer", Inside(|store, _| standing(store, Standing::Disabled)), &[Unproved], TAGGED).primary(),
        Row::harbor("the primary is slow", Way(Fault::Delay(SLOW)), &[Unproved], TAGGED).primary().patience(Patience::Short),
        Row::harbor("our registry lies about the tag", Way(Fault::WrongDigest), &[Stale, Missing], "artifact, 2 head, project, scanner").by_tag(),
    ]
}

/// What was learned eleven minutes ago is no longer fresh, but remembered.
#[rustfmt::skip]
pub fn remembered() -> Vec<Row> {
    vec![
        Row::harbor("remembered: slow", Way(Fault::Delay(SLOW)), FINE, "artifact, head").judged_before(LATER).patience(Patience::Short),
        Row::harbor("remembered: frozen", Frozen, FINE, "").judged_before(LATER).patience(Patience::Short),
        Row::harbor("remembered: 429", Way(status(429)), FINE, "head").judged_before(LATER),
        Row::harbor("remembered: 429 with Retry-After", Way(retry_after(429)), FINE, "head").judged_before(LATER),
        Row::harbor("remembered: refused", Down, &[Unreachable], "").judged_before(LATER),
        Row::harbor("remembered: 503", Way(html(503)), &[Unreachable], "head").judged_before(LATER),
        Row::harbor("remembered: deleted", Inside(|store, held| store.delete(REPOSITORY, &held.digest)), &[Missing], "head").judged_before(LATER),
        Row::harbor("remembered for a day at most: slow", Way(Fault::Delay(SLOW)), &[Deadline], "head").judged_before(A_DAY).patience(Patience::Short),
        Row::harbor("proved a moment ago, the primary is down", Down, FINE, "head").judged_before(SOON).primary(),
        Row::harbor("proved a moment ago, the primary has moved on", Inside(move_on), &[Stale], "head").judged_before(SOON).primary(),
    ]
}

/// Where what is wrong with one copy is wrong with all, or what is right at one Place asks more of the other.
const ALIKE: &[Site] = &[Site::One, Site::BothTroubled, Site::PrimaryDown];
const MANIFESTS: PathClass = PathClass::Manifests;
const API: PathClass = PathClass::Api;
const TOKEN: PathClass = PathClass::Token;
const OCI_INDEX: &str = landfall::facade::demo::world::content::OCI_INDEX;

fn basic() -> Login {
    Login::basic("me", "secret")
}

fn bearer() -> Login {
    Login::bearer("me", "secret")
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap()
}

fn status(status: u16) -> Fault {
    Fault::Status(code(status))
}

fn html(status: u16) -> Fault {
    Fault::Html(code(status))
}

fn retry_after(status: u16) -> Fault {
    Fault::RetryAfter(code(status), 60)
}

fn challenge(words: &str) -> Fault {
    Fault::Challenge(words.into())
}

fn instead(status: u16, media_type: &'static str, body: &'static str) -> Fault {
    Fault::Instead(code(status), media_type, Bytes::from_static(body.as_bytes()))
}

fn add(at: &Embedded, class: PathClass, fault: Fault) {
    at.faults().add(Scope::Only(class), fault);
}

fn slow_and_nameless(_: &Ground, at: &Embedded) {
    add(at, MANIFESTS, Fault::NoDigest);
    add(at, MANIFESTS, Fault::SlowBody(SLOW));
}

fn nameless_and_other(ground: &Ground, at: &Embedded) {
    at.faults().add(Scope::Everything, Fault::NoDigest);
    let mut store = at.store();
    store.delete(REPOSITORY, &ground.content.digest);
    store.claim(REPOSITORY, None, ground.content.digest, &Content::image("something else"));
}

fn sent_on(ground: &Ground, at: &Embedded) {
    add(at, MANIFESTS, Fault::Redirect(Redirect::To(ground.other.url())));
}

fn api_sent_on(ground: &Ground, at: &Embedded) {
    add(at, API, Fault::Redirect(Redirect::To(ground.other.url())));
}

/// It asks for tokens of its own endpoint, and takes none.
fn never_welcome(_: &Ground, at: &Embedded) {
    realm(at, &format!("{}/token", at.url()));
}

fn realm(at: &Embedded, realm: &str) {
    add(at, MANIFESTS, Fault::Challenge(format!("Bearer realm=\"{realm}\",service=\"harbor-registry\"")));
}

fn robot(permissions: &[Permission]) -> Account {
    Account::robot("landfall", Namespace::All, permissions)
}

fn standing(store: &mut Store, standing: Standing) {
    store.add_account(robot(&Permission::ALL).standing(standing));
}

fn may(store: &mut Store, permissions: &[Permission]) {
    store.add_account(robot(permissions));
}

fn rotate(store: &mut Store) {
    let mut rotated = robot(&Permission::ALL);
    rotated.secret = "another-Secret2".into();
    store.add_account(rotated);
}

fn rotated(ground: &Ground, at: &Embedded) {
    rotate(&mut at.store());
    ground.world.credentials(at.name(), "robot$landfall", "another-Secret2").unwrap();
}

fn child(held: &Content) -> landfall::facade::domain::digest::Digest {
    held.child("linux/arm64").unwrap().digest
}

fn bad() -> Scan {
    Scan::found(&[("CVE-2026-1", Severity::Critical)])
}

fn forgiven(store: &mut Store, held: &Content) {
    store.set_scan(&held.digest, bad());
    let cves = vec!["CVE-2026-1".into()];
    store.project("production").allowlist = Some(Allowlist { cves, expires_at: None });
}

fn scanned_at(hours: i64) -> Scan {
    Scan::found_at(Timestamp::now() + SignedDuration::from_hours(hours), &[])
}

fn gate(store: &mut Store, held: &Content, scan: Scan) {
    store.project("production").prevent_vul = Some(Severity::High);
    store.set_scan(&held.digest, scan);
}

fn signed_index(store: &mut Store, held: &Content) {
    store.project("production").signatures = Signatures::Cosign;
    store.sign(REPOSITORY, &held.digest);
}

fn move_on(store: &mut Store, _: &Content) {
    store.push(REPOSITORY, TAG, &Content::image("web, the next"));
}

/// A thousand children and one: more than is read.
fn wide() -> Content {
    let platforms: Vec<String> = (0..1001).map(|n| format!("linux/cpu{n}")).collect();
    let platforms: Vec<&str> = platforms.iter().map(String::as_str).collect();
    Content::index("web", Flavour::Oci, &platforms)
}

/// Its project shows what Frankfurt holds, under the same path.
fn proxied(ground: &Ground, at: &Embedded) {
    at.store().delete_repository(REPOSITORY);
    let inside = REPOSITORY.split_once('/').unwrap().1;
    ground.other.store().push(inside, TAG, &ground.content);
    at.proxy(&ground.world, "production", &ground.other).unwrap();
}

fn proxied_from_nowhere(ground: &Ground, at: &Embedded) {
    proxied(ground, at);
    ground.other.store().delete_repository(REPOSITORY.split_once('/').unwrap().1);
}
