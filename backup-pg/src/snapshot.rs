//! One consistent state of a database, held for as long as it is dumped.

use backup_core::{Error, Result, manifest::TableFacts};
use jiff::Timestamp;
use postgres::SimpleQueryMessage;

use crate::session::{Session, explain};

/// A session in which an exported snapshot lives. While it is open, `pg_dump --snapshot` sees the state of this
/// instant; when it ends, nobody else can join.
pub(crate) struct HeldSnapshot {
    session: Session,
    name: String,
    taken_at: Timestamp,
}

impl HeldSnapshot {
    /// Exports the state of now. `pg_export_snapshot` must be the transaction's first query.
    pub(crate) fn take(mut session: Session) -> Result<Self> {
        let failed = |e| explain(e, "take a snapshot");
        let client = session.client();
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").map_err(failed)?;
        let row = client
            .query_one(
                "SELECT pg_export_snapshot(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
                &[],
            )
            .map_err(failed)?;
        let taken_at = Timestamp::from_microsecond(row.get(1))
            .map_err(|e| Error::failed("the server's clock is out of range").with_source(e))?;
        let name = row.get(0);
        Ok(Self { session, name, taken_at })
    }

    /// Its name, for `--snapshot`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The database's encoding, as the server names it.
    pub(crate) fn encoding(&mut self) -> Result<String> {
        let row = self.session.client().query_one("SELECT current_setting('server_encoding')", &[]);
        row.map(|row| row.get(0)).map_err(|e| explain(e, "ask for the database's encoding"))
    }

    /// When it was taken, by the server's clock.
    pub(crate) fn taken_at(&self) -> Timestamp {
        self.taken_at
    }

    /// The session, for questions about this state.
    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Counts tables in the snapshot, for `--cross-check`; what differs, in words.
    pub(crate) fn disagreements(&mut self, tables: &[TableFacts]) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        let client = self.session.client();
        client.batch_execute("SET row_security = off").map_err(|e| explain(e, "switch row security off"))?;
        for table in tables {
            let sql = format!("SELECT count(*) FROM ONLY {}", table.name);
            let rows =
                client.query_one(&sql, &[]).map_err(|e| explain(e, &format!("count \"{}\"", table.name)))?;
            let rows: i64 = rows.get(0);
            if u64::try_from(rows) != Ok(table.rows) {
                found.push((
                    table.name.clone(),
                    format!("the server counts {rows} rows, the dump has {}", table.rows),
                ));
            }
        }
        Ok(found)
    }

    /// Whether its session still lives; a dump whose snapshot died is worth nothing.
    pub(crate) fn is_alive(&mut self) -> Result<()> {
        let answer = self.session.client().simple_query("SELECT 1");
        let answers = answer.map_err(|e| explain(e, "hold the snapshot until the end of the dump"))?;
        match answers.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))) {
            true => Ok(()),
            false => Err(Error::failed("the snapshot's session does not answer")),
        }
    }
}

impl std::fmt::Debug for HeldSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldSnapshot").field("name", &self.name).finish_non_exhaustive()
    }
}
