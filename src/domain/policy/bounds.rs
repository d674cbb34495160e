//! How much one policy may hold, and the form of its texts. The configuration file and the resource LandingPolicy have the
//! same bounds, so that a policy can move from one to the other.

use jiff::SignedDuration;

/// Labels under `matchLabels`. The API server charges a rule over the keys of a map for the longest key there could be.
pub const LABELS: usize = 8;
/// Requirements under `matchExpressions`.
pub const EXPRESSIONS: usize = 16;
/// Values of one requirement.
pub const VALUES: usize = 32;
/// Exceptions.
pub const EXCEPTIONS: usize = 32;
/// Image patterns of one exception.
pub const IMAGES: usize = 16;
/// Findings of one exception: more than there are.
pub const FINDINGS: usize = 32;
/// Vulnerabilities under `scan.ignore`.
pub const IGNORED: usize = 256;
/// How long an emergency lasts. `landfall break-glass` opens no policy for longer; one that is open for longer has a warning.
pub const EMERGENCY: SignedDuration = SignedDuration::from_hours(24);
/// Namespaces under `breakGlass`.
pub const NAMESPACES: usize = 32;

/// Characters of a label's key: a prefix, a slash and a name.
pub const KEY_LENGTH: usize = PREFIX_LENGTH + 1 + NAME_LENGTH;
/// Characters of the prefix of a label's key.
pub const PREFIX_LENGTH: usize = 253;
/// Characters of a label's name or value, and of the name of a namespace.
pub const NAME_LENGTH: usize = 63;
/// Characters of an image pattern.
pub const IMAGE_LENGTH: usize = 256;
/// Pairs of braces in an image pattern.
pub const BRACES: usize = 2;
/// Commas in an image pattern. Two pairs then expand to 25 alternatives at most: a policy may have hundreds of patterns, and
/// each replica keeps all alternatives.
pub const COMMAS: usize = 8;
/// Characters of the name of a vulnerability.
pub const VULNERABILITY_LENGTH: usize = 128;
/// Characters of a duration.
pub const DURATION_LENGTH: usize = 32;
/// Characters of a time.
pub const TIME_LENGTH: usize = 35;
/// Characters of a contact.
pub const CONTACT_LENGTH: usize = 256;
/// Characters of a reason.
pub const REASON_LENGTH: usize = 1024;

/// A label's key, but for the length of its prefix.
pub const KEY: &str = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$";
/// A label's value.
pub const VALUE: &str = "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$";
/// The name of a namespace.
pub const NAMESPACE: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// A duration.
pub const DURATION: &str = "^([0-9]{1,9}(ms|s|m|h))+$";
/// A time of RFC 3339 in this millennium. That the day exists is not said here.
pub const TIME: &str = "^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// An image pattern, but for the number of its braces and commas: a host, and components with `*`, `?` and `{a,b/c}`, where
/// braces hold no braces and no alternative is empty.
pub const IMAGE: &str = r"^(localhost|[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+(:[0-9]+)?|[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?:[0-9]+|\[[0-9A-Fa-f:]+\]:[0-9]+|\[[0-9A-Fa-f]*:[0-9A-Fa-f:]*\])(/([A-Za-z0-9._*?-]|\{[A-Za-z0-9._*?-]+(/[A-Za-z0-9._*?-]+)*(,[A-Za-z0-9._*?-]+(/[A-Za-z0-9._*?-]+)*)*\})+)+$";

/// All alternatives of all patterns of one policy take a few megabytes: a replica has 128 MiB, and there may be many policies.
const _: () = {
    let alternatives = (COMMAS / BRACES + 1).pow(2);
    assert!(EXCEPTIONS * IMAGES * alternatives * (IMAGE_LENGTH + size_of::<Box<str>>()) < 4 * 1024 * 1024);
};
