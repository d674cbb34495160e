//! Content digests: `sha256:…`, `sha384:…`, `sha512:…`.
//!
//! The three algorithms the kubelet links (distribution/reference with go-digest);
//! any other is refused at the door, as there. Digits are lower case only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The digest of a manifest, checked and decoded: two digests are equal exactly when their text is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256, what nearly every registry speaks.
    Sha256([u8; 32]),
    /// SHA-384.
    Sha384([u8; 48]),
    /// SHA-512.
    Sha512([u8; 64]),
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:` in front.
    #[error("a digest reads `algorithm:hex`, as in `sha256:…`")]
    NoAlgorithm,
    /// The algorithm is none of the three.
    #[error("unknown digest algorithm; sha256, sha384 and sha512 are known")]
    UnknownAlgorithm,
    /// The digits are too few, too many, or not lower-case hex.
    #[error("a {algorithm} digest has {digits} lower-case hex digits")]
    BadDigits {
        /// Which algorithm was named.
        algorithm: &'static str,
        /// How many digits it has.
        digits: usize,
    },
}

impl Digest {
    /// The algorithm's name as it stands before the colon.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha384(_) => "sha384",
            Self::Sha512(_) => "sha512",
        }
    }

    /// The raw bytes.
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
