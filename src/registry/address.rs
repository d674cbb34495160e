//! Which hosts are the registry's own, and which addresses other hosts may have.
//!
//! A registry that was taken over must not make us send requests into the cluster's network or to the cloud's metadata
//! service, and least of all our credentials. A local Harbor often has a private address, so its own hosts are allowed.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::domain::proxy::Proxies;
use crate::domain::registry::Registry;

/// Is the URL at a host that the configuration names for this registry, on any port?
pub(super) fn is_own(registry: &Registry, url: &Url) -> bool {
    let named = |other: &Url| other.host() == url.host();
    named(&registry.url)
        || registry.realm.as_ref().is_some_and(named)
        || hosts(registry, url.scheme()).any(|own| named(&own))
}

/// Is the URL at the `url`, the `host` or an alias of the registry, with the same port?
pub(super) fn is_own_endpoint(registry: &Registry, url: &Url) -> bool {
    let named = |other: &Url| {
        other.host() == url.host() && other.port_or_known_default() == url.port_or_known_default()
    };
    named(&registry.url) || hosts(registry, url.scheme()).any(|own| named(&own))
}

/// The `host` and the aliases as URLs. Without a port they are at the one that the scheme implies.
fn hosts<'a>(registry: &'a Registry, scheme: &'a str) -> impl Iterator<Item = Url> + 'a {
    let hosts = std::iter::once(&registry.host).chain(&registry.aliases);
    hosts.filter_map(move |host| Url::parse(&format!("{scheme}://{host}")).ok())
}

/// Does the URL state an address that is not public, of another host? A host that is a name is checked by
/// [`PublicOnly`], when its addresses are known.
pub(super) fn leads_inside(registry: &Registry, url: &Url) -> bool {
    let inside = match url.host() {
        Some(Host::Ipv4(ip)) => !is_public(ip.into()),
        Some(Host::Ipv6(ip)) => !is_public(ip.into()),
        Some(Host::Domain(_)) | None => false,
    };
    inside && !is_own(registry, url)
}

/// Resolves names of other hosts, and gives only public addresses to connect to.
///
/// The connection goes to the very address that was checked, so DNS cannot give another one in between. Where a proxy
/// is configured, the proxy resolves the names; its own name is exempt.
pub(super) struct PublicOnly {
    proxies: Vec<Box<str>>,
}

/// A name has no public address.
#[derive(Debug, thiserror::Error)]
#[error("it leads to a private address of another host, {0}")]
pub(super) struct NotPublic(IpAddr);

impl PublicOnly {
    /// Beside these proxies.
    pub(super) fn beside(proxies: &Proxies) -> Self {
        Self { proxies: proxies.all().filter_map(|proxy| proxy.url().host_str()).map(Box::from).collect() }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let exempt = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            // The connector sets the port.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public = if exempt { found } else { only_public(found)? };
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The public ones of these addresses.
fn only_public(mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
    let first = found.first().map(SocketAddr::ip);
    found.retain(|address| is_public(address.ip()));
    match first {
        Some(inside) if found.is_empty() => Err(Box::new(NotPublic(inside))),
        _ => Ok(found),
    }
}

/// May this address be that of a server on the Internet? The registries of special addresses of IANA
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>)
/// name what may not.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    match ip.octets() {
        // This network, private, loopback, link-local (the metadata service of clouds).
        [0 | 10 | 127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..]
        // Behind the NAT of a carrier, which clusters use for Pods and metadata services, too.
        | [100, 64..=127, ..]
        // Protocol assignments, relays of 6to4.
        | [192, 0, 0, _] | [192, 88, 99, _]
        // Documentation, benchmarks.
        | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..]
        // Multicast, reserved, broadcast.
        | [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let embedded = || {
        let ([g1, g2], [h1, h2]) = (g.to_be_bytes(), h.to_be_bytes());
        is_public_v4(Ipv4Addr::new(g1, g2, h1, h2))
    };
    match (a, b) {
        // An IPv4 address in IPv6, and one behind the well-known prefix of NAT64, by which a cluster with only IPv6
        // reaches every IPv4 host: the address inside counts.
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => embedded(),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => embedded(),
        // Protocol assignments (with Teredo, benchmarks, ORCHID), documentation, 6to4.
        (0x2001, 0..=0x01ff | 0x0db8) | (0x2002, _) | (0x3fff, 0..=0x0fff) => false,
        // All other public addresses are here. Outside are loopback, unspecified, unique local, link-local, site-local,
        // multicast, discard-only, local NAT64 and segment routing.
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of every special range, and their neighbours outside.
    #[test]
    fn only_public_addresses_are_public() {
        for inside in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::a00:1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b::100.64.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "ff02::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1",
            "3ffe::1",
            "3fff:1000::1",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn of_the_addresses_of_a_name_only_public_ones_are_used() {
        let found = |all: &[&str]| all.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        let mixed = only_public(found(&["10.0.0.1", "8.8.8.8", "::1"])).unwrap();
        assert_eq!(mixed, [SocketAddr::new("8.8.8.8".parse().unwrap(), 0)]);
        let refused = only_public(found(&["100.64.0.1", "::1"])).unwrap_err();
        assert!(refused.to_string().contains("100.64.0.1"), "{refused}");
        assert!(only_public(Vec::new()).unwrap().is_empty());
    }
}
