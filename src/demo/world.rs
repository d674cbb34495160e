//! A world in a process: a certificate authority, Harbors and plain registries at one address, and their faults.
//!
//! ```no_run
//! # async fn example() -> Result<(), landfall::facade::demo::world::WorldError> {
//! use landfall::facade::demo::world::{Scan, World, content::Content};
//!
//! let world = World::new()?;
//! let ams = world.harbor("ams").await?;
//! let digest = ams.store().push("production/shop/web", "1.4.2", &Content::image("web"));
//! ams.store().set_scan(&digest, Scan::clean());
//! let registry = ams.registry("ams", "harbor.ams.example.com");   // as the configuration would give it
//! ams.down().await;                                                // connection refused
//! # Ok(()) }
//! ```
//!
//! ```text
//! server ─ listener, TLS, log, faults ─► harbor ─ access, v2, api, gate ─┐
//!                                   └──► registry ─ challenge, token ────┴► distribution ─► store ─ content, scan
//! ```
//!
//! A registry runs in the runtime that started it, and ends when its handle is dropped. It takes pushes over the network and into its
//! [`Store`], and tells its webhook policies of them. It does *not* scan or collect garbage: stories set scan states in the
//! [`Store`]. It replicates what a request to its API has started ([`Embedded::replicates`]).

mod accounts;
pub mod api_server;
pub mod authority;
pub mod content;
mod distribution;
mod entry;
pub mod faults;
mod harbor;
mod jobs;
mod log;
mod message;
mod object;
mod push;
mod pushes;
mod registry;
mod replication;
mod scan;
pub mod seed;
mod server;
mod store;
mod tokens;
mod webhook;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

pub use accounts::{Account, Namespace, Permission, Standing};
use authority::{Authority, AuthorityError, Identity};
pub use entry::entry;
pub use log::{Authorization, PathClass, Request};
pub use pushes::{ImmutableTags, PartialIndexes, ReferrersApi, Writes};
pub use registry::{Login, TokenAnswer};
pub use replication::{Ending, Execution, ReplicationRule};
pub use scan::{Cve, Report, Scan};
pub use server::Embedded;
pub use store::{
    Allowlist, Configuration, Descriptors, Ranges, Reachable, ScannerState, Signatures, Store, Visibility,
};

/// Why a world could not be built.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A certificate could not be made.
    #[error("no certificate for the world of `{name}`")]
    Certificate {
        /// Whose certificate.
        name: String,
        /// What failed.
        #[source]
        source: AuthorityError,
    },
    /// Files for clients could not be written.
    #[error("the file `{}` cannot be written", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// A socket could not be opened.
    #[error("no socket for `{name}`")]
    Socket {
        /// Whose socket.
        name: String,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
}

/// The authority and the folder that all registries of one world share; the folder is removed with it.
pub struct World {
    address: IpAddr,
    folder: tempfile::TempDir,
    authority: Authority,
    foreign: Authority,
}

/// The certificate that a server presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// A valid one, for the world's address and `localhost`.
    Valid,
    /// One that has expired.
    Expired,
    /// One for another name.
    WrongName,
    /// One of an authority that no client trusts.
    Foreign,
    /// None: the server speaks HTTP without TLS.
    Plaintext,
}

impl World {
    /// A new world with a fresh authority, on `127.0.0.1`.
    ///
    /// # Errors
    /// If the certificates or the folder cannot be made.
    pub fn new() -> Result<Self, WorldError> {
        Self::at(Ipv4Addr::LOCALHOST.into())
    }

