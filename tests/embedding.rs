//! A program that embeds the library: both doors, events, cancellation, rules of its own.

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use backup::{Backups, ErrorKind, Source, engine::RestorePlan, prelude::*};
use futures_util::StreamExt;
use support::{Shop, are_the_same, customers};

fn builder(shop: &Shop) -> backup::BackupsBuilder {
    let database = format!("sqlite:{}", shop.database().display());
    Backups::builder().store(shop.store().display().to_string()).source("shop", database)
}

fn job(shop: &Shop) -> Job {
    builder(shop).build().unwrap().job("shop").unwrap()
}

fn into(path: &Path) -> RestoreOptions {
    RestoreOptions::into(path.to_str().unwrap())
}

#[test]
fn both_doors_have_the_same_calls_and_give_the_same() {
    let shop = Shop::open();
    let job = job(&shop);
    let waiting = job.blocking();
    let taken = waiting.run(RunOptions::default()).unwrap();
    let id = taken.id();
    pollster::block_on(async {
        assert_eq!(job.list().await.unwrap(), waiting.list().unwrap());
        let found = job.find("latest").await.unwrap();
        assert_eq!((&found.manifest().id, &waiting.find("latest").unwrap().manifest().id), (id, id));
        assert_eq!(job.copies(id).await.unwrap().iter().count(), 1);

        let (rows, text) = job.extract(id, "customers", ExtractFormat::Csv, Vec::new()).await.unwrap();
        let mut blocking_text = Vec::new();
        assert_eq!(waiting.extract(id, "customers", ExtractFormat::Csv, &mut blocking_text).unwrap(), rows);
        assert_eq!((rows, text == blocking_text, text.len() > 600 * 40), (600, true, true));
        let payload = job.cat(id, Vec::new()).await.unwrap();
        assert!(payload.starts_with(b"SQLite format 3\0"));

        assert!(job.verify(id, Level::Checksum).await.unwrap().is_ok());
        assert!(job.drill(id, DrillOptions::default()).await.unwrap().is_ok());
        assert_eq!(job.proofs(id).await.unwrap(), waiting.proofs(id).unwrap());
        assert_eq!(job.proofs(id).await.unwrap().len(), 3);

        let copy = shop.path("copy.db");
        let plan: RestorePlan = job.plan_restore(id, into(&copy)).await.unwrap();
        assert!(
            !copy.exists()
                && !plan.replaces
                && plan.steps == waiting.plan_restore(id, &into(&copy)).unwrap().steps
        );
        job.restore(id, into(&copy)).await.unwrap();
        are_the_same(&customers(&copy), &customers(&shop.database()), "restored");
        let refused = job.restore(id, into(&copy)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);

        let adopted = job.adopt(&copy, AdoptOptions::default()).await.unwrap();
        assert_ne!(adopted.id(), id);
        let keep: Keep = "last=1".parse().unwrap();
        assert_eq!(
            job.prune(keep, PruneOptions::default().with_dry_run(true)).await.unwrap().plan.decisions.len(),
            2
        );
        assert!(job.status(Objectives::default()).await.unwrap().is_well());
    });
}

#[test]
fn the_events_of_a_call_are_a_stream_that_ends_with_it() {
    let shop = Shop::open();
    let backups = builder(&shop).build().unwrap();
    let job = backups.job("shop").unwrap();
    let (events, of_all) = (job.events(), backups.events());
    let run = job.run(RunOptions::default());
    drop((job, backups));
    pollster::block_on(async {
        let told: Vec<Told> = events.collect().await;
        let taken = run.await.unwrap();
        let is_taken =
            |told: &&Told| matches!(&told.event, Event::Taken { id, good: true } if id == taken.id());
        assert_eq!(told.iter().filter(is_taken).count(), 1, "{told:?}");
        assert!(matches!(told[0].event, Event::Began { .. }), "{told:?}");
        assert!(told.iter().all(|told| told.source.as_ref().is_some_and(|source| source.as_str() == "shop")));
        // How much progress waited to be read is a matter of time.
        let lasting = |told: Vec<Told>| {
            let lasting = told.into_iter().filter(|told| !matches!(told.event, Event::Progress { .. }));
            lasting.map(|told| format!("{:?}", told.event)).collect::<Vec<_>>()
        };
        assert_eq!(lasting(of_all.collect().await), lasting(told));
    });
}

