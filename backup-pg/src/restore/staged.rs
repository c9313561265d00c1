//! A whole database beside its target.

use std::time::Duration;

use backup_core::{
    Result,
    context::Context,
    engine::{RestorePart, RestorePlan, Staged, Swapped},
    manifest::{Manifest, TableFacts},
    verify::Finding,
};
use postgres::SimpleQueryMessage;

use super::{load, objects, properties, prove, swap, temporary::TemporaryDatabase};
use crate::{
    archive::{Archive, Entry},
    session::{Session, explain},
    tools::Tools,
};

/// How long a query of the user's may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(600);

/// A loaded database. Dropped without a swap, it is dropped on the server.
#[derive(Debug)]
pub(super) struct StagedDatabase {
    pub(super) database: TemporaryDatabase,
    pub(super) manifest: Manifest,
    pub(super) archive: Option<Archive>,
    /// The definitions, where they are not the archive's.
    pub(super) definitions: Option<Archive>,
    /// What each table must hold.
    pub(super) expected: Vec<TableFacts>,
    pub(super) plan: RestorePlan,
    /// The programs that loaded it.
    pub(super) tools: Tools,
    /// Entries that were left out on purpose.
    pub(super) left_out: std::collections::HashSet<i32>,
    /// Whether it has its settings and privileges.
    pub(super) is_dressed: bool,
}

impl StagedDatabase {
    /// The encoding that the dump's rows are in, where it says.
    fn encoding(&self) -> Option<String> {
        if let Some(stated) = self.archive.as_ref().and_then(Archive::encoding) {
            return Some(stated.to_owned());
        }
        let facts = self.manifest.facts.get("database")?;
        facts.get("encoding")?.as_str().map(str::to_owned)
    }

    /// A new database gets what the dumped one had; one that takes another's place gets the other's, at the swap.
    pub(super) fn dress(&mut self, cx: &Context) -> Result<()> {
        let target = self.database.place.server.database().to_owned();
        if self.is_dressed || swap::exists(self.database.control(), &target)? {
            return Ok(());
        }
        self.is_dressed = true;
        let request = &self.plan.request;
        let with = (!request.no_owner, !request.no_privileges);
        let name = self.database.place.name.clone();
        properties::dress(self.database.control(), &name, &self.manifest, self.archive.as_ref(), with, cx);
        Ok(())
    }
}

impl Staged for StagedDatabase {
    fn prove(&mut self, cx: &Context) -> Result<Vec<Finding>> {
        let jobs = load::jobs(&self.plan.request, cx);
        let encoding = self.encoding();
        let mut findings = Vec::new();
        if self.plan.request.part != RestorePart::Schema {
            findings = prove::rows(
                &self.database.place,
                &self.tools,
                &self.expected,
                self.archive.as_ref(),
                encoding.as_deref(),
                jobs,
                cx,
            )?;
        }
        if let Some(archive) = self.definitions.as_ref().or(self.archive.as_ref()) {
            let rows_too = self.plan.request.part != RestorePart::Schema;
            let is_restored = |entry: &Entry| {
                (rows_too || entry.desc != "SEQUENCE SET") && !self.left_out.contains(&entry.dump_id)
            };
            let mut session = self.database.place.session("backup check", &[])?;
            findings.extend(objects::compare(&mut session, archive, &is_restored)?);
        }
        Ok(findings)
    }

    fn query(&mut self, sql: &str) -> Result<Option<String>> {
        self.dress(&Context::default())?;
        let timeout = QUERY_TIMEOUT.as_millis().to_string();
        let settings = [("default_transaction_read_only", "on"), ("statement_timeout", timeout.as_str())];
        first_row(&mut self.database.place.session("backup query", &settings)?, sql)
    }

    fn swap(mut self: Box<Self>, cx: &Context) -> Result<Swapped> {
        self.dress(cx)?;
        swap::swap(&mut self.database, cx)
    }
}

/// The first row of a query, its columns joined by `|`.
pub(super) fn first_row(session: &mut Session, sql: &str) -> Result<Option<String>> {
    let failed = |e| explain(e, &format!("run \"{sql}\""));
    session.client().batch_execute("BEGIN READ ONLY").map_err(failed)?;
    let messages = session.client().simple_query(sql).map_err(failed)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(row.map(|row| {
        (0..row.len()).map(|column| row.get(column).unwrap_or_default()).collect::<Vec<_>>().join("|")
    }))
}
