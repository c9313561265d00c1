//! The socket of a tap, and the threads that pass on what both sides say.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use backup_core::{context::Context, scratch::Scratch};

use super::{
    Outlet, Piece, Shared,
    frames::{self, Frames, Part},
};
use crate::conninfo::Host;

/// A port is part of a socket's name.
const PORT: u16 = 5432;

/// The longest path of a socket on any system.
const MAX_PATH_BYTES: usize = 100;

/// What is read from a server at once.
const READ_BYTES: usize = 256 << 10;

/// Rows that are fewer go to their program.
const FEW_BYTES: usize = 256 << 10;

/// A pause in which rows gather, instead of waking for each of the eight kilobytes that a server sends at once.
const GATHERING: Duration = Duration::from_millis(1);

/// A row of filler. A program may hold back up to 128 KiB (pg_dump since version 17) and writes 4 KiB at once.
const FILLER_BYTES: usize = 32 << 10;

/// How long a client that is there may take to pass on what it was given.
const SIGHT: Duration = Duration::from_millis(1);

/// A tap's socket. Dropped, it closes all that goes through it.
pub(super) struct Relay {
    socket: PathBuf,
    shared: Arc<Shared>,
    open: Arc<Mutex<Vec<Pair>>>,
    listening: Option<JoinHandle<()>>,
    /// The folder that nobody else can enter.
    scratch: Scratch,
}

/// Both ends of one connection.
struct Pair {
    client: UnixStream,
    server: Server,
}

/// Where the server listens.
enum Address {
    Socket(PathBuf),
    Loopback(SocketAddr),
}

/// A connection to it.
enum Server {
    Socket(UnixStream),
    Loopback(TcpStream),
}

impl Relay {
    /// `None` when the server is not on this machine, or no socket can be made.
    pub(super) fn start(server: &Host, outlet: Outlet, cx: &Context) -> Option<Self> {
        let address = Address::of(server)?;
        let scratch = Scratch::private(cx).ok()?;
        let socket = socket_in(scratch.path(), PORT);
        if socket.as_os_str().len() > MAX_PATH_BYTES {
            return None;
        }
        let listener = UnixListener::bind(&socket).ok()?;
        let (shared, open) = (Arc::clone(&outlet.shared), Arc::new(Mutex::new(Vec::new())));
        let pairs = Arc::clone(&open);
        let listen = move || listen(&listener, &address, outlet, &pairs);
        let listening = thread::Builder::new().name("backup-tap".to_owned()).spawn(listen).ok()?;
        Some(Self { socket, shared, open, listening: Some(listening), scratch })
    }

    /// The way through it.
    pub(super) fn host(&self, server: &Host) -> Host {
        let folder = self.scratch.path().display().to_string();
        Host { host: folder, hostaddr: None, port: PORT, password: server.password.clone() }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the listener, which then ends.
        drop(UnixStream::connect(&self.socket));
        let _ = self.listening.take().map(JoinHandle::join);
        for pair in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            pair.close();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

fn socket_in(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

impl Address {
    fn of(host: &Host) -> Option<Self> {
        if host.is_socket() {
            return Some(Self::Socket(socket_in(Path::new(&host.host), host.port)));
        }
        host.loopback().map(Self::Loopback)
    }

    fn connect(&self) -> io::Result<Server> {
        match self {
            Self::Socket(path) => UnixStream::connect(path).map(Server::Socket),
            Self::Loopback(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Server::Loopback(stream))
            }
        }
    }
}

impl Server {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Socket(stream) => Self::Socket(stream.try_clone()?),
            Self::Loopback(stream) => Self::Loopback(stream.try_clone()?),
        })
    }

    fn shutdown(&self, how: Shutdown) {
        // What is closed already needs no more.
        let _ = match self {
            Self::Socket(stream) => stream.shutdown(how),
            Self::Loopback(stream) => stream.shutdown(how),
        };
    }
}

impl Read for Server {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.read(bytes),
            Self::Loopback(stream) => stream.read(bytes),
        }
    }
}

