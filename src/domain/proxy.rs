//! Proxies: which one a request goes through, as Go's `golang.org/x/net/http/httpproxy` decides. Kubernetes, its nodes
//! and its tools read `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` so, and an administrator means the same by them here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// A proxy. It is shown without its user name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// Parses `scheme://[user:password@]host[:port]`. Without a scheme it is `http`. `None`: it is no URL, or of a scheme
    /// that no proxy is asked by; known are `http`, `https`, `socks5` and `socks5h`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
        let url = url.ok().filter(Url::has_host)?;
        matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h").then_some(Self(url))
    }

    /// Its URL, with user name and password. Do not show it.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// The proxies for plain and for secure requests, and the hosts that are asked without them.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    plain: Option<Proxy>,
    secure: Option<Proxy>,
    direct: Vec<Direct>,
    ignored: Vec<&'static str>,
}

/// The host of a request.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Name(&'a str),
    Address(IpAddr),
}

/// An entry of `NO_PROXY`: what is asked without a proxy.
#[derive(Debug, Clone)]
enum Direct {
    /// `*`.
    Everything,
    /// `10.0.0.0/8`: addresses whose first bits are these.
    Network { address: IpAddr, bits: u32 },
    /// `10.0.0.1`, `10.0.0.1:8443`.
    Address { address: IpAddr, port: Port },
    /// `example.com`, `.example.com`, `*.example.com:8443`: names below a name, which begins with a dot here, and perhaps
    /// the name itself.
    Name { below: Box<str>, itself: bool, port: Port },
}

/// `None`: any.
type Port = Option<Box<str>>;

impl Proxies {
    /// Reads the variables of an environment. Upper-case names come before lower-case ones; empty ones do not count.
    #[must_use]
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut ignored = Vec::new();
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut proxy = |names: [&'static str; 2]| {
            let (name, value) = names.into_iter().find_map(|name| Some((name, set(name)?)))?;
            let proxy = Proxy::parse(&value);
            if proxy.is_none() {
                ignored.push(name);
            }
            proxy
        };
        let (plain, secure) = (proxy(["HTTP_PROXY", "http_proxy"]), proxy(["HTTPS_PROXY", "https_proxy"]));
        let direct = set("NO_PROXY").or_else(|| set("no_proxy")).unwrap_or_default();
        let direct = direct.split(',').filter_map(Direct::parse).collect();
        Self { plain, secure, direct, ignored }
    }

    /// All proxies that may be used.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.plain.iter().chain(&self.secure)
    }

    /// The variables that name no proxy that can be used. Requests go as if these were not set.
    #[must_use]
    pub fn ignored(&self) -> &[&'static str] {
        &self.ignored
    }

    /// The proxy for a request to this URL. Our own machine (`localhost` and the loopback addresses) is never asked
    /// through one.
    #[must_use]
    pub fn of_url(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "http" => self.plain.as_ref()?,
            "https" => self.secure.as_ref()?,
            _ => return None,
        };
        let port = url.port_or_known_default().unwrap_or_default().to_string();
        let host = match url.host()? {
            Host::Domain(name) => Asked::Name(name),
            Host::Ipv4(address) => Asked::Address(address.into()),
            Host::Ipv6(address) => Asked::Address(IpAddr::V6(address).to_canonical()),
        };
        let own = match host {
            Asked::Name(name) => name == "localhost",
            Asked::Address(address) => address.is_loopback(),
        };
        let direct = own || self.direct.iter().any(|direct| direct.matches(host, &port));
        (!direct).then_some(proxy)
    }
}

impl Direct {
    /// Parses one entry. `None`: it is empty, or has no host.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = network(&entry) {
            return Some(Self::Network { address, bits });
        }
        let (host, port) = split_port(&entry).unwrap_or((&entry, ""));
        let port: Port = Some(port).filter(|port| !port.is_empty()).map(Box::from);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address { address: address.to_canonical(), port });
        }
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let (itself, name) = (below.is_none(), ascii(below.unwrap_or(host)));
        (!host.is_empty()).then(|| Self::Name { below: format!(".{name}").into(), itself, port })
    }

    /// Does it match this host and port? A name matches no address, and is not looked up.
    fn matches(&self, host: Asked<'_>, at: &str) -> bool {
        let is = |port: &Port| port.as_deref().is_none_or(|port| port == at);
        match (self, host) {
            (Self::Everything, _) => true,
            (Self::Network { address, bits }, Asked::Address(asked)) => in_network(asked, *address, *bits),
            (Self::Address { address, port }, Asked::Address(asked)) => *address == asked && is(port),
            (Self::Name { below, itself, port }, Asked::Name(name)) => {
                let named = name.ends_with(&**below) || *itself && Some(name) == below.strip_prefix('.');
                named && is(port)
            }
            (Self::Network { .. } | Self::Address { .. }, Asked::Name(_))
            | (Self::Name { .. }, Asked::Address(_)) => false,
        }
    }
}

