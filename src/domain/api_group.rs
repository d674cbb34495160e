//! The API group: the group of Landfall's resources, and the prefix of all its annotations and labels.

/// The API group as a literal, for `concat!`: `concat!(api_group!(), "/images")`.
macro_rules! api_group {
    () => {
        "landfall.dev"
    };
}
pub(crate) use api_group;

/// The API group of Landfall's resources. In the chart it is the template `landfall.group`.
pub const API_GROUP: &str = api_group!();

/// The label and annotation by which namespaces and Pods ask to be left alone: `landfall.dev/mode: Skip`.
pub const MODE: &str = concat!(api_group!(), "/mode");
/// The value of [`MODE`] that asks to be left alone.
pub const SKIP: &str = "Skip";
