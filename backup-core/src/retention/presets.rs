//! Policies that have a name.

/// A policy that has a name, to be given in the policy's place or as its first part: `migrations,max_bytes=50GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The policy, as [`Keep`](super::Keep) reads it; empty is the one that keeps everything.
    pub policy: &'static str,
    /// What it is for, and which runbook asks for it.
    pub about: &'static str,
}

/// The policies that have a name. The first keeps everything; `docs/retention.md` shows what each amounts to.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "everything",
        policy: "",
        about: "removes nothing: the runbooks of append-only dumps beside an ingestion, and of dumps kept in Git that \
                people remove by hand",
    },
    Preset {
        name: "rollouts",
        policy: "daily=30,weekly=12,monthly=12,tag:hot=7d,tag:pre-rollout=forever",
        about: "the runbook of a trading application on SQLite: what was taken before a rollout stays, hot copies go after \
                a week",
    },
    Preset {
        name: "migrations",
        policy: "daily=30,weekly=12,monthly=12,tag:pre-migration=90d",
        about: "the runbook of a family archive on PostgreSQL: what was taken before a migration stays for a quarter",
    },
    Preset {
        name: "compliance",
        policy: "daily=30,weekly=12,monthly=12,yearly=7,within=7d",
        about: "the runbook of a production PostgreSQL server: every backup of the last week, and seven years",
    },
    Preset { name: "staging", policy: "daily=7", about: "the same runbook's staging server" },
    Preset {
        name: "development",
        policy: "weekly=2,within=7d",
        about: "the same runbook's development server",
    },
];

/// The preset of this name.
pub(super) fn named(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
