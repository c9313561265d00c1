//! The proxy that other tests rely on does what its script says, no more and no less.

#[path = "support/fault_proxy.rs"]
mod fault_proxy;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use fault_proxy::{Counts, Fault, FaultProxy, Rule};

/// A server that answers every request with its method, target and body, and remembers them. `/chunked` is answered in
/// chunks, `/close` up to the end of the connection.
struct Echo {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (addr, heard) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || while echo(&stream, &log).unwrap_or(false) {});
            }
        });
        Self { addr, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// Serves one request; whether the connection goes on. One reader per request is enough: no client pipelines.
fn echo(mut stream: &TcpStream, log: &Mutex<Vec<String>>) -> std::io::Result<bool> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    if reader.read_line(&mut request)? == 0 {
        return Ok(false);
    }
    let headers = read_headers(&mut reader)?;
    let body = if headers.iter().any(|header| header == "transfer-encoding: chunked") {
        read_chunks(&mut reader)?
    } else {
        let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        String::from_utf8_lossy(&body).into_owned()
    };
    let line = request.trim_end().trim_end_matches(" HTTP/1.1");
    let text = format!("{line}: {body}");
    log.lock().unwrap().push(text.clone());
    if line.ends_with("/close") {
        write!(stream, "HTTP/1.1 200 OK\r\n\r\n{text}")?;
        stream.shutdown(std::net::Shutdown::Both)?;
        return Ok(false);
    }
    if line.ends_with("/chunked") {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
            text.len()
        )?;
        return Ok(true);
    }
    let body = if line.starts_with("HEAD") { "" } else { text.as_str() };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", text.len())?;
    Ok(true)
}

fn read_headers(reader: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            return Ok(headers);
        }
        headers.push(line.trim_end().to_ascii_lowercase());
    }
}

fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// A client that shows every byte it gets.
struct Client(BufReader<TcpStream>);

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: Vec<String>,
    body: String,
}

impl Client {
    fn of(proxy: &FaultProxy) -> Self {
        Self(BufReader::new(TcpStream::connect(proxy.addr()).unwrap()))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn put(&mut self, path: &str, body: &str) -> Option<Answer> {
        self.send(&format!("PUT {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        self.answer(true)
    }

    fn get(&mut self, path: &str) -> Option<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\n\r\n"));
        self.answer(true)
    }

    /// The answer, with what came of its body; `None` when the connection ended first.
    fn answer(&mut self, has_body: bool) -> Option<Answer> {
        let mut status = String::new();
        if self.0.read_line(&mut status).unwrap_or(0) == 0 {
            return None;
        }
        let headers = read_headers(&mut self.0).ok()?;
        let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
        let mut body = Vec::new();
        if headers.iter().any(|header| header == "transfer-encoding: chunked") {
            body = read_chunks(&mut self.0).ok()?.into_bytes();
        } else if has_body {
            let _ = self.0.by_ref().take(length.unwrap_or(u64::MAX)).read_to_end(&mut body);
        }
        let status = status.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, headers, body: String::from_utf8(body).ok()? })
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

#[test]
fn without_a_script_everything_passes_on_one_connection() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    let mut client = Client::of(&proxy);
    assert_eq!(client.put("/a", "one").unwrap().body, "PUT /a: one");
    assert_eq!(client.get("/chunked").unwrap().body, "GET /chunked: ");
    client.send("HEAD /a HTTP/1.1\r\n\r\n");
    assert!(client.answer(false).unwrap().headers.contains(&"content-length: 9".to_owned()));
    client.send("POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.answer(true).unwrap().body, "POST /b: abcde");
    assert_eq!(client.get("/close").unwrap().body, "GET /close: ");
    assert!(client.is_closed());
    assert_eq!(proxy.faults(), Counts { requests: 5, ..Counts::default() });
    assert_eq!(proxy.requests()[0], "PUT /a");
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    let mut client = Client::of(&proxy);
    client.send("PUT /a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer(false).unwrap().status, 100);
    client.send("one");
    assert_eq!(client.answer(true).unwrap().body, "PUT /a: one");
}

#[test]
fn the_kth_matching_request_is_answered_in_the_servers_place() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    proxy.script(vec![
        Rule::new(Fault::too_many_requests(7)).method("GET"),
        Rule::new(Fault::slow_down()).method("PUT").path("part=").from(2).times(2),
    ]);
    let mut client = Client::of(&proxy);
    let statuses: Vec<u16> = ["/x", "/x?part=1", "/x?part=2", "/x?part=3", "/x?part=4"]
        .map(|path| client.put(path, "body").unwrap().status)
        .to_vec();
    assert_eq!(statuses, [200, 200, 503, 503, 200]);
    let refused = client.get("/y").unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains(&"retry-after: 7".to_owned()));
    assert!(refused.body.contains("<Error><Code>TooManyRequests</Code>"), "{refused:?}");
    assert_eq!(echo.heard(), ["PUT /x: body", "PUT /x?part=1: body", "PUT /x?part=4: body"]);
    assert_eq!(proxy.faults().answered, 3);
}

#[test]
fn chance_is_the_same_for_the_same_seed() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    let statuses = || {
        proxy.script(vec![Rule::new(Fault::internal_error()).with_probability(0.3, 42)]);
        let mut client = Client::of(&proxy);
        (0..40).map(|_| client.get("/").unwrap().status).collect::<Vec<_>>()
    };
    let first = statuses();
    assert_eq!(first, statuses());
    let failed = first.iter().filter(|status| **status == 500).count();
    assert!((3..25).contains(&failed), "{first:?}");
    assert_eq!(proxy.faults().answered, 2 * failed as u64);
}

