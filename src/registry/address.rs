//! Where a registry may redirect us: to any public address, but not to private addresses of other hosts.

use std::net::IpAddr;

use url::{Host, Url};

use crate::domain::registry::Registry;

/// Is this a private, link-local or other local address, and not the registry's own host?
///
/// A registry that was taken over must not make us send requests into the cluster's network or to the cloud's metadata
/// service (go-containerregistry decides the same for token realms). A local Harbor often has a private address, so its own
/// host is allowed: the one of its `url` and the one in references. Names are not resolved, because the answer of DNS
/// proves nothing.
pub(super) fn leads_inside(registry: &Registry, url: &Url) -> bool {
    let Some(host) = url.host() else { return false };
    let inside = match &host {
        Host::Ipv4(ip) => is_inside((*ip).into()),
        Host::Ipv6(ip) => is_inside(ip.to_canonical()),
        Host::Domain(name) => *name == "localhost",
    };
    let named = |other: &Url| other.host().as_ref() == Some(&host);
    let own_name = || Url::parse(&format!("https://{}", registry.host));
    inside && !named(&registry.url) && !own_name().is_ok_and(|url| named(&url))
}

fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
        }
    }
}
