//! `landfall doctor`: checks everything in an installation that the admission of a Pod needs.
//!
//! ```text
//! registries   Observatory, one probe ─► health; the questions that Landfall asks about an image ─► permissions; its address
//! pull secret  whether its registry accepts what Landfall puts into it
//! image        whether this site has a copy of the image that the user named
//! webhook      its entry, compared with the chart            ┐
//! service      the Pods that are ready to be called          ├ why the API server may not get an answer
//! certificate  that of each Pod, verified by the caBundle    ┘
//! pod          a Pod as a dry run: the whole admission at once
//! second door  its entries, one for each selector of the policies that enforce; a Pod that one of them denies
//! ledger       the gaps that are open, the rules that may be read, the pulls that failed
//! order        the webhooks that are called after Landfall
//! admission    Pods with each host that Landfall may write: whether another admission plugin refuses them
//! ```
//!
//! Nothing here has its own judgement: `evidence/` and `harbor/` judge registries, the API server and the Landfall that it
//! calls judge Pods. Nothing is guessed either: the cause of an error is found by leaving one thing out and trying again.

mod address;
mod certificate;
mod ledger;
mod pods;
mod pull_secrets;
mod questions;
mod registries;
mod second_door;
mod webhook;

use serde::Serialize;

use crate::cluster::{Cluster, ClusterError};
use crate::domain::case::{Exemption, PodContext, Pull};
use crate::domain::case::{Place, Routed, Subject};
use crate::domain::decide::PLACEHOLDER;
use crate::domain::digest::Digest;
use crate::domain::policy::Regime;
use crate::domain::route::Rewrite;
use crate::domain::settings::Settings;
use crate::domain::verdict::KeepReason;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What was checked, for example `registry ams` or `webhook`.
    pub about: String,
    /// What the check found.
    #[serde(flatten)]
    pub found: Found,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Found {
    /// Everything is right.
    Ok {
        /// What was seen.
        said: String,
    },
    /// Something is wrong.
    Wrong {
        /// What was seen.
        said: String,
        /// What to do about it.
        todo: String,
    },
    /// The check could not be made, so nothing is known.
    Skipped {
        /// Why the check could not be made.
        said: String,
    },
}

impl Line {
    /// The check found that everything is right.
    pub fn ok(about: impl Into<String>, said: impl Into<String>) -> Self {
        Self { about: about.into(), found: Found::Ok { said: said.into() } }
    }

    /// The check found an error: what was seen, and what to do.
    pub fn wrong(about: impl Into<String>, said: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { about: about.into(), found: Found::Wrong { said: said.into(), todo: todo.into() } }
    }

    /// The check could not be made.
    pub fn skipped(about: impl Into<String>, said: impl Into<String>) -> Self {
        Self { about: about.into(), found: Found::Skipped { said: said.into() } }
    }

    /// The check could not be made, because the API server answered with this error.
    fn skipped_by_error(about: impl Into<String>, error: &ClusterError) -> Self {
        Self::skipped(about, crate::domain::error_chain::error_chain(error))
    }
}

/// The names of an installation.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The Helm release. Its webhook configuration, Service and Deployment have this name.
    pub release: String,
    /// The namespace of the release.
    pub namespace: String,
    /// The path at which Landfall answers reviews.
    pub path: &'static str,
    /// The part of the API server's timeout that Landfall reserves for the way back.
    pub margin: std::time::Duration,
}

/// The image that the checks use, with its Route and Places.
#[derive(Debug)]
pub struct TestImage {
    /// The image as a Pod would write it.
    pub image: String,
    /// Whether the user named the image. Otherwise it is made up, and no registry holds it.
    pub real: bool,
    routed: Routed,
    /// One made-up image for each route, for the registries that do not hold the image.
    others: Vec<Routed>,
}

/// A Place that may hold an image.
#[derive(Clone, Copy)]
struct Sample<'a> {
    routed: &'a Routed,
    place: &'a Place,
}