impl Write for Server {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.write(bytes),
            Self::Loopback(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pair {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        self.server.shutdown(Shutdown::Both);
    }
}

/// Takes connections. The first is the session whose rows are taken; others are requests to cancel its query.
fn listen(listener: &UnixListener, address: &Address, outlet: Outlet, open: &Mutex<Vec<Pair>>) {
    let shared = Arc::clone(&outlet.shared);
    let mut outlet = Some(outlet);
    for client in listener.incoming() {
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        // A program whose connection fails says so itself.
        let Ok(pair) = client.and_then(|client| Ok(Pair { client, server: address.connect()? })) else {
            continue;
        };
        if pass_on(&pair, outlet.take()).is_ok() {
            open.lock().unwrap_or_else(PoisonError::into_inner).push(pair);
        }
    }
}

/// Starts the two threads of a connection; each closes it when its side ends.
fn pass_on(pair: &Pair, outlet: Option<Outlet>) -> io::Result<()> {
    let ends = || Ok::<_, io::Error>((pair.client.try_clone()?, pair.server.try_clone()?));
    let (mut client, mut server) = ends()?;
    let up = move || {
        let _ = io::copy(&mut client, &mut server);
        Pair { client, server }.close();
    };
    thread::Builder::new().name("backup-tap-up".to_owned()).spawn(up)?;
    let (mut client, mut server) = ends()?;
    let down = move || {
        let _ = match outlet {
            Some(outlet) => Down::new(&mut client, outlet).pass_on(&mut server),
            None => io::copy(&mut server, &mut client).map(drop),
        };
        Pair { client, server }.close();
    };
    thread::Builder::new().name("backup-tap-down".to_owned()).spawn(down)?;
    Ok(())
}

/// What a server says, on its way to the client.
struct Down<'c> {
    client: &'c mut UnixStream,
    outlet: Outlet,
    frames: Frames,
    state: Rows,
    /// What goes to the client with the next write.
    told: Vec<u8>,
    rows: Vec<u8>,
}

/// Whether rows come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    None,
    /// They are few so far, and are held.
    Few,
    /// They go past the client.
    Many,
}

impl<'c> Down<'c> {
    fn new(client: &'c mut UnixStream, outlet: Outlet) -> Self {
        Self {
            client,
            outlet,
            frames: Frames::default(),
            state: Rows::None,
            told: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn pass_on(mut self, server: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match server.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.take(&buffer[..count])?;
            if self.state == Rows::Many && count < READ_BYTES / 2 {
                thread::sleep(GATHERING);
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(part) = self.frames.next(&mut bytes).map_err(|_| io::ErrorKind::InvalidData)? {
            match (self.state, part.kind) {
                (Rows::Few | Rows::Many, frames::COPY_DATA) => self.rows.extend_from_slice(part.body),
                _ => self.tell(part)?,
            }
        }
        if self.state == Rows::Few && self.rows.len() >= FEW_BYTES {
            self.stand_in()?;
        }
        if self.state == Rows::Many && self.rows.len() >= READ_BYTES / 2 {
            self.give()?;
        }
        if self.state == Rows::Many { Ok(()) } else { self.write() }
    }

    /// Passes on what is no row.
    fn tell(&mut self, part: Part<'_>) -> io::Result<()> {
        if part.header.is_some() {
            match part.kind {
                frames::COPY_DONE => self.end(Piece::End)?,
                frames::ERROR => self.end(Piece::Broken)?,
                _ => {}
            }
        }
        self.told.extend_from_slice(part.header.as_ref().map_or(&[], |header| header));
        self.told.extend_from_slice(part.body);
        if part.kind == frames::COPY_OUT && part.is_last {
            self.state = Rows::Few;
        }
        Ok(())
    }

    /// Few rows go to the client after all, as one message; the end of many is told to whom they went.
    fn end(&mut self, piece: Piece) -> io::Result<()> {
        match std::mem::replace(&mut self.state, Rows::None) {
            Rows::None => {}
            Rows::Few => {
                if !self.rows.is_empty() {
                    self.told.extend_from_slice(&frames::header(frames::COPY_DATA, self.rows.len()));
                    self.told.append(&mut self.rows);
                }
            }
            Rows::Many => {
                self.give()?;
                if !self.outlet.send(piece) {
                    return Err(nobody());
                }
            }
        }
        Ok(())
    }

    /// Tells the client that rows go another way, and goes on until it is known to have passed that on. Whoever then
    /// takes the rows does not take what the client says meanwhile, so the client may stop listening: what it has not
    /// taken by then waits.
    fn stand_in(&mut self) -> io::Result<()> {
        self.state = Rows::Many;
        self.outlet.given += 1;
        self.client.set_write_timeout(Some(SIGHT))?;
        let mut row = self.outlet.shared.sign.clone();
        while !self.outlet.is_seen() {
            if self.outlet.is_over() {
                return Err(nobody());
            }
            if self.told.is_empty() {
                row.resize(FILLER_BYTES, b'.');
                row.push(b'\n');
                self.told.extend_from_slice(&frames::header(frames::COPY_DATA, row.len()));
                self.told.append(&mut row);
            }
            match self.client.write(&self.told) {
                Ok(count) if count == self.told.len() => {
                    self.told.clear();
                    thread::sleep(SIGHT);
                }
                Ok(count) => drop(self.told.drain(..count)),
                Err(error) if is_no_time(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.client.set_write_timeout(None)
    }

    fn give(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let next = self.outlet.buffer();
        let rows = std::mem::replace(&mut self.rows, next);
        if self.outlet.send(Piece::Rows(rows)) { Ok(()) } else { Err(nobody()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.client.write_all(&self.told)?;
        self.told.clear();
        Ok(())
    }
}

fn is_no_time(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn nobody() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the rows")
}
