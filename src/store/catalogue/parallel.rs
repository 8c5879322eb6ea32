//! [`in_parallel`]: work on many things by all processors, taken up in order.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope, available_parallelism};

/// How far each thread may get ahead of what is taken up: what it has done by then is in memory.
const AHEAD: usize = 64;

/// Does `work` on each item, on as many threads as there are processors, and has `take` have what comes
/// of it: here, one by one, and in the order of the items.
pub(super) fn in_parallel<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> T + Sync,
    mut take: impl FnMut(T),
) {
    let processors = available_parallelism().map_or(1, usize::from);
    let threads = processors.min(items.len());
    thread::scope(|scope| {
        let work = &work;
        let worker = |first| {
            let items = items.iter().skip(first).step_by(threads);
            begin(scope, items.map(work))
        };
        let workers: Vec<_> = (0..threads).map(worker).collect();
        for worker in workers.iter().cycle().take(items.len()) {
            // Only of a thread that has panicked there is nothing more, and its panic goes on at the end
            // of the scope.
            let Ok(done) = worker.recv() else { return };
            take(done);
        }
    });
}

/// Begins a thread that does all this in its own time.
fn begin<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut work: impl Iterator<Item = T> + Send + 'scope,
) -> Receiver<T> {
    let (done, taken) = sync_channel(AHEAD);
    // It ends when nobody takes up any more.
    scope.spawn(move || work.all(|one| done.send(one).is_ok()));
    taken
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn all_is_taken_up_once_and_in_order_however_much_there_is() {
        for number in [0, 1, 2, 3, 10 * AHEAD] {
            let (items, mut taken): (Vec<_>, _) = ((0..number).collect(), Vec::new());
            in_parallel(&items, |item| item * 2, |twice| taken.push(twice));
            let expected: Vec<_> = items.iter().map(|item| item * 2).collect();
            assert_eq!(taken, expected);
        }
    }

    #[test]
    fn a_panic_of_the_work_is_a_panic_of_the_whole() {
        let items: Vec<_> = (0..10 * AHEAD).collect();
        let work = |item: &usize| assert_ne!(*item, AHEAD);
        let all = AssertUnwindSafe(|| in_parallel(&items, work, |()| {}));
        assert!(catch_unwind(all).is_err());
    }
}
