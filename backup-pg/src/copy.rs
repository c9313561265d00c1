//! The COPY statements that stand before rows in a dump.

/// `public.t` and `a, b` of `COPY public.t (a, b) FROM stdin;`. The list is in the last parentheses that are not in
/// quotes; a table whose columns are all generated has none.
pub(crate) fn target_and_columns(copy: &str) -> Option<(&str, &str)> {
    let rest = copy.trim_end().strip_prefix("COPY ")?.strip_suffix(" FROM stdin;")?;
    let (mut is_quoted, mut open) = (false, None);
    for (at, byte) in rest.bytes().enumerate() {
        is_quoted ^= byte == b'"';
        if byte == b'(' && !is_quoted {
            open = Some(at);
        }
    }
    let Some(open) = open else { return Some((rest.trim_end(), "")) };
    Some((rest.get(..open)?.trim_end(), rest.get(open + 1..)?.strip_suffix(')')?))
}

/// The names of a list of columns, as they are written there.
pub(crate) fn column_names(columns: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    for c in columns.chars() {
        is_quoted ^= c == '"';
        match (c, is_quoted, names.last_mut()) {
            (',', false, _) => names.push(String::new()),
            (_, _, Some(name)) if !(c == ' ' && name.is_empty() && !is_quoted) => name.push(c),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_and_columns_are_read_from_a_copy_statement() {
        for (copy, expected) in [
            ("COPY public.t (a, b) FROM stdin;\n", Some(("public.t", "a, b"))),
            ("COPY public.\"t (x)\" (a, \"b)(\") FROM stdin;\n", Some(("public.\"t (x)\"", "a, \"b)(\""))),
            ("COPY public.t  FROM stdin;\n", Some(("public.t", ""))),
            ("COPY public.\"t(x)\"  FROM stdin;\n", Some(("public.\"t(x)\"", ""))),
            ("", None),
        ] {
            assert_eq!(target_and_columns(copy), expected, "{copy}");
        }
    }

    #[test]
    fn a_comma_in_a_name_divides_nothing() {
        assert_eq!(column_names("a, \"b (c), d\", \"x\"\"y\""), ["a", "\"b (c), d\"", "\"x\"\"y\""]);
    }
}
