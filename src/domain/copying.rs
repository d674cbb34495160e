//! From where to where an image is copied: the Route decides, as it does for Pods.

use super::digest::Digest;
use super::image::{Reference, ReferenceError, Repository, Tag};
use super::mapping::TooShallow;
use super::name::{RegistryName, RouteName};
use super::registry::{Service, SharedRegistry};
use super::route::{Replica, Route, RouteMatch, Serves};
use super::settings::Settings;

/// A copy that the Route allows.
#[derive(Debug, Clone)]
pub struct Copying {
    /// The image's name at its primary, `host/repository`.
    pub name: String,
    /// The tag, as written.
    pub tag: Option<Tag>,
    /// The digest, as written.
    pub digest: Option<Digest>,
    /// The Places that may hold it, the primary first.
    pub from: Vec<End>,
    /// The Place that is to hold it.
    pub to: End,
}

/// A repository at a registry.
#[derive(Debug, Clone)]
pub struct End {
    /// The registry.
    pub registry: SharedRegistry,
    /// The repository there.
    pub repository: Repository,
}

/// Why there is nothing to copy from or to.
#[derive(Debug, thiserror::Error)]
pub enum NoCopy {
    /// The image is no reference.
    #[error("`{image}` is no image reference")]
    Reference {
        /// What was written.
        image: String,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// No route names it.
    #[error(
        "no route of the configuration has images such as `{0}`: name the image as Pods do, by its primary or by a replica"
    )]
    NotRouted(String),
    /// Several images of the primary are replicated to what is named.
    #[error(
        "more than one image of the primary is replicated to `{image}` by the route `{route}`: name the image as it is called at the primary"
    )]
    Ambiguous {
        /// What was written.
        image: String,
        /// The route.
        route: RouteName,
    },
    /// The configuration has no such registry.
    #[error("the configuration has no registry `{registry}`; it has {known}")]
    NoRegistry {
        /// What was written.
        registry: String,
        /// The names of those that there are.
        known: String,
    },
    /// The route has no Place there.
    #[error(
        "the route `{route}` of `{name}` has no Place at the registry `{registry}`: it has them at {places}"
    )]
    NoPlace {
        /// The image.
        name: String,
        /// Its route.
        route: RouteName,
        /// The registry.
        registry: RegistryName,
        /// Where the route has Places.
        places: String,
    },
    /// The mapping of the Place does not take it.
    #[error("the route `{route}` cannot map it to the registry `{registry}`")]
    TooShallow {
        /// The route.
        route: RouteName,
        /// The registry.
        registry: RegistryName,
        /// Why.
        #[source]
        source: TooShallow,
    },
    /// The filters of the Place leave it out.
    #[error(
        "the filters of the route `{route}` leave `{name}` out at the registry `{registry}`: no Pod would be sent to such a copy"
    )]
    FilteredOut {
        /// The image.
        name: String,
        /// Its route.
        route: RouteName,
        /// The registry.
        registry: RegistryName,
    },
    /// A proxy cache fetches its copies itself.
    #[error(
        "the Place of the route `{route}` at the registry `{registry}` is a proxy cache, which fetches its copies itself: pull the image through it"
    )]
    Proxy {
        /// The route.
        route: RouteName,
        /// The registry.
        registry: RegistryName,
    },
    /// The registry is not to be used.
    #[error("the registry `{0}` is drained (`drain: true`)")]
    Drained(RegistryName),
    /// No other Place is left.
    #[error("the route `{route}` has no other Place that could hold it than `{registry}`, where it is to go")]
    NoSource {
        /// The route.
        route: RouteName,
        /// Where it is to go.
        registry: RegistryName,
    },
}