#[test]
fn a_dropped_call_is_cancelled_alone_and_a_cancelled_job_as_a_whole() {
    let shop = Shop::open();
    let cancel = CancelToken::default();
    let job = job(&shop).with_cancel(cancel.clone());
    drop(job.run(RunOptions::default()));
    let patient = RunOptions::default().with_wait(Duration::from_secs(60));
    pollster::block_on(job.run(patient)).unwrap();
    cancel.cancel();
    let error = pollster::block_on(job.run(RunOptions::default())).unwrap_err();
    assert!(error.is_cancelled() && !error.is_retryable(), "{error:?}");
    assert!(
        job.blocking()
            .verify(&job.blocking().list().unwrap()[0].id, Level::Structure)
            .unwrap_err()
            .is_cancelled()
    );
}

#[test]
fn work_on_all_jobs_can_be_waited_for_on_any_runtime() {
    let shop = Shop::open();
    let config = format!(
        "[stores.local]\nurl = \"{}\"\n[jobs.shop]\nsource = \"sqlite:shop.db\"\nstore = \"local\"\n",
        shop.store().display()
    );
    std::fs::write(shop.path("backup.toml"), config).unwrap();
    pollster::block_on(async {
        let backups = Backups::open(shop.path("backup.toml")).await.unwrap();
        backups.job("shop").unwrap().run(RunOptions::default()).await.unwrap();
        let report = backups.in_background(|backups| backups.check(None)).await.unwrap();
        assert!(report.is_well(), "{report:?}");
        let found = backups.in_background(|backups| backups.find("shop/latest")).await.unwrap();
        assert_eq!(found.manifest().rows, Some(600));
        assert!(Backups::open(shop.path("none.toml")).await.unwrap_err().is_misuse());
    });
}

/// Asked of a restored database only.
#[derive(Debug)]
struct AtLeast(u64);

impl Verifier for AtLeast {
    fn name(&self) -> &str {
        "at-least"
    }

    fn verify(&self, _subject: &Subject<'_>, _cx: &Context) -> backup::Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn verify_restored(
        &self,
        restored: &mut dyn Staged,
        _subject: &Subject<'_>,
        _cx: &Context,
    ) -> backup::Result<Vec<Finding>> {
        let found = restored.query("SELECT count(*) FROM customers")?.unwrap_or_default();
        let is_enough = found.parse::<u64>().is_ok_and(|found| found >= self.0);
        let finding = || Finding::content(self.name(), "customers", format!("only {found}"));
        Ok(if is_enough { Vec::new() } else { vec![finding()] })
    }
}

#[test]
fn a_rule_about_the_restored_database_is_asked_by_drills_and_not_by_restores() {
    let shop = Shop::open();
    let strict = job(&shop).with_verifier(Arc::new(AtLeast(601))).blocking();
    let taken = strict.run(RunOptions::default()).unwrap();
    assert!(taken.is_good(), "a run looks at the stored bytes only");
    let drilled = strict.drill(taken.id(), &DrillOptions::default()).unwrap();
    assert_eq!((drilled.is_ok(), drilled.proof.findings.len()), (false, 1), "{:?}", drilled.proof);
    let deep = strict.run(RunOptions::default().with_verify(Level::Restore)).unwrap();
    assert!(!deep.is_good(), "a run that restores asks it too");
    strict.restore(taken.id(), into(&shop.path("copy.db"))).unwrap();
    let content = job(&shop).with_verifier(Arc::new(AtLeast(600))).blocking();
    assert!(content.drill(taken.id(), &DrillOptions::default()).unwrap().is_ok());
}

#[test]
fn a_job_finds_no_backup_of_another_in_the_same_store() {
    let shop = Shop::open();
    let backups = builder(&shop).source("branch", shop.database().display().to_string()).build().unwrap();
    let (main, branch) = (backups.job("shop").unwrap().blocking(), backups.job("branch").unwrap().blocking());
    let taken = main.run(RunOptions::default()).unwrap();
    assert!(branch.copies(taken.id()).unwrap_err().is_not_found());
    assert!(branch.find("latest").unwrap_err().is_not_found());
    assert!(main.find("latest").is_ok());
    assert_eq!(backups.job_of(&Source::Sqlite(shop.database())).map(|name| name.as_str()), Some("branch"));
}
