//! A credential: what a registry's files say about how to authenticate.

use secrecy::SecretString;

/// How we authenticate. Secrets print as `[REDACTED]`.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// Not at all.
    Anonymous,
    /// User name and password.
    Basic { username: String, password: SecretString },
    /// An OAuth2 refresh token, which the token server exchanges for a bearer token.
    Identity { username: String, token: SecretString },
    /// A bearer token, sent as it is.
    Bearer(SecretString),
}
