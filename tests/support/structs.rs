//! What the code says of its structs: their fields, types and comments, read from its text.

use std::{fs, path::Path};

/// A public field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Its type as it is written.
    pub(crate) of: String,
    pub(crate) meaning: String,
}

/// The public fields of a struct, but for those that take up what is unknown.
pub(crate) fn fields(file: &str, of: &str) -> Vec<Field> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let start = text.find(&format!("pub struct {of} {{")).unwrap_or_else(|| panic!("no {of} in {file}"));
    read(&text[start..])
}

fn read(text: &str) -> Vec<Field> {
    let (mut fields, mut comment, mut is_flat) = (Vec::new(), Vec::new(), false);
    for line in text.lines().skip(1).map(str::trim).take_while(|line| *line != "}") {
        if let Some(said) = line.strip_prefix("///") {
            comment.push(said.trim());
        } else if line.starts_with("#[serde(flatten") {
            is_flat = true;
        } else if let Some((name, of)) = line.strip_prefix("pub ").and_then(|line| line.split_once(": ")) {
            let meaning = std::mem::take(&mut comment).join(" ");
            let (name, of) = (name.trim_start_matches("r#").to_owned(), of.trim_end_matches(',').to_owned());
            if !std::mem::take(&mut is_flat) {
                fields.push(Field { name, of, meaning });
            }
        }
    }
    fields
}

#[test]
fn fields_are_read_with_their_comments() {
    let text = "pub struct A {\n    /// One\n    /// thing.\n    #[serde(default)]\n    pub one: Option<u64>,\n    /// Rest.\n    \
                #[serde(flatten)]\n    pub other: Map,\n    two: u8,\n}\npub three: u8,\n";
    let one =
        Field { name: "one".to_owned(), of: "Option<u64>".to_owned(), meaning: "One thing.".to_owned() };
    assert_eq!(read(text), [one]);
}