impl Settings {
    /// From where to where an image is copied.
    ///
    /// # Errors
    /// The configuration does not say, or its Place does not take copies.
    pub fn copying(&self, image: &str, to: &str, from: Option<&str>) -> Result<Copying, NoCopy> {
        let reference = Reference::parse(image)
            .map_err(|source| NoCopy::Reference { image: image.to_owned(), source })?;
        let covers = |found: &RouteMatch<'_>| match (found.named.replica(found.route), &found.source) {
            (Some(replica), Some(source)) => replica.filter.allows(source.as_str(), &reference),
            _ => true,
        };
        let found = self.index.find(&reference, covers).or_else(|| self.index.find(&reference, |_| true));
        let found = found.ok_or_else(|| NoCopy::NotRouted(reference.name()))?;
        let route = found.route;
        let Some(source) = found.source else {
            return Err(NoCopy::Ambiguous { image: image.to_owned(), route: route.name.clone() });
        };
        let whole = Whole { route, source, reference: &reference };
        let to = self.end(&whole, to)?;
        let mut holders: Vec<End> = match from {
            Some(from) => vec![self.end(&whole, from)?],
            None => whole.holders().collect(),
        };
        holders.retain(|end| end.registry.name != to.registry.name && end.registry.service == Service::Open);
        if holders.is_empty() {
            return Err(NoCopy::NoSource { route: route.name.clone(), registry: to.registry.name.clone() });
        }
        let name = format!("{}/{}", route.primary.host, whole.source);
        let (tag, digest) = (reference.owned_tag(), reference.digest);
        // A reference without tag and digest means `latest`.
        let tag = tag.or_else(|| digest.is_none().then(|| Tag::new("latest")));
        Ok(Copying { name, tag, digest, from: holders, to })
    }

    /// The Place of the image at the registry of this name.
    fn end(&self, whole: &Whole<'_>, name: &str) -> Result<End, NoCopy> {
        let Whole { route, source, reference } = whole;
        let Some(registry) = self.registries.get(&RegistryName::new(name)) else {
            let known: Vec<&str> = self.registries.keys().map(RegistryName::as_str).collect();
            return Err(NoCopy::NoRegistry { registry: name.to_owned(), known: known.join(", ") });
        };
        if registry.service == Service::Drained {
            return Err(NoCopy::Drained(registry.name.clone()));
        }
        if route.primary.name == registry.name {
            return Ok(End { registry: registry.clone(), repository: source.clone() });
        }
        let (route_name, registry) = (route.name.clone(), registry.name.clone());
        let here: Vec<&Replica> =
            route.replicas.iter().filter(|replica| replica.registry.name == registry).collect();
        if here.is_empty() {
            let replicas = route.replicas.iter().map(|replica| replica.registry.name.as_str());
            let places: Vec<&str> = std::iter::once(route.primary.name.as_str()).chain(replicas).collect();
            let (name, places) = (reference.name(), places.join(", "));
            return Err(NoCopy::NoPlace { name, route: route_name, registry, places });
        }
        let Some(replica) =
            here.into_iter().find(|replica| replica.filter.allows(source.as_str(), reference))
        else {
            return Err(NoCopy::FilteredOut { name: reference.name(), route: route_name, registry });
        };
        if replica.serves == Serves::ProxyCache {
            return Err(NoCopy::Proxy { route: route_name, registry });
        }
        match replica.mapping.map(source.as_str()) {
            Ok(repository) => Ok(End { registry: replica.registry.clone(), repository }),
            Err(source) => Err(NoCopy::TooShallow { route: route_name, registry, source }),
        }
    }
}

/// An image, and all that its Route says of it.
struct Whole<'a> {
    route: &'a Route,
    source: Repository,
    reference: &'a Reference<'a>,
}

impl Whole<'_> {
    /// The Places that hold it, or should.
    fn holders(&self) -> impl Iterator<Item = End> {
        let primary = End { registry: self.route.primary.clone(), repository: self.source.clone() };
        let replicas = self.route.replicas.iter().filter_map(|replica| {
            let copied = replica.serves == Serves::Copies
                && replica.filter.allows(self.source.as_str(), self.reference);
            let repository = replica.mapping.map(self.source.as_str()).ok().filter(|_| copied)?;
            Some(End { registry: replica.registry.clone(), repository })
        });
        std::iter::once(primary).chain(replicas)
    }
}
