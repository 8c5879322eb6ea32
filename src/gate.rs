//! Who may come in: rules, the prefix trie that answers for them, and limits.
//!
//! Everything here is a value in memory: no socket, no clock (the time is an argument), no file.

pub mod network;
pub mod rule;
pub mod trie;
