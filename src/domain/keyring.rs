//! `config.json` / `.dockerconfigjson`: which of its entries are for an image, as the kubelet decides
//! (kubernetes `pkg/credentialprovider/keyring.go`).
//!
//! One thing the kubelet does not do: `identitytoken` and `registrytoken` are read, as docker and go-containerregistry do,
//! so that one file serves all kinds of registries. [`Keyring::of_pull_secrets`] reads none, because it says what a node does.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::credential::Credential;

/// The key that Docker Hub's other names fall back to.
const DEFAULT_REGISTRY: &str = "index.docker.io";

/// Padding may be missing: the kubelet accepts that.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a file is not usable. One bad entry makes the whole file unusable, as at the kubelet; to skip it would hide it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It is not a JSON object.
    #[error("not a JSON object, at line {line}")]
    NotJson {
        /// Where reading stopped.
        line: usize,
    },
    /// `auths` is a list, or a text.
    #[error("`auths` is not an object")]
    NoAuths,
    /// A field is not a text.
    #[error("`{field}` of `{key}` is not a string")]
    NotText {
        /// The entry.
        key: String,
        /// Its field.
        field: &'static str,
    },
    /// An entry of `auths` is not an object.
    #[error("the entry `{key}` is not an object")]
    NotEntry {
        /// The entry.
        key: String,
    },
    /// `auth` cannot be decoded.
    #[error("`auth` of `{key}` is not base64 of `username:password`")]
    BadAuth {
        /// The entry.
        key: String,
    },
}

/// A Secret that a Pod names in `imagePullSecrets`, as it was read.
#[derive(Clone, Copy)]
pub enum SecretBody<'a> {
    /// `.dockerconfigjson` of a Secret of type `kubernetes.io/dockerconfigjson`.
    ConfigJson(&'a [u8]),
    /// `.dockercfg` of a Secret of type `kubernetes.io/dockercfg`: the entries themselves.
    Config(&'a [u8]),
}

impl<'a> SecretBody<'a> {
    /// What the kubelet reads of a Secret: the key that belongs to its type. `None`: nothing, because it has another type or
    /// lacks the key, or the key is empty.
    #[must_use]
    pub fn of(kind: &str, data: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Self> {
        let filled = |key| data(key).filter(|bytes| !bytes.is_empty());
        match kind {
            "kubernetes.io/dockerconfigjson" => filled(".dockerconfigjson").map(Self::ConfigJson),
            "kubernetes.io/dockercfg" => filled(".dockercfg").map(Self::Config),
            _ => None,
        }
    }
}

/// Which fields of an entry are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fields {
    /// Tokens, too.
    All,
    /// User name and password alone, as at the kubelet. An entry without a user name is tried without credentials: runtimes take
    /// an empty user name for none (containerd's `ParseAuth` in internal/cri/server/images/image_pull.go).
    Pair,
}

/// The entries of one file, or of the pull secrets of a Pod, the most specific key first.
pub struct Keyring {
    entries: Vec<(Key, Credential)>,
    /// `credHelpers`: a host → the program that keeps its credentials.
    helpers: Vec<(String, String)>,
    /// `credsStore`: the program that keeps those of all other hosts.
    store: Option<String>,
}

/// Why a file holds no credentials for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// They are kept by a program, `docker-credential-<name>`, which runs on the machine of who logged in.
    Helper(String),
    /// No entry is for the host, or it is empty.
    NoEntry,
}

impl Lack {
    /// What the file lacks, and what to do about it, for people.
    #[must_use]
    pub fn words(&self, file: &std::path::Path, host: &str) -> (String, String) {
        let file = file.display();
        let said = format!("`{file}` holds no credentials for `{host}`");
        let write = format!(
            "write them into the file, as `kubectl create secret docker-registry NAME --docker-server={host} …` does"
        );
        match self {
            Self::Helper(name) => (
                format!("{said}: it leaves them to the credential helper `docker-credential-{name}`"),
                format!("Landfall runs no such helper, and its image holds none: {write}"),
            ),
            Self::NoEntry => (said, format!("{write}; remove `credentials` if the registry asks for none")),
        }
    }
}

