//! A new node: it asks the registry that an image names for the manifest and every blob, with the credentials of the Pod, one
//! after the other, as the kubelet does.
//!
//! Of each blob the first byte is asked for, because a registry may know a blob that its storage has lost. The image itself is
//! not pulled. Harbor counts what is asked here as pulls.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use url::Url;

use super::forecast::Obstacle;
use crate::domain::case::needed;
use crate::domain::credential::Credential;
use crate::domain::digest::Digest;
use crate::domain::error_chain::error_chain;
use crate::domain::evidence::{Children, Shape};
use crate::domain::image::{Reference, Repository, Tag};
use crate::domain::name::RegistryName;
use crate::domain::platform::PlatformPattern;
use crate::domain::registry::{CredentialSource, Kind, Registry, Service, SharedRegistry, folded};
use crate::domain::settings::Settings;
use crate::domain::unknown::{Cause, Unknown};
use crate::evidence::Observatory;
use crate::registry::{Blob, Client, Depth, Endpoint, Head, Layer, Listed, Target};

/// How long one request may take. A wrong password takes Harbor 1.5 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a question is asked that gets no answer.
const ATTEMPTS: usize = 2;

/// How deep indexes may be nested.
const DEPTH: usize = 3;

/// The credentials that the kubelet would try for an image.
#[derive(Clone)]
pub struct Credentials {
    list: Vec<Credential>,
    /// Whether there may be others, which could not be read and are taken for good ones.
    assumed: bool,
    /// Tells two apart. It is never shown.
    identity: Box<[Box<str>]>,
}

/// One image to pull.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pull {
    pub image: String,
    pub registry: RegistryName,
    pub credentials: Credentials,
    pub platforms: Arc<[PlatformPattern]>,
}

/// What a node gets.
#[derive(Debug, Clone)]
pub enum Pulled {
    /// All of it: the layers by the platform that they are for; an image without platforms is under "".
    Whole { layers: BTreeMap<String, Vec<Layer>> },
    /// Not all of it.
    Not(Obstacle, String),
}

/// A registry, and what tells a credential from others.
type ClientKey = (RegistryName, Box<str>);
/// A client by its address, a repository and a blob.
type BlobKey = (usize, Repository, Digest);
type SharedAsker = Arc<OnceCell<Asker>>;

/// Asks as a node. What was asked once is known.
pub struct Node<'a> {
    settings: &'a Settings,
    observatory: &'a Observatory,
    clients: Mutex<HashMap<ClientKey, SharedAsker>>,
    blobs: Mutex<HashMap<BlobKey, Result<Blob, Unknown>>>,
}

/// A client, and whether the registry accepts its credentials at all.
struct Asker {
    client: Result<Arc<Client>, String>,
    rejected: bool,
}

impl Credentials {
    pub fn new(list: Vec<Credential>, assumed: bool) -> Self {
        let list = if list.is_empty() && !assumed { vec![Credential::Anonymous] } else { list };
        let identity = list.iter().map(identity).collect();
        Self { list, assumed, identity }
    }

    pub fn is_assumed(&self) -> bool {
        self.assumed
    }
}

