//! A project's backend.

use super::*;

#[test]
fn sslmode_follows_the_backend_and_contradictions_are_refused() {
    let of = |backend: &str, lines: &str| with(lines).replace("postgres://127.0.0.1:5432", backend);
    for local in [
        "/run/postgresql",
        "postgres://localhost",
        "postgres://[::1]",
    ] {
        let project = &parse(&of(local, "")).projects[&"acme".parse().unwrap()];
        assert_eq!(project.backend.sslmode, SslMode::Disable, "{local}");
    }
    for (backend, lines, told) in [
        ("postgres://10.0.0.5", "", "needs sslrootcert"),
        (
            "postgres://10.0.0.5",
            "sslmode = \"verify-ca\"",
            "needs sslrootcert",
        ),
        (
            "/run/postgresql",
            "sslmode = \"require\"",
            "over a Unix socket",
        ),
        (
            "postgres://10.0.0.5",
            "sslmode = \"require\"\nsslrootcert = \"/dev/null\"",
            "not used",
        ),
    ] {
        let found = problems(&of(backend, lines));
        assert!(found.iter().any(|one| one.contains(told)), "{found:?}");
    }
    parse(&of("postgres://10.0.0.5", "sslmode = \"disable\""));
}

#[test]
fn a_backend_is_one_address_or_several_and_each_once() {
    let of =
        |backend: &str, lines: &str| with(lines).replace("\"postgres://127.0.0.1:5432\"", backend);
    let both = of(
        "[\"postgres://127.0.0.1\", \"/run/postgresql\"]",
        "balance = \"least-sessions\"\nkeepalives_count = 3\ntcp_user_timeout = \"20s\"",
    );
    let config = parse(&format!("[tcp]\nkeepalives_idle = \"2m\"\n{both}"));
    let backend = &config.projects[&"acme".parse().unwrap()].backend;
    assert_eq!(backend.addresses.len(), 2);
    assert_eq!(backend.sslmode, SslMode::Disable);
    assert_eq!(backend.tcp.idle, Duration::from_secs(120));
    assert_eq!(backend.tcp.user_timeout, Some(Duration::from_secs(20)));
    assert_eq!((backend.tcp.count, config.tcp.count), (3, 9));
    let system = of("[\"postgres://127.0.0.1\"]", "sslrootcert = \"system\"");
    let backend = &parse(&system).projects[&"acme".parse().unwrap()].backend;
    assert_eq!(backend.sslmode, SslMode::VerifyFull);
}

#[test]
fn contradictions_about_a_backend_are_refused() {
    let of =
        |backend: &str, lines: &str| with(lines).replace("\"postgres://127.0.0.1:5432\"", backend);
    for (backend, lines, told) in [
        ("[]", "", "at least one address"),
        (
            "[\"postgres://[::1]\", \"postgres://[::1]:5432\"]",
            "",
            "is there already",
        ),
        (
            "[\"/run/a\", \"/run/b\"]",
            "sslmode = \"require\"",
            "over a Unix socket",
        ),
        (
            "[\"/run/a\", \"postgres://10.0.0.5\"]",
            "",
            "needs sslrootcert",
        ),
        ("\"/run/a\"", "balance = \"best\"", "\"least-sessions\""),
        (
            "\"postgres://[::1]\"",
            "sslnegotiation = \"direct\"",
            "not used by",
        ),
        (
            "\"postgres://[::1]\"",
            "keepalives_idle = \"0s\"",
            "not within",
        ),
        (
            "\"postgres://[::1]\"",
            "sslmode = \"verify-ca\"\nsslrootcert = \"system\"",
            "goes with sslmode = \"verify-full\" only",
        ),
        (
            "\"postgres://[::1]\"",
            "sslmode = \"verify-ca\"\nsslrootcert = \"project\"\ncertificate = \"/dev/null\"",
            "there is no CA of the project's own",
        ),
        (
            "\"postgres://[::1]\"",
            "sslmode = \"require\"\nsslcert = \"/dev/null\"",
            "\"sslcert\" without \"sslkey\"",
        ),
    ] {
        let found = problems(&of(backend, lines));
        assert!(
            found.iter().any(|one| one.contains(told)),
            "{told}: {found:?}"
        );
    }
}
