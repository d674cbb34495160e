//! Content digests: `sha256:…`, `sha384:…`, `sha512:…`.
//!
//! These are the three algorithms that the kubelet knows (distribution/reference with go-digest). Any other algorithm
//! is refused, as the kubelet refuses it. Hex digits must be lower case.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The digest of a manifest, checked and decoded. Two digests are equal exactly when their texts are equal.
///
/// ```
/// use landfall::facade::domain::digest::Digest;
///
/// let text = format!("sha256:{}", "ab".repeat(32));
/// let digest: Digest = text.parse()?;
/// assert_eq!(digest.algorithm(), "sha256");
/// assert_eq!(digest.to_string(), text);
/// assert!(text.to_uppercase().parse::<Digest>().is_err());
/// # Ok::<(), landfall::facade::domain::digest::DigestError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256, which nearly every registry uses.
    Sha256([u8; 32]),
    /// SHA-384, 96 hex digits.
    Sha384([u8; 48]),
    /// SHA-512, 128 hex digits.
    Sha512([u8; 64]),
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text does not begin with `algorithm:`.
    #[error("the digest names no algorithm; write `algorithm:hex`, for example `sha256:…`")]
    NoAlgorithm,
    /// The algorithm is none of the three.
    #[error("unknown digest algorithm; use sha256, sha384 or sha512")]
    UnknownAlgorithm,
    /// There are too few digits, too many, or some are not lower-case hex.
    #[error("the digest is malformed; a {algorithm} digest has {digits} lower-case hex digits")]
    BadDigits {
        /// The algorithm that the text names.
        algorithm: &'static str,
        /// How many digits a digest of this algorithm has.
        digits: usize,
    },
}

impl Digest {
    /// Returns the algorithm's name, as written before the colon.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha384(_) => "sha384",
            Self::Sha512(_) => "sha512",
        }
    }

    /// The decoded bytes: 32, 48 or 64.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }
}

fn decode<const N: usize>(hex: &str, algorithm: &'static str) -> Result<[u8; N], DigestError> {
    let bad = DigestError::BadDigits { algorithm, digits: N * 2 };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(bad);
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        match (nibble(*high), nibble(*low)) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => return Err(bad),
        }
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::NoAlgorithm)?;
        match algorithm {
            "sha256" => decode(hex, "sha256").map(Self::Sha256),
            "sha384" => decode(hex, "sha384").map(Self::Sha384),
            "sha512" => decode(hex, "sha512").map(Self::Sha512),
            _ => Err(DigestError::UnknownAlgorithm),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0_u8; 128];
        let bytes = self.bytes();
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [digit(DIGITS, byte >> 4), digit(DIGITS, byte & 15)];
        }
        out.write_str(self.algorithm())?;
        out.write_str(":")?;
        let hex = hex.get(..bytes.len() * 2).unwrap_or_default();
        out.write_str(str::from_utf8(hex).unwrap_or_default())
    }
}

fn digit(digits: &[u8; 16], nibble: u8) -> u8 {
    digits.get(usize::from(nibble)).copied().unwrap_or(b'0')
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parsed() {
        for (algorithm, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let text = format!("{algorithm}:{}", "0123456789abcdef".repeat(digits / 16));
            assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_go_digest_refuses() {
        let hex = "a".repeat(64);
        let odd = "é".repeat(32);
        for text in [
            hex.clone(),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:{}", "a".repeat(63)),
            format!("sha256:{}", "a".repeat(65)),
            format!("sha512:{hex}"),
            format!("md5:{hex}"),
            format!("sha256:{odd}"),
            "sha256:".into(),
            String::new(),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
