//! What is wrong with a configuration, and where.

use std::ops::Range;

use backup_core::Error;

use super::nearest::nearest;

/// The keys whose values are never shown.
const SECRET_KEYS: [&str; 4] = ["password", "webhook", "smtp", "source"];

/// More mistakes than this are not told at once.
const MOST_TOLD: usize = 20;

/// One mistake in the text of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The bytes it is about.
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    pub(crate) fn of(span: Range<usize>, error: &Error) -> Self {
        Self { span, message: error.to_string(), hint: error.hint().map(str::to_owned) }
    }

    /// `FILE:LINE:COLUMN: MESSAGE`, then the line with the place marked below it.
    fn render(&self, name: &str, text: &str) -> String {
        let start = floor(text, self.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let number = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let before = hide(&text[line_start..start]).chars().count();
        let end = floor(text, self.span.end).clamp(start, line_start + line.len().max(start - line_start));
        let marked = hide(&text[line_start..end]).chars().count().saturating_sub(before).max(1);
        let gutter = number.to_string();
        format!(
            "{name}:{number}:{column}: {}\n  {gutter} | {}\n  {:width$} | {}{}",
            self.message,
            hide(line),
            "",
            " ".repeat(before),
            "^".repeat(marked),
            width = gutter.len(),
        )
    }
}

/// All mistakes of a configuration as one error.
pub(crate) fn refuse(name: &str, text: &str, mut problems: Vec<Problem>) -> Error {
    problems.sort_by_key(|problem| problem.span.start);
    problems.dedup();
    let more = problems.len().saturating_sub(MOST_TOLD);
    let mut told: Vec<String> = problems.iter().take(MOST_TOLD).map(|p| p.render(name, text)).collect();
    if more > 0 {
        told.push(format!("{name}: and {more} more"));
    }
    let error = Error::invalid(told.join("\n"));
    match problems.into_iter().find_map(|problem| problem.hint) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A line, or its beginning, without what may be secret: values of keys that hold secrets, addresses, passwords.
fn hide(line: &str) -> String {
    let (mut shown, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(['"', '\'', '#']) {
        let (before, quoted) = rest.split_at(at);
        shown.push_str(hide_bare(before));
        let mark = &quoted[..1];
        if mark == "#" {
            // A comment may be a line that was taken out.
            return shown + "#…";
        }
        let inside = &quoted[1..];
        let end = end_of_string(inside, mark);
        let value = &inside[..end.unwrap_or(inside.len())];
        let is_secret = holds_secret(value) || is_value_of_secret(before);
        shown.push_str(mark);
        shown.push_str(if is_secret && !value.is_empty() { "…" } else { value });
        rest = match end {
            Some(end) => {
                shown.push_str(mark);
                &inside[end + 1..]
            }
            None => "",
        };
    }
    shown + hide_bare(rest)
}

/// What stands outside of quotes; within a string of several lines that is the string.
fn hide_bare(text: &str) -> &str {
    if text.contains("://") { "…" } else { text }
}

fn end_of_string(inside: &str, mark: &str) -> Option<usize> {
    let mut is_escaped = false;
    inside.char_indices().find_map(|(at, c)| {
        if is_escaped {
            is_escaped = false;
            return None;
        }
        is_escaped = c == '\\' && mark == "\"";
        (!is_escaped && inside[at..].starts_with(mark)).then_some(at)
    })
}

fn holds_secret(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let has_user = value.split_once('@').is_some_and(|(user, _)| user.contains(':'));
    value.contains("://") || has_user || lower.contains("password") || lower.contains("secret")
}

/// Whether what stands before a text is a key of secrets and a `=`, however the key is misspelt.
fn is_value_of_secret(before: &str) -> bool {
    let Some(before) = before.trim_end().strip_suffix('=') else { return false };
    let key = before.trim_end().rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').next();
    let key = key.unwrap_or_default().to_lowercase();
    let tells = ["pass", "secret", "token", "key"].iter().any(|part| key.contains(part));
    tells || nearest(&key, SECRET_KEYS).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_line_holds_no_secret() {
        for (line, shown) in [
            ("retension = { daily = 30 }", "retension = { daily = 30 }"),
            ("store = \"local\" x", "store = \"local\" x"),
            ("source = \"postgres://app:hush@db1/x\" x", "source = \"…\" x"),
            ("sorce = \"postgres://app:hush@db1/x\"", "sorce = \"…\""),
            ("source = \"host=db1 password=hush", "source = \"…"),
            ("password = 'hush' # hush", "password = '…' #…"),
            ("email = { to = [\"a\"], smtp = \"hush\" }", "email = { to = [\"a\"], smtp = \"…\" }"),
            ("postgres://app:hush@db1/x", "…"),
            ("passwort = \"hush\"", "passwort = \"…\""),
            ("api_token = \"hush\"", "api_token = \"…\""),
            ("webhook=\"a\\\"hush\"", "webhook=\"…\""),
        ] {
            assert_eq!(hide(line), shown);
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let text = "[jobs.a]\nsource = \"a.db\"\nsotre = \"x\"\n";
        let problem = Problem::new(25..30, "unknown key \"sotre\"");
        assert_eq!(
            refuse("backup.toml", text, vec![problem]).to_string(),
            "backup.toml:3:1: unknown key \"sotre\"\n  3 | sotre = \"x\"\n    | ^^^^^"
        );
        let at_the_end = Problem::new(text.len()..text.len() + 5, "more was expected");
        assert!(refuse("f", text, vec![at_the_end]).to_string().starts_with("f:4:1: more was expected"));
    }
}
