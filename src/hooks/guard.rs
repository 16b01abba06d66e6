//! Which addresses a webhook may be sent to.
//!
//! A URL in a definition is chosen by whoever may edit actions, and the server stands inside a network
//! that they may have no business in. So a name is resolved here, every address that is not on the public
//! internet is dropped, and the connection is made to one that is left: a name that answers differently
//! the next time (rebinding) gains nothing. What an operator wants to reach inside is allowed by name or
//! network in the configuration.

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use url::Host;

/// What the configuration allows beyond public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    networks: Vec<IpNet>,
    hosts: Vec<String>,
}

/// The target is not one that may be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} is not on the public internet and not in hooks.allow")]
pub struct Refused {
    /// The name or address as the URL has it.
    pub host: String,
}

/// The name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the host: {0}")]
pub(super) struct Unresolved(std::io::Error);

impl Allowed {
    /// Reads entries such as `127.0.0.1`, `10.1.0.0/16`, `fd00::/8` and `hooks.internal`.
    ///
    /// # Errors
    /// A fragment about the first entry that is none of these.
    pub fn parse<T: AsRef<str>>(entries: &[T]) -> Result<Self, String> {
        let mut allowed = Self::default();
        for entry in entries.iter().map(AsRef::as_ref) {
            if let Ok(network) = entry.parse::<IpNet>() {
                allowed.networks.push(network);
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                allowed.networks.push(address.into());
            } else {
                match Host::parse(entry) {
                    Ok(Host::Domain(name)) if !name.is_empty() => allowed.hosts.push(name),
                    _ => return Err(format!("{entry:?} is no address, network (10.0.0.0/8) or host name")),
                }
            }
        }
        Ok(allowed)
    }

    /// Whether a connection may be made to `address`, to which `host` led.
    #[must_use]
    pub fn admits(&self, host: &str, address: IpAddr) -> bool {
        let plain = address.to_canonical();
        is_public(address)
            || self.networks.iter().any(|network| network.contains(&address) || network.contains(&plain))
            || self.hosts.iter().any(|known| known == host)
    }

    /// Checks the host of a URL where it is an address, which no resolver ever sees.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_literal(&self, url: &url::Url) -> Result<(), Refused> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Refused { host: url.to_string() }),
        };
        if self.admits("", address) { Ok(()) } else { Err(Refused { host: address.to_string() }) }
    }
}

/// Whether an address is one of the public internet. Everything that is not known to be is not.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, loopback, private, link-local (and with it the metadata of most clouds).
        (0 | 10 | 127, ..) | (172, 16..=31, _) | (192, 168, _) | (169, 254, _) => true,
        // Shared by carriers, benchmarks, protocols, documentation, relays to IPv6.
        (100, 64..=127, _) | (198, 18..=19, _) | (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) => true,
        // Multicast, reserved, broadcast.
        (224.., ..) => true,
        // The one metadata address that looks public.
        _ => address == Ipv4Addr::new(168, 63, 129, 16),
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
        // A network without IPv4 reaches it under this prefix; the IPv4 address decides.
        let [[w, x], [y, z]] = [g.to_be_bytes(), h.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(w, x, y, z));
    }
    let global = a & 0xe000 == 0x2000;
    // Protocols with tunnels among them, documentation, tunnels to any IPv4 address.
    let special = (a == 0x2001 && b < 0x200) || (a, b) == (0x2001, 0xdb8) || (a == 0x3fff && b < 0x1000) || a == 0x2002;
    global && !special
}

/// Resolves names for the HTTP client, to addresses that may be called.
#[derive(Clone)]
pub(super) struct Resolver(pub(super) Arc<Allowed>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await.map_err(Unresolved)?.collect();
            let admitted: Vec<SocketAddr> = found.into_iter().filter(|at| allowed.admits(&host, at.ip())).collect();
            if admitted.is_empty() {
                return Err(Refused { host }.into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    /// P-23: whatever is not on the public internet is refused, in every way to write it.
    #[test]
    fn p23_only_the_public_internet_is_public() {
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "192.88.99.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:10::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fec0::1",
            "5f00::1",
        ] {
            assert!(!is_public(address(inside)), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "169.253.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(address(outside)), "{outside}");
        }
    }

    #[test]
    fn what_is_allowed_is_named() {
        let allowed =
            Allowed::parse(&["127.0.0.1/32", "10.1.0.0/16", "fd00::/8", "Hooks.Internal", "192.168.7.9"]).expect("reads");
        assert!(allowed.admits("x", address("127.0.0.1")) && allowed.admits("x", address("::ffff:127.0.0.1")));
        assert!(!allowed.admits("x", address("127.0.0.2")));
        assert!(allowed.admits("x", address("10.1.200.3")) && !allowed.admits("x", address("10.2.0.1")));
        assert!(allowed.admits("x", address("fd12::1")) && allowed.admits("x", address("192.168.7.9")));
        assert!(allowed.admits("hooks.internal", address("10.9.9.9")), "a name stands for all its addresses");
        assert!(!allowed.admits("other.internal", address("10.9.9.9")));
        for bad in ["10.0.0.0/33", "", "a b", "http://x", "1.2.3.4:80"] {
            assert!(Allowed::parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_in_urls_are_seen_in_every_notation() {
        let allowed = Allowed::default();
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://0/",
            "http://127。0。0。1/",
        ] {
            let parsed = url::Url::parse(url).expect(url);
            assert!(allowed.check_literal(&parsed).is_err(), "{url}");
        }
        for url in ["http://example.com/", "http://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert_eq!(allowed.check_literal(&url::Url::parse(url).expect(url)), Ok(()), "{url}");
        }
    }

    /// A name that leads inside is refused though it looks harmless; the same name is let through by name.
    #[tokio::test]
    async fn names_are_judged_by_where_they_lead() {
        let refused = Resolver(Arc::default()).resolve("localhost".parse().expect("a name")).await;
        let error = refused.err().expect("loopback is refused");
        assert!(error.downcast_ref::<Refused>().is_some(), "{error}");
        let allowed = Arc::new(Allowed::parse(&["localhost"]).expect("reads"));
        let found = Resolver(allowed).resolve("LOCALHOST".parse().expect("a name")).await;
        assert!(found.expect("allowed by name").all(|at| at.ip().is_loopback()));
    }
}
