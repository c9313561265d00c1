//! A proxy for HTTP/1.1 between a client and a server on this machine that misbehaves by script.
//!
//! ```ignore
//! let proxy = FaultProxy::start(server);
//! proxy.script(vec![Rule::new(Fault::slow_down()).method("PUT").path("partNumber=").from(2).times(3)]);
//! // The client talks to proxy.addr() …
//! assert_eq!(proxy.faults().answered, 3);
//! ```
//!
//! A request is judged by the rules in their order; the first that fires decides. What is counted has happened: a cut
//! behind the last byte of a message is none. Each connection of a client has one of its own to the server, made anew
//! after the server closed it. Bodies of known length, in chunks and up to the end of the connection are understood, as
//! are `Expect: 100-continue` (answered by the proxy) and connections that are kept alive.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Heads longer than this are an error of the test.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The connections to client and server end after so many bytes of the request, its head included.
    CutRequest {
        /// Bytes that the server still gets.
        after: u64,
    },
    /// They end after so many bytes of the response, its head included. With 0 the server has done what was asked and
    /// the client never learns of it.
    CutResponse {
        /// Bytes that the client still gets.
        after: u64,
    },
    /// The head of the response comes whole and promises a length; the connection ends after so many bytes of the body.
    TruncateBody {
        /// Bytes of the body that the client still gets.
        after: u64,
    },
    /// The server is not asked; the proxy answers in its place, with an error as S3 writes it.
    Answer {
        /// The status.
        status: u16,
        /// The error's name.
        code: &'static str,
        /// Seconds of a `Retry-After`.
        retry_after: Option<u32>,
    },
    /// As [`Fault::Answer`], under the status 200, as S3 does when completing an upload fails half-way.
    ErrorInBody {
        /// The error's name.
        code: &'static str,
    },
    /// The request is read and nothing answered for so long; then the connection ends.
    Stall(Duration),
    /// The request is passed on so much later.
    Delay(Duration),
    /// The server gets the request twice; the client gets the second answer.
    Duplicate,
}

impl Fault {
    /// 503, `SlowDown`: too many requests, as S3 says it.
    pub(crate) fn slow_down() -> Self {
        Self::Answer { status: 503, code: "SlowDown", retry_after: None }
    }

    /// 500, `InternalError`.
    pub(crate) fn internal_error() -> Self {
        Self::Answer { status: 500, code: "InternalError", retry_after: None }
    }

    /// 429 with a `Retry-After`.
    pub(crate) fn too_many_requests(retry_after: u32) -> Self {
        Self::Answer { status: 429, code: "TooManyRequests", retry_after: Some(retry_after) }
    }
}

/// Which requests a fault meets; by default the first one only.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    fault: Fault,
    method: Option<String>,
    path: Option<String>,
    from: u64,
    times: u64,
    chance: Option<Chance>,
    seen: u64,
    fired: u64,
}

#[derive(Clone, Debug)]
struct Chance {
    probability: f64,
    state: u64,
}

impl Chance {
    /// The same decisions for the same seed (splitmix64).
    fn decide(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64) < self.probability
    }
}

impl Rule {
    /// The fault, at the first request.
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, method: None, path: None, from: 1, times: 1, chance: None, seen: 0, fired: 0 }
    }

    /// Only requests of this method.
    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests whose path or query contains this.
    pub(crate) fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Beginning with so many-th of these requests; 1 is the first.
    pub(crate) fn from(mut self, number: u64) -> Self {
        self.from = number;
        self
    }

    /// So many times.
    pub(crate) fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Without end.
    pub(crate) fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Each of these requests with this probability, without end unless [`Rule::times`] follows.
    pub(crate) fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.chance = Some(Chance { probability, state: seed });
        self.always()
    }

    fn fires(&mut self, request: &Head) -> bool {
        let is_of_method = self.method.as_ref().is_none_or(|method| *method == request.method);
        let is_of_path = self.path.as_ref().is_none_or(|part| request.target.contains(part));
        if !is_of_method || !is_of_path {
            return false;
        }
        self.seen += 1;
        let is_due = self.seen >= self.from && self.fired < self.times;
        let fires = is_due && self.chance.as_mut().is_none_or(Chance::decide);
        self.fired += u64::from(fires);
        fires
    }
}

/// How often each fault has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests that came.
    pub(crate) requests: u64,
    /// [`Fault::CutRequest`].
    pub(crate) cut_requests: u64,
    /// [`Fault::CutResponse`].
    pub(crate) cut_responses: u64,
    /// [`Fault::TruncateBody`].
    pub(crate) truncated: u64,
    /// [`Fault::Answer`].
    pub(crate) answered: u64,
    /// [`Fault::ErrorInBody`].
    pub(crate) errors_in_body: u64,
    /// [`Fault::Stall`].
    pub(crate) stalled: u64,
    /// [`Fault::Delay`].
    pub(crate) delayed: u64,
    /// [`Fault::Duplicate`].
    pub(crate) duplicated: u64,
}

