//! One table of a configuration while it is read: typed values, and the mistakes found on the way.

use std::{cell::RefCell, collections::BTreeMap, num::NonZeroUsize, ops::Range, str::FromStr};

use backup_core::{Error, Result};
use jiff::SignedDuration;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    nearest::did_you_mean,
    problem::Problem,
    secret::{Secret, expand},
    units::{parse_bytes, parse_duration},
};

/// Whatever sections share: the values of variables, and the mistakes so far.
pub(crate) struct Reader<'r> {
    pub(crate) lookup: &'r dyn Fn(&str) -> Option<String>,
    pub(crate) problems: RefCell<Vec<Problem>>,
}

impl Reader<'_> {
    pub(crate) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// The value, or the mistake on the record.
    pub(crate) fn accept<T>(&self, span: Range<usize>, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.report(Problem::of(span, &error))).ok()
    }
}

/// A table whose keys are asked for one by one; what nobody asked for is unknown.
pub(crate) struct Section<'r, 'i> {
    pub(crate) reader: &'r Reader<'r>,
    /// What it is called in messages, e.g. `[jobs.app]` or `retention`.
    name: String,
    table: &'r DeTable<'i>,
    pub(crate) span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

/// A text and where it stands.
pub(crate) type Placed<T> = (T, Range<usize>);

impl<'r, 'i> Section<'r, 'i> {
    pub(crate) fn new(
        reader: &'r Reader<'r>,
        name: impl Into<String>,
        table: &'r DeTable<'i>,
        span: Range<usize>,
    ) -> Self {
        Self { reader, name: name.into(), table, span, asked: RefCell::default() }
    }

    fn value(&self, key: &'static str) -> Option<&'r Spanned<DeValue<'i>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'i>>, expected: &str) {
        let found = value.get_ref().type_str();
        self.reader.report(Problem::new(
            value.span(),
            format!("\"{key}\" takes {expected}, this is of type {found}"),
        ));
    }

    /// A value of one TOML type.
    fn typed<T>(
        &self,
        key: &'static str,
        expected: &str,
        get: impl FnOnce(&'r DeValue<'i>) -> Option<T>,
    ) -> Option<Placed<T>> {
        let value = self.value(key)?;
        let got = get(value.get_ref());
        if got.is_none() {
            self.wrong_type(key, value, expected);
        }
        Some((got?, value.span()))
    }

    /// A text as it is written.
    fn raw(&self, key: &'static str) -> Option<Placed<&'r str>> {
        self.typed(key, "a text", DeValue::as_str)
    }

    /// A text, its variables replaced.
    pub(crate) fn text(&self, key: &'static str) -> Option<Placed<String>> {
        let (raw, span) = self.raw(key)?;
        let text =
            self.reader.accept(span.clone(), expand(raw, self.reader.lookup).and_then(not_empty(key)))?;
        Some((text, span))
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<String> {
        self.text(key).map(|(text, _)| text)
    }

    /// A text that is not shown.
    pub(crate) fn secret(&self, key: &'static str, may_be_file: bool) -> Option<Placed<Secret>> {
        let (raw, span) = self.raw(key)?;
        let lookup = self.reader.lookup;
        let read = |raw: String| match may_be_file {
            true => Secret::text_or_file(&raw, lookup),
            false => Secret::text(&raw, lookup),
        };
        let secret = self.reader.accept(span.clone(), not_empty(key)(raw.to_owned()).and_then(read))?;
        Some((secret, span))
    }

    /// A text that something can be made of.
    pub(crate) fn parsed<T>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T>) -> Option<T> {
        let (text, span) = self.text(key)?;
        self.reader.accept(span, parse(&text))
    }

    pub(crate) fn named<T: FromStr<Err = Error>>(&self, key: &'static str) -> Option<T> {
        self.parsed(key, str::parse)
    }

    pub(crate) fn duration(&self, key: &'static str) -> Option<SignedDuration> {
        self.parsed(key, parse_duration)
    }

    /// A number of bytes, or a size as people write it.
    pub(crate) fn bytes(&self, key: &'static str) -> Option<u64> {
        match self.value(key)?.get_ref() {
            DeValue::Integer(_) => self.whole(key, 1..=u64::MAX),
            _ => self.parsed(key, parse_bytes),
        }
    }

    pub(crate) fn truth(&self, key: &'static str) -> bool {
        self.typed(key, "true or false", DeValue::as_bool).is_some_and(|(is_so, _)| is_so)
    }

    /// A whole number within bounds.
    pub(crate) fn whole(&self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let (integer, span) = self.typed(key, "a whole number", DeValue::as_integer)?;
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let fitting = number.and_then(|number| u64::try_from(number).ok()).filter(|n| bounds.contains(n));
        let refusal = || match *bounds.end() {
            u64::MAX => Error::invalid(format!("\"{key}\" takes a number of at least {}", bounds.start())),
            end => Error::invalid(format!("\"{key}\" takes a number from {} to {end}", bounds.start())),
        };
        self.reader.accept(span, fitting.ok_or_else(refusal))
    }

    pub(crate) fn count(&self, key: &'static str) -> Option<u32> {
        let count = self.whole(key, 0..=u64::from(u32::MAX))?;
        u32::try_from(count).ok()
    }

    pub(crate) fn threads(&self, key: &'static str) -> Option<NonZeroUsize> {
        let count = self.whole(key, 1..=256)?;
        usize::try_from(count).ok().and_then(NonZeroUsize::new)
    }

    /// A share or factor, not below zero.
    pub(crate) fn number(&self, key: &'static str, most: f64) -> Option<f64> {
        let get = |value: &DeValue<'i>| match value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number as f64)
            }
            _ => None,
        };
        let (number, span) = self.typed(key, "a number", get)?;
        let is_fitting = (0.0..=most).contains(&number);
        let refusal = || Error::invalid(format!("\"{key}\" takes a number from 0 to {most}"));
        self.reader.accept(span, is_fitting.then_some(number).ok_or_else(refusal))
    }

