//! A list in a text of TOML, changed where it stands: what isn't changed keeps its very bytes.

use std::ops::Range;

/// Where an array and its elements stand in a text, in bytes.
#[derive(Debug, Clone)]
pub(super) struct List {
    /// From `[` to behind `]`.
    pub(super) whole: Range<usize>,
    /// Each element without the white space and comments around it.
    pub(super) elements: Vec<Range<usize>>,
}

/// What becomes of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Keep,
    /// This TOML takes its place.
    Set(String),
    /// It goes; a line that it had to itself goes too, with a comment at its end.
    Remove,
}

/// The text with the elements changed as `fates` says, one for each.
pub(super) fn change(text: &str, list: &List, fates: &[Fate]) -> String {
    let mut cuts = Vec::new();
    for (element, fate) in list.elements.iter().zip(fates) {
        match fate {
            Fate::Keep => {}
            Fate::Set(toml) => cuts.push((element.clone(), toml.as_str())),
            Fate::Remove => cuts.extend(removal(text, list, element)),
        }
    }
    cuts.extend(surplus_comma(text, list, fates));
    splice(text, &cuts)
}

/// The text with elements added behind the last, laid out as the others are.
pub(super) fn append(text: &str, list: &List, added: &[String]) -> String {
    let close = list.whole.end - 1;
    let Some(last) = list.elements.last() else {
        return append_first(text, list, added);
    };
    let comma = comma_behind(text, last.end);
    let end = comma.map_or(last.end, |comma| comma + 1);
    let line_end = line_end(text, end);
    if line_end > close {
        let joined: String = added.iter().map(|toml| format!(", {toml}")).collect();
        return splice(text, &[(last.end..last.end, &joined)]);
    }
    let indent = indent_of(text, last.start, list.whole.start);
    let lines: Vec<_> = added
        .iter()
        .map(|toml| format!("{}{indent}{toml}", newline(text)))
        .collect();
    let (before, between, behind) = if comma.is_some() {
        ("", ",", ",")
    } else {
        (",", ",", "")
    };
    let joined = lines.join(between) + behind;
    splice(
        text,
        &[(last.end..last.end, before), (line_end..line_end, &joined)],
    )
}

fn append_first(text: &str, list: &List, added: &[String]) -> String {
    let close = list.whole.end - 1;
    let inner = list.whole.start + 1..close;
    if !text[inner.clone()].contains('\n') {
        return splice(text, &[(inner, &added.join(", "))]);
    }
    let start = line_start(text, close);
    let indent = &text[start..close];
    let lines: String = added
        .iter()
        .map(|toml| format!("{indent}    {toml},{}", newline(text)))
        .collect();
    splice(text, &[(start..start, &lines)])
}

/// What to cut so that an element is gone, and its comma.
fn removal<'c>(text: &str, list: &List, element: &Range<usize>) -> Vec<(Range<usize>, &'c str)> {
    let comma = comma_behind(text, element.end);
    let end = comma.map_or(element.end, |comma| comma + 1);
    let start = line_start(text, element.start);
    let line_end = line_end(text, end);
    let has_line = start > list.whole.start
        && line_end < list.whole.end
        && is_blank(&text[start..element.start])
        && !text[element.end..end].contains('\n')
        && is_blank(text[end..line_end].split('#').next().unwrap_or_default());
    if has_line {
        return vec![(start..next_line(text, line_end), "")];
    }
    match comma {
        // What stands between an element and its comma may be a comment on something else.
        Some(comma) if !is_blank(&text[element.end..comma]) => {
            vec![(element.clone(), ""), (comma..comma + 1, "")]
        }
        Some(_) => vec![(element.start..end + blanks(&text[end..]), "")],
        None => vec![(element.clone(), "")],
    }
}

/// The comma behind the last element that stays, when those behind it went and had no comma at
/// the end: `["a", "b"]` becomes `["a"]`.
fn surplus_comma<'c>(text: &str, list: &List, fates: &[Fate]) -> Option<(Range<usize>, &'c str)> {
    let kept = fates.iter().rposition(|fate| *fate != Fate::Remove)?;
    let (kept, last) = (list.elements.get(kept)?, list.elements.last()?);
    if kept == last || comma_behind(text, last.end).is_some() {
        return None;
    }
    let comma = comma_behind(text, kept.end)?;
    let is_alone = text[comma..last.start].contains('\n');
    (!is_alone).then(|| (comma..comma + 1 + blanks(&text[comma + 1..]), ""))
}

/// The text with each range replaced; the ranges don't overlap.
fn splice(text: &str, cuts: &[(Range<usize>, &str)]) -> String {
    let mut cuts: Vec<_> = cuts.iter().collect();
    cuts.sort_by_key(|(range, _)| (range.start, range.end));
    let mut spliced = String::with_capacity(text.len());
    let mut from = 0;
    for (range, toml) in cuts {
        spliced.push_str(&text[from..range.start]);
        spliced.push_str(toml);
        from = range.end;
    }
    spliced + &text[from..]
}

/// The comma behind an element, past white space and comments.
fn comma_behind(text: &str, end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        match text.as_bytes().get(at)? {
            b',' => return Some(at),
            b'#' => at = line_end(text, at),
            _ => return None,
        }
    }
}

/// White space for a line of its own beside an element: that of the element's line, or one step
/// deeper than the key's if the element stands on the key's line.
fn indent_of(text: &str, element: usize, open: usize) -> String {
    let start = line_start(text, element);
    let line = &text[start..element];
    let blank = &line[..blanks(line)];
    if start <= open {
        format!("{blank}    ")
    } else {
        blank.to_owned()
    }
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line of `at` ends, before its `\n` or `\r\n`.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let rest = text[at..].split('\n').next().unwrap_or_default();
    at + rest.strip_suffix('\r').unwrap_or(rest).len()
}

fn next_line(text: &str, line_end: usize) -> usize {
    text[line_end..]
        .find('\n')
        .map_or(text.len(), |newline| line_end + newline + 1)
}

pub(super) fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

fn is_blank(text: &str) -> bool {
    blanks(text) == text.len()
}

/// The length of the spaces and tabs at the start.
fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

#[cfg(test)]
mod tests;
