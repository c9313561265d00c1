//! A server that says yes to uploads of S3 in parts, and keeps nothing of them but their number of bytes.
#![allow(dead_code)] // Each program uses a part of it.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// The server; it ends with the process.
pub(crate) struct Sink {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    bytes: AtomicU64,
    /// The writer's marks of small objects.
    marks: Mutex<BTreeMap<String, String>>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { addr, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Bytes of all parts that came.
    pub(crate) fn bytes_of_parts(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

const MARK: &str = "x-amz-meta-backupwriter";

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = headers(&mut reader)?;
        let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        answer(stream, shared, method, target, &headers, length)?;
    }
}

fn headers(reader: &mut impl BufRead) -> io::Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => return Ok(headers),
        };
    }
}

fn answer(
    mut stream: &TcpStream,
    shared: &Shared,
    method: &str,
    target: &str,
    headers: &BTreeMap<String, String>,
    length: u64,
) -> io::Result<()> {
    let mut marks = shared.marks.lock().unwrap_or_else(PoisonError::into_inner);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (mut status, mut head, mut body) = ("200 OK", String::new(), String::new());
    match method {
        "PUT" if query.contains("partNumber=") => {
            shared.bytes.fetch_add(length, Ordering::Relaxed);
        }
        "PUT" => {
            marks.insert(path.to_owned(), headers.get(MARK).cloned().unwrap_or_default());
        }
        "POST" if query.contains("uploadId=") => {
            body = "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>"
                .to_owned();
        }
        "POST" => {
            body = "<InitiateMultipartUploadResult><Bucket>sink</Bucket><Key>k</Key><UploadId>u</UploadId>\
                    </InitiateMultipartUploadResult>"
                .to_owned();
        }
        "HEAD" => match marks.get(path) {
            Some(mark) => {
                head = format!("{MARK}: {mark}\r\nLast-Modified: Sat, 21 Nov 2026 15:00:20 GMT\r\n")
            }
            None => status = "404 Not Found",
        },
        _ => status = "204 No Content",
    }
    let length =
        if status.starts_with("204") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: \"e\"\r\nDate: Sat, 21 Nov 2026 15:00:20 GMT\r\n{head}{length}\r\n{body}"
    )
}