/// A key of `auths`: `host[:port][/path]`, where labels of the host may hold `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(String);

impl Keyring {
    /// Parses the file.
    ///
    /// # Errors
    /// The kubelet could not read it either.
    pub fn parse(file: &[u8]) -> Result<Self, KeyringError> {
        let root = object(file)?;
        let root = &root;
        let named = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        let store = field(root, "credsStore").and_then(named);
        // The kubelet does not read these, so nothing in them makes the file unusable.
        let helpers = field(root, "credHelpers").and_then(Value::as_object).into_iter().flatten();
        let helpers = helpers.filter_map(|(host, name)| Some((host.clone(), named(name)?))).collect();
        let keyring = Self::of(auths(root)?.unwrap_or(&Map::new()))?;
        Ok(Self { helpers, store, ..keyring })
    }

    /// The keyring that the kubelet builds of the pull secrets of a Pod, in the Pod's order. It tries all that match, one after
    /// the other; what stands in a node's own files comes after them, and is not known here.
    ///
    /// # Errors
    /// One of them cannot be read: then the kubelet pulls no image of the Pod, whatever its host.
    pub fn of_pull_secrets<'a>(
        secrets: impl IntoIterator<Item = SecretBody<'a>>,
    ) -> Result<Self, KeyringError> {
        let mut entries = Vec::new();
        for secret in secrets {
            match secret {
                SecretBody::ConfigJson(body) => {
                    let root = object(body)?;
                    read(auths(&root)?.unwrap_or(&Map::new()), Fields::Pair, &mut entries)?;
                }
                SecretBody::Config(body) => read(&object(body)?, Fields::Pair, &mut entries)?,
            }
        }
        Ok(Self::sorted(entries))
    }

    /// The entries of an `auths`, or of what a credential provider answers: the kubelet reads both alike.
    ///
    /// # Errors
    /// The kubelet could not read it either.
    pub fn of(auths: &Map<String, Value>) -> Result<Self, KeyringError> {
        let mut entries = Vec::new();
        read(auths, Fields::All, &mut entries)?;
        Ok(Self::sorted(entries))
    }

    fn sorted(mut entries: Vec<(Key, Credential)>) -> Self {
        // In reverse order of text the longer path of a host comes first. The sort is stable, so that of one key the earlier
        // Secret comes first. Two spellings of one host in one file (`h` and `https://h`) come in any order: the kubelet keeps them
        // in a Go map, and tries both.
        entries.sort_by(|(one, _), (other, _)| other.cmp(one));
        Self { entries, helpers: Vec::new(), store: None }
    }

    /// All credentials for `host/repository`, in the order in which the kubelet tries them.
    #[must_use]
    pub fn lookup(&self, host: &str, repository: &str) -> Vec<&Credential> {
        let path = format!("/{repository}");
        let pick = |wanted: &dyn Fn(&Key) -> bool| -> Vec<&Credential> {
            self.entries.iter().filter(|(key, _)| wanted(key)).map(|(_, credential)| credential).collect()
        };
        let found = pick(&|key| key.matches(host, &path));
        // A first part without a dot or a colon is no host to the kubelet here, so `localhost/app` counts as Docker Hub's.
        let is_hub = matches!(host, "docker.io" | "index.docker.io") || !host.contains(['.', ':']);
        if found.is_empty() && is_hub {
            return pick(&|key| key.0 == DEFAULT_REGISTRY);
        }
        found
    }

    /// The keys, for people.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.0.as_str())
    }

    /// A credential for the host as a whole: the one without a path, else any, because the host accepts each of them.
    #[must_use]
    pub fn any(&self, host: &str) -> Option<&Credential> {
        let whole = self.lookup(host, "").into_iter().next();
        let some = || self.entries.iter().find(|(key, _)| key.is_of(host)).map(|(_, credential)| credential);
        whole.or_else(some)
    }
}

