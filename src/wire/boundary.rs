//! Whether a session stands between two messages, so that the gate may say a last word.

/// `ReadyForQuery` up to its last byte, the transaction status.
const READY_FOR_QUERY: [u8; 5] = [b'Z', 0, 0, 0, 5];

/// Remembers the last bytes relayed from the backend, none at first, at a cost that does not grow
/// with traffic.
///
/// A row whose data happen to end one relayed chunk with the very six bytes of a ReadyForQuery
/// looks like one until the next chunk comes: good enough for choosing how to say goodbye, and
/// for nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageBoundary {
    tail: [u8; 6],
}

impl MessageBoundary {
    /// Notes what was relayed next, from the backend to the client. O(1) per chunk.
    pub fn observe(&mut self, chunk: &[u8]) {
        if let Some(tail) = chunk.last_chunk() {
            self.tail = *tail;
            return;
        }
        for byte in chunk {
            self.tail.rotate_left(1);
            if let Some(last) = self.tail.last_mut() {
                *last = *byte;
            }
        }
    }

    /// Whether the last thing relayed was a whole ReadyForQuery.
    #[must_use]
    pub fn between_messages(&self) -> bool {
        self.tail
            .split_last()
            .is_some_and(|(status, head)| head == READY_FOR_QUERY && b"ITE".contains(status))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_whole_ready_for_query_is_a_boundary() {
        let mut boundary = MessageBoundary::default();
        assert!(!boundary.between_messages());
        boundary.observe(b"C\0\0\0\rSELECT 1\0Z\0\0\0\x05");
        assert!(!boundary.between_messages());
        boundary.observe(b"I");
        assert!(boundary.between_messages());
        boundary.observe(b"");
        assert!(boundary.between_messages());
        boundary.observe(b"T");
        assert!(!boundary.between_messages());
        boundary.observe(b"Z\0\0\0\x05X");
        assert!(!boundary.between_messages());
    }

    proptest! {
        #[test]
        fn any_segmentation_remembers_the_same_six_bytes(
            bytes in proptest::collection::vec(prop_oneof![Just(b'Z'), Just(0), Just(5), Just(b'I'), any::<u8>()], 0..40),
            ready in any::<bool>(),
            cuts in proptest::collection::vec(0_usize..8, 0..40),
        ) {
            let mut bytes = bytes;
            if ready {
                bytes.extend_from_slice(b"Z\0\0\0\x05E");
            }
            let model = bytes.len() >= 6
                && bytes[bytes.len() - 6..bytes.len() - 1] == *b"Z\0\0\0\x05"
                && b"ITE".contains(&bytes[bytes.len() - 1]);
            let mut boundary = MessageBoundary::default();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (chunk, more) = rest.split_at(cut.min(rest.len()));
                boundary.observe(chunk);
                rest = more;
            }
            boundary.observe(rest);
            prop_assert_eq!(boundary.between_messages(), model);
        }
    }
}
