//! TLS failures, and a CA file that changes.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::domain::evidence::{Presence, Shape};

use crate::domain::unknown::Cause;

use super::super::ClientError;
use super::super::watched::INTERVAL;
use super::server::{Server, reply, status};
use super::*;

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let _again = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn server(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth();
        config.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

pub async fn holder(tls: ServerConfig) -> Server {
    Server::https(tls, |_| {
        reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "")
    })
    .await
}

fn present() -> Presence {
    Presence::Present { digest: digest(&digest_of("x")), shape: Shape::Manifest }
}

pub fn trusting(url: &Url, pem: &str) -> (tempfile::NamedTempFile, Registry) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let ca_file = Some(file.path().to_owned());
    (file, Registry { ca_file, ..registry(url) })
}

#[tokio::test]
async fn a_configured_ca_is_trusted() {
    let authority = Authority::new("ours");
    let server = holder(authority.server("127.0.0.1")).await;
    let (_file, registry) = trusting(&server.url, &authority.pem());
    assert_eq!(by_tag(&client(registry)).await, present());
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let authority = Authority::new("ours");
    let mut tls = authority.server("127.0.0.1");
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let server = holder(tls).await;
    let (_file, registry) = trusting(&server.url, &authority.pem());
    assert_eq!(by_tag(&client(registry)).await, present());
    assert_eq!(server.seen()[0].version, http::Version::HTTP_2);
}

#[tokio::test]
async fn every_failure_of_tls_is_one() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("a stranger's"));
    let server = holder(authority.server("127.0.0.1")).await;
    // Public roots, another CA, another name.
    assert_unknown(by_tag(&client(registry(&server.url))).await, Cause::Tls, "UnknownIssuer");
    let (_file, registry) = trusting(&server.url, &stranger.pem());
    assert_unknown(by_tag(&client(registry)).await, Cause::Tls, "UnknownIssuer");
    let elsewhere = holder(authority.server("elsewhere.example.com")).await;
    let (_file, registry) = trusting(&elsewhere.url, &authority.pem());
    assert_unknown(by_tag(&client(registry)).await, Cause::Tls, "not valid for name");
    assert!(server.seen().is_empty() && elsewhere.seen().is_empty());
}

#[tokio::test]
async fn plain_http_where_tls_was_expected_and_the_other_way_round() {
    let plain = Server::http(|_| status(200)).await;
    let mut url = plain.url.clone();
    url.set_scheme("https").unwrap();
    assert_unknown(by_tag(&client(registry(&url))).await, Cause::Tls, "TLS with");
    let secure = holder(Authority::new("ours").server("127.0.0.1")).await;
    let mut url = secure.url.clone();
    url.set_scheme("http").unwrap();
    let presence = unknown(by_tag(&client(registry(&url))).await);
    assert!(matches!(presence.cause, Cause::NotRegistry | Cause::Broken), "{presence}");
}

