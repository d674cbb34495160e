//! Unusable registries, and look-ups that we cancel ourselves.

use super::*;
use crate::domain::name::Site;
use crate::domain::registry::{CredentialSource, Kind, Registry, Service};
use crate::domain::settings::sample;

fn registry(name: &str, ca_file: Option<&std::path::Path>) -> SharedRegistry {
    Arc::new(Registry {
        name: RegistryName::new(name),
        host: format!("{name}.example.com").into(),
        aliases: vec![],
        url: format!("https://{name}.example.com").parse().unwrap(),
        kind: Kind::Harbor,
        site: Site::new(name),
        credentials: CredentialSource::Anonymous,
        ca_file: ca_file.map(Into::into),
        pull_secret: None,
        realm: None,
        service: Service::Open,
        healing: None,
        requests_per_hour: None,
    })
}

fn settings(registries: [SharedRegistry; 2]) -> Settings {
    let registries = registries.into_iter().map(|one| (one.name.clone(), one)).collect();
    Settings { registries, ..sample::settings(Duration::from_secs(3600)) }
}

fn ids(observatory: &Observatory) -> [UpstreamId; 2] {
    let upstreams = observatory.upstreams.load();
    ["ams", "fra"].map(|name| upstreams.upstreams[&RegistryName::new(name)].id)
}

/// It is called every two seconds while a registry has a problem: cached verdicts must not suffer from that.
#[tokio::test]
async fn a_registry_that_stays_unusable_outdates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let settings = settings([registry("ams", None), registry("fra", Some(&ca))]);
    let observatory = Observatory::new(&settings, &mut Page::default());
    let (generation, before) = (observatory.generation(), ids(&observatory));
    for _ in 0..3 {
        assert!(!observatory.retry_unusable());
    }
    assert_eq!((observatory.generation(), ids(&observatory)), (generation, before));

    // Another reason is shown, and still outdates nothing.
    std::fs::write(&ca, "no certificate").unwrap();
    assert!(!observatory.retry_unusable());
    let problems = observatory.problems();
    assert!(matches!(problems[0].error, ClientError::CaMalformed { .. }), "{problems:?}");
    assert_eq!(observatory.generation(), generation);
    assert_eq!(ids(&observatory)[0], before[0]);

    std::fs::write(&ca, rcgen::generate_simple_self_signed(["fra".to_owned()]).unwrap().cert.pem()).unwrap();
    assert!(observatory.retry_unusable());
    assert!(observatory.problems().is_empty());
    assert_ne!(observatory.generation(), generation, "verdicts may differ now");
    assert_eq!(ids(&observatory)[0], before[0], "the other registry keeps its answers");
    assert!(!observatory.retry_unusable(), "there is nothing left to retry");
}

/// A look-up whose task is cancelled says nothing of the registry, and nothing of it is cached.
#[tokio::test]
async fn what_we_cancel_ourselves_is_an_internal_cause() {
    // Connections are accepted by the kernel and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ams = Arc::unwrap_or_clone(registry("ams", None));
    ams.url = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let observatory =
        Observatory::new(&settings([Arc::new(ams), registry("fra", None)]), &mut Page::default());
    let upstreams = observatory.upstreams.load_full();
    let upstream = upstreams.upstreams[&RegistryName::new("ams")].clone();
    let question = Question {
        upstream: upstream.id,
        repository: crate::domain::image::Repository::new("a/b"),
        what: super::super::question::What::Tag(crate::domain::image::Tag::new("1")),
    };
    let miss = Miss { upstream: upstream.clone(), question: question.clone(), stale: None };
    let asking = Asking {
        share: Share::Mutating,
        namespace: "shop",
        deadline: Instant::now() + Duration::from_secs(3600),
        answers: Answers::Cached,
    };
    let (served, ()) = tokio::join!(observatory.ask(&upstreams, miss, asking), observatory.close());
    let unknown = super::super::question::unknown(&served.observation).unwrap();
    assert_eq!(unknown.cause, Cause::Internal, "{unknown}");
    assert!(observatory.lookups.answers.get(&question).is_none());
    assert_eq!(upstream.reachability(&question.repository, Instant::now()), Reachability::Up);
}
