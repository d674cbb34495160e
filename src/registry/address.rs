//! Where a registry may send us: anywhere in the world, but not wherever it likes inside our own network.

use std::net::IpAddr;

use url::{Host, Url};

use crate::domain::registry::Registry;

/// Is this a private, link-local or otherwise local address of another host than the registry's own?
///
/// A registry that was taken over must not make us probe the cluster's network, or its cloud's metadata service
/// (as go-containerregistry decides it for realms). A local Harbor often *is* a private address: its own host, as we
/// ask it or as references name it, is as good as the registry itself. Names are not looked up: they prove nothing.
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
