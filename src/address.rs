//! Addresses and host names, each parsed once, at the edge.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Where a client comes from: its own address, not a load balancer's (T28), with an IPv4-mapped
/// IPv6 address already folded to IPv4 (T23), so that no later step can forget to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr {
    ip: IpAddr,
    port: u16,
}

impl ClientAddr {
    /// The IP address, never an IPv4-mapped one.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for ClientAddr {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip().to_canonical(),
            port: address.port(),
        }
    }
}

impl From<IpAddr> for ClientAddr {
    fn from(ip: IpAddr) -> Self {
        Self {
            ip: ip.to_canonical(),
            port: 0,
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&SocketAddr::new(self.ip, self.port), f)
    }
}

/// A host name in the form in which names are compared: lower case, no trailing dot (T13). Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with its first label replaced by `*`: the wildcard that would cover it (RFC 6125
    /// section 6.4.3: a wildcard stands for exactly one label).
    #[must_use]
    pub fn wildcard(&self) -> Option<Self> {
        let (_, parent) = self.0.split_once('.')?;
        Some(Self(format!("*.{parent}").into()))
    }

    /// Whether the name is a wildcard such as `*.example.com`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    /// Accepts a DNS name of at most 253 bytes, whose first label may be `*`. An IP address is not
    /// a host name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels = name.strip_prefix("*.").unwrap_or(&name);
        let label_is_good = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_good = name.len() <= 253
            && labels.split('.').all(label_is_good)
            && name.parse::<IpAddr>().is_err();
        if is_good {
            Ok(Self(name.into()))
        } else {
            Err(InvalidHostName)
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The text is not a DNS host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a DNS host name such as db.example.com or *.example.com")]
pub struct InvalidHostName;

/// A name under which a project is reached, as a certificate's SAN states it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, which a client also sends as server_name.
    Name(HostName),
    /// An IP address, which a client never sends as server_name (RFC 6066 section 3).
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map_or_else(|_| text.parse().map(Self::Name), |ip| Ok(Self::Address(ip)))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => fmt::Display::fmt(name, f),
            Self::Address(ip) => fmt::Display::fmt(ip, f),
        }
    }
}

/// Where a backend listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendAddr {
    /// A host and a TCP port.
    Tcp {
        /// A name, resolved when dialling, or an address.
        host: Host,
        /// The TCP port.
        port: u16,
    },
    /// A Unix socket, at `<directory>/.s.PGSQL.<port>` as PostgreSQL names it.
    Unix {
        /// The server's `unix_socket_directories` entry: an absolute path.
        directory: PathBuf,
        /// The server's port, which is part of the socket's file name.
        port: u16,
    },
}

impl BackendAddr {
    /// PostgreSQL's registered port.
    pub const DEFAULT_PORT: u16 = 5432;

    /// The path of a Unix socket; none for TCP.
    #[must_use]
    pub fn socket_path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { directory, port } => Some(directory.join(format!(".s.PGSQL.{port}"))),
        }
    }
}

impl FromStr for BackendAddr {
    type Err = InvalidBackendAddr;

    /// Reads `postgres://host[:port]`, `postgresql://host[:port]`, or the absolute path of a
    /// socket directory, with `:port` behind it if it isn't 5432. User, password, database and
    /// parameters have no place here: they are the client's.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            let (directory, port) = match text.rsplit_once(':') {
                Some((directory, port)) => (directory, parse_port(port)?),
                None => (text, Self::DEFAULT_PORT),
            };
            return Ok(Self::Unix {
                directory: directory.into(),
                port,
            });
        }
        let authority = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(InvalidBackendAddr::Form)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['@', '/', '?']) {
            return Err(InvalidBackendAddr::Surplus);
        }
        let (host, port) = split_port(authority)?;
        let host = host.parse().map_err(|_| InvalidBackendAddr::Host)?;
        Ok(Self::Tcp { host, port })
    }
}

