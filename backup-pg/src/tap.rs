//! Rows of COPY that go past the program that asked for them.
//!
//! A server sends each row of a COPY as a message of its own. pg_dump, psql and the driver take one after another, and
//! wake for every few kilobytes; that costs both sides more than the rows are worth. A tap is a socket that leads to
//! the same server. Programs connect to it as to the server and have their session; when a COPY brings many rows, these
//! come out here, many at a time, and the program gets a stand-in: one row that nobody could have written, and filler
//! until its sight is acknowledged, as programs hold back what they write.
//!
//! Only servers on this machine are tapped, and only without TLS: there both sides share the processors, and nothing
//! can cut the connection unnoticed. Source: PostgreSQL manual, "Message Formats".

#![cfg_attr(not(unix), allow(dead_code, reason = "a tap needs Unix-domain sockets"))]

mod frames;
#[cfg(unix)]
mod relay;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use backup_core::context::Context;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{conninfo::Host, session::Session};

/// Pieces of rows that wait to be taken.
const PIECES_AHEAD: usize = 3;

/// A way past programs for the rows of one session. Dropped, it ends the session.
pub(crate) struct Tap {
    host: Host,
    shared: Arc<Shared>,
    pieces: Receiver<Piece>,
    spare: Sender<Vec<u8>>,
    #[cfg(unix)]
    _relay: Option<relay::Relay>,
}

/// What comes out.
enum Piece {
    /// COPY text; rows are cut anywhere.
    Rows(Vec<u8>),
    /// The COPY's rows are complete.
    End,
    /// The server ended the COPY with an error, which its program was told.
    Broken,
}

/// What both ends of a tap know.
struct Shared {
    /// The stand-in's first bytes, from the system's own randomness: no row has them.
    sign: Vec<u8>,
    /// Stand-ins that were seen.
    seen: AtomicU64,
    is_over: AtomicBool,
}

/// The relay's side of the rows.
struct Outlet {
    shared: Arc<Shared>,
    pieces: Sender<Piece>,
    spare: Receiver<Vec<u8>>,
    /// Stand-ins that were given.
    given: u64,
}

/// Rows ended before their end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

impl Tap {
    /// A tap on the server of a session; `None` where there can be none, and all goes the ordinary way.
    #[cfg(unix)]
    pub(crate) fn on(session: &Session, cx: &Context) -> Option<Self> {
        if session.is_encrypted() {
            return None;
        }
        let (pieces, taken) = bounded(PIECES_AHEAD);
        let (spare, used) = bounded(PIECES_AHEAD + 1);
        let shared =
            Arc::new(Shared { sign: sign(), seen: AtomicU64::new(0), is_over: AtomicBool::new(false) });
        let outlet = Outlet { shared: Arc::clone(&shared), pieces, spare: used, given: 0 };
        let relay = relay::Relay::start(session.host(), outlet, cx)?;
        Some(Self { host: relay.host(session.host()), shared, pieces: taken, spare, _relay: Some(relay) })
    }

    /// There is no tap without Unix-domain sockets.
    #[cfg(not(unix))]
    pub(crate) fn on(_session: &Session, _cx: &Context) -> Option<Self> {
        None
    }

    /// Where programs connect to.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// How long the beginning of a stand-in is.
    pub(crate) fn sign_length(&self) -> usize {
        self.shared.sign.len()
    }

    /// Whether what a program gave begins with a stand-in, whose rows must then be taken with [`Tap::take`].
    pub(crate) fn is_stand_in(&self, text: &[u8]) -> bool {
        text.starts_with(&self.shared.sign)
    }

    /// Takes the rows of one stand-in that was seen.
    ///
    /// # Errors
    /// `Ok(Err(Cut))` when they ended before their end; the program knows why. What `take` reports.
    pub(crate) fn take<E>(&self, take: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<Result<(), Cut>, E> {
        self.shared.seen.fetch_add(1, Ordering::AcqRel);
        for piece in &self.pieces {
            match piece {
                Piece::Rows(rows) => {
                    take(&rows)?;
                    // One buffer too many is dropped.
                    let _ = self.spare.try_send(rows);
                }
                Piece::End => return Ok(Ok(())),
                Piece::Broken => return Ok(Err(Cut)),
            }
        }
        Ok(Err(Cut))
    }
}

#[cfg(test)]
impl Tap {
    /// A tap that nobody connects to, with the rows of its stand-ins.
    pub(crate) fn of(copies: &[&[&[u8]]]) -> Self {
        let (pieces, taken) = crossbeam_channel::unbounded();
        for copy in copies {
            copy.iter().for_each(|rows| pieces.send(Piece::Rows(rows.to_vec())).unwrap());
            pieces.send(Piece::End).unwrap();
        }
        let shared =
            Arc::new(Shared { sign: sign(), seen: AtomicU64::new(0), is_over: AtomicBool::new(false) });
        let host = Host { host: String::new(), hostaddr: None, port: 0, password: None };
        Self {
            host,
            shared,
            pieces: taken,
            spare: bounded(1).0,
            #[cfg(unix)]
            _relay: None,
        }
    }

    /// What its programs are given in the place of rows.
    pub(crate) fn stand_in(&self) -> Vec<u8> {
        [&self.shared.sign[..], b"....\n"].concat()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("host", &self.host).finish_non_exhaustive()
    }
}

fn sign() -> Vec<u8> {
    let random = (0..4).map(|n| format!("{:016x}", RandomState::new().hash_one(n)));
    format!("rows go another way: {}\t", random.collect::<String>()).into_bytes()
}

impl Outlet {
    /// A buffer for the next rows.
    fn buffer(&self) -> Vec<u8> {
        let mut buffer = self.spare.try_recv().unwrap_or_default();
        buffer.clear();
        buffer
    }

    /// Whether it was taken.
    fn send(&self, piece: Piece) -> bool {
        self.pieces.send(piece).is_ok()
    }

    /// Whether every stand-in that was given was seen.
    fn is_seen(&self) -> bool {
        self.shared.seen.load(Ordering::Acquire) >= self.given
    }

    fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Acquire)
    }
}
