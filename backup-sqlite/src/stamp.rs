//! Whether a file was written to, without opening it.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use backup_core::{Error, Result};

use crate::connection::beside;

/// A file written this recently may be written again within the same tick of its clock.
const TICK: Duration = Duration::from_millis(50);

/// What tells whether a file was written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: SystemTime,
    bytes: u64,
    log: Option<(SystemTime, u64)>,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let examine = |path: &Path| {
            let meta = fs::metadata(path)?;
            Ok::<_, io::Error>((meta.modified()?, meta.len()))
        };
        let (modified, bytes) = examine(path).map_err(|e| Error::io("examine", path, e))?;
        Ok(Self { modified, bytes, log: examine(&beside(path, "-wal")).ok() })
    }

    /// The stamp once the clock's tick of the last write is over; `None` when the next write came first.
    pub(crate) fn settled(self, path: &Path) -> Result<Option<Self>> {
        let age = self.modified.elapsed().unwrap_or(TICK);
        if age < TICK {
            thread::sleep(TICK - age + Duration::from_millis(5));
        }
        Ok((Self::of(path)? == self).then_some(self))
    }
}
