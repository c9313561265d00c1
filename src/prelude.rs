//! One import for what most programs need: `use backup::prelude::*;`. It leaves `Result` and `Error` as they are.

pub use backup_core::{
    artifact::Artifact,
    content::Content,
    context::{CancelToken, Context},
    engine::{BackupEngine, ExtractFormat, Staged},
    event::{Event, Observer},
    id::BackupId,
    manifest::Manifest,
    operation::{
        AdoptOptions, DrillOptions, GuardError, GuardOptions, Objectives, PruneOptions, RestoreOptions,
        RunOptions,
    },
    retention::{Keep, RetentionPolicy},
    store::Store,
    verify::{Finding, Level, Subject, Verifier},
};

pub use crate::{
    Backups, BlockingJob, Job, Told,
    config::{EncryptConfig, StoreConfig},
    settings::JobSettings,
};
