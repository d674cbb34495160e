//! The pull secrets that Landfall makes and keeps: for which registries, from which credentials, and what stands in them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::name::{PullSecret, RegistryName};
use super::policy::{Labels, Selector};
use super::registry::SharedRegistry;

/// All of them; empty where Landfall makes none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullSecrets(Box<[Managed]>);

/// The Secret of one registry, which has the same name in every namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// The registry that Pods pull from with it.
    pub registry: SharedRegistry,
    /// Its name.
    pub secret: PullSecret,
    /// Credentials for some namespaces; the first that selects a namespace counts.
    pub some: Vec<(Selector, PathBuf)>,
    /// The credentials for all other namespaces; `None`: they get no Secret.
    pub others: Option<PathBuf>,
}

/// Where the credentials for one namespace are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// In this folder: the files `username` and `password`.
    Dir(&'a Path),
    /// The namespace gets no Secret.
    None,
    /// It depends on labels that are not known now. Nothing is made: it might be the credentials of others.
    Unknown,
}

impl PullSecrets {
    /// These, sorted by the name of their registry.
    #[must_use]
    pub fn new(mut managed: Vec<Managed>) -> Self {
        managed.sort_by(|a, b| a.registry.name.cmp(&b.registry.name));
        Self(managed.into())
    }

    /// Iterates over them.
    pub fn iter(&self) -> impl Iterator<Item = &Managed> {
        self.0.iter()
    }

    /// Whether Landfall makes none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Secret of this registry.
    #[must_use]
    pub fn of(&self, registry: &RegistryName) -> Option<&Managed> {
        self.0.iter().find(|managed| managed.registry.name == *registry)
    }
}

impl Managed {
    /// Where the credentials for a namespace with these labels are.
    #[must_use]
    pub fn source(&self, labels: &Labels) -> Source<'_> {
        for (selector, dir) in &self.some {
            if !selector.matches(labels) {
                continue;
            }
            // It may match only because labels are not known.
            return if selector.surely_matches(labels) { Source::Dir(dir) } else { Source::Unknown };
        }
        self.others.as_deref().map_or(Source::None, Source::Dir)
    }

    /// All folders with credentials, each once.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        let some: Vec<&Path> = self.some.iter().map(|(_, dir)| &**dir).collect();
        let all = some.into_iter().chain(self.others.as_deref());
        let mut seen: Vec<&Path> = Vec::new();
        all.filter(move |dir| {
            let is_new = !seen.contains(dir);
            seen.push(dir);
            is_new
        })
    }
}

impl std::fmt::Display for Managed {
    /// `the pull secret harbor-ams-creds of ams, from /etc/landfall/pull/ams`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the pull secret {} of {}, from ", self.secret, self.registry.name)?;
        for (n, dir) in self.dirs().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(out, "{comma}{}", dir.display())?;
        }
        match self.others {
            Some(_) => Ok(()),
            None => write!(out, ", in some namespaces"),
        }
    }
}

/// The content of a pull secret, `.dockerconfigjson`. The same credentials give the same bytes in every namespace, so that a
/// node that has pulled with one of them need not ask the registry about another
/// (<https://kep.k8s.io/2535>, `KubeletEnsureSecretPulledImages`).
#[derive(Clone)]
pub struct Content {
    bytes: SecretString,
    hash: Box<str>,
}

/// Credentials that cannot stand in a pull secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user name holds a `:`, which a pull secret cannot express")]
pub struct Colon;

impl Content {
    /// The content for one registry. References that Landfall writes name it by `host`, and never by an alias.
    ///
    /// # Errors
    /// The user name holds a colon.
    pub fn new(host: &str, username: &str, password: &SecretString) -> Result<Self, Colon> {
        if username.contains(':') {
            return Err(Colon);
        }
        let auth = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
        let bytes = json!({"auths": {host: {"auth": auth}}}).to_string();
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(Self { bytes: bytes.into(), hash: hash.into() })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.expose_secret().as_bytes()
    }

    /// What tells two contents apart: SHA-256 in hex. It stands in an annotation of the Secret.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Content([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::credential::Credential;
    use crate::domain::keyring::Keyring;
    use crate::domain::name::Site;
    use crate::domain::policy::{LabelRequirement, LabelTest, NAMESPACE_NAME};
    use crate::domain::registry::{CredentialSource, Kind, Registry, Service};

