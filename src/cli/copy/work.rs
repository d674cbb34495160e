//! One copy: its Places, the credentials for both ends, and a source that has it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use prometheus_client::registry::Registry as Page;
use tokio::time::Instant;

use super::show::Show;
use crate::copy::{Copier, Options, Outcome, Peer, Shared, Side};
use crate::domain::copying::{Copying, End};
use crate::domain::evidence::Presence;
use crate::domain::registry::{CredentialSource, Registry, SharedRegistry};
use crate::domain::settings::Settings;
use crate::registry::{Client, Metrics, Target, Tasks};

/// How long a Place may take to say whether it has an image.
const PATIENCE: Duration = Duration::from_secs(20);

/// An image, and the registry that is to have it.
pub(super) struct Wanted {
    pub image: String,
    pub to: String,
}

/// What all copies of one command have in common.
pub(super) struct Work<'a, W: Write> {
    pub settings: &'a Settings,
    pub from: Option<&'a str>,
    pub credentials: Option<&'a Path>,
    pub options: &'a Options,
    pub shared: &'a Shared,
    pub show: &'a Show<W>,
}

impl<W: Write> Work<'_, W> {
    /// Copies one image. `false`: something could not be copied, which was said.
    pub async fn one(&self, wanted: &Wanted) -> anyhow::Result<bool> {
        let copying = self.settings.copying(&wanted.image, &wanted.to, self.from)?;
        let writer = client(&self.writing(&copying.to.registry)?)?;
        let (reader, from) = match self.holder(&copying).await? {
            Ok(holder) => holder,
            Err(nobody) => {
                self.show.cannot(&wanted.image, &wanted.to, &nobody)?;
                return Ok(false);
            }
        };
        self.show.begins(&copying, from)?;
        let tell = |event: crate::copy::Event<'_>| self.show.event(&copying, &event);
        let peer =
            |client, end: &End, side| Peer { client, repository: end.repository.clone(), side, tell: &tell };
        let copier = Copier {
            source: peer(&reader, from, Side::Source),
            target: peer(&writer, &copying.to, Side::Target),
            options: self.options,
            shared: self.shared,
            tell: &tell,
        };
        // What another replica says of a tag may be old: beside a digest, only the primary's word sets it, or that of --from.
        let may_tell =
            self.from.is_some() || copying.from.first().is_some_and(|first| std::ptr::eq(first, from));
        let tag = copying.tag.as_ref().filter(|_| may_tell || copying.digest.is_none());
        let outcome: Outcome = copier.copy(tag, copying.digest.as_ref()).await;
        self.show.ends(&copying, from, self.options.run, &outcome)?;
        Ok(outcome.failures.is_empty())
    }

    /// The target, with credentials that may write there.
    fn writing(&self, registry: &SharedRegistry) -> anyhow::Result<SharedRegistry> {
        let credentials = match (self.credentials, self.settings.writers.get(&registry.name)) {
            (Some(path), _) if path.is_dir() => CredentialSource::Dir(path.to_owned()),
            (Some(path), _) => CredentialSource::DockerConfig(path.to_owned()),
            (None, Some(writer)) => writer.clone(),
            // Nobody signs in there.
            (None, None) if registry.credentials == CredentialSource::Anonymous => {
                CredentialSource::Anonymous
            }
            (None, None) => bail!(
                "no credentials to write to the registry `{0}`: set `registries.{0}.copy.credentials`, or give --credentials. Those of `registries.{0}.credentials` are for reading only",
                registry.name
            ),
        };
        Ok(Arc::new(Registry { credentials, ..Registry::clone(registry) }))
    }

    /// The first Place that has the image. What a tag means only the primary tells, unless --from names another.
    /// The inner error says why there is none.
    async fn holder<'c>(&self, copying: &'c Copying) -> anyhow::Result<Result<(Client, &'c End), String>> {
        let mut said = Vec::new();
        for (place, end) in copying.from.iter().enumerate() {
            let name = &end.registry.name;
            if place > 0 && copying.digest.is_none() {
                said.push(format!("{name} was not asked, because only the primary tells what a tag means; name the digest, or --from={name}"));
                continue;
            }
            let reader = client(&end.registry)?;
            let target = match (&copying.digest, &copying.tag) {
                (Some(digest), _) => Target::Digest(digest),
                (None, Some(tag)) => Target::Tag(tag),
                (None, None) => bail!("`{}` has neither tag nor digest", copying.name),
            };
            match reader.presence(&end.repository, target, Instant::now() + PATIENCE).await {
                Presence::Present { .. } => return Ok(Ok((reader, end))),
                // What the engine says of it is more than what can be said here.
                _ if copying.from.len() == 1 => return Ok(Ok((reader, end))),
                Presence::Unknown(unknown) => said.push(format!("{name} does not say: {unknown}")),
                Presence::Refused(why) => said.push(format!("{name} refuses to serve it: {why}")),
                _ => said.push(format!("{name} does not have it")),
            }
        }
        Ok(Err(format!("no Place has `{}`: {}", wanted(copying), said.join("; "))))
    }
}

/// The image, as it is asked for.
fn wanted(Copying { name, tag, digest, .. }: &Copying) -> String {
    match (digest, tag) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, Some(tag)) => format!("{name}:{tag}"),
        (None, None) => name.clone(),
    }
}

fn client(registry: &SharedRegistry) -> anyhow::Result<Client> {
    let metrics = Metrics::register(&mut Page::default());
    Client::new(registry, metrics, Tasks::default())
        .with_context(|| format!("the registry `{}` cannot be asked", registry.name))
}
