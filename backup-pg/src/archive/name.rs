//! Names as SQL writes them.

/// The key words that cannot name a table without quotes, of PostgreSQL 15 to 18: those `pg_get_keywords()` does not
/// call unreserved. In byte order.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "between",
    "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character", "check", "coalesce",
    "collate", "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog",
    "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user",
    "dec", "decimal", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists",
    "extract", "false", "fetch", "float", "for", "foreign", "freeze", "from", "full", "grant", "greatest",
    "group", "grouping", "having", "ilike", "in", "initially", "inner", "inout", "int", "integer",
    "intersect", "interval", "into", "is", "isnull", "join", "json", "json_array", "json_arrayagg",
    "json_exists", "json_object", "json_objectagg", "json_query", "json_scalar", "json_serialize",
    "json_table", "json_value", "lateral", "leading", "least", "left", "like", "limit", "localtime",
    "localtimestamp", "merge_action", "national", "natural", "nchar", "none", "normalize", "not", "notnull",
    "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out", "outer", "overlaps", "overlay",
    "placing", "position", "precision", "primary", "real", "references", "returning", "right", "row",
    "select", "session_user", "setof", "similar", "smallint", "some", "substring", "symmetric", "system_user",
    "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim", "true", "union",
    "unique", "user", "using", "values", "varchar", "variadic", "verbose", "when", "where", "window", "with",
    "xmlattributes", "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse",
    "xmlpi", "xmlroot", "xmlserialize", "xmltable",
];

/// `name` as SQL writes it: quoted unless it is a lower-case word that is no key word.
///
/// The same rule as the server's `quote_ident`, with the key words of all supported versions: a name that only one of
/// them reserves is quoted for all, so that one table has one name everywhere.
pub fn identifier(name: &str) -> String {
    let is_word = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if is_word && KEYWORDS.binary_search(&name).is_err() {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name` as SQL writes it, or `name` alone where `schema` is empty.
pub fn qualified(schema: &str, name: &str) -> String {
    if schema.is_empty() { identifier(name) } else { format!("{}.{}", identifier(schema), identifier(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        assert!(KEYWORDS.is_sorted());
        assert_eq!(qualified("public", "prices_daily"), "public.prices_daily");
        assert_eq!(qualified("Odd Schema", "odd \"table\""), r#""Odd Schema"."odd ""table""""#);
        assert_eq!(qualified("", "user"), r#""user""#);
        for (name, expected) in [("1st", r#""1st""#), ("_1", "_1"), ("", r#""""#), ("größe", r#""größe""#)]
        {
            assert_eq!(identifier(name), expected);
        }
    }
}