impl TestImage {
    /// Takes the image that the user named, or makes up an image of the first route that rewrites. No registry holds a
    /// made-up image.
    ///
    /// # Errors
    /// A message for people that says why there is no image.
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
            // It is pinned, as Landfall would write it, and so that no tag filter applies.
            let image = format!("{host}/{repository}:{NAME}@{NOWHERE}");
            if let Subject::Routed(routed) = case_for(&image) {
                made_up.push((image, routed));
            }
        }
        let others = made_up.iter().map(|(_, routed)| routed.clone()).collect();
        if let Some(image) = named {
            if image == PLACEHOLDER {
                return Err(format!("`{image}` is what an injector replaces: name the image that it writes"));
            }
            return match case_for(image) {
                Subject::Routed(routed) => Ok(Self { image: image.to_owned(), real: true, routed, others }),
                Subject::Kept(KeepReason::NotRouted) => {
                    Err(format!("no route covers `{image}`, so Landfall does not change it"))
                }
                Subject::Kept(reason) => Err(format!("Landfall does not change `{image}`: {reason:?}")),
            };
        }
        made_up.sort_by_key(|(_, routed)| routed.rewrite != Rewrite::Apply);
        let (image, routed) = made_up
            .into_iter()
            .next()
            .ok_or("no image could be made up that a route covers; name one with --image")?;
        Ok(Self { image, real: false, routed, others })
    }

    /// Iterates over the Places of the image, then over those of the other routes.
    fn samples(&self) -> impl Iterator<Item = Sample<'_>> {
        let all = std::iter::once(&self.routed).chain(&self.others);
        all.flat_map(|routed| routed.places.iter().map(move |place| Sample { routed, place }))
    }
}

/// What is wrong, and what to do about it.
type Mistake = (String, String);

/// The name of everything that the checks make up: Pod, container, repository and tag.
const NAME: &str = "landfall-doctor";

/// A digest that no image has.
const NOWHERE: Digest = Digest::Sha256([0xd0; 32]);

/// Checks the registries that routes name, with the credentials that are mounted here.
pub async fn registries(settings: &Settings, image: Option<&TestImage>) -> Vec<Line> {
    let mut lines = registries::check(settings, image).await;
    lines.extend(pull_secrets::check(settings).await);
    lines.extend(ledger::rules(settings).await);
    lines
}

/// Checks everything between the API server and Landfall, and tries Pods in the namespace `pods`. `settings` is absent
/// where the configuration cannot be used; `image` is the image to try, or why there is none.
pub async fn cluster(
    cluster: &Cluster,
    installation: &Installation,
    settings: Option<&Settings>,
    image: Result<&TestImage, &str>,
    pods: &str,
) -> Vec<Line> {
    let Installation { release, .. } = installation;
    let entries = match cluster.registrations(release).await {
        Ok(entries) => entries,
        Err(error @ ClusterError::Missing { .. }) => {
            let todo = format!(
                "create it again with `helm upgrade {release} …` (or `kubectl apply -k manifests`); until then images are not rewritten. If the release has another name, use --release"
            );
            return vec![Line::wrong("webhook", error.to_string(), todo)];
        }
        Err(error) => {
            let mut said = crate::domain::error_chain::error_chain(&error);
            if let Some(proxy) = cluster.proxy() {
                said += &format!("; the API server is asked through the proxy {proxy}");
            }
            return ["webhook", "pod"].map(|about| Line::skipped(about, &*said)).into();
        }
    };
    if entries.is_empty() {
        let said = format!("MutatingWebhookConfiguration `{release}` has no webhooks");
        return vec![Line::wrong("webhook", said, format!("restore it with `helm upgrade {release} …`"))];
    }
    let (mut lines, mut unverified) = (Vec::new(), None);
    for entry in &entries {
        lines.extend(webhook::entry(entry, installation, settings.map(|settings| settings.budget.request)));
        let backends = webhook::backends(cluster, entry, installation).await;
        lines.extend(backends.lines);
        unverified = unverified.or(backends.unverified);
    }
    let excluded =
        settings.is_some_and(|settings| settings.exclude.namespaces.iter().any(|name| **name == *pods));
    let (tried, answered) = match image {
        Ok(_) if excluded => {
            let said =
                format!("Landfall does not handle the Pods of `{pods}`: it is in `exclude.namespaces`");
            (vec![Line::wrong("pod", said, pods::OTHER_NAMESPACE)], false)
        }
        Ok(image) => pods::check(cluster, &entries, installation, image, pods).await,
        Err(why) => (vec![Line::skipped("pod", why)], false),
    };
    if let Some(why) = unverified {
        lines.push(match answered {
            true => Line::ok(
                "certificate",
                format!(
                    "the API server itself has verified it: see `pod`. (It was not checked from here: {why})"
                ),
            ),
            false => Line::skipped("certificate", why),
        });
    }
    lines.extend(tried);
    lines.extend(second_door::check(cluster, installation, settings, image.ok(), pods).await);
    lines.extend(ledger::check(cluster, settings).await);
    lines
}
