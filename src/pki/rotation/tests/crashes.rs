//! A crash after each of the writes of each step.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::pki::certificate::Facts;

/// What a step writes.
#[derive(Clone, Copy)]
enum Write {
    /// The file as the step leaves it.
    Put(&'static str),
    /// The contents of the first file, to the second.
    Double(&'static str, &'static str),
    /// The first file becomes the second.
    Rename(&'static str, &'static str),
    /// The file goes.
    Remove(&'static str),
}

use Write::{Double, Put, Remove, Rename};

/// A step: what was taken before it, and its writes, of which the one by this number is the step.
struct Case {
    before: &'static [Step],
    step: Step,
    writes: &'static [Write],
    decisive: usize,
}

/// As the documentation of the module has them.
const CASES: [Case; 5] = [
    Case {
        before: &[],
        step: Step::Announce,
        writes: &[Put(NEXT_KEY), Put("ca.crl"), Put("ca.crt")],
        decisive: 3,
    },
    Case {
        before: &[Step::Announce],
        step: Step::Switch,
        writes: &[
            Double("ca.key", OLD_KEY),
            Rename(NEXT_KEY, "ca.key"),
            Put("ca.crl"),
        ],
        decisive: 2,
    },
    Case {
        before: &[Step::Announce, Step::Switch],
        step: Step::Retire,
        writes: &[
            Rename(OLD_KEY, GONE_KEY),
            Put("ca.crt"),
            Remove(GONE_KEY),
            Put("ca.crl"),
        ],
        decisive: 2,
    },
    Case {
        before: &[Step::Announce],
        step: Step::Undo,
        writes: &[
            Rename(NEXT_KEY, GONE_KEY),
            Put("ca.crt"),
            Remove(GONE_KEY),
            Put("ca.crl"),
        ],
        decisive: 2,
    },
    Case {
        before: &[Step::Announce, Step::Switch],
        step: Step::Undo,
        writes: &[
            Double("ca.key", NEXT_KEY),
            Rename(OLD_KEY, "ca.key"),
            Put("ca.crl"),
        ],
        decisive: 2,
    },
];

/// The files of a project's folder.
type Files = BTreeMap<String, Vec<u8>>;

/// A step in a project of its own: the folder before it and after it.
struct Steps {
    fixture: Fixture,
    before: Files,
    after: Files,
}

impl Steps {
    fn of(case: &Case) -> Self {
        let fixture = with_leaf();
        fixture.issue("alice");
        for step in case.before {
            fixture.step(*step);
        }
        fixture.leaf();
        let before = files(&fixture);
        fixture.step(case.step);
        let after = files(&fixture);
        Self {
            fixture,
            before,
            after,
        }
    }

    /// The folder as it is when the process ends after so many writes.
    fn crashed(&self, writes: &[Write]) -> Files {
        let mut files = self.before.clone();
        for write in writes {
            match *write {
                Put(name) => {
                    files.insert(name.into(), self.after[name].clone());
                }
                Double(from, to) => {
                    files.insert(to.into(), files[from].clone());
                }
                Rename(from, to) => {
                    let contents = files.remove(from).unwrap();
                    files.insert(to.into(), contents);
                }
                Remove(name) => {
                    files.remove(name).unwrap();
                }
            }
        }
        files
    }

    /// Puts these files in the place of what there is.
    fn restore(&self, files: &Files) -> &Fixture {
        for name in self.fixture.names() {
            fs::remove_file(self.fixture.store.file(&name)).unwrap();
        }
        for (name, contents) in files {
            put(&self.fixture.store.file(name), contents);
        }
        &self.fixture
    }

    /// The names of the CAs in a folder's `ca.crt`: they depend on nothing but project and key.
    fn cas(files: &Files) -> Vec<String> {
        let bundle = crate::pki::files::parse_chain(Path::new("ca.crt"), &files["ca.crt"]);
        let name = |der: &CertificateDer<'_>| Facts::read(der).unwrap().subject;
        bundle.unwrap().iter().map(name).collect()
    }
}

fn files(fixture: &Fixture) -> Files {
    let read = |name: String| {
        let contents = fs::read(fixture.store.file(&name)).unwrap();
        (name, contents)
    };
    fixture.names().into_iter().map(read).collect()
}

fn put(path: &Path, contents: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn stage(fixture: &Fixture) -> Stage {
    fixture.store.survey().unwrap().unwrap().stage
}

/// Runs `test` on every state that a crash within a step can leave; it is told whether the step counts
/// as taken there.
fn at_every_crash(test: impl Fn(&Case, &Steps, (&Files, bool))) {
    let mut crashes = 0;
    for case in &CASES {
        let steps = Steps::of(case);
        for written in 0..=case.writes.len() {
            let files = steps.crashed(&case.writes[..written]);
            test(case, &steps, (&files, written >= case.decisive));
            crashes += 1;
        }
        // Nothing is missing among the writes.
        let all = steps.crashed(case.writes);
        assert!(all.keys().eq(steps.after.keys()), "{:?}", case.step);
        for name in ["ca.crt", "ca.key", "ca.crl"] {
            assert_eq!(all[name], steps.after[name], "{name} of {:?}", case.step);
        }
    }
    assert_eq!(crashes, 22);
}

#[test]
fn a_crash_within_a_step_leaves_the_stage_before_it_or_after_it_and_the_leaf_trusted() {
    at_every_crash(|case, steps, (files, is_taken)| {
        let as_before = stage(steps.restore(&steps.before));
        let as_after = stage(steps.restore(&steps.after));
        assert_ne!(as_before, as_after);
        let fixture = steps.restore(files);
        let expected = if is_taken { as_after } else { as_before };
        assert_eq!(stage(fixture), expected, "{:?}", case.step);
        assert!(fixture.is_trusted_with(&fixture.bundle()));
        let lists = fixture.store.revocation_lists().unwrap();
        assert!(lists.len() >= fixture.bundle().len(), "{:?}", case.step);
    });
}

#[test]
fn the_same_step_after_a_crash_finishes_it_and_leaves_nothing_behind() {
    at_every_crash(|case, steps, (files, is_taken)| {
        let as_after = stage(steps.restore(&steps.after));
        let fixture = steps.restore(files);
        let again = match (case.step, as_after, is_taken) {
            // Taken, it would go back one step more.
            (Step::Undo, Stage::Announced, true) => Step::Announce,
            (step, _, _) => step,
        };
        assert_eq!(fixture.step(again), as_after, "{:?}", case.step);
        assert!(fixture.is_trusted_with(&fixture.bundle()));
        assert!(fixture.names().iter().eq(steps.after.keys()));
        let lists = fixture.store.revocation_lists().unwrap();
        assert_eq!(lists.len(), fixture.bundle().len(), "{:?}", case.step);
        // Every CA can sign: a key that is not its certificate's would be an error here.
        fixture.store.revoke(&issued(fixture), fixture.now).unwrap();
    });
}

fn issued(fixture: &Fixture) -> crate::pki::Serial {
    fixture.store.records().unwrap()[0].serial.clone()
}

#[test]
fn a_step_can_be_taken_back_after_a_crash_within_it() {
    at_every_crash(|case, steps, (files, _)| {
        let fixture = steps.restore(files);
        let expected = match stage(fixture) {
            Stage::Settled | Stage::Announced => Stage::Settled,
            Stage::Switched => Stage::Announced,
        };
        assert_eq!(fixture.step(Step::Undo), expected, "{:?}", case.step);
        assert!(fixture.is_trusted_with(&fixture.bundle()));
        let keys = fixture.names();
        let mut others = keys.iter().filter(|name| name.starts_with("ca-"));
        assert_eq!(others.next().map(String::as_str), expected.other_key());
        assert_eq!(others.next(), None);
    });
}

#[test]
fn a_ca_that_is_retired_does_not_come_back_when_its_certificate_is_made_again_after_a_crash() {
    at_every_crash(|case, steps, (crashed, is_taken)| {
        let fixture = steps.restore(crashed);
        fs::remove_file(fixture.store.ca_certificate()).unwrap();
        fixture.leaf();
        let made = Steps::cas(&files(fixture));
        let (before, after) = (Steps::cas(&steps.before), Steps::cas(&steps.after));
        assert!(
            made == after || (made == before && !is_taken),
            "{made:?} {:?}",
            case.step
        );
    });
}

#[test]
fn a_start_after_a_crash_removes_the_key_of_a_ca_that_was_dropped() {
    at_every_crash(|case, steps, (files, _)| {
        let fixture = steps.restore(files);
        let wanted = stage(fixture).other_key();
        // Twice: the first may have issued a leaf, which puts things in order as well.
        fixture.leaf();
        fixture.leaf();
        let names = fixture.names();
        let mut others = names.iter().filter(|name| name.starts_with("ca-"));
        assert_eq!(others.next().map(String::as_str), wanted, "{:?}", case.step);
        assert_eq!(others.next(), None);
    });
}
