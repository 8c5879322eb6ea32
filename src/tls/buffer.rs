//! The I/O buffers of each worker thread, and the queue that borrows one while it holds bytes.

use std::cell::Cell;
use std::mem;

use zeroize::Zeroize as _;

/// The most plaintext in bytes that is moved at once: eight TLS records of 8 KiB, and what
/// measured best.
pub(crate) const SIZE: usize = 64 * 1024;

/// A buffer's length in bytes: as much plaintext in records of 8 KiB takes 232 bytes more at most.
const LENGTH: usize = SIZE + 4 * 1024;

/// The most free buffers that a thread keeps: work on one session takes three at a time.
const KEPT: usize = 4;

thread_local! {
    /// Memory and no state: what a buffer holds is used up before it is put back.
    static FREE: Cell<Vec<Box<[u8]>>> = const { Cell::new(Vec::new()) };
}

/// Lends a buffer of this thread's for the time of one read and what is done with its bytes.
pub(crate) fn lend<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = take();
    let result = work(&mut buffer);
    give_back(buffer);
    result
}

fn take() -> Box<[u8]> {
    // While the thread ends, its free buffers are gone.
    let free = FREE.try_with(|cell| {
        let mut free = cell.take();
        let buffer = free.pop();
        cell.set(free);
        buffer
    });
    free.ok()
        .flatten()
        .unwrap_or_else(|| vec![0; LENGTH].into_boxed_slice())
}

fn give_back(buffer: Box<[u8]>) {
    if buffer.len() != LENGTH {
        return;
    }
    FREE.try_with(|cell| {
        let mut free = cell.take();
        if free.len() < KEPT {
            free.push(buffer);
        }
        cell.set(free);
    })
    .unwrap_or_default();
}

