//! `portcullis rules import`: what each provider's API returns, by its documented form.

use std::fs;

use serde_json::Value;

use crate::support::gate::{Ran, rules};

const PROXY_TOML: &str = "[project.acme]\nhosts = [\"a.localhost\"]\nallow = [\"127.0.0.1\"]\n\
                          backend = \"postgres://127.0.0.1\"\n";

/// What becomes of a provider's file.
struct Import {
    provider: &'static str,
    json: &'static str,
    /// Source, note and expiry of each rule.
    rules: &'static [[&'static str; 3]],
    /// What is told on the way.
    said: &'static [&'static str],
}

const ANN: [&str; 3] = ["192.0.2.7", "Ann at home", ""];
const OFFICE: [&str; 3] = ["198.51.100.0/24", "", ""];
const V6: [&str; 3] = ["2001:db8:7::/48", "", ""];

const IMPORTS: [Import; 6] = [
    Import {
        provider: "digitalocean",
        json: include_str!("providers/digitalocean.json"),
        rules: &[ANN, OFFICE],
        said: &[
            "skipped rules[2]: droplet 270045123 is not an address",
            "skipped rules[3]: app ",
        ],
    },
    Import {
        provider: "aiven",
        json: include_str!("providers/aiven.json"),
        rules: &[OFFICE, ANN, V6],
        said: &[],
    },
    Import {
        provider: "clickhouse",
        json: include_str!("providers/clickhouse.json"),
        rules: &[ANN, OFFICE],
        said: &[],
    },
    Import {
        provider: "neon",
        json: include_str!("providers/neon.json"),
        rules: &[
            ["192.0.2.7", "", ""],
            ["192.0.2.20-192.0.2.29", "", ""],
            OFFICE,
            V6,
        ],
        said: &["skipped protected_branches_only"],
    },
    Import {
        provider: "supabase",
        json: include_str!("providers/supabase.json"),
        rules: &[["192.0.2.7", "", ""], OFFICE, V6],
        said: &["status: stored"],
    },
    Import {
        provider: "cloudsql",
        json: include_str!("providers/cloudsql.json"),
        rules: &[
            ANN,
            OFFICE,
            ["203.0.113.7", "a contractor", "2099-01-31T18:00:00.01Z"],
        ],
        said: &["skipped settings.ipConfiguration.authorizedNetworks[3]: 203.0.113.8 has expired"],
    },
];

/// The command line, where there is a file of `json`.
fn import(provider: &str, json: &str, more: &[&str]) -> (Ran, Value) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("proxy.toml"), PROXY_TOML).unwrap();
    fs::write(directory.path().join("list.json"), json).unwrap();
    let arguments = ["import", "acme", "--from", provider, "list.json"];
    let ran = rules(directory.path(), &[&arguments, more].concat(), None);
    let listed = rules(directory.path(), &["list", "acme", "--json"], None);
    (ran, serde_json::from_str(&listed.out).unwrap())
}

/// Source, note and expiry of each rule.
fn told(listed: &Value) -> Vec<[String; 3]> {
    let rules = listed["rules"].as_array().unwrap().iter();
    let text = |rule: &Value, key| rule[key].as_str().unwrap_or_default().to_owned();
    let rules = rules.map(|rule| ["source", "note", "expires"].map(|key| text(rule, key)));
    rules.collect()
}

#[test]
fn every_providers_list_is_imported_with_its_notes_and_expiries_and_what_is_skipped_is_named() {
    for Import {
        provider,
        json,
        rules,
        said,
    } in IMPORTS
    {
        let (ran, listed) = import(provider, json, &["--replace"]);
        assert_eq!(ran.code, 0, "{provider}: {ran:?}");
        assert_eq!(told(&listed), rules, "{provider}: {ran:?}");
        for said in said {
            assert!(ran.err.contains(said), "{provider}: {said}: {ran:?}");
        }
        assert_eq!(said.is_empty(), !ran.err.contains("skipped"), "{ran:?}");
        // Without --replace, beside what is there.
        let (_, listed) = import(provider, json, &[]);
        assert_eq!(told(&listed)[0][0], "127.0.0.1", "{provider}");
        assert_eq!(told(&listed)[1..], *rules, "{provider}");
    }
}

#[test]
fn a_list_of_ipv6_alone_and_the_newer_forms_are_imported() {
    let v6 = r#"{"config": {"dbAllowedCidrsV6": ["2001:db8:7::/48"]}, "status": "applied"}"#;
    let typed = r#"{"config": {"dbAllowedCidrs": [{"address": "2001:db8:7::/48", "type": "v6"}]}}"#;
    let exported = r#"{"addresses": [{"address": "2001:db8:7::/48", "description": ""}]}"#;
    for (provider, json) in [
        ("supabase", v6),
        ("supabase", typed),
        ("clickhouse", exported),
    ] {
        let (ran, listed) = import(provider, json, &["--replace"]);
        assert_eq!(told(&listed), [V6], "{ran:?}");
    }
}

#[test]
fn another_providers_json_is_refused_with_what_is_missing() {
    for (index, Import { provider, .. }) in IMPORTS.iter().enumerate() {
        let other = &IMPORTS[(index + 1) % IMPORTS.len()];
        let (ran, listed) = import(provider, other.json, &["--replace"]);
        assert_eq!(ran.code, 64, "{provider}: {ran:?}");
        assert!(ran.err.contains("there is no "), "{provider}: {ran:?}");
        assert_eq!(told(&listed), [["127.0.0.1", "", ""]]);
    }
}
