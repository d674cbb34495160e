//! `config.json` / `.dockerconfigjson`: which of its entries are for an image, as the kubelet decides
//! (kubernetes `pkg/credentialprovider/keyring.go`).
//!
//! One thing the kubelet does not do: `identitytoken` and `registrytoken` are read, as docker and go-containerregistry do,
//! so that one file serves all kinds of registries.

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

/// The entries of one file, the most specific key first.
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
        let root: Value =
            serde_json::from_slice(file).map_err(|error| KeyringError::NotJson { line: error.line() })?;
        let root = root.as_object().ok_or(KeyringError::NotJson { line: 1 })?;
        let named = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        let store = field(root, "credsStore").and_then(named);
        // The kubelet does not read these, so nothing in them makes the file unusable.
        let helpers = field(root, "credHelpers").and_then(Value::as_object).into_iter().flatten();
        let helpers = helpers.filter_map(|(host, name)| Some((host.clone(), named(name)?))).collect();
        let keyring = match field(root, "auths") {
            None | Some(Value::Null) => Self::of(&Map::new()),
            Some(auths) => Self::of(auths.as_object().ok_or(KeyringError::NoAuths)?),
        };
        Ok(Self { helpers, store, ..keyring? })
    }

    /// The entries of an `auths`, or of what a credential provider answers: the kubelet reads both alike.
    ///
    /// # Errors
    /// The kubelet could not read it either.
    pub fn of(auths: &Map<String, Value>) -> Result<Self, KeyringError> {
        let mut entries = Vec::new();
        for (name, entry) in auths {
            let credential = credential(name, entry)?;
            // The kubelet skips a key that is not a URL.
            if let Some(key) = Key::parse(name) {
                entries.push((key, credential));
            }
        }
        // In reverse order of text the longer path of a host comes first. The sort is stable, as the kubelet's.
        entries.sort_by(|(one, _), (other, _)| other.cmp(one));
        Ok(Self { entries, helpers: Vec::new(), store: None })
    }

    /// All credentials for `host/repository`, in the order in which the kubelet tries them.
    #[must_use]
    pub fn lookup(&self, host: &str, repository: &str) -> Vec<&Credential> {
        let path = format!("/{repository}");
        let pick = |wanted: &dyn Fn(&Key) -> bool| -> Vec<&Credential> {
            self.entries.iter().filter(|(key, _)| wanted(key)).map(|(_, credential)| credential).collect()
        };
        let found = pick(&|key| key.matches(host, &path));
        if found.is_empty() && matches!(host, "docker.io" | "index.docker.io") {
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
        key_port == port
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

/// A field by its name in any case, as Go reads JSON.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn credential(key: &str, entry: &Value) -> Result<Credential, KeyringError> {
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