#[tokio::test]
async fn https_is_never_left_for_http() {
    let plain = Server::http(|_| status(200)).await;
    let (location, authority) = (plain.url.to_string(), Authority::new("ours"));
    let server =
        Server::https(authority.server("127.0.0.1"), move |_| reply(302, &[("location", &location)], ""))
            .await;
    let (_file, registry) = trusting(&server.url, &authority.pem());
    assert_unknown(by_tag(&client(registry)).await, Cause::Redirect, "to plain HTTP");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn a_plain_realm_of_a_secure_registry_gets_no_credentials() {
    let plain = Server::http(|_| reply(200, &[], r#"{"token":"t"}"#)).await;
    let (challenge, authority) = (format!(r#"Bearer realm="{}""#, plain.url), Authority::new("ours"));
    let server = Server::https(authority.server("127.0.0.1"), move |_| {
        reply(401, &[("www-authenticate", &challenge)], "")
    })
    .await;
    let (_file, registry) = trusting(&server.url, &authority.pem());
    assert_unknown(by_tag(&client(registry)).await, Cause::Unauthorized, "is not https");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn a_ca_that_changes_is_read_again_and_a_broken_one_is_not_believed() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = holder(new.server("127.0.0.1")).await;
    let (file, registry) = trusting(&server.url, &old.pem());
    let client = client(registry);
    assert_eq!(unknown(by_tag(&client).await).cause, Cause::Tls);
    std::fs::write(file.path(), new.pem()).unwrap();
    let started = Instant::now();
    while by_tag(&client).await != present() {
        assert!(started.elapsed() < Duration::from_secs(20), "never read again");
        tokio::time::sleep(INTERVAL / 50).await;
    }
    std::fs::write(file.path(), "no certificate").unwrap();
    let written = Instant::now();
    while written.elapsed() < INTERVAL * 3 / 2 {
        assert_eq!(by_tag(&client).await, present());
        tokio::time::sleep(INTERVAL / 50).await;
    }
}

#[test]
fn a_ca_file_that_is_none_is_an_error_at_once() {
    let url: Url = "https://127.0.0.1:1".parse().unwrap();
    let attempt = |registry: Registry| {
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        Client::new(&Arc::new(registry), metrics, crate::registry::Tasks::default()).err().unwrap()
    };
    let _again = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (_file, empty) = trusting(&url, "");
    assert!(matches!(attempt(empty), ClientError::CaMalformed { .. }));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (_file, broken) = trusting(&url, broken);
    assert!(matches!(attempt(broken), ClientError::CaMalformed { .. }));
    let missing = Registry { ca_file: Some("/nonexistent/ca.pem".into()), ..registry(&url) };
    assert!(matches!(attempt(missing), ClientError::CaUnreadable { .. }));
}

/// A certificate that signed itself, as `openssl req -x509` makes it: an authority's (CA:TRUE), and the server's.
fn by_itself(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, ServerConfig) {
    let _again = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), serving(vec![certificate.der().clone()], &key))
}

fn serving(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// What is seen of a server that presents this, with this CA file.
async fn seen(tls: ServerConfig, ca_file: &str) -> Presence {
    let server = holder(tls).await;
    let (_file, registry) = trusting(&server.url, ca_file);
    by_tag(&client(registry)).await
}

#[tokio::test]
async fn a_server_that_is_its_own_authority_is_trusted_if_the_ca_file_has_its_certificate() {
    let (pem, tls) = by_itself("127.0.0.1", |_| {});
    assert_eq!(seen(tls, &pem).await, present());
    // Among others.
    let (pem, tls) = by_itself("127.0.0.1", |_| {});
    assert_eq!(seen(tls, &format!("{}{pem}", Authority::new("another").pem())).await, present());
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let (pem, tls) = by_itself("127.0.0.1", |params| params.is_ca = is_ca);
        assert_eq!(seen(tls, &pem).await, present());
    }
    // With TLS 1.2 only.
    let (pem, tls) = by_itself("127.0.0.1", |_| {});
    let mut old = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_no_client_auth()
        .with_cert_resolver(tls.cert_resolver.clone());
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert_eq!(seen(old, &pem).await, present());
}

#[tokio::test]
async fn a_certificate_that_another_authority_signed_is_trusted_if_the_ca_file_has_it() {
    let unknown = Authority::new("not in the CA file");
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::NoCa] {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &unknown.0).unwrap();
        let tls = serving(vec![certificate.der().clone()], &key);
        assert_eq!(seen(tls, &certificate.pem()).await, present());
    }
}

#[tokio::test]
async fn names_dates_purpose_and_key_of_a_listed_certificate_count() {
    let (pem, tls) = by_itself("elsewhere.example.com", |_| {});
    assert_unknown(seen(tls, &pem).await, Cause::Tls, "not valid for name");
    let (pem, tls) = by_itself("127.0.0.1", |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    assert_unknown(seen(tls, &pem).await, Cause::Tls, "certificate expired");
    let (pem, tls) = by_itself("127.0.0.1", |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    assert_unknown(seen(tls, &pem).await, Cause::Tls, "not valid yet");
    let (pem, tls) = by_itself("127.0.0.1", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert_unknown(seen(tls, &pem).await, Cause::Tls, "InvalidPurpose");
    // Somebody else who presents the certificate, but has not its key.
    let (pem, _) = by_itself("127.0.0.1", |_| {});
    let stolen = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let other = PrivateKeyDer::Pkcs8(KeyPair::generate().unwrap().serialize_der().into());
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&other).unwrap();
    let presented = rustls::sign::CertifiedKey::new(vec![stolen], signer);
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(presented)));
    assert_unknown(seen(tls, &pem).await, Cause::Tls, "BadSignature");
}

#[tokio::test]
async fn an_authoritys_own_certificate_that_is_not_listed_is_said_to_be_one() {
    let words = "its certificate is an authority's own (CA:TRUE): add that very certificate to `caFile`";
    let (_, tls) = by_itself("127.0.0.1", |_| {});
    let (another, _) = by_itself("127.0.0.1", |_| {});
    // The same name, and another key.
    assert_unknown(seen(tls, &another).await, Cause::Tls, words);
    // Public authorities only.
    let server = holder(by_itself("127.0.0.1", |_| {}).1).await;
    assert_unknown(by_tag(&client(registry(&server.url))).await, Cause::Tls, words);
    // Go accepts this one, webpki does not.
    let ours = Authority::new("in the CA file");
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ours.0).unwrap();
    let tls = serving(vec![certificate.der().clone()], &key);
    assert_unknown(seen(tls, &ours.pem()).await, Cause::Tls, words);
}