/// The proxy; its threads and connections end with it.
pub(crate) struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    stopping: Condvar,
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    counts: Counts,
    log: Vec<String>,
    sockets: BTreeMap<u64, TcpStream>,
    stopped: bool,
}

impl FaultProxy {
    /// Listens on a free port of this machine, for a server that listens at `upstream`. Passes everything on until a
    /// script says otherwise.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::default(),
            stopping: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&listener, &shared)
        });
        Self { addr, shared, listening: Some(listening) }
    }

    /// Where clients reach it.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Puts these rules in the place of those before; counts go on.
    pub(crate) fn script(&self, rules: Vec<Rule>) {
        self.shared.state().rules = rules;
    }

    /// What has happened so far.
    pub(crate) fn faults(&self) -> Counts {
        self.shared.state().counts
    }

    /// Every request that came, as `METHOD target`, in the order they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.state().log.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopped = true;
        for socket in state.sockets.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.stopping.notify_all();
        // Wakes the listener.
        let _ = TcpStream::connect(self.addr);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.state().stopped {
            return;
        }
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let number = shared.enter(&client);
            // However a connection ends, the client sees it end.
            let _ = Exchange::new(client, &shared).serve();
            shared.leave(number);
        });
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.state().counts);
    }

    fn enter(&self, socket: &TcpStream) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if state.stopped {
            let _ = socket.shutdown(Shutdown::Both);
        } else if let Ok(socket) = socket.try_clone() {
            state.sockets.insert(number, socket);
        }
        number
    }

    fn leave(&self, number: u64) {
        if let Some(socket) = self.state().sockets.remove(&number) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn judge(&self, request: &Head) -> Option<Fault> {
        let mut state = self.state();
        state.counts.requests += 1;
        state.log.push(format!("{} {}", request.method, request.target));
        state.rules.iter_mut().find_map(|rule| rule.fires(request).then(|| rule.fault.clone()))
    }

    /// Waits, or shorter when the proxy ends.
    fn wait(&self, time: Duration) {
        let state = self.state();
        let _ = self.stopping.wait_timeout_while(state, time, |state| !state.stopped);
    }
}

/// One client's connection and the one to the server that serves it.
struct Exchange<'a> {
    client: Connection,
    server: Option<(Connection, u64)>,
    shared: &'a Shared,
}

/// Whether a connection can carry another request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Open,
    Closed,
}

impl<'a> Exchange<'a> {
    fn new(client: TcpStream, shared: &'a Shared) -> Self {
        let _ = client.set_nodelay(true);
        Self { client: Connection::new(client), server: None, shared }
    }

    fn serve(mut self) -> io::Result<()> {
        while let Some(request) = self.client.read_request()? {
            let fault = self.shared.judge(&request);
            if self.exchange(&request, fault)? == After::Closed {
                break;
            }
        }
        Ok(())
    }

    fn exchange(&mut self, request: &Head, fault: Option<Fault>) -> io::Result<After> {
        match fault {
            Some(Fault::Answer { status, code, retry_after }) => {
                self.shared.count(|counts| counts.answered += 1);
                self.answer(request, status, code, retry_after)
            }
            Some(Fault::ErrorInBody { code }) => {
                self.shared.count(|counts| counts.errors_in_body += 1);
                self.answer(request, 200, code, None)
            }
            Some(Fault::Stall(time)) => {
                self.shared.count(|counts| counts.stalled += 1);
                self.shared.wait(time);
                Ok(After::Closed)
            }
            Some(Fault::Delay(time)) => {
                self.shared.count(|counts| counts.delayed += 1);
                self.shared.wait(time);
                self.pass_on(request, None)
            }
            Some(Fault::Duplicate) => self.pass_on_twice(request),
            other => self.pass_on(request, other),
        }
    }

    /// Answers in the server's place. A client that waits for `100 Continue` gets the answer instead of that.
    fn answer(
        &mut self,
        request: &Head,
        status: u16,
        code: &str,
        retry_after: Option<u32>,
    ) -> io::Result<After> {
        let after = if request.expects_continue {
            After::Closed
        } else {
            self.client.pass_body(request.body, &mut |_| Ok(()))?;
            request.after()
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Error><Code>{code}</Code><Message>on purpose</Message><RequestId>fault</RequestId></Error>"
        );
        let retry = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
        let closing = if after == After::Closed { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n{retry}{closing}\r\n",
            body.len()
        );
        self.client.write(head.as_bytes())?;
        if request.method != "HEAD" {
            self.client.write(body.as_bytes())?;
        }
        Ok(after)
    }