/// Bytes on their way. It holds a buffer for as long as it holds bytes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes, oldest first.
    pub(super) fn bytes(&self) -> &[u8] {
        let buffer = self.buffer.as_deref().unwrap_or_default();
        buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Wipes the oldest bytes and forgets them: the buffer is the next one's as it is.
    pub(super) fn wipe(&mut self, count: usize) {
        let end = self.end.min(self.start.saturating_add(count));
        let buffer = self.buffer.as_deref_mut();
        if let Some(bytes) = buffer.and_then(|buffer| buffer.get_mut(self.start..end)) {
            bytes.zeroize();
        }
        self.consume(count);
    }

    /// Forgets the oldest bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        self.give_back_if_empty();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        self.give_back_if_empty();
    }

    /// Has `write` put bytes behind the last one, where there is room for `wanted` of them at
    /// least, and say how many they are.
    ///
    /// # Errors
    /// Those of `write`; then nothing has changed.
    pub(super) fn write_with<E>(
        &mut self,
        wanted: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let room = self.room(wanted);
        let length = room.len();
        let written = write(room);
        if let Ok(count) = &written {
            self.end += length.min(*count);
        }
        self.give_back_if_empty();
        written.map(drop)
    }

    /// Gives back a buffer of which little is in use, and holds the bytes in one of their size: who
    /// waits for a peer may do so for hours, in thousands of sessions.
    pub(super) fn fit(&mut self) {
        let length = self.buffer.as_deref().map_or(0, <[u8]>::len);
        let bytes = self.bytes();
        if !bytes.is_empty() && bytes.len() <= length / 4 {
            let end = bytes.len();
            let fitting = Box::from(bytes);
            self.buffer.replace(fitting).into_iter().for_each(give_back);
            (self.start, self.end) = (0, end);
        }
    }

    /// The room behind the last byte, `wanted` bytes at least.
    fn room(&mut self, wanted: usize) -> &mut [u8] {
        let held = self.start..self.end;
        let buffer = self.buffer.get_or_insert_with(take);
        if buffer.len() - self.end < wanted {
            if buffer.len() - held.len() < wanted {
                let length = held.len() + wanted;
                let mut larger = if length <= LENGTH {
                    take()
                } else {
                    vec![0; length].into_boxed_slice()
                };
                larger[..held.len()].copy_from_slice(&buffer[held.clone()]);
                give_back(mem::replace(buffer, larger));
            } else {
                buffer.copy_within(held.clone(), 0);
            }
            (self.start, self.end) = (0, held.len());
        }
        &mut buffer[self.end..]
    }

    fn give_back_if_empty(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            self.buffer.take().into_iter().for_each(give_back);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Nobody took them: they may be of a login that ended early.
        self.wipe(usize::MAX);
        self.buffer.take().into_iter().for_each(give_back);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_thread_lends_the_same_buffer_again() {
        let first = lend(|buffer| buffer.as_ptr());
        assert_eq!(lend(|buffer| buffer.as_ptr()), first);
    }

    #[test]
    fn a_loan_within_a_loan_is_another_buffer() {
        lend(|outer| {
            outer[0] = 1;
            lend(|inner| inner[0] = 2);
            assert_eq!((outer[0], outer.len()), (1, LENGTH));
        });
    }

    #[test]
    fn a_queue_holds_a_buffer_only_while_it_holds_bytes() {
        let lent = lend(|buffer| buffer.as_ptr());
        let mut queue = Queue::default();
        queue.push(b"one");
        assert_eq!(queue.bytes().as_ptr(), lent);
        assert_ne!(lend(|buffer| buffer.as_ptr()), lent);
        queue.consume(3);
        assert!(queue.buffer.is_none());
        queue.push(b"");
        queue.write_with(10, |_| Err(())).unwrap_err();
        assert!(queue.buffer.is_none());
    }

    #[test]
    fn a_queue_that_has_to_wait_holds_little_more_than_its_bytes() {
        let mut queue = Queue::default();
        for length in [1, LENGTH / 4] {
            let bytes: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
            queue.push(&bytes);
            queue.fit();
            assert_eq!(queue.buffer.as_ref().unwrap().len(), length);
            assert!(queue.bytes() == bytes);
            // It takes more as before.
            queue.push(&[7; 1000]);
            assert!(queue.bytes().starts_with(&bytes) && queue.bytes().ends_with(&[7; 1000]));
            queue.consume(length + 1000);
            assert!(queue.buffer.is_none());
        }
        queue.fit();
        assert!(queue.buffer.is_none());
        // Copying much would cost more than it gives back.
        queue.push(&[7; LENGTH / 2]);
        queue.fit();
        assert_eq!(queue.buffer.as_ref().unwrap().len(), LENGTH);
    }

    #[test]
    fn a_thread_keeps_a_few_free_buffers_and_no_odd_ones() {
        let mut queues: Vec<Queue> = (0..3 * KEPT).map(|_| Queue::default()).collect();
        for (queue, length) in queues.iter_mut().zip([1, 2 * LENGTH].into_iter().cycle()) {
            queue.push(&vec![7; length]);
        }
        drop(queues);
        let free = FREE.take();
        assert_eq!(free.len(), KEPT);
        assert!(free.iter().all(|buffer| buffer.len() == LENGTH));
    }

    proptest! {
        #[test]
        fn a_queue_gives_out_what_was_put_in(
            steps in proptest::collection::vec((0_usize..100_000, 0_usize..100_000, any::<bool>()), 0..12),
        ) {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (step, (put, taken, waits)) in steps.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..put).map(|at| (at * 7 + step).to_le_bytes()[0]).collect();
                queue.push(&bytes);
                model.extend(bytes);
                queue.consume(taken);
                model.drain(..taken.min(model.len()));
                if waits {
                    queue.fit();
                }
                prop_assert!(queue.bytes() == model.make_contiguous());
                prop_assert_eq!(queue.buffer.is_some(), !model.is_empty());
            }
        }
    }
}
