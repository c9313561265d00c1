//! What every engine must do.

use std::sync::Arc;

use super::{FlippingStore, FullStore};
use crate::{
    artifact::Artifact,
    content::Content,
    context::{CancelToken, Context},
    engine::{BackupEngine, Target},
    error::ErrorKind,
    id::SourceName,
    operation::{DrillOptions, RestoreOptions, RunOptions, drill, load_plan, restore, run, verify},
    store::Store,
    vault::Vault,
    verify::Level,
};

/// A source that the suite may back up, change, and restore.
pub trait EngineFixture {
    /// The engine, set to a source that holds data.
    fn engine(&self) -> Arc<dyn BackupEngine>;

    /// A fresh store.
    fn store(&self) -> Arc<dyn Store>;

    /// Changes the source's data.
    fn change(&self);

    /// A target where nothing stands.
    fn fresh_target(&self) -> Target;

    /// What a target holds, in any form that two equal databases share.
    fn contents(&self, target: &Target) -> String;

    /// What the source holds, in the same form.
    fn source_contents(&self) -> String;
}

/// Runs the contract of [`BackupEngine`] against a source.
///
/// # Panics
/// At the first promise that is not kept.
pub fn engine_suite(fixture: &dyn EngineFixture) {
    what_was_captured_comes_back(fixture);
    an_older_backup_brings_back_the_older_state(fixture);
    a_plan_touches_nothing(fixture);
    an_occupied_target_is_refused_without_leave_and_kept_with_it(fixture);
    a_flipped_bit_is_found_and_never_restored(fixture);
    a_full_store_or_a_cancellation_leaves_no_backup(fixture);
    contents_it_does_not_make_are_refused(fixture);
    a_census_counts_what_a_backup_holds(fixture);
}

fn vault(store: Arc<dyn Store>) -> Vault {
    Vault::new(store, SourceName::new("suite").expect("a name"))
}

fn what_was_captured_comes_back(fixture: &dyn EngineFixture) {
    let (cx, vault, engine) = (Context::default(), vault(fixture.store()), fixture.engine());
    let taken = run(&vault, &*engine, &RunOptions::default(), &cx).expect("run");
    assert!(taken.is_good(), "{:?}", taken.manifest.suspect);
    let artifact = vault.artifact(taken.id()).expect("listed");
    for level in [Level::Checksum, Level::Structure, Level::Restore] {
        assert!(
            verify(&vault, &artifact, &*engine, level, &DrillOptions::default(), &cx)
                .expect("verify")
                .is_ok()
        );
    }
    let drilled = drill(&vault, &artifact, &*engine, &DrillOptions::default().with_smoke(["SELECT 1"]), &cx)
        .expect("drill");
    assert_eq!(drilled.proof.smoke[0].answer.as_deref(), Some("1"));
    let broken =
        drill(&vault, &artifact, &*engine, &DrillOptions::default().with_smoke(["SELECT nonsense"]), &cx)
            .expect("drill");
    assert!(!broken.is_ok(), "a smoke query that fails fails the drill");
    assert_eq!(vault.proofs(taken.id()).expect("proofs").len(), 6);

    let target = fixture.fresh_target();
    restore(&artifact, &*engine, &RestoreOptions::into(target.clone()), &cx).expect("restore");
    assert_eq!(fixture.contents(&target), fixture.source_contents());
}

fn an_older_backup_brings_back_the_older_state(fixture: &dyn EngineFixture) {
    let (cx, vault, engine) = (Context::default(), vault(fixture.store()), fixture.engine());
    let before = fixture.source_contents();
    let older = run(&vault, &*engine, &RunOptions::default(), &cx).expect("run");
    fixture.change();
    assert_ne!(fixture.source_contents(), before, "the fixture changes its source");
    let newer = run(&vault, &*engine, &RunOptions::default().with_accept(true), &cx).expect("run");
    for (id, expected) in [(older.id(), before), (newer.id(), fixture.source_contents())] {
        let target = fixture.fresh_target();
        let artifact = vault.artifact(id).expect("listed");
        restore(&artifact, &*engine, &RestoreOptions::into(target.clone()), &cx).expect("restore");
        assert_eq!(fixture.contents(&target), expected);
    }
}

fn a_plan_touches_nothing(fixture: &dyn EngineFixture) {
    let (cx, vault, engine) = (Context::default(), vault(fixture.store()), fixture.engine());
    let taken = run(&vault, &*engine, &RunOptions::default(), &cx).expect("run");
    let (artifact, target) = (vault.artifact(taken.id()).expect("listed"), fixture.fresh_target());
    let options = RestoreOptions::into(target);
    let plan = load_plan(&artifact, &*engine, &options, &cx).expect("plan");
    assert!(!plan.replaces && !plan.steps.is_empty());
    let again = load_plan(&artifact, &*engine, &options, &cx).expect("plan");
    assert!(!again.replaces, "planning made the target");
}