    fn pass_on(&mut self, request: &Head, fault: Option<Fault>) -> io::Result<After> {
        let mut room = match fault {
            Some(Fault::CutRequest { after }) => Room::of(after),
            _ => Room::endless(),
        };
        let sent = self.send(request, &mut room);
        if room.is_exceeded {
            self.shared.count(|counts| counts.cut_requests += 1);
            return Ok(After::Closed);
        }
        // A server that refuses before it has read everything may have answered all the same.
        let whole = sent.is_ok();
        let after = self.return_answer(request, fault.as_ref())?;
        Ok(if whole { after } else { After::Closed })
    }

    fn pass_on_twice(&mut self, request: &Head) -> io::Result<After> {
        self.allow_body(request)?;
        let mut body = Vec::new();
        self.client.pass_body(request.body, &mut |part| {
            body.extend_from_slice(part);
            Ok(())
        })?;
        let server = self.server()?;
        server.write(&request.raw)?;
        server.write(&body)?;
        let first = server.read_final_response(request)?;
        server.pass_body(first.body, &mut |_| Ok(()))?;
        if first.closes {
            self.forget_server();
        }
        let server = self.server()?;
        server.write(&request.raw)?;
        server.write(&body)?;
        self.shared.count(|counts| counts.duplicated += 1);
        self.return_answer(request, None)
    }

