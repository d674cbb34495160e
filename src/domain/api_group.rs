//! The API group. It names the resources, and is the prefix of every annotation and label of Landfall.

/// The API group as a literal, for `concat!`: `concat!(api_group!(), "/images")`.
macro_rules! api_group {
    () => {
        "landfall.dev"
    };
}
pub(crate) use api_group;

/// The API group of Landfall's resources. The chart has it in `landfall.group`.
pub const API_GROUP: &str = api_group!();

/// The label and annotation by which namespaces and Pods ask to be left alone: `landfall.dev/mode: Skip`.
pub const MODE: &str = concat!(api_group!(), "/mode");
/// The value of [`MODE`] that asks to be left alone.
pub const SKIP: &str = "Skip";
