//! Why no client could be made.

use std::path::PathBuf;
use std::sync::Arc;

use super::watched::FileError;

/// Why no client could be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The CA file cannot be read.
    #[error("the CA file is not usable")]
    CaUnreadable {
        /// Which file, and the error.
        source: Arc<FileError>,
    },
    /// The CA file holds something else than certificates.
    #[error("the CA file {path} is not usable: {reason}")]
    CaMalformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client could not be built.
    #[error("cannot build an HTTP client")]
    Http {
        /// The error.
        source: Arc<reqwest::Error>,
    },
}
