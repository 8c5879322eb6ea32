//! [`Accepted`]: a slot is held, and the client's address is known and not on the deny list.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::net::TcpStream;

use super::facts::Facts;
use crate::address::ClientAddr;
use crate::gate::limits::{Limits, LoginSlot, OverLimit};
use crate::id::ProjectName;
use crate::project::Projects;
use crate::refusal::Refusal;

/// What the listener gives: a socket, and whom it is for.
#[derive(Debug)]
pub struct Incoming {
    /// The client's socket.
    pub socket: TcpStream,
    /// The client's address.
    pub client: ClientAddr,
    /// The one project that the listener serves, if it is pinned to one.
    pub pinned: Option<ProjectName>,
}

/// A connection whose address is known.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: TcpStream,
    pub(super) pinned: Option<ProjectName>,
    /// The limit that it is over, if it is over one: it goes on to where it can be told so (T7).
    pub(super) over: Option<OverLimit>,
}

impl Accepted {
    /// Takes a slot for the connection's login, or for its refusal to be told, before any work is done
    /// for it. The slot is to be held until the login has ended, a refusal's answer included.
    ///
    /// # Errors
    /// The address is on the process-wide deny list, or over a limit with no explanation due
    /// or none to be had.
    pub(super) fn new(
        incoming: Incoming,
        projects: &Projects,
        limits: &Arc<Limits>,
        facts: &mut Facts,
    ) -> Result<(Self, LoginSlot), Refusal> {
        let Incoming {
            socket,
            client,
            pinned,
        } = incoming;
        let deny = &projects.common().deny;
        facts.rule = deny.turn_away(client, Timestamp::now());
        if facts.rule.is_some() {
            return Err(Refusal::DenyListed);
        }
        // On a socket that is dead already it fails, as will whatever comes next.
        drop(projects.common().tcp.apply(&socket));
        let now = Instant::now();
        let (slot, over) = match limits.login(client, now) {
            Ok(slot) => (slot, None),
            Err(over) => match limits.telling(client, now) {
                Some(slot) => (slot, Some(over)),
                None => return Err(Refusal::TooMany(over)),
            },
        };
        let accepted = Self {
            socket,
            pinned,
            over,
        };
        Ok((accepted, slot))
    }
}
