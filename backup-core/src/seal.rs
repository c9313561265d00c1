//! The hash that a JSON document carries of the rest of itself.
//!
//! It is BLAKE3 of the document without the seal, as compact JSON with sorted keys. What we wrote is in that order
//! already, so that leaving out its white space gives the hashed text without building the document; whatever else
//! reads as the same document is put in order first.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The key of the seal.
pub(crate) const SEAL: &str = "seal";

/// The seal of a document that carries none.
pub(crate) fn seal_of(document: &Map<String, Value>) -> String {
    let text = Value::Object(sorted(document)).to_string();
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// Whether a text is in the order it was sealed in, and its seal holds. `false` says nothing of other orders.
pub(crate) fn holds_as_written(text: &[u8]) -> bool {
    let Some((rest, seal)) = without_seal(text) else { return false };
    blake3::hash(&rest).to_hex().as_bytes() == seal
}

/// The same document with its keys in order at every depth, whatever order they were read in.
fn sorted(document: &Map<String, Value>) -> Map<String, Value> {
    let ordered: BTreeMap<&String, Value> =
        document.iter().map(|(key, value)| (key, sorted_value(value))).collect();
    ordered.into_iter().map(|(key, value)| (key.clone(), value)).collect()
}

fn sorted_value(value: &Value) -> Value {
    match value {
        Value::Object(document) => Value::Object(sorted(document)),
        Value::Array(items) => Value::Array(items.iter().map(sorted_value).collect()),
        plain => plain.clone(),
    }
}

/// A text without its white space and its one seal, and the seal; `None` where there is none, or several.
fn without_seal(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = Vec::with_capacity(text.len());
    let (mut at, mut depth, mut seal) = (0, 0_usize, None);
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            b'"' => {
                let end = string_end(text, at)?;
                let token = text.get(at..end)?;
                let is_key = depth == 1 && matches!(rest.last(), Some(b'{' | b','));
                if is_key && token == b"\"seal\"" {
                    let (value, behind) = string_value(text, end)?;
                    if seal.replace(value).is_some() {
                        return None;
                    }
                    at = past_comma(text, behind, &mut rest);
                } else {
                    rest.extend_from_slice(token);
                    at = end;
                }
            }
            _ => {
                match byte {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                rest.push(byte);
                at += 1;
            }
        }
    }
    Some((rest, seal?))
}

/// Where the string ends that begins at `at`, behind its closing quote.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        end += memchr::memchr2(b'"', b'\\', text.get(end..)?)?;
        if text.get(end) == Some(&b'"') {
            return Some(end + 1);
        }
        end += 2;
    }
}

/// The string behind a colon, without its quotes, and where it ends.
fn string_value(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let colon = skip_space(text, at);
    let quote = skip_space(text, colon + 1);
    if text.get(colon) != Some(&b':') || text.get(quote) != Some(&b'"') {
        return None;
    }
    let end = string_end(text, quote)?;
    Some((text.get(quote + 1..end - 1)?, end))
}

/// Behind the comma that follows an entry that is left out; at the end of a document the one before it goes.
fn past_comma(text: &[u8], at: usize, rest: &mut Vec<u8>) -> usize {
    let next = skip_space(text, at);
    if text.get(next) == Some(&b',') {
        return next + 1;
    }
    if rest.last() == Some(&b',') {
        rest.pop();
    }
    next
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(mut document: Map<String, Value>) -> Map<String, Value> {
        document.remove(SEAL);
        let seal = seal_of(&document);
        document.insert(SEAL.to_owned(), Value::String(seal));
        document
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            Just(Value::from("seal")),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(prop_oneof![".*", Just("seal".to_owned())], inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_in_order_holds_as_written(
            entries in prop::collection::btree_map(".{0,8}", any_value(), 0..6), pretty in any::<bool>(),
        ) {
            let document = sealed(entries.into_iter().collect());
            let text = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) }.unwrap();
            prop_assert!(holds_as_written(&text), "{}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn an_edit_never_holds(
            entries in prop::collection::btree_map("[a-z]{1,8}", any_value(), 1..6),
            position in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let document = sealed(entries.into_iter().collect());
            let mut text = serde_json::to_vec_pretty(&document).unwrap();
            let position = position.index(text.len());
            text[position] ^= 1 << bit;
            if holds_as_written(&text) {
                // White space between tokens is no part of the document.
                prop_assert_eq!(serde_json::from_slice::<Map<String, Value>>(&text).unwrap(), document);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!holds_as_written(&bytes));
        }
    }

    #[test]
    fn two_seals_are_none() {
        let text = br#"{"a":1,"seal":"x","seal":"y"}"#;
        assert!(without_seal(text).is_none());
    }
}
