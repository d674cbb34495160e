//! A network of our own: a bridge on this machine, and a network namespace for each Pod. Nothing leads out of it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// The network of one test run: `198.18.N.0/24`, of the range that is set apart for benchmarks (RFC 2544), so that no
/// real network is meant by it.
pub struct Net {
    number: u8,
    hosts: AtomicU8,
    /// Ends with us, whatever ends us, and takes the network with it.
    _cleaner: Child,
}

impl Net {
    /// Makes it; needs root. What lies in `folder` goes when it goes.
    pub fn new(folder: &Path) -> Self {
        // Two runs at once take two numbers: a bridge's name can be taken once.
        let number = (0..=u8::MAX).find(|number| ip(&["link", "add", &bridge(*number), "type", "bridge"]));
        let number = number.unwrap();
        let net = Self { number, hosts: AtomicU8::new(1), _cleaner: cleaner(number, folder) };
        let (bridge, here) = (bridge(number), format!("{}/24", net.here()));
        assert!(ip(&["address", "add", &here, "dev", &bridge]) && ip(&["link", "set", &bridge, "up"]));
        net
    }

    /// This machine's address in it.
    pub fn here(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 1)
    }

    /// A new network namespace with an address of its own.
    pub fn join(&self) -> Host {
        let last = self.hosts.fetch_add(1, Ordering::Relaxed).checked_add(1).unwrap();
        let namespace = format!("{}-{last}", bridge(self.number));
        let (outside, address) =
            (format!("lf{}h{last}", self.number), Ipv4Addr::new(198, 18, self.number, last));
        let (namespace, outside) = (namespace.as_str(), outside.as_str());
        let inside = |arguments: &[&str]| ip(&[&["-n", namespace], arguments].concat());
        assert!(ip(&["netns", "add", namespace]));
        assert!(ip(&["link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", namespace]));
        assert!(ip(&["link", "set", outside, "master", &bridge(self.number), "up"]));
        assert!(inside(&["address", "add", &format!("{address}/24"), "dev", "eth0"]));
        assert!(inside(&["link", "set", "lo", "up"]) && inside(&["link", "set", "eth0", "up"]));
        Host { namespace: namespace.to_owned(), outside: outside.to_owned(), address }
    }
}

/// A network namespace; gone when this is dropped.
pub struct Host {
    pub namespace: String,
    /// The end of its cable that is plugged into the bridge.
    outside: String,
    pub address: Ipv4Addr,
}

impl Drop for Host {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.outside]);
        ip(&["netns", "delete", &self.namespace]);
    }
}

fn bridge(number: u8) -> String {
    format!("landfall{number}")
}

fn outside(number: u8, host: impl std::fmt::Display) -> String {
    format!("lf{number}h{host}")
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).stderr(Stdio::null()).status().unwrap().success()
}

/// Waits until its input ends, as it does when this process ends, and removes what was made.
fn cleaner(number: u8, folder: &Path) -> Child {
    let bridge = bridge(number);
    // The links first: a namespace lives on as long as the last process in it, and its name would be taken.
    let script = format!(
        "trap '' INT TERM HUP; cat
         ls /sys/class/net | grep '^{outside}' | xargs -r -n1 ip link delete
         ls /run/netns | grep '^{bridge}-' | xargs -r -n1 ip netns delete
         ip link delete {bridge}
         rm -r '{folder}'",
        outside = outside(number, ""),
        folder = folder.display(),
    );
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}
