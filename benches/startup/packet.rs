//! StartupMessages, and reading them.

use std::hint::black_box;

use portcullis::wire::startup::{StartupHeader, StartupPacket};

/// As the gate does: the header, what it asks for, and the project named inside.
pub(crate) fn read(packet: &[u8]) -> Option<StartupPacket> {
    let (header, rest) = packet.split_first_chunk()?;
    let packet = StartupHeader::parse(*header).ok()?.finish(rest).ok()?;
    if let StartupPacket::Startup(message) = &packet {
        black_box(message.portcullis_project().ok());
    }
    Some(packet)
}

pub(crate) fn startup_message(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("a short packet");
    let packet = [&length.to_be_bytes()[..], &body].concat();
    assert!(read(&packet).is_some(), "the packet is good");
    packet
}