/// Parses `address/bits`.
fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if !bits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bits: u32 = bits.parse().ok()?;
    match address {
        IpAddr::V4(_) => (bits <= 32).then_some((address, bits)),
        // The network of an IPv4 address in IPv6 is one of IPv4, unless it is larger than that.
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) if (96..=128).contains(&bits) => Some((v4.into(), bits - 96)),
            _ => (bits <= 128).then_some((address, bits)),
        },
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let shift = Ipv4Addr::BITS - bits;
            address.to_bits().checked_shr(shift) == network.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let shift = Ipv6Addr::BITS - bits;
            address.to_bits().checked_shr(shift) == network.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

/// Splits `host:port` and `[address]:port`. `None`: it has no port, or is not of this form, as an IPv6 address without
/// brackets.
fn split_port(entry: &str) -> Option<(&str, &str)> {
    let (host, port) = entry.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let stray = if bare.is_some() { &['[', ']'][..] } else { &['[', ']', ':'][..] };
    let host = bare.unwrap_or(host);
    (!host.contains(stray) && !port.contains(['[', ']'])).then_some((host, port))
}

/// A name as it stands in a URL: letters that are not ASCII are encoded. A name that cannot be stays as it is.
fn ascii(name: &str) -> String {
    if name.is_ascii() {
        return name.to_owned();
    }
    Host::parse(name).map_or_else(|_| name.to_owned(), |host| host.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Row {
        #[serde(default)]
        http_proxy: String,
        #[serde(default)]
        https_proxy: String,
        #[serde(default)]
        no_proxy: String,
        url: String,
        proxy: Option<String>,
    }

    #[test]
    fn the_proxy_is_the_one_that_go_takes() {
        let rows: Vec<Row> = serde_json::from_str(include_str!("../../tests/vectors/proxies.json")).unwrap();
        assert!(rows.len() > 500);
        for Row { http_proxy, https_proxy, no_proxy, url, proxy } in rows {
            let proxies = Proxies::of(|name| match name {
                "HTTP_PROXY" => Some(http_proxy.clone()),
                "HTTPS_PROXY" => Some(https_proxy.clone()),
                "NO_PROXY" => Some(no_proxy.clone()),
                _ => None,
            });
            let proxy: Option<Url> = proxy.map(|proxy| proxy.parse().unwrap());
            let taken = proxies.of_url(&url.parse().unwrap()).map(Proxy::url);
            assert_eq!(taken, proxy.as_ref(), "{http_proxy} {https_proxy} `{no_proxy}` {url}");
        }
    }

    #[test]
    fn upper_case_comes_first_and_empty_is_not_set() {
        let url: Url = "https://harbor.example.com".parse().unwrap();
        for (variables, proxy) in [
            (&[("HTTPS_PROXY", "http://a"), ("https_proxy", "http://b")][..], Some("http://a")),
            (&[("HTTPS_PROXY", ""), ("https_proxy", "http://b")], Some("http://b")),
            (&[("https_proxy", "http://b"), ("no_proxy", "example.com")], None),
            (
                &[("https_proxy", "http://b"), ("NO_PROXY", "other"), ("no_proxy", "example.com")],
                Some("http://b"),
            ),
            (&[("HTTP_PROXY", "http://a"), ("ALL_PROXY", "http://a")], None),
        ] {
            let proxies = Proxies::of(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            });
            assert_eq!(proxies.of_url(&url).map(ToString::to_string).as_deref(), proxy, "{variables:?}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_named_and_a_password_is_not() {
        let proxies = Proxies::of(|name| match name {
            "https_proxy" => Some("ftp://proxy".to_owned()),
            "HTTP_PROXY" => Some("http://user:word@proxy:80 80".to_owned()),
            _ => None,
        });
        assert_eq!(proxies.ignored(), ["HTTP_PROXY", "https_proxy"]);
        let proxy = Proxy::parse("https://user:word@proxy.corp:8443/").unwrap();
        assert_eq!(format!("{proxy} {proxy:?}"), "https://proxy.corp:8443 https://proxy.corp:8443");
        assert_eq!(Proxy::parse("[fd00::1]:3128").unwrap().to_string(), "http://[fd00::1]:3128");
    }
}
