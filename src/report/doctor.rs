//! The examination of an installation: does everything stand that a Pod's way takes?
//!
//! ```text
//! registries   Observatory, one look ─► health; what Landfall asks of an image ─► rights
//! webhook      its entry, as the chart renders it            ┐
//! service      who is ready to be called                     ├ why the API server may not get an answer
//! certificate  what each of them shows, by the caBundle      ┘
//! pod          a Pod, as a dry run: the whole way at once
//! admission    Pods under each host that Landfall may write: who else refuses them
//! ```
//!
//! Nothing here judges anew: registries are judged by `evidence/` and `harbor/`, Pods by the API server and by the
//! Landfall that it calls. Nothing is guessed either: who is to blame is found by leaving one thing out and trying again.

mod certificate;
mod pods;
mod registries;
mod webhook;

use serde::Serialize;

use crate::cluster::{Cluster, ClusterError};
use crate::domain::case::{Exemption, PodContext, Pull};
use crate::domain::case::{Place, Routed, Subject};
use crate::domain::digest::Digest;
use crate::domain::policy::Regime;
use crate::domain::route::Rewrite;
use crate::domain::settings::Settings;
use crate::domain::verdict::KeepReason;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What.
    pub about: String,
    /// How it stands.
    #[serde(flatten)]
    pub found: Found,
}

/// How a thing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Found {
    /// As it should.
    Ok {
        /// What was seen.
        said: String,
    },
    /// Not as it should.
    Wrong {
        /// What was seen.
        said: String,
        /// What to do about it.
        todo: String,
    },
    /// It could not be looked at: nothing is known of it.
    Skipped {
        /// Why not.
        said: String,
    },
}

impl Line {
    /// It stands as it should.
    pub fn ok(about: impl Into<String>, said: impl Into<String>) -> Self {
        Self { about: about.into(), found: Found::Ok { said: said.into() } }
    }

    /// It does not: what was seen, and what to do.
    pub fn wrong(about: impl Into<String>, said: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { about: about.into(), found: Found::Wrong { said: said.into(), todo: todo.into() } }
    }

    /// It could not be looked at.
    pub fn skipped(about: impl Into<String>, said: impl Into<String>) -> Self {
        Self { about: about.into(), found: Found::Skipped { said: said.into() } }
    }

    /// The API server did not tell.
    fn untold(about: impl Into<String>, error: &ClusterError) -> Self {
        Self::skipped(about, crate::domain::error_chain::error_chain(error))
    }
}

/// The installation: the names that everything has.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The release: its webhook configuration, Service and Deployment are called so.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// The path at which Landfall answers reviews.
    pub path: &'static str,
    /// What it leaves of the API server's timeout for the way back.
    pub margin: std::time::Duration,
}

/// What is tried with: an image, framed as Landfall would.
#[derive(Debug)]
pub struct Specimen {
    /// As a Pod would write it.
    pub image: String,
    /// Whether somebody named it, or it was made up: then it lies nowhere.
    pub real: bool,
    routed: Routed,
    /// One for each route, made up: for registries that the image has nothing to do with.
    others: Vec<Routed>,
}

/// A Place where an image may lie.
#[derive(Clone, Copy)]
struct Sample<'a> {
    routed: &'a Routed,
    place: &'a Place,
}