    /// A new world at another address of this machine, for clients in other network namespaces.
    ///
    /// # Errors
    /// If the certificates or the folder cannot be made.
    pub fn at(address: IpAddr) -> Result<Self, WorldError> {
        let certificate = |source| WorldError::Certificate { name: "authority".into(), source };
        let folder = tempfile::Builder::new()
            .prefix("landfall-world-")
            .tempdir()
            .map_err(|source| WorldError::File { path: std::env::temp_dir(), source })?;
        let world = Self {
            address,
            folder,
            authority: Authority::new("Landfall demo authority").map_err(certificate)?,
            foreign: Authority::new("Somebody else's authority").map_err(certificate)?,
        };
        world.write("ca.pem", &world.authority.pem())?;
        Ok(world)
    }

    /// The file that holds the authority's certificate (PEM), for `caFile`.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Adds a robot of this name with these permissions to a Harbor, and returns its credentials.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn robot(
        &self,
        harbor: &Embedded,
        name: &str,
        permissions: &[Permission],
    ) -> Result<crate::domain::registry::CredentialSource, WorldError> {
        let robot = Account::robot(name, Namespace::All, permissions);
        let name = format!("{}-{name}", harbor.name());
        let credentials = self.credentials(&name, &robot.name, &robot.secret)?;
        harbor.store().add_account(robot);
        Ok(credentials)
    }

    /// Starts a Harbor. It has the account `robot$landfall`, which may read everything that Landfall reads; its
    /// credentials are what [`Embedded::registry`] names.
    ///
    /// # Errors
    /// If a certificate, a socket or a file cannot be made.
    pub async fn harbor(&self, name: &str) -> Result<Embedded, WorldError> {
        let robot = Account::robot("landfall", Namespace::All, &Permission::ALL);
        let credentials = self.credentials(name, &robot.name, &robot.secret)?;
        let store = Store::harbor(robot);
        server::start(self, name, server::Protocol::Harbor, store, credentials).await
    }

    /// Starts a plain distribution registry that asks for this login.
    ///
    /// # Errors
    /// If a certificate, a socket or a file cannot be made.
    pub async fn plain(&self, name: &str, login: Login) -> Result<Embedded, WorldError> {
        let credentials = match login.credentials() {
            Some((user, password)) => self.credentials(name, user, password)?,
            None => crate::domain::registry::CredentialSource::Anonymous,
        };
        server::start(self, name, server::Protocol::Distribution(login), Store::plain(), credentials).await
    }

    /// Writes a folder with the files `username` and `password`, as in a mounted Secret. A second call with the same name
    /// rotates them.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn credentials(
        &self,
        name: &str,
        username: &str,
        password: &str,
    ) -> Result<crate::domain::registry::CredentialSource, WorldError> {
        self.write(&format!("credentials/{name}/username"), username)?;
        let file = self.write(&format!("credentials/{name}/password"), password)?;
        let folder = file.parent().map(PathBuf::from).unwrap_or_default();
        Ok(crate::domain::registry::CredentialSource::Dir(folder))
    }

    /// Writes a file below the world's folder, and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf, WorldError> {
        let path = self.folder.path().join(name);
        let failed = |source| WorldError::File { path: path.clone(), source };
        std::fs::create_dir_all(path.parent().unwrap_or(self.folder.path())).map_err(failed)?;
        std::fs::write(&path, content).map_err(failed)?;
        Ok(path)
    }

    fn identity(&self, name: &str, certificate: Certificate) -> Result<Option<Identity>, WorldError> {
        // By its address, and by the name that the seed's references have.
        let (address, host) = (self.address.to_string(), format!("harbor.{name}.example.com"));
        let here = [address.as_str(), "localhost", &host];
        let identity = match certificate {
            Certificate::Valid => self.authority.issue(&here, authority::Validity::Current),
            Certificate::Expired => self.authority.issue(&here, authority::Validity::Expired),
            Certificate::WrongName => {
                self.authority.issue(&["elsewhere.example.com"], authority::Validity::Current)
            }
            Certificate::Foreign => self.foreign.issue(&here, authority::Validity::Current),
            Certificate::Plaintext => return Ok(None),
        };
        identity.map(Some).map_err(|source| WorldError::Certificate { name: name.into(), source })
    }
}
