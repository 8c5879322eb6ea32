//! What an edit makes of a list of rules, and the list rewritten so in its text.

use toml_edit::{Document, Item, Key, TableLike, Value};

use super::edit::Edit;
use super::list::{self, Fate, List};
use crate::config::show_rule;
use crate::gate::rule::{Rule, Source, Verdict};
use crate::id::ProjectName;

/// A list of one verdict with what becomes of it.
pub(super) struct NewList<'r> {
    /// Each rule that is there, with the one in its place: the same, another, or none.
    slots: Vec<(&'r Rule, Option<Rule>)>,
    added: Vec<Rule>,
}

impl<'r> NewList<'r> {
    pub(super) fn of(rules: &[&'r Rule], verdict: Verdict, edit: Edit<'_>) -> Self {
        let slots = rules
            .iter()
            .map(|rule| (*rule, Some((*rule).clone())))
            .collect();
        let mut list = Self {
            slots,
            added: Vec::new(),
        };
        match edit {
            Edit::Add(added) => list.add(added.iter().filter(|rule| rule.verdict == verdict)),
            Edit::Remove(selectors) => {
                list.retain(|rule| !selectors.iter().any(|selector| selector.selects(rule)));
            }
            Edit::Replace(of, wanted) if of == verdict => {
                list.retain(|rule| wanted.iter().any(|wanted| is_same(wanted, rule)));
                list.add(wanted.iter());
            }
            Edit::Replace(..) => {}
        }
        if verdict == Verdict::Allow {
            list.keep_closed();
        }
        list
    }

    /// The rules as they will be read.
    pub(super) fn into_rules(self) -> impl Iterator<Item = Rule> {
        self.slots
            .into_iter()
            .filter_map(|(_, rule)| rule)
            .chain(self.added)
    }

    /// The text with the list in its new state; none if the list's form can't be rewritten.
    pub(super) fn write(
        &self,
        text: &str,
        project: &ProjectName,
        verdict: Verdict,
    ) -> Option<String> {
        let name = verdict.to_string();
        let mut text = text.to_owned();
        if !has_key(&text, project, &name)? {
            if self.added.is_empty() {
                return Some(text);
            }
            text = insert_behind_allow(&text, project, &name)?;
        }
        let fates: Vec<_> = self
            .slots
            .iter()
            .map(|(rule, slot)| fate(rule, slot.as_ref()))
            .collect();
        let list = find_list(&text, project, &name)?;
        if list.elements.len() != fates.len() {
            return None;
        }
        text = list::change(&text, &list, &fates);
        if self.added.is_empty() {
            return Some(text);
        }
        let list = find_list(&text, project, &name)?;
        Some(list::append(
            &text,
            &list,
            &self.added.iter().map(show_rule).collect::<Vec<_>>(),
        ))
    }

    fn add<'a>(&mut self, rules: impl Iterator<Item = &'a Rule>) {
        for rule in rules {
            let there = || self.slots.iter().filter_map(|(_, slot)| slot.as_ref());
            let position = |same: &dyn Fn(&Rule) -> bool| there().chain(&self.added).position(same);
            let twin = position(&|other| other.id == rule.id)
                .or_else(|| position(&|other| other.source == rule.source));
            let slots = self.slots.iter_mut().filter_map(|(_, slot)| slot.as_mut());
            match twin.and_then(|twin| slots.chain(&mut self.added).nth(twin)) {
                Some(slot) => rule.clone_into(slot),
                None => self.added.push(rule.clone()),
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(&Rule) -> bool) {
        for (_, slot) in &mut self.slots {
            *slot = slot.take().filter(|rule| keep(rule));
        }
    }

    /// `nowhere` gives way to any other rule, and takes the place of the last (T25).
    fn keep_closed(&mut self) {
        let mut left = self
            .slots
            .iter()
            .filter_map(|(_, slot)| slot.as_ref())
            .chain(&self.added);
        if left.any(|rule| rule.source != Source::Nowhere) {
            let mut added = std::mem::take(&mut self.added).into_iter();
            for (_, slot) in &mut self.slots {
                if slot
                    .as_ref()
                    .is_some_and(|rule| rule.source == Source::Nowhere)
                {
                    *slot = added.next();
                }
            }
            self.added = added.collect();
        } else if self.slots.iter().all(|(_, slot)| slot.is_none())
            && let Some((_, first)) = self.slots.first_mut()
        {
            *first = Some(Rule::new(Verdict::Allow, Source::Nowhere));
            self.added.clear();
        }
    }
}

/// Whether a rule is meant to be the other one, whatever its note.
fn is_same(rule: &Rule, other: &Rule) -> bool {
    rule.id == other.id || rule.source == other.source
}

fn fate(rule: &Rule, slot: Option<&Rule>) -> Fate {
    match slot {
        Some(same) if same == rule => Fate::Keep,
        Some(other) if is_same(other, rule) => Fate::Set(show_rule(other)),
        Some(other) => Fate::Swap(show_rule(other)),
        None => Fate::Remove,
    }
}

/// Calls `read` with a project's table.
fn with_project<T>(
    text: &str,
    project: &ProjectName,
    read: impl FnOnce(&dyn TableLike, bool) -> Option<T>,
) -> Option<T> {
    let document = Document::parse(text).ok()?;
    let table = document
        .get("project")?
        .as_table_like()?
        .get(project.as_str())?;
    read(table.as_table_like()?, table.is_inline_table())
}

fn has_key(text: &str, project: &ProjectName, name: &str) -> Option<bool> {
    with_project(text, project, |table, _| Some(table.contains_key(name)))
}

fn find_list(text: &str, project: &ProjectName, name: &str) -> Option<List> {
    with_project(text, project, |table, _| {
        let array = table.get(name)?.as_array()?;
        let elements = array.iter().map(Value::span).collect::<Option<_>>()?;
        Some(List {
            whole: array.span()?,
            elements,
        })
    })
}

/// The text with an empty list under the key `name`, written as `allow` is and right behind it.
fn insert_behind_allow(text: &str, project: &ProjectName, name: &str) -> Option<String> {
    with_project(text, project, |table, is_inline| {
        let (key, value) = table.get_key_value("allow")?;
        let (start, end) = (Key::span(key)?.start, Item::span(value)?.end);
        let at = if is_inline {
            end
        } else {
            list::line_end(text, end)
        };
        let inserted = if is_inline {
            format!(", {name} = []")
        } else {
            // Also `project.acme.` of a dotted key.
            let before = &text[list::line_start(text, start)..start];
            format!("{}{before}{name} = []", list::newline(text))
        };
        Some(format!("{}{inserted}{}", &text[..at], &text[at..]))
    })
}
