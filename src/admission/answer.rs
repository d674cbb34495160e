//! The answer to an `AdmissionReview` v1.
//!
//! It always has the form that the API server requires: it repeats `apiVersion`, `kind` and the uid; `patch` and
//! `patchType` are either both present or both absent; only a denial has a `status`; warnings are short plain lines; and
//! the keys of audit annotations are names without a slash.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::text::plain;
use crate::pod::Patch;
use crate::pod::json::push_text;

/// The most characters of one warning. Clients may cut a longer one anywhere.
pub const LONGEST_WARNING: usize = 120;
/// The most warnings. The API server cuts all warnings if they have more than 4,096 characters together.
pub const MOST_WARNINGS: usize = 30;

/// The answer of a door to the API server.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Answer {
    /// Whether the Pod is allowed.
    pub decision: Decision,
    /// Lines for the user of `kubectl`. [`encode`] shortens them where needed.
    pub warnings: Vec<String>,
    /// Annotations for the audit log. The API server puts the webhook's name before each key.
    pub audit: BTreeMap<AuditKey, Cow<'static, str>>,
}

/// Whether a Pod is allowed.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The Pod is allowed with these changes. An empty patch changes nothing and is not sent.
    Allow(Patch),
    /// The Pod is denied, for any failurePolicy. The API server puts the webhook's name before the message.
    Deny {
        /// Which images are denied, why, and what to do. It may have several lines.
        message: String,
    },
}

impl Answer {
    /// Allows the Pod without changes, warnings and audit annotations.
    pub fn unchanged() -> Self {
        Self::of(Decision::Allow(Patch::default()))
    }

    /// Makes an answer without warnings and audit annotations.
    pub fn of(decision: Decision) -> Self {
        Self { decision, warnings: Vec::new(), audit: BTreeMap::new() }
    }

    /// Adds one warning.
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Adds an audit annotation. An empty text adds none.
    pub fn note(mut self, key: AuditKey, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.audit.insert(key, text);
        }
        self
    }
}

/// The key of an audit annotation: a qualified name without its prefix. The API server drops any other key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditKey(&'static str);

impl AuditKey {
    /// Checks the key at compile time: `const KEY: AuditKey = AuditKey::new("verdicts");`
    ///
    /// # Panics
    ///
    /// If the key is not 1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
    #[must_use]
    pub const fn new(key: &'static str) -> Self {
        let mut rest = key.as_bytes();
        assert!(!rest.is_empty() && rest.len() <= 63, "an audit key has 1 to 63 characters");
        if let ([first, ..], [.., last]) = (rest, rest) {
            assert!(
                first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric(),
                "an audit key begins and ends with a letter or digit"
            );
        }
        while let [byte, tail @ ..] = rest {
            assert!(
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
                "an audit key holds letters, digits, `-`, `_` and `.`"
            );
            rest = tail;
        }
        Self(key)
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// Writes the body of the answer to the request with this uid, into one buffer that is large enough from the start.
#[must_use]
pub fn encode(answer: &Answer, uid: &str) -> Vec<u8> {
    let said: usize = answer.audit.values().map(|text| text.len() + 64).sum();
    let patch = match &answer.decision {
        Decision::Allow(patch) => patch.as_json().len() * 4 / 3 + 4,
        Decision::Deny { message } => message.len(),
    };
    let warned: usize = answer.warnings.iter().map(|warning| warning.len() + 8).sum();
    let mut body = String::with_capacity(256 + said + patch + warned);
    body.push_str(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#);
    push_text(&mut body, uid);
    match &answer.decision {
        Decision::Allow(patch) if patch.is_empty() => body.push_str(r#","allowed":true"#),
        Decision::Allow(patch) => {
            body.push_str(r#","allowed":true,"patchType":"JSONPatch","patch":""#);
            STANDARD.encode_string(patch.as_json(), &mut body);
            body.push('"');
        }
        Decision::Deny { message } => {
            body.push_str(r#","allowed":false,"status":{"code":403,"message":"#);
            push_text(&mut body, message);
            body.push_str(r#","reason":"Forbidden"}"#);
        }
    }
    for (n, (key, text)) in answer.audit.iter().enumerate() {
        body.push_str(if n == 0 { r#","auditAnnotations":{"# } else { "," });
        push_text(&mut body, key.as_str());
        body.push(':');
        push_text(&mut body, text);
    }
    if !answer.audit.is_empty() {
        body.push('}');
    }
    let warnings = fit(&answer.warnings);
    for (n, warning) in warnings.iter().enumerate() {
        body.push_str(if n == 0 { r#","warnings":["# } else { "," });
        push_text(&mut body, warning);
    }
    if !warnings.is_empty() {
        body.push(']');
    }
    body.push_str("}}");
    body.into_bytes()
}

/// Prepares warnings for a `Warning` header: plain, short, each once, and not too many.
fn fit(warnings: &[String]) -> Vec<String> {
    let (mut fitted, mut seen) = (Vec::new(), HashSet::new());
    for warning in warnings {
        let plain = plain(warning);
        let plain = plain.trim();
        let line = match plain.char_indices().nth(LONGEST_WARNING - 1) {
            Some((end, last)) if end + last.len_utf8() < plain.len() => {
                format!("{}…", plain.get(..end).unwrap_or_default())
            }
            _ => plain.to_owned(),
        };
        if !line.is_empty() && seen.insert(line.clone()) {
            fitted.push(line);
        }
    }
    if fitted.len() > MOST_WARNINGS {
        let more = fitted.len() - (MOST_WARNINGS - 1);
        fitted.truncate(MOST_WARNINGS - 1);
        fitted.push(format!("landfall: {more} more warnings"));
    }
    fitted
}

#[cfg(test)]
mod tests;
