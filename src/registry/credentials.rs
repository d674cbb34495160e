//! A registry's credentials, from a folder, a docker configuration, a token file or a credential provider.
//!
//! Files are read again when their content changes. Each content has a version, and tokens that were fetched with an older
//! version are not used again.

use std::path::PathBuf;

use http::HeaderValue;

use crate::domain::credential::Credential;
use crate::domain::error_chain::error_chain;
use crate::domain::keyring::{Keyring, KeyringError};
use crate::domain::registry::{CredentialSource, Registry};
use crate::domain::unknown::{Cause, Unknown};

use super::provider::Provider;
use super::tasks::Tasks;
use super::watched::{FileError, Held, Watched};

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("the credentials are not usable")]
    File(#[from] FileError),
    #[error("the credentials file {path} is empty")]
    Empty { path: PathBuf },
    #[error("the credentials file {path} holds bytes that are not allowed in a header")]
    NotText { path: PathBuf },
    #[error("the credentials in {path} are not usable")]
    Keyring {
        path: PathBuf,
        #[source]
        source: KeyringError,
    },
}

/// The credentials of one registry.
pub(super) struct Credentials {
    host: Box<str>,
    origin: Origin,
}

/// Where they come from.
enum Origin {
    /// Told by whoever made the client.
    Given(Credential),
    Files(Watched<Result<Parsed, CredentialError>>),
    Provider(Provider),
}

enum Parsed {
    One(Credential),
    Keyring(Keyring),
}

/// A credential, and the version of its content.
#[derive(Clone)]
pub(super) struct Current {
    pub version: u64,
    pub credential: Credential,
}

/// What a registry or its token server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Our credential.
    Credential,
    /// A request without credentials, or a token that may have ended.
    Other,
}

impl From<(u64, Credential)> for Current {
    fn from((version, credential): (u64, Credential)) -> Self {
        Self { version, credential }
    }
}

impl Credentials {
    /// Reads the files for the first time, which blocks. Errors are reported when the credentials are used.
    pub fn new(registry: &Registry, tasks: Tasks) -> Self {
        let (host, source) = (registry.host.clone(), registry.credentials.clone());
        let paths = match &source {
            CredentialSource::Anonymous => vec![],
            CredentialSource::Dir(dir) => vec![dir.join("username"), dir.join("password")],
            CredentialSource::DockerConfig(path) | CredentialSource::TokenFile(path) => vec![path.clone()],
            CredentialSource::Provider(plugin) => {
                let origin = Origin::Provider(Provider::new(plugin.clone(), &host, tasks));
                return Self { host, origin };
            }
        };
        let named = paths.clone();
        let files = Watched::new(paths, move |content| {
            let files = content?;
            parse(&source, &named, &files)
        });
        Self { host, origin: Origin::Files(files) }
    }

    /// This credential for the whole registry, which never changes.
    pub fn given(host: &str, credential: Credential) -> Self {
        Self { host: host.into(), origin: Origin::Given(credential) }
    }

    /// The version of the credentials: of files at most two seconds old.
    pub async fn version(&self) -> u64 {
        match &self.origin {
            Origin::Given(_) => 0,
            Origin::Files(files) => files.current().await.version,
            Origin::Provider(provider) => {
                provider.retry();
                provider.changes()
            }
        }
    }

    /// The credential for a project or repository. `None`: for the registry as a whole.
    pub async fn current(&self, about: Option<&str>) -> Result<Current, Unknown> {
        match &self.origin {
            Origin::Given(credential) => Ok(Current { version: 0, credential: credential.clone() }),
            Origin::Files(files) => self.choose(files.current().await.as_ref(), about),
            Origin::Provider(provider) => provider.current(about).await.map(Current::from),
        }
    }

    /// As [`current`](Self::current), after a request was refused: files are read now, and a provider is run if it was
    /// its credential that was refused.
    pub async fn refreshed(
        &self,
        about: Option<&str>,
        current: &Current,
        refused: Refused,
    ) -> Result<Current, Unknown> {
        match (&self.origin, refused) {
            (Origin::Given(_), _) => Ok(current.clone()),
            (Origin::Files(files), _) => self.choose(files.refreshed().await.as_ref(), about),
            (Origin::Provider(_), Refused::Other) => Ok(current.clone()),
            (Origin::Provider(provider), Refused::Credential) => {
                provider.refreshed(about).await.map(Current::from)
            }
        }
    }

