//! A credential provider, run once: the kubelet's protocol, `credentialprovider.kubelet.k8s.io/v1`.
//!
//! The program gets a `CredentialProviderRequest` on its standard input, and answers a `CredentialProviderResponse` on its
//! standard output. It has our environment, in which clouds put what identifies a Pod, and what the configuration adds.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::domain::registry::Plugin;
use crate::domain::text::plain;

use super::json::object;
use crate::domain::keyring::{Keyring, KeyringError};

/// How long a program may take. They ask a service of their cloud once or twice.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer. A token has a few KiB.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The most bytes of what a program says on its standard error that are kept.
const WORDS_LIMIT: usize = 4 * 1024;

const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

/// What a program answered.
pub(super) struct Answer {
    pub keyring: Keyring,
    pub scope: Scope,
    /// How long it may be used. `None`: it does not say.
    pub duration: Option<Duration>,
    /// The credentials as text, to compare.
    pub auth: String,
}

/// What an answer is for: its `cacheKeyType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The image that was asked about.
    Image,
    /// All images of its registry. `Global` is the same here, because each registry runs its program itself.
    Registry,
}

/// Why a program gave no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    #[error("cannot be run: {0}")]
    NotRun(io::Error),
    #[error("gave no answer within {} s", TIMEOUT.as_secs())]
    Late,
    #[error("answered more than {} KiB", ANSWER_LIMIT / 1024)]
    TooLong,
    #[error("ended with {status}: {words}")]
    Failed { status: ExitStatus, words: String },
    #[error("did not answer a JSON object (at line {line})")]
    NotJson { line: usize },
    #[error("answered `{field}: {found}`, not {expected}")]
    Unexpected { field: &'static str, found: String, expected: &'static str },
    #[error("answered credentials that cannot be used: {0}")]
    Auth(KeyringError),
}

/// Asks for the credentials of an image, `host/repository`.
pub(super) async fn run(plugin: &Plugin, image: &str) -> Result<Answer, PluginError> {
    let answer =
        tokio::time::timeout(TIMEOUT, output(plugin, image)).await.unwrap_or(Err(PluginError::Late))?;
    read(&answer)
}

/// What the program writes to its standard output. Whoever stops waiting kills it.
async fn output(plugin: &Plugin, image: &str) -> Result<Vec<u8>, PluginError> {
    let mut program = Command::new(&plugin.command)
        .args(plugin.args.iter().map(|arg| &**arg))
        .envs(plugin.env.iter().map(|(name, value)| (&**name, &**value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(PluginError::NotRun)?;
    let request = json!({"apiVersion": API_VERSION, "kind": "CredentialProviderRequest", "image": image});
    let (stdin, stdout, stderr) = (program.stdin.take(), program.stdout.take(), program.stderr.take());
    let ask = async {
        if let Some(mut stdin) = stdin {
            // One that does not read is no failure: it may not need to know.
            let _written = stdin.write_all(request.to_string().as_bytes()).await;
        }
        Ok(())
    };
    let answer = async {
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            let limit = u64::try_from(ANSWER_LIMIT + 1).unwrap_or(u64::MAX);
            stdout.take(limit).read_to_end(&mut answer).await.map_err(PluginError::NotRun)?;
        }
        if answer.len() > ANSWER_LIMIT { Err(PluginError::TooLong) } else { Ok(answer) }
    };
    let words = async {
        match stderr {
            Some(stderr) => beginning(stderr).await.map_err(PluginError::NotRun),
            None => Ok(Vec::new()),
        }
    };
    let ((), answer, words) = tokio::try_join!(ask, answer, words)?;
    let status = program.wait().await.map_err(PluginError::NotRun)?;
    if status.success() {
        return Ok(answer);
    }
    let words = String::from_utf8_lossy(&words);
    let first = words.lines().find(|line| !line.trim().is_empty());
    let words =
        first.map_or_else(|| "it says nothing on its standard error".into(), |line| plain(line.trim()));
    Err(PluginError::Failed { status, words: words.into_owned() })
}

/// The beginning of what is written. The rest is read as well: the program would wait for ever.
async fn beginning(mut from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(kept);
        }
        let room = WORDS_LIMIT.saturating_sub(kept.len());
        kept.extend(chunk.iter().take(read.min(room)));
    }
}

