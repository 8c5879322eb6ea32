//! What a doubter would type, typed for them.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};

use super::gate::Gate;

/// Everything that the proof needs.
pub(super) struct Proof<'a> {
    pub(super) gate: &'a Gate,
    pub(super) psql: &'a Path,
    pub(super) password: &'a str,
}

const QUERY: &str = "select current_user as \"user\", current_database() as database, \
                     split_part(version(), ' on ', 1) as server";

impl Proof<'_> {
    /// Runs each step, and shows it with what psql said.
    pub(super) fn show(&self, out: &mut impl Write) -> Result<(), ProofError> {
        let acme = self.gate.conninfo("acme", self.password);
        let globex = self.gate.conninfo("globex", self.password);
        let mut mistaken = acme.clone();
        mistaken[3] = format!("sslrootcert={}", self.gate.ca("globex").display());

        writeln!(
            out,
            "1. A query to acme, through TLS that psql verifies by acme's own CA:\n"
        )?;
        let words = self.psql(&acme)?;
        quote(out, &succeeded(&words)?)?;

        writeln!(
            out,
            "2. The same to globex, whose rules don't let this machine in:\n"
        )?;
        let words = self.psql(&globex)?;
        quote(out, &failed(&words, "are not allowed to \"globex")?)?;

        writeln!(
            out,
            "3. The same to acme, by somebody who trusts globex's CA instead:\n"
        )?;
        let words = self.psql(&mistaken)?;
        quote(out, &failed(&words, "certificate verify failed")?)?;
        Ok(())
    }

    fn psql(&self, conninfo: &[String]) -> io::Result<Output> {
        // Nothing of the user's own settings: the proof is to come out the same everywhere.
        let theirs = std::env::vars_os().map(|(name, _)| name);
        let theirs = theirs.filter(|name| name.to_string_lossy().starts_with("PG"));
        let mut psql = Command::new(self.psql);
        theirs.for_each(|name| {
            psql.env_remove(name);
        });
        psql.env("PGCONNECT_TIMEOUT", "30").env("LC_ALL", "C");
        psql.args(["-X", "-d", &conninfo.join(" "), "-c", QUERY])
            .output()
    }
}

fn succeeded(output: &Output) -> Result<String, ProofError> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ProofError {
            words: said(output),
        })
    }
}

fn failed(output: &Output, why: &str) -> Result<String, ProofError> {
    let words = said(output);
    if !output.status.success() && words.contains(why) {
        Ok(words)
    } else {
        Err(ProofError { words })
    }
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).trim_end().to_owned()
}

/// Shows what psql said, indented, in lines that fit a terminal.
fn quote(out: &mut impl Write, words: &str) -> io::Result<()> {
    for line in words.trim_end().lines().flat_map(fold) {
        writeln!(out, "     {line}")?;
    }
    writeln!(out)
}

/// The width left of 80 columns by the indentation.
const WIDTH: usize = 75;

/// Breaks a line between words where it is too wide; a word that is too wide stays whole.
fn fold(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let last = lines.last().map_or(0, |last| last.chars().count());
        if last > 0 && last + word.trim_end().chars().count() > WIDTH {
            lines.push(String::new());
        }
        lines
            .last_mut()
            .into_iter()
            .for_each(|last| last.push_str(word));
    }
    lines
}

/// The gate doesn't do what it is there for.
#[derive(Debug, thiserror::Error)]
#[error("this was not to be; psql said:\n{words}")]
pub(super) struct ProofError {
    words: String,
}

impl From<io::Error> for ProofError {
    fn from(error: io::Error) -> Self {
        Self {
            words: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_folded_between_words_and_loses_nothing() {
        let line = "word ".repeat(40);
        let folded = fold(&line);
        assert!(folded.len() > 1);
        assert!(folded.iter().all(|line| line.trim_end().len() <= WIDTH));
        assert_eq!(folded.concat(), line);
        assert_eq!(fold(""), [""]);
        assert_eq!(fold(&"x".repeat(200)), ["x".repeat(200)]);
    }
}
