//! What hangs on a database itself: owner, comment, connection limit, settings, privileges.

use backup_core::{Result, context::Context, manifest::Manifest};
use serde_json::Value;

use super::names::literal;
use crate::{
    archive::{Archive, Entry, identifier},
    session::{Session, explain},
};

/// Settings whose value is a list of names: each is a constant of its own, as in pg_dump's `variable_is_guc_list_quote`.
const LISTS: [&str; 7] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
    "restrict_nonsystem_relation_kind",
];

/// The statements that give `heir` what hangs on `from`, for one transaction.
pub(super) fn inherit(session: &mut Session, from: &str, heir: &str) -> Result<Vec<String>> {
    let what = format!("read what belongs to the database \"{from}\"");
    let failed = |e| explain(e, &what);
    let heir = identifier(heir);
    let sql = "SELECT pg_get_userbyid(datdba)::text, datconnlimit, datistemplate, shobj_description(oid, 'pg_database')
               FROM pg_database WHERE datname = $1";
    let row = session.client().query_one(sql, &[&from]).map_err(failed)?;
    let (owner, limit, is_template): (String, i32, bool) = (row.get(0), row.get(1), row.get(2));
    let comment: Option<String> = row.get(3);
    let mut statements = vec![
        format!("ALTER DATABASE {heir} RESET ALL"),
        format!("ALTER DATABASE {heir} OWNER TO {}", identifier(&owner)),
        format!("ALTER DATABASE {heir} CONNECTION LIMIT {limit}"),
        format!("ALTER DATABASE {heir} IS_TEMPLATE {is_template}"),
        format!("COMMENT ON DATABASE {heir} IS {}", comment.map_or("NULL".to_owned(), |text| literal(&text))),
    ];
    statements.extend(settings(session, from, &heir).map_err(failed)?);
    statements.extend(privileges(session, from, &heir).map_err(failed)?);
    Ok(statements)
}

/// `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET`.
fn settings(session: &mut Session, from: &str, heir: &str) -> Result<Vec<String>, postgres::Error> {
    let sql = "SELECT nullif(s.setrole, 0)::regrole::text, unnest(s.setconfig) FROM pg_db_role_setting AS s
               JOIN pg_database AS d ON d.oid = s.setdatabase WHERE d.datname = $1";
    let statement = |row: &postgres::Row| {
        let (role, setting): (Option<String>, String) = (row.get(0), row.get(1));
        let (name, value) = setting.split_once('=')?;
        // A role as `regrole` prints it is quoted where it must be.
        let whose = role.map_or_else(
            || format!("ALTER DATABASE {heir}"),
            |role| format!("ALTER ROLE {role} IN DATABASE {heir}"),
        );
        Some(format!("{whose} SET {} TO {}", identifier(name), setting_value(name, value)))
    };
    Ok(session.client().query(sql, &[&from])?.iter().filter_map(statement).collect())
}

fn setting_value(name: &str, value: &str) -> String {
    if !LISTS.contains(&name.to_lowercase().as_str()) {
        return literal(value);
    }
    let items: Vec<String> = list_items(value).iter().map(|item| literal(item)).collect();
    if items.is_empty() { literal("") } else { items.join(", ") }
}

/// `"$user", public` → `$user` and `public`.
fn list_items(value: &str) -> Vec<String> {
    let (mut items, mut item, mut is_quoted, mut is_named) = (Vec::new(), String::new(), false, false);
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.next_if_eq(&'"').is_some() => item.push('"'),
            '"' => {
                is_quoted = !is_quoted;
                is_named = true;
            }
            ',' if !is_quoted => {
                items.push(std::mem::take(&mut item));
                is_named = false;
            }
            c if c.is_whitespace() && !is_quoted => {}
            c => {
                item.push(c);
                is_named = true;
            }
        }
    }
    if is_named {
        items.push(item);
    }
    items
}