/// Reads an answer. An error names no credentials.
fn read(answer: &[u8]) -> Result<Answer, PluginError> {
    let answer: Map<String, Value> =
        object(answer).map_err(|error| PluginError::NotJson { line: error.line() })?;
    let text = |field| answer.get(field).and_then(Value::as_str).unwrap_or_default();
    let unexpected = |field: &'static str, expected| {
        let found = match answer.get(field) {
            None => "nothing".into(),
            Some(found) => plain(&found.to_string()).into_owned(),
        };
        Err(PluginError::Unexpected { field, found, expected })
    };
    if text("kind") != "CredentialProviderResponse" {
        return unexpected("kind", "`CredentialProviderResponse`");
    }
    if text("apiVersion") != API_VERSION {
        return unexpected("apiVersion", "`credentialprovider.kubelet.k8s.io/v1`");
    }
    let scope = match text("cacheKeyType") {
        "Image" => Scope::Image,
        "Registry" | "Global" => Scope::Registry,
        _ => return unexpected("cacheKeyType", "`Image`, `Registry` or `Global`"),
    };
    let duration = match answer.get("cacheDuration") {
        None | Some(Value::Null) => None,
        Some(Value::String(duration)) if duration == "0" => Some(Duration::ZERO),
        Some(duration) => {
            match duration.as_str().and_then(|duration| duration.parse::<SignedDuration>().ok()) {
                // One that has ended already is none.
                Some(duration) => Some(Duration::try_from(duration).unwrap_or_default()),
                None => return unexpected("cacheDuration", "a duration such as `6h0m0s`"),
            }
        }
    };
    let none = Map::new();
    let auth = match answer.get("auth") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(auth)) => auth,
        Some(_) => return unexpected_auth(),
    };
    let keyring = Keyring::of(auth).map_err(PluginError::Auth)?;
    Ok(Answer { keyring, scope, duration, auth: Value::Object(auth.clone()).to_string() })
}

/// Its value may hold a password, so it is not shown.
fn unexpected_auth() -> Result<Answer, PluginError> {
    let found = "something else".to_owned();
    Err(PluginError::Unexpected { field: "auth", found, expected: "an object" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl FnOnce(&mut Value)) -> Result<Answer, PluginError> {
        let mut answer = json!({
            "kind": "CredentialProviderResponse",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "cacheKeyType": "Registry",
            "cacheDuration": "6h0m0s",
            "auth": {"*.dkr.ecr.*.amazonaws.com": {"username": "AWS", "password": "pa55"}},
        });
        change(&mut answer);
        read(answer.to_string().as_bytes())
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, seconds) in [
            ("6h0m0s", 21_600.0),
            ("12h", 43_200.0),
            ("1m30s", 90.0),
            ("1.5h", 5400.0),
            ("1m0.5s", 60.5),
            ("300ms", 0.3),
            ("0s", 0.0),
            ("0", 0.0),
            ("-5s", 0.0),
        ] {
            let answer = answer(|answer| answer["cacheDuration"] = text.into()).ok().unwrap();
            assert_eq!(answer.duration.map(|duration| duration.as_secs_f64()), Some(seconds), "{text}");
        }
        assert_eq!(answer(|answer| answer["cacheDuration"] = Value::Null).ok().unwrap().duration, None);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 10] = [
            (|answer| *answer = json!([]), "did not answer a JSON object (at line 1)"),
            (|answer| *answer = json!("pa55"), "did not answer a JSON object (at line 1)"),
            (
                |answer| answer["kind"] = "Secret\u{202e}".into(),
                "answered `kind: \"Secret\"`, not `CredentialProviderResponse`",
            ),
            (
                |answer| answer["apiVersion"] = "credentialprovider.kubelet.k8s.io/v1beta1".into(),
                "answered `apiVersion: \"credentialprovider.kubelet.k8s.io/v1beta1\"`, not `credentialprovider.kubelet.k8s.io/v1`",
            ),
            (
                |answer| answer["cacheKeyType"] = "image".into(),
                "answered `cacheKeyType: \"image\"`, not `Image`, `Registry` or `Global`",
            ),
            (
                |answer| drop(answer.as_object_mut().unwrap().remove("cacheKeyType")),
                "answered `cacheKeyType: nothing`, not `Image`, `Registry` or `Global`",
            ),
            (
                |answer| answer["cacheDuration"] = "soon".into(),
                "answered `cacheDuration: \"soon\"`, not a duration such as `6h0m0s`",
            ),
            (
                |answer| answer["cacheDuration"] = 7.into(),
                "answered `cacheDuration: 7`, not a duration such as `6h0m0s`",
            ),
            (|answer| answer["auth"] = "pa55".into(), "answered `auth: something else`, not an object"),
            (
                |answer| answer["auth"] = json!({"h": {"username": 7, "password": "pa55"}}),
                "answered credentials that cannot be used: `username` of `h` is not a string",
            ),
        ];
        for (change, said) in cases {
            assert_eq!(answer(change).err().unwrap().to_string(), said);
        }
        assert_eq!(read(b"{\n").err().unwrap().to_string(), "did not answer a JSON object (at line 2)");
    }
}