fn split_port(authority: &str) -> Result<(&str, u16), InvalidBackendAddr> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(InvalidBackendAddr::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, parse_port(port)?)),
            None if rest.is_empty() => Ok((host, BackendAddr::DEFAULT_PORT)),
            None => Err(InvalidBackendAddr::Host),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err(InvalidBackendAddr::Bracket),
        Some((host, port)) => Ok((host, parse_port(port)?)),
        None => Ok((authority, BackendAddr::DEFAULT_PORT)),
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidBackendAddr> {
    match text.parse() {
        Ok(port) if port != 0 && !text.starts_with('+') => Ok(port),
        Ok(_) | Err(_) => Err(InvalidBackendAddr::Port),
    }
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp {
                host: Host::Address(IpAddr::V6(ip)),
                port,
            } => {
                write!(f, "postgres://[{ip}]:{port}")
            }
            Self::Tcp { host, port } => write!(f, "postgres://{host}:{port}"),
            Self::Unix { directory, port } => write!(f, "{}:{port}", directory.display()),
        }
    }
}

/// Why a text is not a backend's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackendAddr {
    /// Neither a URL nor an absolute path.
    #[error(
        "a backend is postgres://host:port, or the absolute path of its Unix socket's directory"
    )]
    Form,
    /// A URL with more than a host and a port.
    #[error(
        "a backend is a host and a port only; user, password, database and parameters are the client's"
    )]
    Surplus,
    /// The host is neither a name nor an address.
    #[error("the host is neither a DNS name nor an IP address")]
    Host,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets: postgres://[2001:db8::1]:5432")]
    Bracket,
    /// The port is not 1 to 65535.
    #[error("the port is a number from 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t23_an_ipv4_mapped_address_is_folded_to_ipv4() {
        let mapped: SocketAddr = "[::ffff:203.0.113.9]:4711".parse().unwrap();
        assert_eq!(ClientAddr::from(mapped).to_string(), "203.0.113.9:4711");
        assert_eq!(
            ClientAddr::from(mapped.ip()).ip().to_string(),
            "203.0.113.9"
        );
    }

    #[test]
    fn t13_a_host_name_is_compared_in_lower_case_and_without_its_trailing_dot() {
        let name: HostName = "Db.Example.COM.".parse().unwrap();
        assert_eq!(name.as_str(), "db.example.com");
        assert_eq!(name.wildcard().unwrap().as_str(), "*.example.com");
        assert!("*.example.com".parse::<HostName>().unwrap().is_wildcard());
        for bad in [
            "", ".", "a..b", "-a.b", "a b", "*", "*.*.b", "a.*.b", "10.0.0.1", "::1",
        ] {
            assert_eq!(bad.parse::<HostName>(), Err(InvalidHostName), "{bad:?}");
        }
    }

    #[test]
    fn a_backend_is_a_url_or_a_socket_directory() {
        for (text, shown) in [
            ("postgres://10.0.0.5:5433", "postgres://10.0.0.5:5433"),
            ("postgresql://Db1.internal", "postgres://db1.internal:5432"),
            (
                "postgres://[2001:db8::1]:6000/",
                "postgres://[2001:db8::1]:6000",
            ),
            ("postgres://[::1]", "postgres://[::1]:5432"),
            ("/run/postgresql", "/run/postgresql:5432"),
            ("/run/postgresql:5433", "/run/postgresql:5433"),
        ] {
            let parsed: BackendAddr = text.parse().unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(shown.parse::<BackendAddr>().unwrap(), parsed);
        }
    }

    #[test]
    fn a_bad_backend_address_says_what_is_wrong() {
        use InvalidBackendAddr as E;
        for (text, error) in [
            ("10.0.0.5:5432", E::Form),
            ("mysql://10.0.0.5", E::Form),
            ("postgres://me:secret@10.0.0.5", E::Surplus),
            ("postgres://10.0.0.5/db", E::Surplus),
            ("postgres://10.0.0.5?sslmode=require", E::Surplus),
            ("postgres://", E::Host),
            ("postgres://[::1", E::Host),
            ("postgres://::1:5432", E::Bracket),
            ("postgres://10.0.0.5:0", E::Port),
            ("postgres://10.0.0.5:+5", E::Port),
            ("postgres://10.0.0.5:65536", E::Port),
        ] {
            assert_eq!(text.parse::<BackendAddr>(), Err(error), "{text}");
        }
    }
}