    fn allow_body(&mut self, request: &Head) -> io::Result<()> {
        if request.expects_continue { self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n") } else { Ok(()) }
    }

    /// Sends a request to the server, as far as there is room for it.
    fn send(&mut self, request: &Head, room: &mut Room) -> io::Result<()> {
        self.server()?;
        self.allow_body(request)?;
        let Some((server, _)) = &mut self.server else { return Err(io::ErrorKind::NotConnected.into()) };
        room.write(server, &request.raw)?;
        self.client.pass_body(request.body, &mut |part| room.write(server, part))
    }

    fn return_answer(&mut self, request: &Head, fault: Option<&Fault>) -> io::Result<After> {
        let Self { client, server: Some((server, _)), shared } = self else { return Ok(After::Closed) };
        let response = server.read_final_response(request)?;
        let mut room = match fault {
            Some(Fault::CutResponse { after }) => Room::of(*after),
            Some(Fault::TruncateBody { after }) => Room::of(after + response.raw.len() as u64),
            _ => Room::endless(),
        };
        let returned = room
            .write(client, &response.raw)
            .and_then(|()| server.pass_body(response.body, &mut |part| room.write(client, part)));
        if room.is_exceeded {
            let is_truncation = matches!(fault, Some(Fault::TruncateBody { .. }));
            shared.count(|counts| match is_truncation {
                true => counts.truncated += 1,
                false => counts.cut_responses += 1,
            });
            return Ok(After::Closed);
        }
        returned?;
        if response.closes {
            self.forget_server();
        }
        let both = [request.after(), response.after()];
        Ok(if both.contains(&After::Closed) { After::Closed } else { After::Open })
    }

    /// The connection to the server, which may have closed the one before while nothing was asked of it.
    fn server(&mut self) -> io::Result<&mut Connection> {
        if self.server.as_mut().is_some_and(|(server, _)| server.has_ended()) {
            self.forget_server();
        }
        if self.server.is_none() {
            let stream = TcpStream::connect(self.shared.upstream)?;
            let _ = stream.set_nodelay(true);
            let number = self.shared.enter(&stream);
            self.server = Some((Connection::new(stream), number));
        }
        self.server.as_mut().map(|(server, _)| server).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn forget_server(&mut self) {
        if let Some((_, number)) = self.server.take() {
            self.shared.leave(number);
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.forget_server();
    }
}

/// How many bytes may still pass.
struct Room {
    left: u64,
    is_exceeded: bool,
}

impl Room {
    fn of(left: u64) -> Self {
        Self { left, is_exceeded: false }
    }

    fn endless() -> Self {
        Self::of(u64::MAX)
    }

    /// Writes what there is room for.
    fn write(&mut self, to: &mut Connection, part: &[u8]) -> io::Result<()> {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(part.len());
        to.write(&part[..count])?;
        self.left -= count as u64;
        self.is_exceeded |= count < part.len();
        if self.is_exceeded { Err(io::Error::other("cut on purpose")) } else { Ok(()) }
    }
}

/// The head of a request or a response, as it came and as far as it matters here.
struct Head {
    raw: Vec<u8>,
    method: String,
    target: String,
    body: Body,
    expects_continue: bool,
    closes: bool,
}

impl Head {
    fn after(&self) -> After {
        if self.closes { After::Closed } else { After::Open }
    }
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    Length(u64),
    Chunked,
    UntilClosed,
}

/// A socket with what was read from it and not yet used.
struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads more; whether there was any.
    fn read_more(&mut self) -> io::Result<bool> {
        let mut part = [0u8; 32 << 10];
        let count = self.stream.read(&mut part)?;
        self.ahead.extend_from_slice(&part[..count]);
        Ok(count > 0)
    }

    /// Whether the other side has closed it, with nothing left to read.
    fn has_ended(&mut self) -> bool {
        let _ = self.stream.set_nonblocking(true);
        let peeked = self.stream.peek(&mut [0u8; 1]);
        let _ = self.stream.set_nonblocking(false);
        self.ahead.is_empty()
            && match peeked {
                Ok(count) => count == 0,
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            }
    }

    /// The next head, raw; `None` when the connection ended before it began.
    fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.ahead.split_off(at + 4);
                return Ok(Some(std::mem::replace(&mut self.ahead, rest)));
            }
            if self.ahead.len() > MAX_HEAD_BYTES {
                return Err(io::Error::other("a head without end"));
            }
            if !self.read_more()? {
                let is_clean = self.ahead.is_empty();
                return if is_clean { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn read_request(&mut self) -> io::Result<Option<Head>> {
        let Some(raw) = self.read_head()? else { return Ok(None) };
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(&raw).map_err(io::Error::other)?;
        let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
        let body = framing(parsed.headers).unwrap_or(Body::Length(0));
        let expects_continue = has_token(parsed.headers, "expect", "100-continue");
        let closes = has_token(parsed.headers, "connection", "close") || parsed.version == Some(0);
        let (method, target) = (method.to_owned(), target.to_owned());
        Ok(Some(Head { raw, method, target, body, expects_continue, closes }))
    }

    /// The answer to a request, behind any `100 Continue` before it.
    fn read_final_response(&mut self, request: &Head) -> io::Result<Head> {
        loop {
            let raw = self.read_head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut headers = [httparse::EMPTY_HEADER; 100];
            let mut parsed = httparse::Response::new(&mut headers);
            parsed.parse(&raw).map_err(io::Error::other)?;
            let status = parsed.code.unwrap_or_default();
            if (100..200).contains(&status) {
                continue;
            }
            let has_none = request.method == "HEAD" || matches!(status, 204 | 304);
            let body = match framing(parsed.headers) {
                _ if has_none => Body::Length(0),
                Some(body) => body,
                None => Body::UntilClosed,
            };
            let closes = has_token(parsed.headers, "connection", "close")
                || parsed.version == Some(0)
                || body == Body::UntilClosed;
            let (method, target) = (request.method.clone(), request.target.clone());
            return Ok(Head { raw, method, target, body, expects_continue: false, closes });
        }
    }

    /// Gives out a body as it comes, chunk sizes and trailers included.
    fn pass_body(&mut self, body: Body, give: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match body {
            Body::Length(length) => self.pass_bytes(length, give),
            Body::UntilClosed => loop {
                give(&self.ahead)?;
                self.ahead.clear();
                if !self.read_more()? {
                    return Ok(());
                }
            },
            Body::Chunked => self.pass_chunks(give),
        }
    }

    fn pass_bytes(
        &mut self,
        mut length: u64,
        give: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while length > 0 {
            if self.ahead.is_empty() && !self.read_more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(self.ahead.len());
            let rest = self.ahead.split_off(count);
            let part = std::mem::replace(&mut self.ahead, rest);
            length -= count as u64;
            give(&part)?;
        }
        Ok(())
    }

    fn pass_chunks(&mut self, give: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let line = self.read_line()?;
            let size = match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, size))) => size,
                _ => return Err(io::Error::other("a chunk without a size")),
            };
            give(&line)?;
            if size > 0 {
                self.pass_bytes(size + 2, give)?;
                continue;
            }
            loop {
                let trailer = self.read_line()?;
                give(&trailer)?;
                if trailer == b"\r\n" {
                    return Ok(());
                }
            }
        }
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let rest = self.ahead.split_off(at + 1);
                return Ok(std::mem::replace(&mut self.ahead, rest));
            }
            if self.ahead.len() > MAX_HEAD_BYTES || !self.read_more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn framing(headers: &[httparse::Header<'_>]) -> Option<Body> {
    if has_token(headers, "transfer-encoding", "chunked") {
        return Some(Body::Chunked);
    }
    let length = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(length.value).ok()?.trim().parse().ok().map(Body::Length)
}

fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let values = named.filter_map(|header| std::str::from_utf8(header.value).ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}