    /// The version of the credentials as far as it is known now.
    pub fn seen(&self) -> u64 {
        match &self.origin {
            Origin::Given(_) => 0,
            Origin::Files(files) => files.version(),
            Origin::Provider(provider) => provider.changes(),
        }
    }

    fn choose(
        &self,
        held: &Held<Result<Parsed, CredentialError>>,
        about: Option<&str>,
    ) -> Result<Current, Unknown> {
        let credential = match &held.value {
            Ok(Parsed::One(credential)) => credential.clone(),
            // The kubelet tries all matches in turn. We send only the best one, because each wrong attempt takes Harbor
            // 1.5 s and may lock the account.
            Ok(Parsed::Keyring(keyring)) => match about {
                Some(path) => keyring.lookup(&self.host, path).first().copied(),
                None => keyring.any(&self.host),
            }
            .map_or(Credential::Anonymous, Credential::clone),
            Err(error) => {
                return Err(Unknown::new(Cause::Unauthorized, error_chain(error)));
            }
        };
        Ok(Current { version: held.version, credential })
    }
}

fn parse(source: &CredentialSource, paths: &[PathBuf], files: &[Vec<u8>]) -> Result<Parsed, CredentialError> {
    let secret = |index: usize| {
        let path = || paths.get(index).cloned().unwrap_or_default();
        let file = files.get(index).map(Vec::as_slice).unwrap_or_default();
        // `echo` and editors add a line end, which is not part of the secret. A blank may be.
        let text = file.strip_suffix(b"\n").unwrap_or(file);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            return Err(CredentialError::Empty { path: path() });
        }
        let not_text = || CredentialError::NotText { path: path() };
        let text = str::from_utf8(text).map_err(|_| not_text())?;
        // A bearer token is sent as it is, so it must be allowed in a header. User name and password are sent as base64.
        let bare = matches!(source, CredentialSource::TokenFile(_));
        if bare && HeaderValue::try_from(text).is_err() { Err(not_text()) } else { Ok(text.to_owned()) }
    };
    Ok(match source {
        // A provider has no files.
        CredentialSource::Anonymous | CredentialSource::Provider(_) => Parsed::One(Credential::Anonymous),
        CredentialSource::Dir(_) => {
            Parsed::One(Credential::Basic { username: secret(0)?, password: secret(1)?.into() })
        }
        CredentialSource::TokenFile(_) => Parsed::One(Credential::Bearer(secret(0)?.into())),
        CredentialSource::DockerConfig(path) => {
            let file = files.first().map(Vec::as_slice).unwrap_or_default();
            let keyring = Keyring::parse(file);
            let keyring =
                keyring.map_err(|source| CredentialError::Keyring { path: path.clone(), source })?;
            Parsed::Keyring(keyring)
        }
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn one(source: &CredentialSource, files: &[&[u8]]) -> Result<Credential, CredentialError> {
        let files: Vec<_> = files.iter().map(|file| file.to_vec()).collect();
        match parse(source, &["username".into(), "password".into()], &files)? {
            Parsed::One(credential) => Ok(credential),
            Parsed::Keyring(_) => panic!("a keyring"),
        }
    }

    #[test]
    fn one_line_end_is_no_part_of_a_secret() {
        let dir = CredentialSource::Dir("".into());
        for (file, secret) in [
            ("pa55", "pa55"),
            ("pa55\n", "pa55"),
            ("pa55\r\n", "pa55"),
            ("pa55\n\n", "pa55\n"),
            (" pa55 ", " pa55 "),
        ] {
            let Ok(Credential::Basic { username, password }) = one(&dir, &[b"u\n", file.as_bytes()]) else {
                panic!("no pair")
            };
            assert_eq!((username.as_str(), password.expose_secret()), ("u", secret));
        }
        for file in [&b""[..], b"\n", b"\xff"] {
            let error = one(&dir, &[b"u", file]).unwrap_err();
            assert!(error.to_string().contains("password"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let credentials = [
            one(&CredentialSource::Dir("".into()), &[b"u", b"pa55"]),
            one(&CredentialSource::TokenFile("".into()), &[b"pa55"]),
            Ok(Credential::Identity { username: "u".into(), token: "pa55".into() }),
        ];
        for credential in credentials {
            assert!(!format!("{:?}", credential.unwrap()).contains("pa55"));
        }
        let header = super::super::token::basic("u", &"pa55".into()).unwrap();
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
