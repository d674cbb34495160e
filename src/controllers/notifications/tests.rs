//! At which places notifications speak of something, and of which gaps.

use jiff::Timestamp;

use super::*;
use crate::config::{self, Files};
use crate::domain::gap::{GapKey, Version};
use crate::domain::image::{Repository, Tag};
use crate::harbor::notification::Changed;

const SITE: &str = "
site: ams
registries:
  fra: {host: fra.example.com, site: fra, kind: harbor, aliases: [harbor.example.com]}
  ams: {host: ams.example.com, site: ams, kind: harbor, url: 'https://core.harbor.svc:8443'}
routes:
- name: shop
  primary: {registry: fra, repositories: 'shop/**'}
  replicas: [{registry: ams, namespace: mirror, flatten: 1}]
";

const DIGEST: &str = "sha256:809dad3f53e83fae690c502f18b985df5ed4faa2efe46743abeebe5aae1301d3";

fn settings() -> Settings {
    config::parse(SITE, "site.yaml", Files::Skip, Timestamp::now()).unwrap().settings
}

fn name(text: &str) -> RegistryName {
    RegistryName::new(text)
}

fn tag(repository: &str, tag: &str) -> Change {
    Change::Tag(Repository::new(repository), Tag::new(tag))
}

#[test]
fn a_task_of_the_primary_is_about_the_copy_by_either_name() {
    let settings = settings();
    let there =
        |endpoint: &str| Changed::There { endpoint: endpoint.into(), changes: vec![tag("shop/web", "1")] };
    let copies = [(name("ams"), tag("shop/web", "1")), (name("ams"), tag("mirror/web", "1"))];
    for endpoint in
        ["https://ams.example.com", "https://core.harbor.svc:8443", "https://AMS.example.com:443/"]
    {
        assert_eq!(resolved(&settings, &name("fra"), there(endpoint)), copies, "{endpoint}");
    }
    for endpoint in ["https://osl.example.com", "", "no url", "https://core.harbor.svc"] {
        assert_eq!(resolved(&settings, &name("fra"), there(endpoint)), [], "{endpoint}");
    }
    let at = |registry: &str| Changed::At(vec![(name(registry), tag("a/b", "1"))]);
    assert_eq!(resolved(&settings, &name("fra"), at("ams")), [(name("ams"), tag("a/b", "1"))]);
    assert_eq!(resolved(&settings, &name("fra"), at("osl")), [], "it is not configured");
}

#[test]
fn gaps_have_the_name_at_the_primary_and_notifications_that_of_the_copy() {
    let settings = settings();
    let image = "fra.example.com/shop/team/web";
    let digest: crate::domain::digest::Digest = DIGEST.parse().unwrap();
    let of = |version: Version, registry: &str| GapKey::image(image, version, name(registry));
    let concerned = |at: &str, change: Change, key: &GapKey| {
        let mut concerned = Concerned::default();
        concerned.add(&name(at), &change);
        concerned.concerns(&settings, key)
    };
    let (by_digest, by_tag) = (of(Version::Digest(digest), "ams"), of(Version::Tag(Tag::new("1")), "ams"));
    let copy = Repository::new("mirror/team/web");
    assert!(concerned("ams", Change::Digest(Repository::new("any/where"), digest), &by_digest));
    assert!(concerned("ams", Change::Repository(copy.clone()), &by_digest));
    assert!(concerned("ams", Change::Repository(copy.clone()), &by_tag));
    assert!(concerned("ams", Change::Tag(copy.clone(), Tag::new("1")), &by_tag));
    for other in [
        Change::Tag(copy.clone(), Tag::new("2")),
        Change::Tag(Repository::new("shop/team/web"), Tag::new("1")),
        Change::Repository(Repository::new("mirror/team")),
        Change::Digest(copy.clone(), digest),
    ] {
        assert!(!concerned("ams", other.clone(), &by_tag), "{other:?}");
    }
    assert!(!concerned("fra", Change::Repository(copy.clone()), &by_tag), "at another registry");
    let elsewhere = GapKey::image("docker.io/shop/team/web", Version::Tag(Tag::new("1")), name("ams"));
    assert!(!concerned("ams", Change::Repository(copy), &elsewhere), "no route of ours");
}
