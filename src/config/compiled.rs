//! [`CompiledSets`]: what need not be compiled again because it is as it was.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::gate::network::Network;
use crate::gate::set::NetworkSet;

/// The compiled sets of a configuration, by what they were compiled of. A configuration that is read in
/// its place takes those over that it has as well.
///
/// They go by content, not by what a file looks like from outside: within one tick of a file system's
/// clock a file can change and look the same.
#[derive(Debug, Clone, Default)]
pub struct CompiledSets(HashMap<Digest, Arc<NetworkSet>>);

/// Of a list of networks as it is written: whoever can choose a feed's content must not be able to pass it
/// off as another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; SHA256_OUTPUT_LEN]);

impl CompiledSets {
    pub(super) fn get(&self, digest: Digest) -> Option<&Arc<NetworkSet>> {
        self.0.get(&digest)
    }

    pub(super) fn insert(&mut self, digest: Digest, set: &Arc<NetworkSet>) {
        self.0.insert(digest, Arc::clone(set));
    }
}

/// Makes a [`Digest`] of a list, part by part.
pub(super) struct Digester(Context);

impl Digester {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// A network that stands in the list itself.
    pub(super) fn network(&mut self, network: &Network) {
        self.part(b'n', network.to_string().as_bytes());
    }

    /// The content of a file that the list names.
    pub(super) fn file(&mut self, content: &str) {
        self.part(b'f', content.as_bytes());
    }

    /// Says what comes and how long it is, so that no two lists are hashed as the same bytes.
    fn part(&mut self, kind: u8, bytes: &[u8]) {
        self.0.update(&[kind]);
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(self.0.finish().as_ref());
        Digest(digest)
    }
}
