//! Addresses: where to listen, whom to call, whom to trust.

use std::fmt;
use std::net::IpAddr;

use crate::report::Place;
use crate::scalar::{Scalar, Wrong};
use crate::show::Shown;

/// A host and a port. The host may be empty where the address is one to listen on: all interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The port; 0 lets the system choose one to listen on.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Scalar for HostPort {
    const KIND: &'static str = "a host and port such as `0.0.0.0:9000`";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        if text.contains("://") {
            return Err(Wrong::hint("write it without the scheme"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(Wrong::kind)?;
        let port = port.parse().map_err(|_| Wrong::kind())?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let legal = |c: char| {
            c.is_ascii_alphanumeric() || "-._".contains(c) || (bracketed.is_some() && ":%".contains(c))
        };
        if host.chars().all(legal) { Ok(Self { host: host.to_owned(), port }) } else { Err(Wrong::kind()) }
    }

    fn placeholder() -> Self {
        Self { host: String::new(), port: 0 }
    }

    fn show(&self) -> Shown {
        Shown::Text(self.to_string())
    }
}

/// An `http://` or `https://` address without user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The address as it was written, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Scalar for HttpUrl {
    const KIND: &'static str = "an address such as `https://s3.example.com`";
    // A user and password in front of the host would be repeated otherwise.
    const SECRET: bool = true;

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        let rest = after_scheme(text)?;
        if rest.contains(['?', '#']) {
            return Err(Wrong::message("must not hold a query or a fragment"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    fn placeholder() -> Self {
        Self(String::new())
    }

    fn is_blank(&self) -> bool {
        self.0.is_empty()
    }

    fn show(&self) -> Shown {
        Shown::Text(self.0.clone())
    }
}

/// What follows `http://` or `https://` in a plausible address.
pub(crate) fn after_scheme(text: &str) -> Result<&str, Wrong> {
    if text.is_empty() {
        return Err(Wrong::message("is required and must not be empty"));
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| Wrong::hint("begin with `https://` or `http://`"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(Wrong::message("must not hold a user or a password"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty()
        || !host.chars().all(legal)
        || text.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err(Wrong::kind());
    }
    Ok(rest)
}

/// A network in CIDR notation. A single address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address lies in this network. An IPv4 address is the same in its IPv6 form.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Scalar for Network {
    const KIND: &'static str = "a network such as `10.0.0.0/8`";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        let (address, prefix) = text.split_once('/').ok_or_else(|| match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => Wrong::hint("add `/32` for a single address"),
            Ok(IpAddr::V6(_)) => Wrong::hint("add `/128` for a single address"),
            Err(_) => Wrong::kind(),
        })?;
        let address: IpAddr = address.parse().map_err(|_| Wrong::kind())?;
        let prefix: u8 = prefix.parse().map_err(|_| Wrong::kind())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > longest { Err(Wrong::kind()) } else { Ok(Self { address, prefix }) }
    }

    fn placeholder() -> Self {
        Self { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), prefix: 32 }
    }

    fn show(&self) -> Shown {
        Shown::Text(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn read<T: Scalar>(text: &str) -> Option<T> {
        let nothing = |_: &str| None;
        let report = Report::new("", "", &nothing);
        T::parse(text, &report.root()).ok()
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for text in ["0.0.0.0:9000", ":9000", "[::]:9000", "tempo.service.consul:4317", "localhost:0"] {
            assert_eq!(read::<HostPort>(text).unwrap().to_string(), text);
        }
        for text in ["", "9000", "host", "host:", "host:99999", "http://host:1", "::1:9000", "a b:1"] {
            assert!(read::<HostPort>(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_url_is_http_and_holds_no_password() {
        assert_eq!(
            read::<HttpUrl>("https://acct.r2.example.com/").unwrap().as_str(),
            "https://acct.r2.example.com"
        );
        assert!(!read::<HttpUrl>("http://127.0.0.1:8333").unwrap().is_https());
        for text in
            ["", "s3.example.com", "ftp://x", "https://", "https://u:p@host", "https://h/?q", "https://a b"]
        {
            assert!(read::<HttpUrl>(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let check = |network: &str, address: &str, expected: bool| {
            let contains = read::<Network>(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{address} in {network}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("127.0.0.1/32", "127.0.0.1", true);
        check("127.0.0.1/32", "127.0.0.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("fd00::/8", "fd12::1", true);
        check("::/0", "10.0.0.1", false);
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "10.0.0.0/-1"] {
            assert!(read::<Network>(text).is_none(), "{text}");
        }
    }
}
