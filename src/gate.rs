//! Who may come in: rules, the prefix trie that answers for them, and limits.
//!
//! Everything here is a value in memory: no socket, no clock (the time is an argument), no file.
//!
//! | what is written | what it becomes |
//! |---|---|
//! | `10.0.0.0/8`, `a-b` | [`network::Network`] |
//! | a rule | [`rule::Rule`] |
//! | a tag, an address file, a threat feed | [`set::NetworkSet`] |
//! | a project's rules | [`allow_list::AllowList`], asked for every connection |
//! | the process-wide `deny` | [`deny_list::DenyList`], asked before a byte is read |
//! | `[limits]` | [`limits::Limits`], which hands out guards |
//!
//! Lists and sets look addresses up in a [`trie::PrefixTrie`].

pub mod allow_list;
pub mod deny_list;
pub mod limits;
pub mod network;
pub mod rule;
pub mod set;
pub mod trie;
