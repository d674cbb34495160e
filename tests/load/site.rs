//! What the servers stand on: a folder with their certificate and Landfall's configurations, and two embedded Harbors,
//! Frankfurt and Amsterdam. They live in the driver's process, so that no server pays for them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::{Account, Embedded, Namespace, Permission, World, entry};

/// The served certificate (PEM), in the folder that every process is given.
pub const CERTIFICATE: &str = "tls.crt";
/// Its key (PEM).
pub const KEY: &str = "tls.key";

/// Two Harbors, empty.
pub struct Site {
    world: World,
    /// The primary.
    pub fra: Embedded,
    /// The local replica.
    pub ams: Embedded,
}

/// What a configuration says beyond the registries: [`ROUTES`], policies, budgets.
pub type Rest<'a> = &'a str;

/// What the README's example says.
pub const ROUTES: &str = "routes:
- name: production
  primary: {registry: fra, repositories: \"production/**\"}
  replicas: [{registry: ams, namespace: production, flatten: 1}]
platforms: [linux/amd64, linux/arm64]
";

impl Site {
    /// Starts the registries, and writes the servers' certificate.
    pub async fn start() -> Result<Self> {
        let world = World::new()?;
        let (fra, ams) = (world.harbor("fra").await?, world.harbor("ams").await?);
        let identity = world.authority().issue(&["127.0.0.1"], Validity::Current)?;
        world.write(CERTIFICATE, &identity.certificate_pem)?;
        world.write(KEY, &identity.key_pem)?;
        Ok(Self { world, fra, ams })
    }

    /// Writes the configuration of one Landfall in Amsterdam, which asks there as [`robot`] of its own, so that the
    /// registry's log tells who asked.
    pub fn configure(&self, name: &str, rest: Rest<'_>) -> Result<PathBuf> {
        let fra = entry(&self.fra.registry("fra", "harbor.fra.example.com"), "pullSecret: harbor-fra-creds");
        let account = Account::robot(name, Namespace::All, &Permission::ALL);
        let mut ams = self.ams.registry("ams", "harbor.ams.example.com");
        ams.credentials = self.world.credentials(&format!("ams-{name}"), &account.name, &account.secret)?;
        self.ams.store().add_account(account);
        let ams = entry(&ams, "pullSecret: harbor-ams-creds");
        let text = format!("site: ams\nregistries:\n  fra: {fra}\n  ams: {ams}\n{rest}");
        Ok(self.world.write(&format!("{name}.yaml"), &text)?)
    }

    /// Writes another file beside them.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        Ok(self.world.write(name, text)?)
    }

    /// Where the servers' certificate is.
    pub fn folder(&self) -> Result<PathBuf> {
        self.authority().parent().map(Path::to_owned).context("a file lies in a folder")
    }

    /// The authority that signed all certificates (PEM).
    pub fn authority(&self) -> PathBuf {
        self.world.ca_file()
    }
}

/// The account of the Landfall of this name.
pub fn robot(name: &str) -> String {
    format!("robot${name}")
}
