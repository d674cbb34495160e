//! Builds the Case that is judged from an image as a Pod writes it.
//!
//! ```text
//! text ─parse→ Reference ─RouteIndex→ a Route, and which of its Places the reference names
//!                                        └─mapping, filters, order→ the Places that may hold the image
//! ```
//!
//! Where an enforcing policy applies, the Case is built without exemptions, excludes and filters: the settings of
//! admins and tenants cannot allow what a policy forbids.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Case, Expected, Locality, Place, Role, Routed, Spelling, Subject};
use crate::domain::image::{Reference, Repository};
use crate::domain::name::Site;
use crate::domain::place::PlaceIx;
use crate::domain::platform::{PlatformDemand, PlatformPattern, narrow};
use crate::domain::policy::{Enforcement, Labels, Policy, Regime, SelectorId};
use crate::domain::registry::SharedRegistry;
use crate::domain::route::{Collision, Filter, Named, Replica, Route, RouteMatch, Serves};
use crate::domain::settings::Settings;
use crate::domain::verdict::KeepReason;

/// Whether a container's image is ever pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pull {
    /// The node pulls it from a registry, always or when it does not have it.
    Registry,
    /// The node never pulls it: `imagePullPolicy: Never`.
    Never,
}

/// Whether a Pod asks to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exemption {
    /// The Pod does not ask for it.
    None,
    /// The Pod has the annotation `landfall.dev/mode: Skip`.
    Skip,
}

/// What the images of one Pod have in common.
#[derive(Debug, Clone)]
pub struct PodContext {
    /// The rules of the Pod's namespace.
    pub regime: Arc<Regime>,
    /// The platforms that the Pod may run on.
    pub platforms: Arc<[PlatformPattern]>,
    /// Whether the Pod asks to be left alone.
    pub exemption: Exemption,
    /// The time of the judgement.
    pub now: Timestamp,
}

impl Settings {
    /// Returns the rules of a namespace with these labels at `now`.
    #[must_use]
    pub fn regime(&self, labels: &Labels, now: Timestamp) -> Arc<Regime> {
        self.regime_of(self.selecting(labels), labels.namespace(), now)
    }