#[test]
fn connections_are_cut_where_the_script_says() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    proxy.script(vec![Rule::new(Fault::CutRequest { after: 40 })]);
    assert_eq!(Client::of(&proxy).put("/a", &"x".repeat(1000)), None);
    assert_eq!(echo.heard(), [""; 0], "half a request is none");

    proxy.script(vec![Rule::new(Fault::CutResponse { after: 0 })]);
    assert_eq!(Client::of(&proxy).put("/b", "y"), None);
    assert_eq!(echo.heard(), ["PUT /b: y"], "the server did it and the client does not know");

    proxy.script(vec![Rule::new(Fault::TruncateBody { after: 4 })]);
    let short = Client::of(&proxy).put("/c", "z").unwrap();
    assert_eq!((short.status, short.body.as_str()), (200, "PUT "));
    assert!(short.headers.contains(&"content-length: 9".to_owned()));

    proxy.script(vec![Rule::new(Fault::CutResponse { after: 1 << 20 })]);
    assert_eq!(Client::of(&proxy).put("/d", "whole").unwrap().body, "PUT /d: whole");
    let expected =
        Counts { requests: 4, cut_requests: 1, cut_responses: 1, truncated: 1, ..Counts::default() };
    assert_eq!(proxy.faults(), expected, "a cut behind the end is none");
}

#[test]
fn an_error_may_come_under_the_status_200() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    proxy.script(vec![Rule::new(Fault::ErrorInBody { code: "InternalError" }).path("uploadId")]);
    let mut client = Client::of(&proxy);
    let answer = client.put("/x?uploadId=1", "parts").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("<Code>InternalError</Code>"));
    assert_eq!(client.put("/x?uploadId=1", "parts").unwrap().body, "PUT /x?uploadId=1: parts");
    assert_eq!(proxy.faults().errors_in_body, 1);
}

#[test]
fn a_request_can_come_twice_late_or_never() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    proxy.script(vec![
        Rule::new(Fault::Duplicate).path("twice"),
        Rule::new(Fault::Delay(Duration::from_millis(20))).path("late"),
        Rule::new(Fault::Stall(Duration::from_millis(20))).path("never"),
    ]);
    let mut client = Client::of(&proxy);
    assert_eq!(client.put("/twice", "x").unwrap().body, "PUT /twice: x");
    assert_eq!(client.put("/late", "y").unwrap().body, "PUT /late: y");
    assert_eq!(client.put("/never", "z"), None);
    assert_eq!(echo.heard(), ["PUT /twice: x", "PUT /twice: x", "PUT /late: y"]);
    let expected = Counts { requests: 3, duplicated: 1, delayed: 1, stalled: 1, ..Counts::default() };
    assert_eq!(proxy.faults(), expected);
}

#[test]
fn a_proxy_that_is_dropped_ends_what_it_holds() {
    let echo = Echo::start();
    let proxy = FaultProxy::start(echo.addr);
    proxy.script(vec![Rule::new(Fault::Stall(Duration::from_secs(3600)))]);
    let mut client = Client::of(&proxy);
    client.send("GET / HTTP/1.1\r\n\r\n");
    while proxy.faults().stalled == 0 {
        thread::yield_now();
    }
    drop(proxy);
    assert!(client.is_closed());
}