impl Specimen {
    /// The image that somebody named; else one that no registry holds, under the first route that rewrites.
    ///
    /// # Errors
    /// Why there is none, in a sentence.
    pub fn of(settings: &Settings, named: Option<&str>, now: jiff::Timestamp) -> Result<Self, String> {
        let case_for = |image: &str| {
            let context = PodContext {
                regime: Regime::of_defaults(settings.defaults.clone()).into(),
                platforms: settings.platforms.clone(),
                exemption: Exemption::None,
                now,
            };
            settings.case_for(image, Pull::Registry, &context).subject
        };
        let mut made_up: Vec<(String, Routed)> = Vec::new();
        for route in settings.routes.iter() {
            let (host, repository) = (&route.primary.host, route.repositories.example(NAME));
            // Pinned, as Landfall would write it; and filters of tags do not meet it.
            let image = format!("{host}/{repository}:{NAME}@{NOWHERE}");
            if let Subject::Routed(routed) = case_for(&image) {
                made_up.push((image, routed));
            }
        }
        let others = made_up.iter().map(|(_, routed)| routed.clone()).collect();
        if let Some(image) = named {
            return match case_for(image) {
                Subject::Routed(routed) => Ok(Self { image: image.to_owned(), real: true, routed, others }),
                Subject::Kept(KeepReason::NotRouted) => {
                    Err(format!("no route takes `{image}`, so Landfall leaves it alone"))
                }
                Subject::Kept(reason) => Err(format!("Landfall leaves `{image}` alone: {reason:?}")),
            };
        }
        made_up.sort_by_key(|(_, routed)| routed.rewrite != Rewrite::Apply);
        let (image, routed) = made_up
            .into_iter()
            .next()
            .ok_or("no image could be made up that a route takes: name one, --image")?;
        Ok(Self { image, real: false, routed, others })
    }

    /// One Place at each registry that a route names, the image's own first.
    fn samples(&self) -> impl Iterator<Item = Sample<'_>> {
        let all = std::iter::once(&self.routed).chain(&self.others);
        all.flat_map(|routed| routed.places.iter().map(move |place| Sample { routed, place }))
    }
}

/// What is ours in a trial is called so.
const NAME: &str = "landfall-doctor";

/// The digest of nothing that anybody has.
const NOWHERE: Digest = Digest::Sha256([0xd0; 32]);

/// Looks at the registries that routes name, with the credentials that are mounted here.
pub async fn registries(settings: &Settings, specimen: Option<&Specimen>) -> Vec<Line> {
    registries::look(settings, specimen).await
}

/// Looks at everything between the API server and Landfall, and tries Pods in the namespace `pods`. `settings` and
/// `specimen`: what is known of the configuration, or why it is not.
pub async fn cluster(
    cluster: &Cluster,
    installation: &Installation,
    settings: Option<&Settings>,
    specimen: Result<&Specimen, &str>,
    pods: &str,
) -> Vec<Line> {
    let Installation { release, .. } = installation;
    let entries = match cluster.registrations(release).await {
        Ok(entries) => entries,
        Err(error @ ClusterError::Missing { .. }) => {
            let todo = format!(
                "`helm upgrade {release} …` (or `kubectl apply -k manifests`) brings it back; until then Pods start as written. Is the release called otherwise? --release"
            );
            return vec![Line::wrong("webhook", error.to_string(), todo)];
        }
        Err(error) => {
            let unknown = ["webhook", "pod"].map(|about| Line::untold(about, &error));
            return unknown.into();
        }
    };
    if entries.is_empty() {
        let said = format!("MutatingWebhookConfiguration `{release}` calls nobody: it is empty");
        return vec![Line::wrong("webhook", said, format!("`helm upgrade {release} …` puts it back"))];
    }
    let (mut lines, mut unseen) = (Vec::new(), None);
    for entry in &entries {
        lines.extend(webhook::entry(entry, installation, settings.map(|settings| settings.budget.request)));
        let way = webhook::way(cluster, entry, installation).await;
        lines.extend(way.lines);
        unseen = unseen.or(way.unseen);
    }
    let excluded =
        settings.is_some_and(|settings| settings.exclude.namespaces.iter().any(|name| **name == *pods));
    let (tried, answered) = match specimen {
        Ok(_) if excluded => {
            let said = format!("`exclude.namespaces` leaves the Pods of `{pods}` alone");
            (vec![Line::wrong("pod", said, pods::ANOTHER)], false)
        }
        Ok(specimen) => pods::look(cluster, &entries, installation, specimen, pods).await,
        Err(why) => (vec![Line::skipped("pod", why)], false),
    };
    if let Some(why) = unseen {
        lines.push(match answered {
            true => Line::ok(
                "certificate",
                format!("the API server itself has verified it: see `pod`. (From here: {why})"),
            ),
            false => Line::skipped("certificate", why),
        });
    }
    lines.extend(tried);
    lines
}
