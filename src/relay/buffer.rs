//! The one I/O buffer of each worker thread.

use std::cell::Cell;

/// A buffer's size in bytes: four TLS records of 8 KiB, and what measured best.
pub(super) const SIZE: usize = 32 * 1024;

thread_local! {
    /// Memory and no state: what a buffer holds is used up before it is put back.
    static FREE: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Lends this thread's buffer for the time of one read and what is done with its bytes. No session
/// keeps a buffer while it waits, so there are never more of them than worker threads.
pub(super) fn lend<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    // A loan within a loan, or one while the thread ends, gets a buffer of its own.
    let free = FREE.try_with(Cell::take).ok().flatten();
    let mut buffer = free.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
    let result = work(&mut buffer);
    FREE.try_with(|free| free.set(Some(buffer)))
        .unwrap_or_default();
    result
}

#[cfg(test)]
mod tests {
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
            assert_eq!((outer[0], outer.len()), (1, SIZE));
        });
    }
}
