//! Several at work in one folder.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use super::*;

#[test]
fn processes_that_start_at_once_agree_on_one_ca_and_one_leaf() {
    let fixture = Fixture::new();
    let leaves: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| fixture.load().unwrap()))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap().leaf_der().clone())
            .collect()
    });
    assert_eq!(leaves.len(), 8);
    assert!(leaves.iter().all(|leaf| *leaf == leaves[0]));
}

#[test]
fn a_lock_on_what_others_can_open_holds_nobody_up() {
    let mut fixture = Fixture::new();
    fs::create_dir(&fixture.store.folder).unwrap();
    fixture.store.patience = Duration::ZERO;
    let mut held = vec![File::open(&fixture.store.folder).unwrap()];
    held[0].lock().unwrap();
    fixture.load().unwrap();
    for name in ["ca.crt", "server.crt"] {
        let file = File::open(fixture.file(name)).unwrap();
        file.lock().unwrap();
        held.push(file);
    }
    fixture.load().unwrap();
    fixture
        .store
        .load_or_create(&hosts(&["other.example.com"]), fixture.now)
        .unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(mode(&fixture.file(".lock")), 0o600);
}

#[test]
fn a_lock_file_that_others_could_open_is_closed_to_them() {
    let fixture = Fixture::new();
    fs::create_dir(&fixture.store.folder).unwrap();
    fs::write(fixture.file(".lock"), "").unwrap();
    fs::set_permissions(fixture.file(".lock"), Permissions::from_mode(0o666)).unwrap();
    fixture.load().unwrap();
    assert_eq!(mode(&fixture.file(".lock")), 0o600);
}

#[test]
fn what_fits_is_used_while_another_holds_the_folder_for_ever() {
    let mut fixture = Fixture::new();
    fixture.store.patience = Duration::ZERO;
    let first = fixture.load().unwrap();
    fs::write(fixture.file(".unfinished-x7"), "half a key").unwrap();
    let held = Held::wait(&fixture.store.folder, Duration::ZERO).unwrap();
    assert_eq!(fixture.load().unwrap().leaf_der(), first.leaf_der());
    // What is being written is left alone, and what was left is removed once nobody writes.
    assert!(fixture.file(".unfinished-x7").exists());
    drop(held);
    fixture.load().unwrap();
    assert!(!fixture.file(".unfinished-x7").exists());
}

#[test]
fn a_lock_that_is_never_let_go_is_an_error_that_says_who_may_hold_it() {
    let mut fixture = Fixture::new();
    fixture.load().unwrap();
    fixture.store.patience = Duration::ZERO;
    let _held = Held::wait(&fixture.store.folder, Duration::ZERO).unwrap();
    let others = hosts(&["other.example.com"]);
    let error = fixture.store.load_or_create(&others, fixture.now);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("acme/.lock has been locked") && error.contains("another gate"),
        "{error}"
    );
}

#[test]
fn nothing_is_written_where_what_is_kept_fits() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    fs::remove_file(fixture.file(".lock")).unwrap();
    fixture.load().unwrap();
    assert!(!fixture.file(".lock").exists());
}
