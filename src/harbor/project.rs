//! A project's facts: whether it is a proxy cache, and which CVE allowlist applies.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::route::Serves;
use crate::registry::{Object, object};

use super::answer::Malformed;

/// What we read of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Whether it holds copies or is a proxy cache (`registry_id` > 0).
    pub serves: Serves,
    /// Which CVE allowlist applies.
    pub allowlist: AllowlistOf,
}

/// Which CVE allowlist applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowlistOf {
    /// The project's own.
    Own(CveAllowlist),
    /// The system's.
    System,
}

/// A CVE allowlist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CveAllowlist {
    /// The identifiers of the vulnerabilities that are allowed.
    pub items: Vec<Box<str>>,
    /// When it expires, in seconds since 1970. `None`: never.
    pub expires_at: Option<i64>,
}

#[derive(Deserialize)]
struct RawProject<'a> {
    name: Option<Cow<'a, str>>,
    registry_id: Option<i64>,
    #[serde(borrow)]
    metadata: Option<Object<Metadata<'a>>>,
    #[serde(borrow)]
    cve_allowlist: Option<Object<RawAllowlist<'a>>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    reuse_sys_cve_allowlist: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct RawAllowlist<'a> {
    #[serde(borrow)]
    items: Option<Vec<Object<RawItem<'a>>>>,
    expires_at: Option<i64>,
}

#[derive(Deserialize)]
struct RawItem<'a> {
    #[serde(borrow)]
    cve_id: Option<Cow<'a, str>>,
}

/// Reads the answer of the project API.
///
/// # Errors
/// [`Malformed`] if it is not the JSON of a project.
pub fn project(body: &[u8]) -> Result<Project, Malformed> {
    let raw: RawProject<'_> = object(body).map_err(|source| Malformed::json("project", source))?;
    if raw.name.is_none() {
        return Err(Malformed::Field { what: "project", field: "name" });
    }
    // As Harbor reads it (`ReuseSysCVEAllowlist`): if the key is missing, the system's list applies.
    let reuses = raw.metadata.and_then(|Object(metadata)| metadata.reuse_sys_cve_allowlist);
    let allowlist = match reuses.as_deref() {
        None | Some("1") => AllowlistOf::System,
        Some(word) if word.eq_ignore_ascii_case("true") => AllowlistOf::System,
        Some(_) => AllowlistOf::Own(raw.cve_allowlist.map(|Object(list)| list).unwrap_or_default().into()),
    };
    let serves = if raw.registry_id.is_some_and(|id| id > 0) { Serves::ProxyCache } else { Serves::Copies };
    Ok(Project { serves, allowlist })
}

/// Reads the answer of the system's allowlist API.
///
/// # Errors
/// [`Malformed`] if it is not a JSON object.
pub fn system_allowlist(body: &[u8]) -> Result<CveAllowlist, Malformed> {
    let raw: RawAllowlist<'_> = object(body).map_err(|source| Malformed::json("CVE allowlist", source))?;
    Ok(raw.into())
}

impl CveAllowlist {
    /// The identifiers that it allows at `now`: none once it has expired.
    #[must_use]
    pub fn in_force(self, now: Timestamp) -> Vec<Box<str>> {
        if self.expires_at.is_some_and(|end| now.as_second() >= end) { Vec::new() } else { self.items }
    }
}

impl From<RawAllowlist<'_>> for CveAllowlist {
    fn from(raw: RawAllowlist<'_>) -> Self {
        let items =
            raw.items.unwrap_or_default().into_iter().filter_map(|Object(item)| item.cve_id).map(Into::into);
        Self { items: items.collect(), expires_at: raw.expires_at }
    }
}

#[cfg(test)]
mod tests;
