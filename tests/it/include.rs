//! Projects in files of their own (T25, T31).

use std::fs;
use std::time::{Duration, Instant};

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
    Gate::within(directory, &settings.with_admin())
}

/// Waits until the admin listener answers what it must.
fn wait_for(gate: &Gate, path: &str, is_it: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_it(&gate.admin(path)) {
        assert!(Instant::now() < deadline, "{}", gate.admin(path));
        std::thread::yield_now();
    }
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

#[test]
fn t31_a_wrong_file_is_told_of_and_keeps_no_other_file_from_being_in_force() {
    let backend = FakeBackend::welcoming();
    let gate = two_files(&backend);
    let refused = "configuration not reloaded";
    change(&gate, "globex.toml", Some("what?"), refused);
    let closed = project("acme", &backend, "nowhere");
    change(&gate, "acme.toml", Some(&closed), TAKEN);
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
    gate.connect("globex").login(&alice());
    let told = |answer: &str| answer.contains("projects.d/globex.toml: ");
    wait_for(&gate, "/readyz", |answer| {
        answer.starts_with("HTTP/1.1 200 ") && told(answer)
    });
    let metric = "portcullis_config_last_reload_successful ";
    wait_for(&gate, "/metrics", |answer| {
        answer.contains(&format!("{metric}0"))
    });
    change(&gate, "globex.toml", None, TAKEN);
    wait_for(&gate, "/readyz", |answer| !told(answer));
    wait_for(&gate, "/metrics", |answer| {
        answer.contains(&format!("{metric}1"))
    });
}

#[test]
fn t25_a_directory_of_projects_that_vanishes_removes_none_of_them_and_is_told_of() {
    let backend = FakeBackend::welcoming();
    let gate = two_files(&backend);
    let mut live = gate.connect("acme");
    live.login(&alice());
    let (there, away) = (
        gate.directory().join("projects.d"),
        gate.directory().join("away"),
    );
    let before = gate.log().len();
    fs::rename(&there, &away).unwrap();
    let is_told = |line: &serde_json::Value| text(line, "error").contains("projects.d: ");
    gate.log().wait_after(before, "the error", is_told);
    gate.connect("globex").login(&alice());
    live.is_alive();
    wait_for(&gate, "/readyz", |answer| answer.contains("projects.d: "));
    fs::rename(&away, &there).unwrap();
    wait_for(&gate, "/readyz", |answer| !answer.contains("projects.d: "));
    let closed = project("acme", &backend, "nowhere");
    change(&gate, "acme.toml", Some(&closed), TAKEN);
    live.message().error().assert_fatal("57P01");
}

#[test]
fn a_file_that_is_wrong_when_the_gate_starts_is_shown_with_its_line() {
    let directory = directory_of(&[("acme.toml", "what?")]);
    let path = directory.path().join("proxy.toml");
    fs::write(
        &path,
        "include = [\"a*.toml\"]\nlisten = [\"127.0.0.1:0\"]\n",
    )
    .unwrap();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["run", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(64), "{said}");
    assert!(said.contains("acme.toml:1"), "{said}");
}
