//! What the servers stand on: a folder with their certificate and Landfall's configuration, and the demo's registries,
//! which hold every image of the reviews. They live in the driver's process, so that no server pays for them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall::demo::world::authority::Validity;
use landfall::demo::world::seed::{self, Demo};
use landfall::domain::registry::{CredentialSource, Registry};

use crate::process::{CERTIFICATE, CONFIGURATION, KEY};

/// The demo's registries; the folder goes with them.
pub struct Site {
    demo: Demo,
}

impl Site {
    /// Starts the registries, makes them hold what the reviews name, and writes the servers' files.
    pub async fn start(reviews: &[&str]) -> Result<Self> {
        let demo = seed::demo().await?;
        let mut registries = String::new();
        for (embedded, site) in [(&demo.fra, "fra"), (&demo.ams, "ams")] {
            seed::hold_reviewed(&mut embedded.store(), "harbor.fra.example.com", reviews)?;
            describe(&embedded.registry(site, &format!("harbor.{site}.example.com")), &mut registries)?;
        }
        // What the example of the configuration says, but for the registries' addresses.
        let configuration = format!(
            "site: ams\n\
             registries:\n{registries}\
             routes:\n\
             - name: production\n  \
               primary: {{registry: fra, repositories: \"production/**\"}}\n  \
               replicas: [{{registry: ams, namespace: production, flatten: 1}}]\n\
             platforms: [linux/amd64, linux/arm64]\n"
        );
        demo.world.write(CONFIGURATION, &configuration)?;
        let identity = demo.world.authority().issue(&["127.0.0.1"], Validity::Current)?;
        demo.world.write(CERTIFICATE, &identity.certificate_pem)?;
        demo.world.write(KEY, &identity.key_pem)?;
        Ok(Self { demo })
    }

    /// Where the files are.
    pub fn folder(&self) -> Result<PathBuf> {
        self.authority().parent().map(Path::to_owned).context("a file lies in a folder")
    }

    /// The authority that signed the servers' certificate (PEM).
    pub fn authority(&self) -> PathBuf {
        self.demo.world.ca_file()
    }
}

fn describe(registry: &Registry, into: &mut String) -> Result<()> {
    let Registry { name, host, url, site, credentials, ca_file, .. } = registry;
    let CredentialSource::Dir(credentials) = credentials else { bail!("the demo's Harbors have folders") };
    let ca_file = ca_file.as_deref().context("the demo speaks TLS")?;
    writeln!(
        into,
        "  {name}: {{host: {host}, site: {site}, kind: harbor, pullSecret: harbor-{name}-creds, url: {url:?}, \
         credentials: {{dir: {credentials:?}}}, caFile: {ca_file:?}}}",
        url = url.as_str(),
    )?;
    Ok(())
}
