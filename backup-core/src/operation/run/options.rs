//! How a backup is taken.

use std::time::Duration;

use crate::{
    capture::{CaptureOptions, DumpFormat},
    content::Content,
    encryption::Recipient,
    guardrail::Guardrails,
    operation::DrillOptions,
    pipeline::{Compression, DEFAULT_COMPRESSION},
    verify::Level,
};

/// How a backup is taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// What it shall hold.
    pub content: Content,
    /// What of the source, in which form.
    pub capture: CaptureOptions,
    /// Why it is taken.
    pub tags: Vec<String>,
    /// How it is compressed; rolling contents are stored plain unless this is set. SQL text has no inside: there
    /// `pg:gzip:N` and `pg:zstd:N` are the layers `gzip:N` and `zstd:N`.
    pub compression: Option<Compression>,
    /// For whom it is encrypted; empty is not at all.
    pub recipients: Vec<Recipient>,
    /// How deep it is verified before it counts.
    pub verify: Level,
    /// What is checked beyond what the engine checks, and how it is drilled where `verify` is [`Level::Restore`].
    pub drill: DrillOptions,
    /// The rules it is judged by.
    pub guardrails: Guardrails,
    /// Whether breaches of the rules are accepted this once.
    pub accept: bool,
    /// Whether the vault is known to be this source's although its backups came from another path.
    pub same_source: bool,
    /// How long another run of this source into this store is waited for; default not at all.
    pub wait: Duration,
}

impl Default for RunOptions {
    /// A full backup, verified to `structure`, judged by the default rules.
    fn default() -> Self {
        Self {
            content: Content::Full,
            capture: CaptureOptions::default(),
            tags: Vec::new(),
            compression: None,
            recipients: Vec::new(),
            verify: Level::Structure,
            drill: DrillOptions::default(),
            guardrails: Guardrails::default(),
            accept: false,
            same_source: false,
            wait: Duration::ZERO,
        }
    }
}

impl RunOptions {
    /// With another content.
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// With a choice of what is captured, in which form.
    #[must_use]
    pub fn with_capture(mut self, capture: CaptureOptions) -> Self {
        self.capture = capture;
        self
    }

    /// With one more tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// With another compression.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Encrypted for one more recipient; any one of them can read it. The key of none is needed here.
    #[must_use]
    pub fn with_recipient(mut self, recipient: Recipient) -> Self {
        self.recipients.push(recipient);
        self
    }

    /// With another depth of verification.
    #[must_use]
    pub fn with_verify(mut self, level: Level) -> Self {
        self.verify = level;
        self
    }

    /// With smoke queries, and rules of the caller's own; see [`RunOptions::drill`].
    #[must_use]
    pub fn with_drill(mut self, drill: DrillOptions) -> Self {
        self.drill = drill;
        self
    }

    /// With other rules.
    #[must_use]
    pub fn with_guardrails(mut self, guardrails: Guardrails) -> Self {
        self.guardrails = guardrails;
        self
    }

    /// With breaches accepted this once.
    #[must_use]
    pub fn with_accept(mut self, accept: bool) -> Self {
        self.accept = accept;
        self
    }

    /// With the assurance that the vault is this source's, wherever it lay before.
    #[must_use]
    pub fn with_same_source(mut self, same_source: bool) -> Self {
        self.same_source = same_source;
        self
    }

    /// With so much patience for another run of this source into this store.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// What was asked for, else what this content is usually stored with.
    pub(super) fn compression(&self) -> Compression {
        let default = if self.content.is_rolling() { Compression::None } else { DEFAULT_COMPRESSION };
        let chosen = self.compression.unwrap_or(default);
        if self.is_text() { chosen.around() } else { chosen }
    }

    /// Whether the payload is SQL text, which has no inside: a dumping program could only compress it whole.
    pub(super) fn is_text(&self) -> bool {
        self.content.is_rolling() || self.capture.format == Some(DumpFormat::Plain)
    }
}
