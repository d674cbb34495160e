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
