//! One credential.

use secrecy::SecretString;

/// How we say who we are. Secrets print as `[REDACTED]`.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// We do not.
    Anonymous,
    /// User name and password.
    Basic { username: String, password: SecretString },
    /// An OAuth2 refresh token, to be exchanged at the token realm.
    Identity { username: String, token: SecretString },
    /// A bearer token, sent as it is.
    Bearer(SecretString),
}
