//! Risky work done under the guard of a proven backup.

use std::{fmt::Display, future::Future};

use backup_core::{
    Result,
    operation::{self, Guard, GuardError, GuardOptions, Guarded},
};

use crate::{blocking::BlockingJob, door::on_thread, job::Job};

impl Job {
    /// Does risky work under the guard of a proven backup taken now; see [`operation::guard`] for what that means.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let database = folder.path().join("shop.db");
    /// # rusqlite::Connection::open(&database)?.execute_batch("CREATE TABLE customers(name)")?;
    /// # let backups = backup::Backups::builder()
    /// #     .store(folder.path().join("backups").display().to_string())
    /// #     .source("shop", format!("sqlite:{}", database.display()))
    /// #     .build()?;
    /// let migrate = async || rusqlite::Connection::open(&database)?.execute_batch("ALTER TABLE customers ADD email");
    /// # pollster::block_on(async {
    /// let guarded = backups.job("shop")?.guard(migrate).await?;
    /// assert!(guarded.report.difference.is_some_and(|difference| difference.schema_changed));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// Dropping the future while the work runs counts as failure without restore: the observer is told the line.
    ///
    /// # Errors
    /// [`GuardError::NotStarted`] when there is no good backup; [`GuardError::Failed`] with the work's own error.
    pub async fn guard<T, E, W>(&self, work: impl FnOnce() -> W) -> Result<Guarded<T>, GuardError<E>>
    where
        E: Display,
        W: Future<Output = Result<T, E>>,
    {
        self.guard_with(GuardOptions::default(), work).await
    }

    /// [`Job::guard`] with options.
    ///
    /// # Errors
    /// As [`Job::guard`].
    pub async fn guard_with<T, E, W>(
        &self,
        options: GuardOptions,
        work: impl FnOnce() -> W,
    ) -> Result<Guarded<T>, GuardError<E>>
    where
        E: Display,
        W: Future<Output = Result<T, E>>,
    {
        let begun = self.begin_guard(options).await;
        let guard = begun.map_err(GuardError::NotStarted)?;
        match work().await {
            Ok(value) => {
                let report = self.end(guard, Guard::succeed).await.map_err(GuardError::Unfinished)?;
                Ok(Guarded::new(value, report))
            }
            Err(error) => {
                let reason = error.to_string();
                let report = self.end(guard, move |guard| guard.fail(&reason)).await;
                Err(match report {
                    Ok(report) => GuardError::Failed { error, report: Box::new(report) },
                    Err(lost) => GuardError::Unfinished(lost),
                })
            }
        }
    }

    /// The form in two steps: the work starts when this returned, and ends with [`Guard::succeed`] or [`Guard::fail`],
    /// which block.
    ///
    /// # Errors
    /// As [`Guard::begin`].
    pub fn begin_guard(&self, options: GuardOptions) -> impl Future<Output = Result<Guard>> + Send + use<> {
        let (begins, lasts) = (self.with_own_token(), self.context.clone());
        let cancel = begins.context.cancel().clone();
        on_thread(cancel, move || {
            let guard = begins.blocking().begin_guard(&options)?;
            // What comes after the work must not be stopped by the end of what came before it.
            Ok(guard.with_context(lasts))
        })
    }

    fn end<R: Send + 'static>(
        &self,
        guard: Guard,
        how: impl FnOnce(Guard) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R>> + Send {
        let context = self.with_own_token().context;
        let cancel = context.cancel().clone();
        on_thread(cancel, move || Ok(how(guard.with_context(context))))
    }

    /// What `asked` leaves at its default is the job's own.
    fn guard_over(&self, asked: &GuardOptions) -> Result<GuardOptions> {
        let mut options = asked.clone();
        let least = options.run.verify;
        options.run = self.settings.run_over(options.run)?;
        // What is less proven than a guard asks for guards nothing, however the job is run at night.
        options.run.verify = options.run.verify.max(least);
        if options.mirrors.is_empty() {
            options.mirrors = self.mirrors.iter().map(|one| one.mirror.clone()).collect();
        }
        Ok(options)
    }
}

impl BlockingJob {
    /// Does risky work under the guard of a proven backup taken now.
    ///
    /// # Errors
    /// As [`Job::guard`].
    pub fn guard<T, E: Display>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<Guarded<T>, GuardError<E>> {
        self.guard_with(&GuardOptions::default(), |_| work())
    }

    /// [`BlockingJob::guard`] with options; the work may ask the guard what it is guarded by.
    ///
    /// # Errors
    /// As [`Job::guard`].
    pub fn guard_with<T, E: Display>(
        &self,
        options: &GuardOptions,
        work: impl FnOnce(&Guard) -> Result<T, E>,
    ) -> Result<Guarded<T>, GuardError<E>> {
        let options = self.0.guard_over(options).map_err(GuardError::NotStarted)?;
        operation::guard(&self.0.vault, &self.0.engine, &options, &self.0.context, work)
    }

    /// The form in two steps, e.g. for a context manager: the work starts when this returned, and ends with
    /// [`Guard::succeed`] or [`Guard::fail`].
    ///
    /// # Errors
    /// As [`Guard::begin`].
    pub fn begin_guard(&self, options: &GuardOptions) -> Result<Guard> {
        Guard::begin(&self.0.vault, &self.0.engine, &self.0.guard_over(options)?, &self.0.context)
    }
}