impl Keyring {
    /// Why nothing in the file authenticates us to the host. `None`: something does.
    #[must_use]
    pub fn lack(&self, host: &str) -> Option<Lack> {
        let own = self.entries.iter().filter(|(key, _)| key.is_of(host)).map(|(_, credential)| credential);
        let mut all = own.chain(self.lookup(host, ""));
        if all.any(|credential| !matches!(credential, Credential::Anonymous)) {
            return None;
        }
        let helper = self.helpers.iter().find(|(key, _)| Key::parse(key).is_some_and(|key| key.is_of(host)));
        let helper = helper.map(|(_, name)| name).or(self.store.as_ref());
        Some(helper.map_or(Lack::NoEntry, |name| Lack::Helper(name.clone())))
    }
}

impl Key {
    /// Parses a key as Go's `url.Parse("https://" + key)` does, and then the kubelet. `None`: it is not a URL.
    fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        // Somebody's name and password before the host count for nothing, but must be such.
        let host = match host.rsplit_once('@') {
            Some((user, _)) if !is_userinfo(user) => return None,
            Some((_, host)) => host,
            None => host,
        };
        let (host, path) = (unescape(host)?, unescape(path)?);
        // Brackets are allowed only around an IPv6 address.
        let bracketed = host.strip_prefix('[').is_some_and(|host| host.contains(']'));
        if host.contains(['[', ']']) && !bracketed || host.contains(char::is_whitespace) {
            return None;
        }
        let path = match path.get(..4) {
            Some("/v1/" | "/v2/") => path.get(3..).unwrap_or_default(),
            _ => &path,
        };
        Some(Self(if path == "/" { host } else { format!("{host}{path}") }))
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        let (_, key_path) = self.parts();
        // The path is a plain prefix without a boundary, as at the kubelet: a file that lets a node pull an image must
        // let us ask for it.
        path.get(..key_path.len()) == Some(key_path) && self.is_of(host)
    }

    /// The host with its port, and the path.
    fn parts(&self) -> (&str, &str) {
        self.0.split_at(self.0.find('/').unwrap_or(self.0.len()))
    }

    /// Does the host match, whatever the path?
    fn is_of(&self, host: &str) -> bool {
        let ((key_name, key_port), (name, port)) = (split_port(self.parts().0), split_port(host));
        // Without a port Go keeps the brackets, and takes them for the characters that a pattern allows: it matches no address.
        let is_class = key_port.is_empty() && key_name.as_bytes().first() == Some(&b'[');
        !is_class
            && key_port == port
            && key_name.split('.').count() == name.split('.').count()
            && key_name.split('.').zip(name.split('.')).all(|(glob, label)| glob_matches(glob, label))
    }
}

/// Splits `host:port`. Ports are compared as text: no port is not the same as 443.
fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

/// `*` stands for any run of characters of one label.
fn glob_matches(glob: &str, label: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = label.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// What stands in the `data` of a Secret's manifest.
#[must_use]
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    BASE64.decode(text).ok()
}

/// A field by its name in any case, as Go reads JSON.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Go reads `null` as an object without fields.
fn object(body: &[u8]) -> Result<Map<String, Value>, KeyringError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(KeyringError::NotJson { line: 1 }),
        Err(error) => Err(KeyringError::NotJson { line: error.line() }),
    }
}