    fn registry(name: &str) -> Registry {
        Registry {
            name: RegistryName::new(name),
            host: format!("{name}.example.com").into(),
            aliases: Vec::new(),
            url: format!("https://{name}.example.com").parse().unwrap(),
            realm: None,
            kind: Kind::Harbor,
            site: Site::new(name),
            credentials: CredentialSource::Anonymous,
            healing: None,
            ca_file: None,
            pull_secret: Some(PullSecret::new("creds")),
            service: Service::Open,
            requests_per_hour: None,
        }
    }

    fn content(host: &str) -> Content {
        Content::new(host, "robot$shop+pull", &"pa:55".into()).unwrap()
    }

    #[test]
    fn the_kubelet_finds_the_credentials_for_each_image_of_the_registry() {
        for host in [
            "harbor.ams.example.com",
            "harbor.example.com:8443",
            "docker.io",
            "localhost:5000",
            "[fd00::1]:5000",
        ] {
            let keyring = Keyring::parse(content(host).bytes()).unwrap();
            for repository in ["a", "production/shop/web"] {
                let found = keyring.lookup(host, repository);
                let [Credential::Basic { username, password }] = &found[..] else {
                    panic!("{host}: {found:?}")
                };
                assert_eq!(
                    (username.as_str(), password.expose_secret()),
                    ("robot$shop+pull", "pa:55"),
                    "{host}"
                );
            }
            assert!(keyring.lookup("harbor.fra.example.com", "a").is_empty());
        }
    }

    #[test]
    fn equal_credentials_give_equal_bytes_and_others_another_hash() {
        let (one, again) = (content("a.example.com"), content("a.example.com"));
        assert_eq!((one.bytes(), one.hash()), (again.bytes(), again.hash()));
        let text = r#"{"auths":{"a.example.com":{"auth":"cm9ib3Qkc2hvcCtwdWxsOnBhOjU1"}}}"#;
        assert_eq!(str::from_utf8(one.bytes()), Ok(text));
        for other in [
            Content::new("a.example.com", "robot$shop+pull", &"pa:56".into()),
            Content::new("b.example.com", "robot$shop+pull", &"pa:55".into()),
        ] {
            assert_ne!(other.unwrap().hash(), one.hash());
        }
        assert_eq!(Content::new("a.example.com", "a:b", &"c".into()).err(), Some(Colon));
        assert!(!format!("{one:?}").contains("cm9"));
    }

    #[test]
    fn the_first_that_selects_a_namespace_counts_and_unknown_labels_never_give_the_credentials_of_others() {
        let team =
            |name: &str| LabelRequirement { key: "team".into(), test: LabelTest::In(vec![name.into()]) };
        let named = LabelRequirement { key: NAMESPACE_NAME.into(), test: LabelTest::In(vec!["shop".into()]) };
        let managed = Managed {
            registry: Arc::new(registry("ams")),
            secret: PullSecret::new("creds"),
            some: vec![
                (Selector::new(vec![named]), "/named".into()),
                (Selector::new(vec![team("a")]), "/a".into()),
                (Selector::new(vec![team("b")]), "/b".into()),
            ],
            others: Some("/others".into()),
        };
        let labels = |name: &str, team: &str| {
            Labels::from([(NAMESPACE_NAME.to_owned(), name.to_owned()), ("team".to_owned(), team.to_owned())])
        };
        let dir = |dir: &'static str| Source::Dir(Path::new(dir));
        for (name, team, expected) in
            [("shop", "a", "/named"), ("web", "a", "/a"), ("web", "b", "/b"), ("web", "c", "/others")]
        {
            assert_eq!(managed.source(&labels(name, team)), dir(expected));
        }
        let unknown = |name: &str| Labels::at_least([(NAMESPACE_NAME.to_owned(), name.to_owned())]);
        assert_eq!(managed.source(&unknown("shop")), dir("/named"), "its name is all that counts");
        assert_eq!(managed.source(&unknown("web")), Source::Unknown);
        let alone = Managed { some: Vec::new(), ..managed.clone() };
        assert_eq!(alone.source(&unknown("web")), dir("/others"));
        assert_eq!(Managed { others: None, ..alone }.source(&unknown("web")), Source::None);
        assert_eq!(managed.dirs().count(), 4);
    }
}
