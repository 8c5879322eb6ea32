//! The relay between real sockets and real TLS peers.

mod cuts;
mod endings;
mod fairness;
mod fixture;
mod property;
mod records;
mod slow;
mod transfer;
mod worn;
