//! A secret that callers show us, in a file. It is read again when its content changes.

use std::fmt;
use std::path::PathBuf;

use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::domain::error_chain::error_chain;

use super::watched::{FileError, Watched};

/// The least length of a secret, in bytes: nobody guesses one that was drawn at random.
pub const SHORTEST: usize = 16;

/// Why a secret cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{0}")]
    File(Box<str>),
    /// It holds less than [`SHORTEST`] bytes.
    #[error("{path} holds less than {SHORTEST} bytes: draw a longer secret, as `openssl rand -hex 32` does")]
    Short {
        /// Which file.
        path: Box<str>,
    },
    /// It holds what no header can hold.
    #[error("{path} holds bytes that are not allowed in a header")]
    NotText {
        /// Which file.
        path: Box<str>,
    },
}

/// The secret of a file.
pub struct SecretFile {
    file: Watched<Result<Secret, SecretError>>,
}

/// The hash of a secret, which tells nothing of it. Comparing two takes always the same time.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Of what a caller shows.
    #[must_use]
    pub fn shown(value: &HeaderValue) -> Self {
        Self::of(value.as_bytes())
    }

    fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

impl SecretFile {
    /// Reads it for the first time: this blocks.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let named: Box<str> = path.display().to_string().into();
        Self { file: Watched::new(vec![path], move |content| read(&named, content)) }
    }

    /// The secret, at most two seconds old.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn current(&self) -> Result<Secret, SecretError> {
        self.file.current().await.value.clone()
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SecretFile")
    }
}

fn read(path: &str, content: Result<Vec<Vec<u8>>, FileError>) -> Result<Secret, SecretError> {
    let files = content.map_err(|error| SecretError::File(error_chain(&error).into()))?;
    let file = files.first().map(Vec::as_slice).unwrap_or_default();
    // `echo` and editors add a line end, which is not part of the secret.
    let text = file.strip_suffix(b"\n").unwrap_or(file);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.len() < SHORTEST {
        return Err(SecretError::Short { path: path.into() });
    }
    if HeaderValue::from_bytes(text).is_err() {
        return Err(SecretError::NotText { path: path.into() });
    }
    Ok(Secret::of(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_compared_without_its_line_end_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ams");
        std::fs::write(&path, "Bearer 0123456789abcdef\n").unwrap();
        let held = SecretFile::new(path.clone()).current().await.unwrap();
        let shown = |text: &'static str| Secret::shown(&HeaderValue::from_static(text));
        assert_eq!(held, shown("Bearer 0123456789abcdef"));
        assert_ne!(held, shown("Bearer 0123456789abcdeF"));
        assert_ne!(held, shown(""));
        assert!(!format!("{held:?}").contains("0123"));
        for (content, said) in [
            (&b"short"[..], "less than 16 bytes"),
            (b"", "less than 16 bytes"),
            (b"Bearer 0123456789\nabcdef", "not allowed in a header"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = SecretFile::new(path.clone()).current().await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let gone = SecretFile::new(folder.path().join("gone")).current().await.unwrap_err().to_string();
        assert!(gone.contains("cannot read"), "{gone}");
    }
}