    /// Returns the rules of a namespace that these policies select, at `now`.
    pub fn regime_of<'a>(
        &self,
        selected: impl IntoIterator<Item = &'a Arc<Policy>>,
        namespace: &str,
        now: Timestamp,
    ) -> Arc<Regime> {
        let enforcing = with_enforcement(Enforcement::Enforce, selected, namespace, now).cloned().collect();
        Arc::new(Regime { defaults: self.defaults.clone(), enforcing })
    }

    /// Returns the policies that select a namespace with these labels, whatever they do there now.
    pub fn selecting(&self, labels: &Labels) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.iter().filter(|policy| policy.selector.matches(labels))
    }

    /// Returns the rules of a namespace that the API server says this selector selects, too. What we know of its labels may
    /// be older.
    #[must_use]
    pub fn regime_selected_by(&self, selector: SelectorId, labels: &Labels, now: Timestamp) -> Arc<Regime> {
        let selects =
            |policy: &&Arc<Policy>| policy.selector.id() == selector || policy.selector.matches(labels);
        self.regime_of(self.policies.iter().filter(selects), labels.namespace(), now)
    }

    /// Returns the platforms that a Pod with this demand may run on.
    #[must_use]
    pub fn platforms(&self, demand: &PlatformDemand) -> Arc<[PlatformPattern]> {
        if *demand == PlatformDemand::default() {
            return self.platforms.clone();
        }
        narrow(&self.platforms, demand).into()
    }

    /// Builds the Case of one image: finds its Route, maps its repository to every Place, and orders the Places.
    ///
    /// ```
    /// # use landfall::facade::config::{self, Files};
    /// # use landfall::facade::domain::case::{Exemption, PodContext, Pull, Subject};
    /// # use landfall::facade::domain::policy::Labels;
    /// # let text = "site: ams
    /// # registries:
    /// #   fra: {host: fra.example.com, site: fra, kind: harbor}
    /// #   ams: {host: ams.example.com, site: ams, kind: harbor}
    /// # routes:
    /// # - name: shop
    /// #   primary: {registry: fra, repositories: 'shop/**'}
    /// #   replicas: [{registry: ams, namespace: mirror, flatten: 1}]
    /// # ";
    /// # let now = "2026-11-21T12:00:00Z".parse()?;
    /// let settings = config::parse(text, "site.yaml", Files::Skip, now)?.settings;
    /// let context = PodContext {
    ///     regime: settings.regime(&Labels::new(), now),
    ///     platforms: settings.platforms.clone(),
    ///     exemption: Exemption::None,
    ///     now,
    /// };
    /// let case = settings.case_for("fra.example.com/shop/web:1", Pull::Registry, &context);
    /// let Subject::Routed(routed) = case.subject else { unreachable!("route `shop` covers it") };
    /// let places = routed.places.iter().map(|place| format!("{}/{}", place.registry.name, place.repository));
    /// assert_eq!(places.collect::<Vec<_>>(), ["ams/mirror/web", "fra/shop/web"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn case_for(&self, written: &str, pull: Pull, context: &PodContext) -> Case {
        let PodContext { regime, exemption, now, .. } = context;
        let (name, subject) = self.subject(written, pull, *exemption, context);
        Case { written: written.into(), name: name.into(), subject, regime: regime.clone(), now: *now }
    }

    fn subject(
        &self,
        written: &str,
        pull: Pull,
        exemption: Exemption,
        context: &PodContext,
    ) -> (String, Subject) {
        let kept = |name, reason| (name, Subject::Kept(reason));
        let reference = match Reference::parse(written) {
            Ok(reference) if !reference.host.is_empty() => reference,
            _ => return kept(String::new(), KeepReason::Unparsable),
        };
        let enforced = context.regime.enforces();
        if !enforced && exemption == Exemption::Skip {
            return kept(reference.name(), KeepReason::Exempt);
        }
        if !enforced && pull == Pull::Never {
            return kept(reference.name(), KeepReason::PullNever);
        }
        // A Route whose filters allow the image comes first, even under a policy that ignores filters: it is the one
        // that really replicates the image.
        let mut found = self.index.find(&reference, |route| route.allows(&reference));
        if found.is_none() && enforced {
            found = self.index.find(&reference, |_| true);
        }
        let Some(found) = found else {
            let name = reference.name();
            let excluded = !enforced && self.exclude.covers(&name);
            return kept(name, if excluded { KeepReason::Excluded } else { KeepReason::NotRouted });
        };
        let name = match &found.source {
            Some(source) => format!("{}/{source}", found.route.primary.host),
            None => reference.name(),
        };
        if !enforced && self.exclude.covers(&name) {
            return kept(name, KeepReason::Excluded);
        }
        (name, Subject::Routed(self.routed(&reference, &found, context)))
    }

    fn routed(&self, reference: &Reference<'_>, found: &RouteMatch<'_>, context: &PodContext) -> Routed {
        let route = found.route;
        let mut places = match &found.source {
            Some(source) => self.places(route, source, reference, context.regime.enforces()),
            None => Vec::new(),
        };
        let named = found.named;
        if places.is_empty()
            && let Some(replica) = named.replica(route)
        {
            // The mapping cannot be inverted: the reference is judged only at the Place that it names.
            places.push((named, self.place(replica, reference.repository())));
        }
        // First the local Place that the reference names, then other local Places, then other sites, nearest first.
        let promoted = |one, place: &Place| one == named && place.locality == Locality::Local;
        places.sort_by_key(|(one, place)| {
            (place.locality, self.distance(&place.registry.site), !promoted(*one, place))
        });
        let position = places.iter().position(|(one, _)| *one == named).unwrap_or_default();
        let registry = named.registry(route);
        Routed {
            route: route.name.clone(),
            tag: reference.owned_tag(),
            digest: reference.digest,
            places: places.into_iter().map(|(_, place)| place).collect(),
            named: PlaceIx(u8::try_from(position).unwrap_or_default()),
            spelling: if *reference.host == *registry.host { Spelling::Canonical } else { Spelling::Alias },
            tag_proof: route.tag_proof,
            pin: route.pin,
            rewrite: route.rewrite,
            platforms: context.platforms.clone(),
        }
    }

    /// The Places of an image, given its repository at the primary.
    fn places(
        &self,
        route: &Route,
        source: &Repository,
        reference: &Reference<'_>,
        enforced: bool,
    ) -> Vec<(Named, Place)> {
        let primary = Place {
            registry: route.primary.clone(),
            repository: source.clone(),
            locality: self.locality(&route.primary),
            role: Role::Primary,
            serves: Serves::Copies,
            collision: Collision::Impossible,
            expected: Expected::Copied,
        };
        let replicas = route.replicas.iter().enumerate().filter_map(|(n, replica)| {
            let copied = replica.filter.allows(source.as_str(), reference);
            let repository = replica.mapping.map(source.as_str()).ok().filter(|_| copied || enforced)?;
            let mut place = self.place(replica, repository);
            if !copied {
                // `collision` was computed for what the rule copies. Outside of that, another image may be there.
                (place.collision, place.expected) = (Collision::Possible, Expected::FilteredOut);
            }
            Some((Named::Replica(n), place))
        });
        std::iter::once((Named::Primary, primary)).chain(replicas).collect()
    }

    fn place(&self, replica: &Replica, repository: Repository) -> Place {
        Place {
            registry: replica.registry.clone(),
            repository,
            locality: self.locality(&replica.registry),
            role: Role::Replica,
            serves: replica.serves,
            collision: replica.collision,
            expected: Expected::Copied,
        }
    }

    fn locality(&self, registry: &SharedRegistry) -> Locality {
        if registry.site == self.site { Locality::Local } else { Locality::Remote }
    }

    /// How far away a site is: its position in `near`; a site that is not named there comes last.
    fn distance(&self, site: &Site) -> usize {
        self.near.iter().position(|near| near == site).unwrap_or(self.near.len())
    }
}

