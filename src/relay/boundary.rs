//! Whether a session stands between two messages, so that the gate may say a last word.

/// The last bytes relayed from the backend.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MessageBoundary {
    tail: [u8; 6],
}

impl MessageBoundary {
    /// Notes what was relayed next, from the backend to the client.
    pub(super) fn observe(&mut self, chunk: &[u8]) {
        if let Some(tail) = chunk.last_chunk() {
            self.tail = *tail;
            return;
        }
        for byte in chunk {
            self.tail.rotate_left(1);
            self.tail[5] = *byte;
        }
    }

    /// Whether the last thing relayed was a whole ReadyForQuery.
    pub(super) const fn between_messages(self) -> bool {
        matches!(self.tail, [b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E'])
    }
}
