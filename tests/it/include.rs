//! Projects in files of their own (T25, T31).

use std::fs;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Settings, directory_of, text};
use crate::support::message::alice;

/// A project in a file of its own, whose rule is this.
fn project(name: &str, backend: &FakeBackend, allow: &str) -> String {
    format!(
        "[project.{name}]\nhosts = [\"{name}.localhost\"]\n# Whom to let in\nallow = [\"{allow}\"]\n\
         backend = \"{}\"\n",
        backend.url()
    )
}

/// A gate with acme and globex in files of their own.
fn two_files(backend: &FakeBackend) -> Gate {
    let directory = directory_of(&[]);
    fs::create_dir(directory.path().join("projects.d")).unwrap();
    for name in ["acme", "globex"] {
        let path = directory.path().join(format!("projects.d/{name}.toml"));
        fs::write(path, project(name, backend, "127.0.0.1")).unwrap();
    }
    let settings = Settings::new(&[]).top("include = [\"projects.d/*.toml\"]");
    Gate::within(directory, &settings)
}

/// Writes or removes a file of a project, and waits for what the gate says of it.
fn change(gate: &Gate, name: &str, contents: Option<&str>, said: &str) {
    let (before, path) = (
        gate.log().len(),
        gate.directory().join("projects.d").join(name),
    );
    match contents {
        Some(contents) => fs::write(path, contents).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    gate.log()
        .wait_after(before, said, |line| text(line, "message") == said);
}

const TAKEN: &str = "configuration reloaded";

#[test]
fn a_file_that_changes_comes_or_goes_is_in_force_and_the_others_sessions_go_on() {
    let backend = FakeBackend::welcoming();
    let gate = two_files(&backend);
    let mut acme = gate.connect("acme");
    acme.login(&alice());
    gate.connect("globex").login(&alice());
    let closed = project("globex", &backend, "nowhere");
    change(&gate, "globex.toml", Some(&closed), TAKEN);
    gate.connect("globex")
        .refused(&alice())
        .assert_fatal("28000");
    let initech = project("initech", &backend, "127.0.0.1");
    change(&gate, "initech.toml", Some(&initech), TAKEN);
    let mut gone = gate.connect("initech");
    gone.login(&alice());
    change(&gate, "initech.toml", None, TAKEN);
    gone.message().error().assert_fatal("57P01");
    acme.is_alive();
}

#[test]
fn t31_an_error_in_one_file_changes_nothing_and_names_the_file() {
    let backend = FakeBackend::welcoming();
    let gate = two_files(&backend);
    change(
        &gate,
        "globex.toml",
        Some("what?"),
        "configuration not reloaded",
    );
    let line = gate
        .log()
        .wait("the error", |line| text(line, "level") == "ERROR");
    assert!(
        text(&line, "error").contains("projects.d/globex.toml:1"),
        "{line}"
    );
    gate.connect("globex").login(&alice());
    let taken = project("acme", &backend, "nowhere");
    change(
        &gate,
        "globex.toml",
        Some(&taken),
        "configuration not reloaded",
    );
    gate.connect("acme").login(&alice());
    let globex = project("globex", &backend, "nowhere");
    change(&gate, "globex.toml", Some(&globex), TAKEN);
    gate.connect("globex")
        .refused(&alice())
        .assert_fatal("28000");
}

#[test]
fn rules_edits_the_file_in_which_the_project_stands_and_keeps_its_comments() {
    let backend = FakeBackend::welcoming();
    let gate = two_files(&backend);
    let main = fs::read(gate.directory().join("proxy.toml")).unwrap();
    let ran = gate.rules(&["add", "globex", "192.0.2.7"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("in force"), "{}", ran.err);
    let file = gate.directory().join("projects.d/globex.toml");
    let edited = fs::read_to_string(file).unwrap();
    assert!(
        edited.contains("# Whom to let in\nallow = [\"127.0.0.1\", \"192.0.2.7\"]"),
        "{edited}"
    );
    assert_eq!(fs::read(gate.directory().join("proxy.toml")).unwrap(), main);
    let listed = gate.rules(&["list", "globex"]);
    assert!(
        listed.out.contains("projects.d/globex.toml:4"),
        "{}",
        listed.out
    );
    assert_ne!(gate.rules(&["list", "nobody"]).code, 0);
}
