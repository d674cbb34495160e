//! A credential: what a registry's files say about how to authenticate.

use secrecy::SecretString;

/// How we authenticate. Secrets print as `[REDACTED]`.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Not at all.
    Anonymous,
    /// User name and password.
    Basic {
        /// The user name, or a robot's full name.
        username: String,
        /// The password, or a robot's secret.
        password: SecretString,
    },
    /// An OAuth2 refresh token, which the token server exchanges for a bearer token.
    Identity {
        /// The user name; empty where the file names none.
        username: String,
        /// The refresh token.
        token: SecretString,
    },
    /// A bearer token, sent as it is.
    Bearer(SecretString),
}
