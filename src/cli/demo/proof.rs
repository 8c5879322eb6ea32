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

/// One thing to try: as whom, trusting whom, and what has to come of it.
struct Step {
    title: &'static str,
    project: &'static str,
    trusting: &'static str,
    outcome: Outcome,
}

enum Outcome {
    Succeeds,
    /// psql fails, and says this.
    Fails(&'static str),
}

const STEPS: [Step; 3] = [
    Step {
        title: "1. acme lets this machine in, and psql verifies the gate by acme's own CA:",
        project: "acme",
        trusting: "acme",
        outcome: Outcome::Succeeds,
    },
    Step {
        title: "2. globex doesn't let this machine in, and psql tells why:",
        project: "globex",
        trusting: "globex",
        outcome: Outcome::Fails("are not allowed to \"globex"),
    },
    Step {
        title: "3. Who trusts only globex's CA isn't fooled by acme's certificate:",
        project: "acme",
        trusting: "globex",
        outcome: Outcome::Fails("certificate verify failed"),
    },
];

impl Proof<'_> {
    /// Runs each step, and shows it with what psql said.
    pub(super) fn show(&self, out: &mut impl Write) -> Result<(), ProofError> {
        STEPS.iter().try_for_each(|step| self.step(step, out))
    }

    fn step(&self, step: &Step, out: &mut impl Write) -> Result<(), ProofError> {
        let Step {
            title,
            project,
            trusting,
            outcome,
        } = step;
        writeln!(
            out,
            "{title}\n\n     $ psql \"host={project}.localhost .. sslmode=verify-full\n             \
             sslrootcert=certs/{trusting}/ca.crt\"\n"
        )?;
        let mut conninfo = self.gate.conninfo(project, self.password);
        conninfo[3] = format!("sslrootcert={}", self.gate.ca(trusting).display());
        let output = self.psql(&conninfo)?;
        let words = match outcome {
            Outcome::Succeeds => succeeded(&output),
            Outcome::Fails(why) => failed(&output, why),
        }?;
        quote(out, &words)?;
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
        psql.args(["-X", "-d", &conninfo.join(" ")])
            .args(["-c", "\\conninfo", "-c", QUERY])
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