/// Those of the policies that do this in a namespace at `now`. One that only observes is judged separately, by
/// [`Regime::of_one`], and its result is reported.
pub fn with_enforcement<'a>(
    what: Enforcement,
    policies: impl IntoIterator<Item = &'a Arc<Policy>>,
    namespace: &str,
    now: Timestamp,
) -> impl Iterator<Item = &'a Arc<Policy>> {
    policies.into_iter().filter(move |policy| policy.enforcement(namespace, now) == what)
}

impl RouteMatch<'_> {
    /// Whether the filters of the Place that the reference names allow the image.
    fn allows(&self, reference: &Reference<'_>) -> bool {
        match (self.named.replica(self.route), &self.source) {
            (Some(replica), Some(source)) => replica.filter.allows(source.as_str(), reference),
            _ => true,
        }
    }
}

impl Filter {
    /// Whether the replication rule copies this image. A tag filter never applies to a reference with a digest.
    #[must_use]
    pub fn allows(&self, source: &str, reference: &Reference<'_>) -> bool {
        let Self { repositories, exclude, tags, exclude_tags } = self;
        let tag = reference.tag.unwrap_or("latest");
        let pinned = reference.digest.is_some();
        repositories.as_ref().is_none_or(|only| only.matches(source))
            && exclude.as_ref().is_none_or(|not| !not.matches(source))
            && (pinned || tags.as_ref().is_none_or(|only| only.matches(tag)))
            && (pinned || exclude_tags.as_ref().is_none_or(|not| !not.matches(tag)))
    }
}
