//! How TLS towards a backend begins.

/// How TLS towards a backend begins, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// By SSLRequest, as every server knows it.
    Postgres,
    /// With the first byte, as PostgreSQL knows it from 17 on: a round trip less. ALPN must agree on
    /// `postgresql`.
    Direct,
}