fn identity(credential: &Credential) -> Box<str> {
    match credential {
        Credential::Anonymous => "".into(),
        Credential::Basic { username, password } => {
            format!("{username}\0{}", password.expose_secret()).into()
        }
        Credential::Identity { token, .. } | Credential::Bearer(token) => {
            format!("\0{}", token.expose_secret()).into()
        }
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Credentials {}

impl PartialOrd for Credentials {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Credentials {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.identity, self.assumed).cmp(&(&other.identity, other.assumed))
    }
}

impl<'a> Node<'a> {
    pub fn new(settings: &'a Settings, observatory: &'a Observatory) -> Self {
        Self { settings, observatory, clients: Mutex::default(), blobs: Mutex::default() }
    }

    /// The registry that a node reaches at this host: one of the configuration, or one that Landfall knows nothing of.
    /// `None`: it is no host that could be asked.
    pub fn registry(&self, host: &str) -> Option<SharedRegistry> {
        let settings = self.settings;
        let wanted = folded(host);
        let all = || settings.registries.values();
        if let Some(own) = all().find(|registry| folded(&registry.host) == wanted) {
            return Some(own.clone());
        }
        // An alias that registries of several sites share means the nearest.
        let distance = |registry: &Registry| {
            let near = settings.near.iter().position(|site| *site == registry.site);
            if registry.site == settings.site { 0 } else { near.map_or(usize::MAX, |near| near + 1) }
        };
        let named = all().filter(|registry| registry.aliases.iter().any(|alias| folded(alias) == wanted));
        if let Some(named) = named.min_by_key(|registry| distance(registry)) {
            return Some(named.clone());
        }
        let asked = if wanted == "docker.io" { "registry-1.docker.io" } else { host };
        let url = Url::parse(&format!("https://{asked}")).ok()?;
        Some(Arc::new(Registry {
            name: RegistryName::new(host),
            host: host.into(),
            aliases: Vec::new(),
            url,
            realm: None,
            kind: Kind::Distribution,
            site: settings.site.clone(),
            credentials: CredentialSource::Anonymous,
            healing: None,
            ca_file: None,
            pull_secret: None,
            service: Service::Open,
            requests_per_hour: None,
        }))
    }

    /// Asks for everything that a pull needs.
    pub async fn pull(&self, pull: &Pull) -> Pulled {
        let Ok(reference) = Reference::parse(&pull.image) else {
            return Pulled::Not(Obstacle::NoReference, "no image reference".to_owned());
        };
        let Some(registry) = self.registry(reference.host) else {
            return Pulled::Not(
                Obstacle::NotTold,
                format!("`{}` is no host that can be asked", reference.host),
            );
        };
        let credentials = &pull.credentials;
        let mut worst: Option<(Obstacle, String)> = None;
        for (credential, identity) in credentials.list.iter().zip(&credentials.identity) {
            let asker = self.asker(&registry, Some(credential), identity).await;
            match self.with(&asker, &registry, &reference, pull).await {
                Ok(layers) => return Pulled::Whole { layers },
                Err(found) => worst = Some(more_telling(worst, found)),
            }
        }
        if credentials.assumed {
            let asker = self.asker(&registry, None, "\0ours").await;
            match self.with(&asker, &registry, &reference, pull).await {
                Ok(layers) => return Pulled::Whole { layers },
                Err(found) => worst = Some(more_telling(worst, found)),
            }
        }
        let (obstacle, why) = worst.unwrap_or((Obstacle::NotTold, "nothing was asked".to_owned()));
        Pulled::Not(obstacle, why)
    }

    /// The client with a credential; `None`: with Landfall's own. Whether the registry knows the credential is asked once, so
    /// that a wrong one is not tried for each image: that may lock an account.
    async fn asker(
        &self,
        registry: &SharedRegistry,
        credential: Option<&Credential>,
        identity: &str,
    ) -> SharedAsker {
        let key = (registry.name.clone(), Box::from(identity));
        let cell = self.clients.lock().await.entry(key).or_default().clone();
        cell.get_or_init(|| async {
            let observatory = self.observatory;
            // A registry that is drained, and not lost, is there for nodes.
            let open = Arc::new(Registry { service: Service::Open, ..(**registry).clone() });
            let client = observatory
                .as_node(&open, credential.cloned())
                .map(Arc::new)
                .map_err(|error| error_chain(&error));
            let mut rejected = false;
            if let (Ok(client), Some(Credential::Basic { .. })) = (&client, credential) {
                let base = client.base(Endpoint::Base, Instant::now() + PATIENCE).await;
                rejected = match base {
                    Ok(answer) => answer.status.as_u16() == 401,
                    Err(unknown) => unknown.cause == Cause::Unauthorized,
                };
            }
            Asker { client, rejected }
        })
        .await;
        cell
    }

    /// A client that an image was pulled with.
    pub async fn client_of(&self, pull: &Pull, host: &str) -> Option<Arc<Client>> {
        let registry = self.registry(host)?;
        let Credentials { list, identity, .. } = &pull.credentials;
        for (credential, identity) in list.iter().zip(identity) {
            let asker = self.asker(&registry, Some(credential), identity).await;
            if let Some(Asker { client: Ok(client), rejected: false }) = asker.get() {
                return Some(client.clone());
            }
        }
        let asker = self.asker(&registry, None, "\0ours").await;
        asker.get()?.client.clone().ok()
    }

    async fn with(
        &self,
        asker: &SharedAsker,
        registry: &SharedRegistry,
        reference: &Reference<'_>,
        pull: &Pull,
    ) -> Result<BTreeMap<String, Vec<Layer>>, (Obstacle, String)> {
        let Some(Asker { client, rejected }) = asker.get() else {
            return Err((Obstacle::NotTold, "nothing was asked".to_owned()));
        };
        let client = client.as_ref().map_err(|why| (Obstacle::NotTold, why.clone()))?;
        let repository = reference.repository();
        if *rejected {
            // To a Harbor a wrong password is none at all.
            if registry.kind == Kind::Harbor {
                let anonymous = Box::pin(self.asker(registry, Some(&Credential::Anonymous), "")).await;
                if !Arc::ptr_eq(&anonymous, asker) {
                    let found = Box::pin(self.with(&anonymous, registry, reference, pull)).await;
                    return found.map_err(|(obstacle, why)| match obstacle {
                        Obstacle::NoPermission => (obstacle, rejected_words(registry)),
                        _ => (obstacle, why),
                    });
                }
            }
            return Err((Obstacle::NoPermission, rejected_words(registry)));
        }
        let who = Who {
            node: self,
            client,
            client_id: Arc::as_ptr(asker).addr(),
            registry,
            repository: &repository,
        };
        let tag = reference.owned_tag().unwrap_or_else(|| Tag::new("latest"));
        let target = match &reference.digest {
            Some(digest) => Target::Digest(digest),
            None => Target::Tag(&tag),
        };
        let (digest, shape) = who.manifest(target).await?;
        who.cached(&digest).await?;
        if reference.digest.is_none() {
            // A node asks a second time, by the digest.
            who.manifest(Target::Digest(&digest)).await?;
        }
        let mut layers = BTreeMap::new();
        match shape {
            Shape::Manifest => {
                layers.insert(String::new(), who.layers(&digest, Obstacle::Missing).await?);
            }
            Shape::Index => {
                let children = who.children(&digest).await?;
                let mut any = false;
                for pattern in pull.platforms.iter() {
                    let mut all = Vec::new();
                    for child in needed(std::slice::from_ref(pattern), &children) {
                        any = true;
                        all.extend(who.below(&child, pattern).await?);
                    }
                    layers.insert(pattern.to_string(), all);
                }
                if !any {
                    let wanted: Vec<String> = pull.platforms.iter().map(ToString::to_string).collect();
                    let why = format!("the index lists no manifest for {}", wanted.join(", "));
                    return Err((Obstacle::NoPlatform, why));
                }
            }
        }
        Ok(layers)
    }
}

/// Asks one registry about one repository, with one credential.
struct Who<'a> {
    node: &'a Node<'a>,
    client: &'a Client,
    client_id: usize,
    registry: &'a SharedRegistry,
    repository: &'a Repository,
}

