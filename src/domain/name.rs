//! Names that people write in the configuration and in policies. Each kind of name has its own type, so that the compiler
//! finds a mix-up.

/// A newtype over a shared, immutable string: cheap to clone into cache keys.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Wraps the text without any check.
            pub fn new(text: impl Into<std::sync::Arc<str>>) -> Self {
                Self(text.into())
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, out)
            }
        }
    };
}
pub(super) use name;

name! {
    /// The key of a registry under `registries:`.
    RegistryName
}
name! {
    /// The name of a site. Registries, `near` and `site` use it for one location.
    Site
}
name! {
    /// The name of a Secret of type `kubernetes.io/dockerconfigjson` in the Pod's own namespace.
    PullSecret
}
name! {
    /// The `name` of a route in the configuration.
    RouteName
}
name! {
    /// The name of a LandingPolicy.
    PolicyName
}
