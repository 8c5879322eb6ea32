//! Portcullis, the gate in front of PostgreSQL: it terminates TLS with a certificate of the
//! project's own CA, lets in only whom the project's rules admit, and forwards to the project's
//! backend, byte for byte.
//!
//! # The life of a connection
//!
//! Read [`connection`] first: it is a line a stage. A stage is a type named after the last fact that
//! was proved, and only the step that proved it can make it.
//!
//! | stage | fact |
//! |---|---|
//! | `Accepted` | a slot is held; the client's address is known and not on the deny list |
//! | `Greeted` | GSSENCRequest and SSLRequest answered, or direct TLS begun; a ClientHello was read |
//! | `Admitted` | server_name or the listener names a project whose rules admit this address |
//! | `Secured` | TLS finished with that project's leaf |
//! | `Started`, `Cancel` | StartupMessage or CancelRequest read within bounds; a project named only there has admitted the client |
//! | `Identified` | the client's certificate is what the project demands, or it demands none |
//! | `Routed` | a backend is connected, its TLS verified as the project demands |
//! | `Authenticated` | the backend has said AuthenticationOk .. ReadyForQuery |
//! | `Closed` | the relay has ended |
//!
//! A login that ends early is a [`refusal::Refusal`]; the client is told inside TLS, in words that
//! say what to do.
//!
//! # The floors
//!
//! Each module names only those below its floor or beside it; `tests/layering.rs` holds them to it.
//!
//! | floor | modules |
//! |---|---|
//! | 7 process | [`cli`], [`proxy`] |
//! | 6 controls | [`admin`] |
//! | 5 keeping | [`store`], [`config`] |
//! | 4 spine | [`connection`] |
//! | 3 binding | [`project`], [`served`], [`sessions`], [`revocation`], [`cancel`], [`metrics`] |
//! | 2 parts | [`pki`], [`backend`], [`auth`], [`refusal`] |
//! | 1 words | [`wire`], [`gate`], [`relay`], [`tls`], [`address`], [`id`], [`stamp`] |

pub mod address;
pub mod admin;
pub mod auth;
pub mod backend;
pub mod cancel;
pub mod cli;
pub mod config;
pub mod connection;
pub mod gate;
pub mod id;
pub mod metrics;
pub mod pki;
pub mod project;
pub mod proxy;
pub mod refusal;
pub mod relay;
pub mod revocation;
pub mod served;
pub mod sessions;
pub mod stamp;
pub mod store;
pub mod tls;
pub mod wire;