type Asked<T> = Result<T, (Obstacle, String)>;

impl Who<'_> {
    fn not_told(&self, unknown: &Unknown) -> (Obstacle, String) {
        match unknown.cause {
            Cause::Unauthorized | Cause::Forbidden => (Obstacle::NoPermission, self.forbids()),
            _ => (Obstacle::NotTold, format!("`{}` did not tell: {unknown}", self.registry.name)),
        }
    }

    fn forbids(&self) -> String {
        format!(
            "`{}` does not allow the pull of `{}` with the credentials that the kubelet would use",
            self.registry.name, self.repository
        )
    }

    /// Asks again where no answer came.
    async fn twice<T, F: Future<Output = Result<T, Unknown>>>(
        &self,
        ask: impl Fn(Instant) -> F,
    ) -> Result<T, Unknown> {
        let mut last = ask(Instant::now() + PATIENCE).await;
        for _ in 1..ATTEMPTS {
            match &last {
                Err(unknown)
                    if !matches!(unknown.cause, Cause::Unauthorized | Cause::Forbidden | Cause::Connect) =>
                {
                    last = ask(Instant::now() + PATIENCE).await;
                }
                _ => break,
            }
        }
        last
    }

    async fn manifest(&self, target: Target<'_>) -> Asked<(Digest, Shape)> {
        let head = self.twice(|deadline| self.client.head(self.repository, target, deadline)).await;
        match head.map_err(|unknown| self.not_told(&unknown))? {
            Head::Found { digest, shape } => Ok((digest, shape)),
            Head::NotFound => Err((Obstacle::Missing, self.lacks(&named(target)))),
            Head::Unauthorized { .. } => Err((Obstacle::NoPermission, self.forbids())),
            Head::Refused(why) => {
                Err((Obstacle::Refused, format!("`{}` refuses the pull: {why}", self.registry.name)))
            }
        }
    }

    fn lacks(&self, what: &str) -> String {
        format!("`{}` does not have {}{what}", self.registry.name, self.repository)
    }

    /// Of a proxy cache only what it holds itself counts: the rest it fetches from its upstream.
    async fn cached(&self, digest: &Digest) -> Asked<()> {
        let deadline = Instant::now() + PATIENCE;
        let observatory = self.node.observatory;
        match observatory.holds(&self.registry.name, self.repository, digest, deadline).await {
            Ok(true) => Ok(()),
            Ok(false) => Err((
                Obstacle::NotCached,
                format!(
                    "the proxy cache at `{}` does not hold {}@{digest}",
                    self.registry.name, self.repository
                ),
            )),
            Err(unknown) => Err(self.not_told(&unknown)),
        }
    }

    async fn children(&self, digest: &Digest) -> Asked<Arc<[crate::domain::evidence::Child]>> {
        let ask = async |deadline| match self.client.children(self.repository, digest, deadline).await {
            Children::Unknown(unknown) => Err(unknown),
            children => Ok(children),
        };
        match self.twice(ask).await.map_err(|unknown| self.not_told(&unknown))? {
            Children::Listed(children) => Ok(children),
            Children::Absent => Err((Obstacle::Missing, self.lacks(&format!("@{digest}")))),
            Children::Unknown(unknown) => Err(self.not_told(&unknown)),
        }
    }

    /// A manifest that an index lists, or another index.
    async fn below(&self, digest: &Digest, pattern: &PlatformPattern) -> Asked<Vec<Layer>> {
        let mut todo = vec![(*digest, 1)];
        let mut layers = Vec::new();
        while let Some((digest, depth)) = todo.pop() {
            let child = |(obstacle, why): (Obstacle, String)| match obstacle {
                Obstacle::Missing => (Obstacle::ChildMissing, format!("{why}, which the index lists")),
                _ => (obstacle, why),
            };
            let (_, shape) = self.manifest(Target::Digest(&digest)).await.map_err(child)?;
            match shape {
                Shape::Manifest => layers.extend(self.layers(&digest, Obstacle::ChildMissing).await?),
                Shape::Index if depth >= DEPTH => {
                    return Err((Obstacle::NotTold, "indexes are nested too deeply".to_owned()));
                }
                Shape::Index => {
                    let children = self.children(&digest).await?;
                    todo.extend(
                        needed(std::slice::from_ref(pattern), &children)
                            .into_iter()
                            .map(|one| (one, depth + 1)),
                    );
                }
            }
        }
        Ok(layers)
    }

    /// The layers and the config of a manifest, each looked for.
    async fn layers(&self, digest: &Digest, absent: Obstacle) -> Asked<Vec<Layer>> {
        let listed = self.twice(|deadline| self.client.listed(self.repository, digest, deadline)).await;
        let layers = match listed.map_err(|unknown| self.not_told(&unknown))? {
            Listed::Layers(layers) => layers,
            Listed::Absent => return Err((absent, self.lacks(&format!("@{digest}")))),
            Listed::Refused(why) => {
                return Err((
                    Obstacle::Refused,
                    format!("`{}` refuses the manifest: {why}", self.registry.name),
                ));
            }
        };
        for (n, layer) in layers.iter().enumerate() {
            let (obstacle, what) =
                if n == 0 { (Obstacle::ConfigMissing, "config") } else { (Obstacle::LayerMissing, "layer") };
            let lost = || {
                (
                    obstacle,
                    format!(
                        "`{}` has lost the {what} {} of {}@{digest}",
                        self.registry.name, layer.digest, self.repository
                    ),
                )
            };
            match self.blob(layer.digest).await.map_err(|unknown| self.not_told(&unknown))? {
                Blob::Present(_) => {}
                Blob::Absent | Blob::Cut => return Err(lost()),
                Blob::Refused(why) => {
                    return Err((
                        Obstacle::Refused,
                        format!("`{}` refuses a {what}: {why}", self.registry.name),
                    ));
                }
            }
        }
        Ok(layers.to_vec())
    }

    async fn blob(&self, digest: Digest) -> Result<Blob, Unknown> {
        let key = (self.client_id, self.repository.clone(), digest);
        if let Some(known) = self.node.blobs.lock().await.get(&key) {
            return known.clone();
        }
        let ask = |deadline| self.client.blob(self.repository, &digest, Depth::Object, deadline);
        let mut found = self.twice(ask).await;
        if matches!(found, Ok(Blob::Cut)) {
            // The network may have done it.
            found = self.twice(ask).await;
        }
        self.node.blobs.lock().await.insert(key, found.clone());
        found
    }
}

fn named(target: Target<'_>) -> String {
    match target {
        Target::Tag(tag) => format!(":{tag}"),
        Target::Digest(digest) => format!("@{digest}"),
    }
}

fn rejected_words(registry: &Registry) -> String {
    format!("`{}` rejects the credentials that the kubelet would use", registry.name)
}

/// Of two credentials that fail, the one that gets further says more.
fn more_telling(known: Option<(Obstacle, String)>, new: (Obstacle, String)) -> (Obstacle, String) {
    match known {
        // What is not known may have been a success.
        Some(known) if known.0 == Obstacle::NotTold || new.0 == Obstacle::NoPermission => known,
        _ => new,
    }
}
