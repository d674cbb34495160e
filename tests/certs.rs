//! What an authority of ours issues, judged by somebody else's verifier.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use landfall::facade::certs::{Authorities, Authority, Certificate, Leaf, Periods};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};

const NAMES: [&str; 2] = ["landfall.landfall-system.svc", "landfall.landfall-system.svc.cluster.local"];

fn issue(authority: &Authority, now: Timestamp, periods: &Periods) -> Leaf {
    authority.issue(&NAMES.map(str::to_owned), now, periods).unwrap()
}

/// Verifies a leaf as the API server does: by its `caBundle`, its name and its clock.
fn verify(leaf: &Leaf, bundle: &str, name: &str, at: Timestamp) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(one.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_second()).unwrap()));
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(&leaf.certificate, &[], &name, &[], at).map(drop)
}

#[test]
fn a_leaf_is_verified_by_its_authority_alone_and_for_its_names_alone() {
    let (now, periods) = (Timestamp::now(), Periods::default());
    let [old, new] = [0, 1].map(|later| Authority::new(now + Duration::from_secs(later), &periods).unwrap());
    let authorities = Authorities {
        current: Some(old.clone()),
        next: Some(new.clone()),
        previous: Vec::new(),
        retired: Vec::new(),
    };
    let both = authorities.bundle();
    for authority in [&old, &new] {
        let leaf = issue(authority, now, &periods);
        for name in NAMES {
            verify(&leaf, &both, name, now).unwrap();
            verify(&leaf, &authority.certificate().pem(), name, now).unwrap();
        }
        let stranger = verify(&leaf, &both, "landfall.elsewhere.svc", now).unwrap_err();
        assert!(
            matches!(stranger, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })),
            "{stranger}"
        );
    }
    let unknown = verify(&issue(&new, now, &periods), &old.certificate().pem(), NAMES[0], now).unwrap_err();
    assert!(matches!(unknown, Error::InvalidCertificate(_)), "{unknown}");
    assert_eq!(Certificate::all_in(both.as_bytes()), [old.certificate().clone(), new.certificate().clone()]);
}

#[test]
fn it_holds_for_slow_clocks_and_never_beyond_its_authority() {
    let periods = Periods { authority: Duration::from_secs(3600), ..Periods::default() };
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let authority = Authority::new(now, &periods).unwrap();
    let (leaf, bundle) = (issue(&authority, now, &periods), authority.certificate().pem());
    assert_eq!(leaf.dates.not_after, authority.certificate().not_after(), "its own day is longer");
    let at = |seconds: i64| {
        verify(&leaf, &bundle, NAMES[0], Timestamp::from_second(1_800_000_000 + seconds).unwrap())
    };
    for (seconds, good) in [(-301, false), (-299, true), (0, true), (3599, true), (3601, false)] {
        assert_eq!(at(seconds).is_ok(), good, "{seconds}: {:?}", at(seconds));
    }
}
