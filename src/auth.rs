//! Who proves what to whom: authentication as seen from the gate.

pub mod passthrough;
