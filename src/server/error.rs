//! Errors of certificates and TLS.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use rustls::pki_types::pem;
use rustls::server::VerifierBuilderError;
use thiserror::Error;

/// Why a certificate, a file of authorities or the TLS configuration cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("the {part} is not PEM, or only a part of it")]
    Pem {
        /// What should be in it.
        part: &'static str,
        /// The cause.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error("certificate and key do not make a pair")]
    Unpaired {
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// There is no certificate, or its dates cannot be read.
    #[error("the certificate cannot be read: {reason}")]
    Unreadable {
        /// The cause.
        reason: String,
    },
    /// The certificate has expired.
    #[error("the certificate expired at {not_after}")]
    Expired {
        /// The end of its validity.
        not_after: Timestamp,
    },
    /// The certificate is not valid yet. Most often a clock is wrong.
    #[error("the certificate is valid only from {not_before}")]
    NotYetValid {
        /// The begin of its validity.
        not_before: Timestamp,
    },
    /// rustls refuses the configuration.
    #[error("TLS cannot be set up")]
    Setup {
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// A file of authorities holds no certificate.
    #[error("the file holds no certificate (PEM)")]
    NoAuthority,
    /// An authority of callers cannot be used.
    #[error("the callers' certificates cannot be checked")]
    Callers {
        /// The cause.
        #[source]
        source: VerifierBuilderError,
    },
}
