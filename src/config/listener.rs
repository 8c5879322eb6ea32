//! Where clients are awaited, and where operators are.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::problem::Place;
use super::reader::{Item, Spot};
use super::section::Section;
use super::value::{At, Value, quoted, show_path};
use crate::id::ProjectName;

/// Where the gate listens if it is told nothing.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6432);

/// Where clients are awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// The address and TCP port; port 0 takes one that is free.
    pub address: SocketAddr,
    /// The project of everybody who comes here, whatever else they say.
    pub project: Option<ProjectName>,
    /// Where it is written; none for the default.
    pub place: Option<Place>,
}

/// Reads `listen`, the short form.
pub(super) fn read_listen(root: &mut Section<'_, '_>) -> Vec<ListenerSpec> {
    let default = if root.has("listener") {
        Vec::new()
    } else {
        vec![At::unwritten(DEFAULT)]
    };
    let addresses = root.or("listen", default);
    if addresses.is_empty() && !root.has("listener") {
        let spot = root.child("listen");
        root.reader
            .refuse_with(&spot, "nowhere to listen", "listen = [\"127.0.0.1:6432\"]");
    }
    let mut listeners = Vec::with_capacity(addresses.len());
    for At {
        value: address,
        spot,
    } in addresses
    {
        add(
            root,
            &mut listeners,
            spot,
            ListenerSpec {
                address,
                project: None,
                place: None,
            },
        );
    }
    listeners
}

/// Reads each `[[listener]]`; the projects that they name are added to `named`.
pub(super) fn read_listeners(
    root: &mut Section<'_, '_>,
    listeners: &mut Vec<ListenerSpec>,
    named: &mut Vec<At<ProjectName>>,
) {
    let read = root.each_table("listener", |section| {
        let help = "address = \"0.0.0.0:6432\"";
        let address: Option<At<SocketAddr>> = section.required("address", help);
        let project: Option<At<ProjectName>> = section.optional("project");
        let name = project.as_ref().map(|project| project.value.clone());
        named.extend(project);
        Some((address?, name))
    });
    for (
        At {
            value: address,
            spot,
        },
        project,
    ) in read.into_iter().flatten()
    {
        add(
            root,
            listeners,
            spot,
            ListenerSpec {
                address,
                project,
                place: None,
            },
        );
    }
}

fn add(
    root: &mut Section<'_, '_>,
    listeners: &mut Vec<ListenerSpec>,
    spot: Option<Spot>,
    spec: ListenerSpec,
) {
    let place = spot.as_ref().map(|spot| root.reader.place(spot));
    let twin = listeners.iter().find(|other| other.address == spec.address);
    if let (Some(spot), Some(twin)) = (&spot, twin.filter(|twin| twin.address.port() != 0)) {
        let first = twin
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!(", at {place}"));
        root.reader.refuse(
            spot,
            format!("{} is listened on already{first}", spec.address),
        );
    }
    listeners.push(ListenerSpec { place, ..spec });
}

/// Where metrics and health are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// At this address and TCP port.
    On(SocketAddr),
}

impl Default for AdminListen {
    fn default() -> Self {
        Self::On(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9432))
    }
}

impl Value for AdminListen {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        if item.value.as_str() == Some("off") {
            return Some(Self::Off);
        }
        SocketAddr::read(item).map(Self::On)
    }

    fn show(&self) -> String {
        match self {
            Self::Off => quoted("off"),
            Self::On(address) => address.show(),
        }
    }
}

/// Where the command line reaches the running gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlSocket {
    /// Nowhere.
    Off,
    /// At this path, as a Unix-domain socket that only its owner can use.
    At(PathBuf),
}

impl Value for ControlSocket {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        if item.value.as_str() == Some("off") {
            return Some(Self::Off);
        }
        PathBuf::read(item).map(Self::At)
    }

    fn show(&self) -> String {
        match self {
            Self::Off => quoted("off"),
            Self::At(path) => show_path(path),
        }
    }
}
