//! `registries:`.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Build, raw};
use crate::config::Files;
use crate::config::decode::At;
use crate::config::scalar::{Address, FilePath, HostName, Name};
use crate::config::tree::NodeId;
use crate::domain::keyring::Keyring;
use crate::domain::name::{PullSecret, RegistryName, Site};
use crate::domain::registry::{CredentialSource, Host, Kind, Plugin, Registry, Service, SharedRegistry};

/// The registries by name.
pub(super) type Registries = BTreeMap<RegistryName, SharedRegistry>;

/// What the entries of `registries` say.
#[derive(Default)]
pub(super) struct Said {
    pub(super) registries: Registries,
    /// The files of the secrets by which Harbors notify us.
    pub(super) notifications: Secrets,
    /// What `landfall copy` writes with.
    pub(super) writers: BTreeMap<RegistryName, CredentialSource>,
    pub(super) pulls: Vec<Pull>,
}

/// What an entry of `registries` says of its pull secret.
pub(super) struct Pull {
    pub(super) registry: RegistryName,
    /// The entry.
    pub(super) node: NodeId,
    /// Its `pullSecret`.
    pub(super) secret_at: Option<NodeId>,
    pub(super) credentials: Option<At<raw::PullCredentials>>,
}

/// The files with the secrets of notifications.
pub(super) type Secrets = BTreeMap<RegistryName, PathBuf>;

/// Where a host is used.
struct Used {
    host: Host,
    node: NodeId,
    /// The site of the registry; `None` where the host is the registry's own.
    alias_at: Option<Site>,
}

impl Used {
    fn may_share(&self, other: &Self) -> bool {
        self.alias_at.as_ref().zip(other.alias_at.as_ref()).is_some_and(|(ours, theirs)| ours != theirs)
    }
}

/// An alias that registries of different sites share means the one on our site, else the nearest: the DNS of each site answers
/// it with its own registry. The others do not have it here.
fn share_aliases(registries: &mut [Registry], ours: Option<&Site>, near: &[Site]) {
    let distance = |site: &Site| match near.iter().position(|one| one == site) {
        _ if Some(site) == ours => 0,
        Some(position) => 1 + position,
        None => 1 + near.len(),
    };
    let mut meant: HashMap<Host, (usize, RegistryName)> = HashMap::new();
    for Registry { name, site, aliases, .. } in registries.iter() {
        for alias in aliases {
            let (far, nearest) =
                meant.entry(Host::fold(alias)).or_insert_with(|| (distance(site), name.clone()));
            if distance(site) < *far {
                (*far, *nearest) = (distance(site), name.clone());
            }
        }
    }
    for Registry { name, aliases, .. } in registries {
        aliases.retain(|alias| meant.get(&Host::fold(alias)).is_none_or(|(_, nearest)| nearest == name));
    }
}