fn auths(root: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, KeyringError> {
    match field(root, "auths") {
        None | Some(Value::Null) => Ok(None),
        Some(auths) => auths.as_object().map(Some).ok_or(KeyringError::NoAuths),
    }
}

fn read(
    auths: &Map<String, Value>,
    fields: Fields,
    into: &mut Vec<(Key, Credential)>,
) -> Result<(), KeyringError> {
    for (name, entry) in auths {
        let credential = credential(name, entry, fields)?;
        // The kubelet skips a key that is not a URL.
        if let Some(key) = Key::parse(name) {
            into.push((key, credential));
        }
    }
    Ok(())
}

/// What Go's `net/url` allows before the `@`.
fn is_userinfo(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    text.bytes().all(allowed) && unescape(text).is_some()
}

fn credential(key: &str, entry: &Value, fields: Fields) -> Result<Credential, KeyringError> {
    let empty = Map::new();
    let entry = match entry {
        Value::Null => &empty,
        Value::Object(entry) => entry,
        _ => return Err(KeyringError::NotEntry { key: key.to_owned() }),
    };
    let text = |name: &'static str| match field(entry, name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(KeyringError::NotText { key: key.to_owned(), field: name }),
    };
    let (mut username, mut password) = (text("username")?.to_owned(), text("password")?.to_owned());
    let auth = text("auth")?;
    if !auth.is_empty() {
        let bad = || KeyringError::BadAuth { key: key.to_owned() };
        // Go's decoder skips line ends, which `base64` without `-w0` makes.
        let auth: Vec<u8> = auth.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        let pair = BASE64.decode(auth).map_err(|_| bad())?;
        let pair = String::from_utf8(pair).map_err(|_| bad())?;
        let (user, secret) = pair.split_once(':').ok_or_else(bad)?;
        (username, password) = (user.to_owned(), secret.to_owned());
    }
    if fields == Fields::Pair {
        return Ok(match username.is_empty() {
            true => Credential::Anonymous,
            false => Credential::Basic { username, password: password.into() },
        });
    }
    let (identity, registry) = (text("identitytoken")?, text("registrytoken")?);
    Ok(if !registry.is_empty() {
        Credential::Bearer(registry.to_owned().into())
    } else if !identity.is_empty() {
        Credential::Identity { username, token: identity.to_owned().into() }
    } else if username == "<token>" {
        // docker's convention: the password is an identity token.
        Credential::Identity { username, token: password.into() }
    } else if username.is_empty() && password.is_empty() {
        Credential::Anonymous
    } else {
        Credential::Basic { username, password: password.into() }
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Row {
        name: String,
        dockerconfigjson: Option<Value>,
        dockercfg: Option<Value>,
        secrets: Option<Vec<Value>>,
        lookup: Option<String>,
        matches: Option<Vec<Match>>,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Match {
        username: String,
        password: String,
    }

    fn found(credential: &Credential) -> Match {
        let (username, password) = match credential {
            Credential::Anonymous => ("", ""),
            Credential::Basic { username, password } => (username.as_str(), password.expose_secret()),
            // The kubelet reads no tokens and tries an empty pair: see the module's page.
            Credential::Identity { .. } | Credential::Bearer(_) => ("", ""),
        };
        Match { username: username.into(), password: password.into() }
    }

    #[test]
    fn opens_what_the_kubelet_opens() {
        let rows: Vec<Row> = serde_json::from_str(include_str!("../../tests/vectors/keyring.json")).unwrap();
        let mut judged = 0;
        for row in rows {
            // One file, one format: rows of several Secrets and of the old `.dockercfg` are no files of ours.
            // A Pod may have them: see below.
            let file = match (&row.dockerconfigjson, &row.secrets) {
                (Some(config), _) => config.to_string(),
                (None, Some(secrets)) if secrets.len() == 1 => secrets[0]["text"].as_str().unwrap().into(),
                _ => continue,
            };
            let keyring = Keyring::parse(file.as_bytes()).ok();
            let matches = keyring.map(|keyring| {
                let (host, repository) = row.lookup.as_deref().unwrap().split_once('/').unwrap();
                keyring.lookup(host, repository).into_iter().map(found).collect::<Vec<_>>()
            });
            assert_eq!(matches, row.matches, "{}", row.name);
            judged += 1;
        }
        assert_eq!(judged, 50);
    }

    #[test]
    fn a_pod_is_pulled_with_what_the_kubelet_would_take() {
        let rows: Vec<Row> = serde_json::from_str(include_str!("../../tests/vectors/keyring.json")).unwrap();
        for row in &rows {
            let one = |kind: &str, body: &Value| (kind.to_owned(), body.to_string().into_bytes());
            let bodies: Vec<(String, Vec<u8>)> = match (&row.dockerconfigjson, &row.dockercfg, &row.secrets) {
                (Some(body), ..) => vec![one("kubernetes.io/dockerconfigjson", body)],
                (_, Some(body), _) => vec![one("kubernetes.io/dockercfg", body)],
                (.., secrets) => {
                    let body = |secret: &Value| {
                        let kind = secret["type"].as_str().unwrap().to_owned();
                        let text = secret["text"].as_str().map(|text| text.as_bytes().to_vec());
                        let body = || {
                            secret.get("dockerconfigjson").or(secret.get("dockercfg")).unwrap().to_string()
                        };
                        (kind, text.unwrap_or_else(|| body().into_bytes()))
                    };
                    secrets.iter().flatten().map(body).collect()
                }
            };
            let secrets = bodies.iter().filter_map(|(kind, body)| {
                let own = format!(".{}", kind.rsplit('/').next().unwrap());
                SecretBody::of(kind, |key| (key == own).then_some(&**body))
            });
            let Some((host, repository)) = row.lookup.as_deref().and_then(|name| name.split_once('/')) else {
                continue;
            };
            let found = Keyring::of_pull_secrets(secrets)
                .map(|keyring| keyring.lookup(host, repository).into_iter().map(found).collect::<Vec<_>>());
            assert_eq!(found.ok(), row.matches, "{}", row.name);
        }
        assert_eq!(rows.len(), 57);
    }

    /// Cases that the vectors lack, from reading `BasicDockerKeyring.Add`, `Lookup` and Go's `net/url`.
    #[test]
    fn odd_keys_are_read_as_go_reads_them() {
        let users = |auths: Value, image: &str| {
            let body = serde_json::json!({"auths": auths}).to_string();
            let keyring = Keyring::of_pull_secrets([SecretBody::ConfigJson(body.as_bytes())]).unwrap();
            let (host, repository) = image.split_once('/').unwrap();
            let mut users: Vec<String> =
                keyring.lookup(host, repository).into_iter().map(|one| found(one).username).collect();
            users.sort();
            users.join(" ")
        };
        let entry = |user: &str| serde_json::json!({"username": user, "password": "p"});
        for (key, image, matches) in [
            ("me:secret@h.example", "h.example/a", true),
            ("https://me@h.example/a", "h.example/a/b", true),
            ("a@b@h.example", "h.example/a", true),
            ("m e@h.example", "h.example/a", false),
            ("m%zz@h.example", "h.example/a", false),
            ("h.example/a@b", "h.example/a@b", true),
            ("[::1]", "[::1]/a", false),
            ("[::1]:5000", "[::1]:5000/a", true),
            ("https://[::1]", "[::1]/a", false),
            ("index.docker.io", "localhost/a", true),
            ("index.docker.io", "localhost:5000/a", false),
        ] {
            let found = users(serde_json::json!({key: entry("u")}), image);
            assert_eq!(found == "u", matches, "{key} {image}");
        }
        let spelt_twice = serde_json::json!({"https://h.example": entry("one"), "h.example": entry("two")});
        assert_eq!(users(spelt_twice, "h.example/a"), "one two");
        for null in ["null", r#"{"auths":null}"#, r#"{"auths":{"h.example":null}}"#] {
            for secret in [SecretBody::ConfigJson(null.as_bytes()), SecretBody::Config(b"null")] {
                assert!(Keyring::of_pull_secrets([secret]).is_ok(), "{null}");
            }
        }
        assert!(Keyring::parse(b"null").unwrap().lookup("h.example", "a").is_empty());
        // Tokens are not read, and what has no user name is tried without credentials.
        let tokens = serde_json::json!({"h.example": {"identitytoken": "i", "auth": "dTpw"}});
        assert_eq!(users(tokens, "h.example/a"), "u");
    }

    fn first(config: Value) -> Credential {
        let keyring = Keyring::parse(config.to_string().as_bytes()).unwrap();
        keyring.lookup("harbor.example.com", "project/app")[0].clone()
    }

    #[test]
    fn tokens_are_read_where_the_kubelet_would_not() {
        let entry = |entry: Value| first(serde_json::json!({"auths": {"harbor.example.com": entry}}));
        let identity = entry(serde_json::json!({"identitytoken": "i"}));
        assert!(matches!(identity, Credential::Identity { token, .. } if token.expose_secret() == "i"));
        let marked = entry(serde_json::json!({"username": "<token>", "password": "i"}));
        assert!(matches!(marked, Credential::Identity { token, .. } if token.expose_secret() == "i"));
        let bearer = entry(serde_json::json!({"registrytoken": "r", "auth": "dTpw"}));
        assert!(matches!(bearer, Credential::Bearer(token) if token.expose_secret() == "r"));
    }

    #[test]
    fn it_says_who_keeps_the_credentials_that_it_lacks() {
        let lack = |config: &str| Keyring::parse(config.as_bytes()).unwrap().lack("art.example");
        let helper = |name: &str| Some(Lack::Helper(name.to_owned()));
        for (config, lacks) in [
            (r#"{"auths":{"art.example":{}},"credsStore":"desktop"}"#, helper("desktop")),
            (r#"{"auths":{},"credHelpers":{"art.example":"ecr-login"}}"#, helper("ecr-login")),
            (
                r#"{"credHelpers":{"https://art.example":"ecr-login"},"credsStore":"pass"}"#,
                helper("ecr-login"),
            ),
            (r#"{"credHelpers":{"other.example":"ecr-login"}}"#, Some(Lack::NoEntry)),
            (r#"{"auths":{"art.example":{}}}"#, Some(Lack::NoEntry)),
            (r#"{"auths":{"art.example":{"auth":""}}}"#, Some(Lack::NoEntry)),
            (r#"{"auths":{"other.example":{"auth":"dTpw"}}}"#, Some(Lack::NoEntry)),
            (r#"{"auths":{"art.example:5000":{"auth":"dTpw"}}}"#, Some(Lack::NoEntry)),
            (r#"{"credsStore":7}"#, Some(Lack::NoEntry)),
            ("{}", Some(Lack::NoEntry)),
            // A helper beside an entry that has credentials is not asked by anybody but docker.
            (r#"{"auths":{"art.example":{"auth":"dTpw"}},"credsStore":"desktop"}"#, None),
            (r#"{"auths":{"art.example":{},"art.example/team":{"auth":"dTpw"}}}"#, None),
            (r#"{"auths":{"*.example":{"auth":"dTpw"}}}"#, None),
            (r#"{"auths":{"art.example":{"identitytoken":"i"}}}"#, None),
        ] {
            assert_eq!(lack(config), lacks, "{config}");
        }
    }

    #[test]
    fn names_of_fields_have_no_case() {
        let config = serde_json::json!({"Auths": {"harbor.example.com": {"Username": "u", "PASSWORD": "p"}}});
        assert_eq!(found(&first(config)), Match { username: "u".into(), password: "p".into() });
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (file, said) in [
            (r#"{"auths":"#, "not a JSON object, at line 1"),
            (r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#, "`auth` of `h` is not base64 of `username:password`"),
            (r#"{"auths":{"h":{"password":7}}}"#, "`password` of `h` is not a string"),
            (r#"{"auths":[]}"#, "`auths` is not an object"),
        ] {
            let error = Keyring::parse(file.as_bytes()).err().unwrap();
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn globs_stay_within_a_label() {
        for (glob, label, matches) in [
            ("*", "harbor", true),
            ("h*r", "harbor", true),
            ("h*b*r", "harbor", true),
            ("*a*", "harbor", true),
            ("harbor", "harbor", true),
            ("harbo", "harbor", false),
            ("ha*arbor", "harbor", false),
            ("*x*", "harbor", false),
            ("", "harbor", false),
        ] {
            assert_eq!(glob_matches(glob, label), matches, "{glob} {label}");
        }
    }

    proptest::proptest! {
        #[test]
        fn keys_never_panic(key in ".{0,40}", host in "[a-z.:]{0,12}", path in "[a-zé/]{0,12}") {
            if let Some(key) = Key::parse(&key) {
                key.matches(&host, &path);
            }
        }
    }
}
