//! `client_certificate`, and what goes with it.

use super::*;
use crate::auth::certificate::{NameKind, Naming, UserMap};
use crate::pki::ClientCas;

fn spec(lines: &str) -> ClientCertificateSpec {
    let config = parse(&with(lines));
    config.projects[&"acme".parse().unwrap()]
        .client_certificate
        .clone()
}

#[test]
fn the_projects_own_ca_and_the_common_name_count_if_nothing_is_said() {
    assert_eq!(spec(""), ClientCertificateSpec::Off);
    let own = ClientCas {
        project: true,
        ..ClientCas::default()
    };
    let optional = spec("client_certificate = \"optional\"");
    assert_eq!(optional, ClientCertificateSpec::Optional(own.clone()));
    let named = Naming::Named(NameKind::CommonName, UserMap::default());
    let required = spec("client_certificate = \"required\"");
    assert_eq!(required, ClientCertificateSpec::Required(own, named));
}

#[test]
fn a_user_map_may_be_a_value_or_a_table_and_shows_as_it_reads() {
    let value = "client_certificate = \"required\"
        user_map = { \"*@example.com\" = \"*\", \"Ann Adams\" = [\"ann\", \"reports\"] }";
    let table = "client_certificate = \"required\"
        [project.acme.user_map]
        \"*@example.com\" = \"*\"
        \"Ann Adams\" = [\"ann\", \"reports\"]";
    assert_eq!(spec(value), spec(table));
    let shown = parse(&with(value)).effective_toml();
    let again = parse(&shown);
    let again = &again.projects[&"acme".parse().unwrap()].client_certificate;
    assert_eq!(*again, spec(value), "{shown}");
}

#[test]
fn keys_that_would_mean_nothing_are_refused() {
    for (lines, refused) in [
        (
            "user = \"cn\"",
            "6:8 project.acme.user: not used by client_certificate = \"off\"",
        ),
        (
            "client_certificate = \"optional\"\nuser_map = { a = \"b\" }",
            "7:12 project.acme.user_map: not used by client_certificate = \"optional\"",
        ),
        (
            "client_ca = \"project\"",
            "6:13 project.acme.client_ca: not used by client_certificate = \"off\"",
        ),
        (
            "client_certificate = \"required\"\nuser = \"any\"\nuser_map = { a = \"b\" }",
            "8:12 project.acme.user_map: not used by user = \"any\"",
        ),
        (
            "client_certificate = \"required\"\nuser_map = {}",
            "7:12 project.acme.user_map: an empty map lets nobody in",
        ),
        (
            "client_certificate = \"required\"\nclient_ca = []",
            "7:13 project.acme.client_ca: expected at least one",
        ),
        (
            "client_certificate = \"required\"\nuser_map = { \"a*b*\" = \"c\" }",
            "7:14 project.acme.user_map.\"a*b*\": \"a*b*\" has more than one *",
        ),
    ] {
        assert_eq!(problems(&with(lines)), [refused]);
    }
}

#[test]
fn a_login_by_certificate_alone_needs_one_that_names_the_user_and_tls_that_proves_the_server() {
    let nothing_proved = "lets in by the client's certificate alone, and nothing says that it must \
                          name the user";
    let no_tls = "needs TLS to the server, verified";
    let required = "client_certificate = \"required\"\nauth = \"certificate\"\n";
    let verified = "sslmode = \"verify-full\"\nsslrootcert = \"system\"\n";
    for (lines, refused) in [
        (
            format!("auth = \"certificate\"\n{verified}"),
            nothing_proved,
        ),
        (
            format!("{required}user = \"any\"\n{verified}"),
            nothing_proved,
        ),
        (required.to_owned(), no_tls),
        (format!("{required}sslmode = \"require\""), no_tls),
    ] {
        let found = problems(&with(&lines));
        assert!(
            matches!(&found[..], [one] if one.contains(refused)),
            "{lines}{found:?}"
        );
    }
    parse(&with(&format!("{required}{verified}")));
    let own = format!("{required}{verified}sslcert = \"a.crt\"\nsslkey = \"a.key\"");
    let found = problems(&with(&own)).join("\n");
    assert!(found.contains("which makes one for each user"), "{found}");
}