impl Build<'_> {
    /// `ours` and `near` decide which of the registries that share an alias it means.
    pub(super) fn registries(
        &mut self,
        entries: Vec<(At<Name>, At<raw::Registry>)>,
        ours: Option<&Site>,
        near: &[Site],
    ) -> Said {
        let (mut registries, mut hosts, mut said) = (Vec::new(), Vec::new(), Said::default());
        for (name, registry) in entries {
            registries.extend(self.registry(&name.value, registry, &mut hosts, &mut said));
        }
        share_aliases(&mut registries, ours, near);
        let named = registries.into_iter().map(|registry| (registry.name.clone(), Arc::new(registry)));
        Said { registries: named.collect(), ..said }
    }

    fn registry(
        &mut self,
        name: &Name,
        registry: At<raw::Registry>,
        hosts: &mut Vec<Used>,
        said: &mut Said,
    ) -> Option<Registry> {
        let At { node, value } = registry;
        let raw::Registry {
            host,
            aliases,
            url,
            realm,
            kind,
            site,
            credentials,
            copy,
            healing,
            ca_file,
            pull_secret,
            pull_credentials,
            drain,
            requests_per_hour,
            notifications,
        } = value;

        let host = self.need(node, "host", host, "write the host as image references name it, `host[:port]`");
        let aliases = aliases.unwrap_or_default();
        let kind = self.need(node, "kind", kind, "write `harbor` or `distribution`");
        let site = self.need(
            node,
            "site",
            site,
            "write the site where the registry is; it is compared with the `site` of the file",
        );
        if let Some(host) = &host {
            self.host_is_new(host, None, hosts);
        }
        for alias in &aliases {
            self.host_is_new(alias, site.as_ref().map(|site| Site::new(&*site.value.0)), hosts);
        }
        let credentials = match credentials {
            None => CredentialSource::Anonymous,
            Some(credentials) => self.credentials(credentials, host.as_ref().map(|host| &*host.value.0)),
        };
        if let Some(copy) = copy {
            let host = host.as_ref().map(|host| &*host.value.0);
            said.writers.extend(self.writer(copy, host).map(|writer| (RegistryName::new(&*name.0), writer)));
        }
        let healing = healing.and_then(|healer| {
            self.healer(healer, kind, &credentials, host.as_ref().map(|host| &*host.value.0))
        });
        if let Some(file) = &ca_file {
            self.file(file.node, &file.value.0);
        }
        if let Some(notifications) = notifications {
            self.notifications(name, notifications, kind, &mut said.notifications);
        }
        said.pulls.push(Pull {
            registry: RegistryName::new(&*name.0),
            node,
            secret_at: pull_secret.as_ref().map(|secret| secret.node),
            credentials: pull_credentials,
        });
        let host = host?;
        let realm = realm.map(|realm| self.address(realm));
        let url = match url {
            Some(url) => self.address(url),
            None => self.url_of(&host)?,
        };

        Some(Registry {
            name: RegistryName::new(&*name.0),
            host: host.value.0,
            aliases: aliases.into_iter().map(|alias| alias.value.0).collect(),
            url,
            realm,
            kind: match kind? {
                raw::Kind::Harbor => Kind::Harbor,
                raw::Kind::Distribution => Kind::Distribution,
            },
            site: Site::new(&*site?.value.0),
            credentials,
            healing,
            ca_file: ca_file.map(|file| file.value.0),
            pull_secret: pull_secret.map(|secret| PullSecret::new(&*secret.value.0)),
            service: if drain.unwrap_or(false) { Service::Drained } else { Service::Open },
            requests_per_hour: requests_per_hour.and_then(NonZeroU32::new),
        })
    }

    /// The credentials that may write. Harbor's API takes user name and password only.
    fn healer(
        &mut self,
        At { node, value: raw::Healer { credentials } }: At<raw::Healer>,
        kind: Option<raw::Kind>,
        reading: &CredentialSource,
        host: Option<&str>,
    ) -> Option<CredentialSource> {
        if matches!(kind, Some(raw::Kind::Distribution)) {
            let hint = "remove it: a plain registry has no scans and no replication rules".to_owned();
            self.error(node, "only a Harbor can be healed", hint);
        }
        let hint = "name the robot, as in `credentials: {dir: /etc/landfall/credentials/ams-heal}`";
        let credentials = self.need(node, "credentials", credentials, hint)?;
        let at = credentials.node;
        let source = self.credentials(credentials, host);
        if source == *reading && source != CredentialSource::Anonymous {
            let hint =
                "give healing a robot of its own: the one that reads must not be able to write".to_owned();
            self.error(at, "these are the credentials that read", hint);
        }
        if matches!(source, CredentialSource::TokenFile(_)) {
            let hint = "give user name and password of a robot, as in `dir`".to_owned();
            self.error(at, "Harbor's API takes no bearer token", hint);
        }
        Some(source)
    }

    /// Two registries with one secret could not be told apart.
    fn notifications(
        &mut self,
        name: &Name,
        At { node, value }: At<raw::Notifications>,
        kind: Option<raw::Kind>,
        secrets: &mut Secrets,
    ) {
        let raw::Notifications { secret_file } = value;
        if kind.is_some_and(|kind| !matches!(kind, raw::Kind::Harbor)) {
            let hint = "remove `notifications`: only a registry of the kind `harbor` sends them".to_owned();
            self.error(node, "a plain registry sends no notifications that Landfall reads", hint);
        }
        let hint = "write the path of a file with the value of the header `Authorization` that Harbor sends";
        let Some(At { node, value: FilePath(path) }) = self.need(node, "secretFile", secret_file, hint)
        else {
            return;
        };
        self.file(node, &path);
        if let Some((other, _)) = secrets.iter().find(|(_, known)| **known == path) {
            let hint =
                "give each registry a file and a secret of its own: the secret tells which one notifies"
                    .to_owned();
            self.error(node, format!("`{}` is the secret of `{other}`, too", path.display()), hint);
            return;
        }
        secrets.insert(RegistryName::new(&*name.0), path);
    }

    fn address(&mut self, At { node, value: Address(url) }: At<Address>) -> url::Url {
        if url.scheme() == "http" {
            let hint = "write `https://`, unless the whole network in between is trusted".to_owned();
            self.warn(node, "credentials and answers travel in clear text (http)", hint);
        }
        url
    }

    /// A host that two registries share would make references ambiguous, unless it is an alias of both and they stand on
    /// different sites. `alias_at`: the site, where it is an alias.
    fn host_is_new(&mut self, host: &At<HostName>, alias_at: Option<Site>, hosts: &mut Vec<Used>) {
        let used = Used { host: Host::fold(&host.value.0), node: host.node, alias_at };
        if let Some(first) = hosts.iter().find(|other| other.host == used.host && !other.may_share(&used)) {
            let hint = format!(
                "it is first used on line {}; case and the port 443 make no difference; only aliases of registries on different sites may be the same",
                self.tree.line(first.node)
            );
            self.error(host.node, format!("the host `{}` is used twice", host.value.0), hint);
        } else {
            hosts.push(used);
        }
    }

    fn url_of(&mut self, host: &At<HostName>) -> Option<url::Url> {
        let text = format!("https://{}", host.value.0);
        if Host::fold(&host.value.0).as_str() == "docker.io" {
            let hint = "write `url: https://registry-1.docker.io`".to_owned();
            self.error(
                host.node,
                "`url` is missing: Docker Hub does not answer at the host that its images name",
                hint,
            );
            return None;
        }
        match text.parse() {
            Ok(url) => Some(url),
            Err(error) => {
                let hint = "write `url`".to_owned();
                self.error(host.node, format!("`{text}` is not a valid URL ({error})"), hint);
                None
            }
        }
    }

    fn credentials(&mut self, credentials: At<raw::Credentials>, host: Option<&str>) -> CredentialSource {
        let At { node, value } = credentials;
        let raw::Credentials { dir, docker_config, token_file, provider } = value;
        let given = [dir.is_some(), docker_config.is_some(), token_file.is_some(), provider.is_some()];
        let given = given.into_iter().filter(|given| *given).count();
        if given != 1 && !self.tree.has_pruned(node) {
            let what = if given == 0 {
                "`credentials` names no source"
            } else {
                "`credentials` names more than one source"
            };
            let hint = "give exactly one of `dir`, `dockerConfig`, `tokenFile` and `provider`, or remove `credentials` to ask anonymously";
            self.error(node, what, hint.to_owned());
        }
        let mut there = |file: At<FilePath>, names: &[&str]| {
            let At { node, value: FilePath(path) } = file;
            if names.is_empty() {
                self.file(node, &path);
            }
            for name in names {
                self.file(node, &path.join(name));
            }
            path
        };
        if let Some(dir) = dir {
            return CredentialSource::Dir(there(dir, &["username", "password"]));
        }
        if let Some(file) = docker_config {
            let node = file.node;
            let path = there(file, &[]);
            if let Some(host) = host {
                self.docker_config(node, &path, host);
            }
            return CredentialSource::DockerConfig(path);
        }
        if let Some(file) = token_file {
            return CredentialSource::TokenFile(there(file, &[]));
        }
        let plugin = provider.and_then(|provider| self.provider(provider));
        plugin.map_or(CredentialSource::Anonymous, |plugin| CredentialSource::Provider(Arc::new(plugin)))
    }

    /// Its files need not be there: only `landfall copy` reads them, and the webhook should not have them.
    fn writer(&mut self, copy: At<raw::RegistryCopy>, host: Option<&str>) -> Option<CredentialSource> {
        let At { node, value: raw::RegistryCopy { credentials } } = copy;
        let hint =
            "name the credentials that may push, as in `copy: {credentials: {dir: /etc/landfall/copy/ams}}`";
        let credentials = self.need(node, "credentials", credentials, hint)?;
        let files = std::mem::replace(&mut self.files, Files::Skip);
        let source = self.credentials(credentials, host);
        self.files = files;
        (source != CredentialSource::Anonymous).then_some(source)
    }

    fn provider(&mut self, At { node, value }: At<raw::Provider>) -> Option<Plugin> {
        let raw::Provider { command, args, env } = value;
        let command = self.need(node, "command", command, "write the absolute path of the program")?;
        let At { node, value: FilePath(path) } = command;
        if path.is_absolute() {
            self.file(node, &path);
            self.executable(node, &path);
        } else {
            let hint = "write its absolute path; it is not searched for in PATH".to_owned();
            self.error(node, format!("`{}` is not an absolute path", path.display()), hint);
        }
        let args = args.unwrap_or_default().into_iter().map(|text| text.0).collect();
        let env = env.map(|entries| entries.0).unwrap_or_default();
        let env = env.into_iter().map(|(name, text)| (name.value.0, text.value.0)).collect();
        Some(Plugin { command: path, args, env })
    }

    fn executable(&mut self, at: NodeId, path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode());
        if self.files == Files::Check && mode.is_ok_and(|mode| mode & 0o111 == 0) {
            let hint = format!("make it one: `chmod a+x {}`", path.display());
            self.error(at, format!("`{}` is not executable", path.display()), hint);
        }
    }

    /// A file without credentials for the host is no error: it may be rotated into one that has them. Nor is one that cannot
    /// be read here, which is reported elsewhere.
    fn docker_config(&mut self, node: NodeId, path: &Path, host: &str) {
        if self.files == Files::Skip {
            return;
        }
        let Ok(file) = std::fs::read(path) else { return };
        let (said, hint) = match Keyring::parse(&file).map(|keyring| keyring.lack(host)) {
            Ok(None) => return,
            Ok(Some(lack)) => lack.words(path, host),
            Err(error) => (
                format!("`{}` cannot be used: {error}", path.display()),
                "correct the file: a kubelet could not use it either".to_owned(),
            ),
        };
        self.warn(node, said, hint);
    }

    /// A missing file is reported now instead of when the first Pod arrives.
    pub(super) fn file(&mut self, at: NodeId, path: &Path) {
        if self.files == Files::Skip {
            return;
        }
        let problem = match std::fs::metadata(path) {
            Ok(meta) if meta.is_file() => return,
            Ok(_) => "is not a file".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        let hint = "mount it; to check the configuration elsewhere, pass `--no-files`".to_owned();
        self.error(at, format!("`{}` {problem}", path.display()), hint);
    }
}
