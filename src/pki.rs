//! Certificates: what channel binding asks of them.

mod endpoint;

pub use endpoint::tls_server_end_point;