/// Grants on the database; without any, the heir has the same defaults.
fn privileges(session: &mut Session, from: &str, heir: &str) -> Result<Vec<String>, postgres::Error> {
    let sql = "SELECT a.grantor::regrole::text, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                 a.privilege_type, a.is_grantable, a.grantor = d.datdba OR NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
               FROM pg_database AS d, aclexplode(d.datacl) AS a WHERE d.datname = $1 AND d.datacl IS NOT NULL";
    let rows = session.client().query(sql, &[&from])?;
    let mut statements = Vec::new();
    let is_default =
        "SELECT datacl IS NULL, pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1";
    let row = session.client().query_one(is_default, &[&from])?;
    if row.get::<_, bool>(0) {
        return Ok(statements);
    }
    let owner = identifier(row.get(1));
    statements.push(format!("REVOKE ALL ON DATABASE {heir} FROM PUBLIC, {owner}"));
    for row in &rows {
        let (grantor, grantee, privilege): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let option = if row.get::<_, bool>(3) && grantee != "PUBLIC" { " WITH GRANT OPTION" } else { "" };
        let grant = format!("GRANT {privilege} ON DATABASE {heir} TO {grantee}{option}");
        match row.get::<_, bool>(4) {
            true => statements.push(grant),
            // A grant belongs to whoever gave it, and may be taken back by that role alone.
            false => statements.extend([format!("SET LOCAL ROLE {grantor}"), grant, "RESET ROLE".to_owned()]),
        }
    }
    Ok(statements)
}

/// Gives a new database what the archive says of the dumped one. What cannot be given is told: the rows are there.
pub(super) fn dress(
    session: &mut Session,
    name: &str,
    manifest: &Manifest,
    archive: Option<&Archive>,
    (with_owner, with_privileges): (bool, bool),
    cx: &Context,
) {
    let mut statements = Vec::new();
    let owner = manifest.facts.get("database").and_then(|facts| facts.get("owner")).and_then(Value::as_str);
    if let (Some(owner), true) = (owner, with_owner) {
        statements.push(format!("ALTER DATABASE {} OWNER TO {}", identifier(name), identifier(owner)));
    }
    let entries = archive.iter().flat_map(|archive| &archive.entries);
    let database = archive.and_then(|archive| archive.entries.iter().find(|entry| entry.desc == "DATABASE"));
    let dumped = database.map_or("", |entry| entry.tag.as_str());
    let of_database = |entry: &&Entry| match entry.desc.as_str() {
        "DATABASE PROPERTIES" => true,
        "COMMENT" => entry.tag.starts_with("DATABASE "),
        "ACL" => with_privileges && entry.tag.starts_with("DATABASE "),
        _ => false,
    };
    statements.extend(entries.filter(of_database).map(|entry| renamed(&entry.definition, dumped, name)));
    for statement in statements {
        if let Err(error) = session.client().batch_execute(&statement) {
            let first = statement.lines().find(|line| !line.is_empty()).unwrap_or_default();
            cx.warn(format!("\"{first}\" was not restored: {error:?}", error = explain(error, "set it")));
        }
    }
}

/// The same statements for a database of another name. Each begins a line; so may a line of a comment's text, which
/// is then not what it was.
fn renamed(definition: &str, from: &str, to: &str) -> String {
    let (from, to) = (identifier(from), identifier(to));
    let lines = definition.lines().map(|line| {
        let heads = ["ALTER DATABASE ", "COMMENT ON DATABASE "]
            .map(|head| (format!("{head}{from} "), format!("{head}{to} ")));
        if let Some((head, new)) = heads.iter().find(|(head, _)| line.starts_with(head.as_str())) {
            return line.replacen(head.as_str(), new, 1);
        }
        let infix = match line.split(' ').next() {
            Some("ALTER") if line.starts_with("ALTER ROLE ") => "IN DATABASE",
            Some("GRANT" | "REVOKE") => "ON DATABASE",
            _ => return line.to_owned(),
        };
        line.replacen(&format!(" {infix} {from} "), &format!(" {infix} {to} "), 1)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_taken_apart() {
        for (value, expected) in [
            ("\"$user\", public", vec!["$user", "public"]),
            ("\"a \"\"b\"\", c\"", vec!["a \"b\", c"]),
            ("", vec![]),
            ("\"\"", vec![""]),
        ] {
            assert_eq!(list_items(value), expected, "{value}");
        }
    }

    #[test]
    fn statements_of_a_database_are_turned_to_another() {
        for (definition, expected) in [
            ("ALTER DATABASE shop SET work_mem TO '6MB';", "ALTER DATABASE \"New\" SET work_mem TO '6MB';"),
            ("ALTER ROLE r IN DATABASE shop SET x TO 'y';", "ALTER ROLE r IN DATABASE \"New\" SET x TO 'y';"),
            ("GRANT CONNECT ON DATABASE shop TO r;", "GRANT CONNECT ON DATABASE \"New\" TO r;"),
            (
                "COMMENT ON DATABASE shop IS 'ALTER DATABASE shop';",
                "COMMENT ON DATABASE \"New\" IS 'ALTER DATABASE shop';",
            ),
        ] {
            assert_eq!(renamed(definition, "shop", "New"), expected);
        }
    }
}