fn an_occupied_target_is_refused_without_leave_and_kept_with_it(fixture: &dyn EngineFixture) {
    let (cx, vault, engine) = (Context::default(), vault(fixture.store()), fixture.engine());
    let older = run(&vault, &*engine, &RunOptions::default(), &cx).expect("run");
    let (first, target) = (fixture.source_contents(), fixture.fresh_target());
    fixture.change();
    let newer = run(&vault, &*engine, &RunOptions::default().with_accept(true), &cx).expect("run");
    let bring = |id, replace| {
        let artifact = vault.artifact(id).expect("listed");
        restore(&artifact, &*engine, &RestoreOptions::into(target.clone()).with_replace(replace), &cx)
    };
    bring(older.id(), false).expect("nothing stands there");
    assert_eq!(bring(newer.id(), false).expect_err("occupied").kind(), ErrorKind::AlreadyExists);
    assert_eq!(fixture.contents(&target), first);
    let restored = bring(newer.id(), true).expect("leave was given");
    assert_eq!(fixture.contents(&target), fixture.source_contents());
    assert!(!restored.swapped.kept.is_empty() && restored.swapped.undo.is_some());
}

fn a_flipped_bit_is_found_and_never_restored(fixture: &dyn EngineFixture) {
    let (cx, engine, sound) = (Context::default(), fixture.engine(), fixture.store());
    let taken = run(&vault(Arc::clone(&sound)), &*engine, &RunOptions::default(), &cx).expect("run");
    let payload = &taken.manifest.payload;
    for offset in [0, payload.bytes / 2, payload.bytes - 1] {
        let flipping = vault(Arc::new(FlippingStore::new(Arc::clone(&sound), &payload.name, offset)));
        let artifact = flipping.artifact(taken.id()).expect("the manifest is sound");
        for level in [Level::Checksum, Level::Structure, Level::Restore] {
            let verified =
                verify(&flipping, &artifact, &*engine, level, &DrillOptions::default(), &cx).expect("looked");
            assert!(!verified.is_ok(), "{level} overlooked byte {offset}");
        }
        let target = fixture.fresh_target();
        let refused =
            restore(&artifact, &*engine, &RestoreOptions::into(target.clone()), &cx).expect_err("damaged");
        assert!(refused.is_corruption(), "{refused:?}");
        let plan = load_plan(&artifact, &*engine, &RestoreOptions::into(target), &cx).expect("plan");
        assert!(!plan.replaces, "the target was made all the same");
    }
    let misread = vault(Arc::new(FlippingStore::new(
        fixture.store(),
        payload.name.trim_start_matches(taken.id().as_str()),
        9,
    )));
    let failed = run(&misread, &*engine, &RunOptions::default(), &cx)
        .expect_err("the store does not give back what it got");
    assert!(failed.is_corruption(), "{failed:?}");
    assert!(misread.catalogue(None).expect("list").artifacts.is_empty());
}

fn a_full_store_or_a_cancellation_leaves_no_backup(fixture: &dyn EngineFixture) {
    let engine = fixture.engine();
    let full = vault(Arc::new(FullStore::new(fixture.store(), 100)));
    let failed = run(&full, &*engine, &RunOptions::default(), &Context::default()).expect_err("no room");
    assert_eq!(failed.kind(), ErrorKind::NoSpace, "{failed:?}");
    assert!(full.catalogue(None).expect("list").artifacts.is_empty());

    let (cancel, cancelled) = (CancelToken::default(), vault(fixture.store()));
    cancel.cancel();
    let failed = run(&cancelled, &*engine, &RunOptions::default(), &Context::default().with_cancel(cancel));
    assert!(failed.expect_err("cancelled").is_cancelled());
    assert!(cancelled.catalogue(None).expect("list").artifacts.is_empty());
    assert!(
        run(&cancelled, &*engine, &RunOptions::default(), &Context::default()).is_ok(),
        "the next run succeeds"
    );
}

fn contents_it_does_not_make_are_refused(fixture: &dyn EngineFixture) {
    let (engine, vault) = (fixture.engine(), vault(fixture.store()));
    let made = engine.capabilities().contents;
    for content in Content::ALL {
        let outcome =
            run(&vault, &*engine, &RunOptions::default().with_content(content), &Context::default());
        match outcome {
            Ok(taken) => assert!(made.contains(&taken.manifest.content) && taken.is_good()),
            Err(error) => {
                assert!(!made.contains(&content) && error.kind() == ErrorKind::Unsupported, "{error:?}")
            }
        }
    }
    let listed = vault.catalogue(None).expect("list").artifacts;
    assert_eq!(listed.len(), made.len());
    assert!(listed.iter().all(|artifact| artifact.manifest().suspect.is_empty()));
}

fn a_census_counts_what_a_backup_holds(fixture: &dyn EngineFixture) {
    let (cx, vault, engine) = (Context::default(), vault(fixture.store()), fixture.engine());
    let census = match engine.census(&cx) {
        Ok(census) => census,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            return;
        }
    };
    let taken = run(&vault, &*engine, &RunOptions::default(), &cx).expect("run");
    assert!(!census.tables.is_empty());
    assert_eq!(census.changes_since(&taken.manifest.tables), [], "the backup and the census count alike");
    assert!(taken.manifest.tables.iter().all(|table| census.tables.contains_key(&table.name)));
    let again = engine.census(&cx).expect("counted");
    assert!(census.compare(&again).is_empty(), "nothing changed");

    let cancel = CancelToken::default();
    cancel.cancel();
    let stopped = engine.census(&Context::default().with_cancel(cancel)).expect_err("cancelled");
    assert!(stopped.is_cancelled(), "{stopped:?}");
}
