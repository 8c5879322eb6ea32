//! The configuration that is in force, as TOML: what was written and what was left to its default.

use std::fmt;

/// Every key with its value in force, in the order of reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effective {
    sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    /// `[tls]`, `[[listener]]`; empty for the top.
    header: String,
    /// Keys with their values, the values as TOML.
    lines: Vec<(String, String)>,
}

impl Effective {
    /// Begins a table, and says by which number its keys are recorded.
    pub(super) fn open(&mut self, header: String) -> usize {
        self.sections.push(Section {
            header,
            lines: Vec::new(),
        });
        self.sections.len() - 1
    }

    /// Sets a key at the top, itself TOML, to another value than was read.
    pub(super) fn replace(&mut self, key: &str, value: &str) {
        let top = self
            .sections
            .iter_mut()
            .filter(|section| section.header.is_empty());
        let lines = top.flat_map(|section| section.lines.iter_mut());
        for (_, old) in lines.filter(|(name, _)| name == key) {
            value.clone_into(old);
        }
    }

    /// Adds what another file says.
    pub(super) fn extend(&mut self, other: Self) {
        self.sections.extend(other.sections);
    }

    /// Notes a key's value, itself TOML.
    pub(super) fn record(&mut self, section: usize, key: &str, value: String) {
        if let Some(section) = self.sections.get_mut(section) {
            section
                .lines
                .push((toml_edit::Key::new(key).to_string(), value));
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for section in self
            .sections
            .iter()
            .filter(|section| !section.lines.is_empty())
        {
            f.write_str(gap)?;
            if !section.header.is_empty() {
                writeln!(f, "{}", section.header)?;
            }
            for (key, value) in &section.lines {
                writeln!(f, "{key} = {value}")?;
            }
            gap = "\n";
        }
        Ok(())
    }
}