    /// Texts; one alone may stand without brackets.
    pub(crate) fn texts(&self, key: &'static str) -> Vec<Placed<String>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let one = std::slice::from_ref(value);
        let many: Vec<&Spanned<DeValue<'i>>> = match value.get_ref() {
            DeValue::String(_) => one.iter().collect(),
            DeValue::Array(array) => array.iter().collect(),
            _ => {
                self.wrong_type(key, value, "a list of texts");
                return Vec::new();
            }
        };
        let text = |value: &Spanned<DeValue<'i>>| {
            let Some(raw) = value.get_ref().as_str() else {
                self.wrong_type(key, value, "a list of texts");
                return None;
            };
            let expanded = expand(raw, self.reader.lookup).and_then(not_empty(key));
            Some((self.reader.accept(value.span(), expanded)?, value.span()))
        };
        many.into_iter().filter_map(text).collect()
    }

    pub(crate) fn strings(&self, key: &'static str) -> Vec<String> {
        self.texts(key).into_iter().map(|(text, _)| text).collect()
    }

    /// A table within this one.
    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'r, 'i>> {
        let (table, span) = self.typed(key, "a table", DeValue::as_table)?;
        Some(Section::new(self.reader, format!("\"{key}\""), table, span))
    }

    /// The tables within the table of this key, by name: `[stores.NAME]`.
    pub(crate) fn sections(&self, key: &'static str) -> BTreeMap<String, Section<'r, 'i>> {
        let Some((table, _)) = self.typed(key, "tables with names", DeValue::as_table) else {
            return BTreeMap::new();
        };
        let mut sections = BTreeMap::new();
        for (name, value) in table {
            let name_text = name.get_ref().to_string();
            let Some(inner) = value.get_ref().as_table() else {
                let message = format!("\"{key}\" takes tables with names: [{key}.NAME], then its keys below");
                self.reader.report(Problem::new(name.span(), message));
                continue;
            };
            let title = format!("[{key}.{}]", name_text.escape_debug());
            sections.insert(name_text, Section::new(self.reader, title, inner, name.span()));
        }
        sections
    }

    /// Every key with its place, for tables whose keys are the user's own.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'r str, Range<usize>, &'r Spanned<DeValue<'i>>)> {
        self.table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value))
    }

    /// What is missing here.
    pub(crate) fn missing(&self, what: &str, hint: &str) {
        let mut problem = Problem::new(self.span.clone(), format!("{} {what}", self.name));
        problem.hint = Some(hint.to_owned());
        self.reader.report(problem);
    }

    /// Whether a key stands here, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Ends the reading: what nobody asked for is a mistake.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, span, _) in self.entries().filter(|(key, ..)| !asked.contains(key)) {
            let near = did_you_mean(key, asked.iter().copied());
            let mut problem =
                Problem::new(span, format!("unknown key \"{}\" in {}{near}", key.escape_debug(), self.name));
            if near.is_empty() {
                problem.hint = Some(format!("Keys of {} are {}.", self.name, asked.join(", ")));
            }
            self.reader.report(problem);
        }
    }
}

fn not_empty(key: &str) -> impl FnOnce(String) -> Result<String> {
    move |text| match text.trim().is_empty() {
        true => Err(Error::invalid(format!("\"{key}\" is empty"))),
        false => Ok(text),
    }
}
