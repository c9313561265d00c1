//! A real S3 server over HTTP, in the test's own process.

// Each test program uses a part of it.
#![allow(dead_code)]

pub(crate) mod rights;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use backup_storage::{AccessKeys, ObjectOptions, ObjectStore};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    S3Request, S3Result,
    access::S3Access,
    auth::SimpleAuth,
    dto::{CompleteMultipartUploadInput, PutObjectInput},
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;

pub(crate) const KEY_ID: &str = "backup";
pub(crate) const SECRET: &str = "a-secret-that-is-never-shown";

/// The server; it ends with the test's process.
pub(crate) struct S3Server {
    folder: PathBuf,
    _temporary: Option<TempDir>,
    address: SocketAddr,
}

impl S3Server {
    pub(crate) fn start() -> Self {
        Self::start_with(Fault::None)
    }

    pub(crate) fn start_with(fault: Fault) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let server = Self::serving_with(temporary.path(), fault);
        Self { _temporary: Some(temporary), ..server }
    }

    /// Serves the folders in a folder as buckets.
    pub(crate) fn serving(folder: &Path) -> Self {
        Self::serving_with(folder, Fault::None)
    }

    fn serving_with(folder: &Path, fault: Fault) -> Self {
        let root = folder.to_owned();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || serve(root, fault, &sender));
        let address = receiver.recv().expect("the server starts");
        Self { folder: folder.to_owned(), _temporary: None, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn bucket(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).expect("a bucket");
        path
    }

    pub(crate) fn url(&self, place: &str) -> String {
        format!("s3://{place}?endpoint=http://{}", self.address)
    }

    pub(crate) fn store(&self, place: &str) -> ObjectStore {
        self.store_with(place, &options())
    }

    pub(crate) fn store_with(&self, place: &str, options: &ObjectOptions) -> ObjectStore {
        ObjectStore::open(&self.url(place), options).expect("a store")
    }
}

/// The options of a test: patience is short, what waits in seconds waits in parts of one.
pub(crate) fn options() -> ObjectOptions {
    let mut options = ObjectOptions::default().with_access_keys(AccessKeys::new(KEY_ID, SECRET));
    options.patience = Duration::from_secs(3);
    options.first_patience = Duration::from_secs(1);
    options.first_wait = Duration::from_millis(20);
    options.lease_settling = Duration::from_millis(300);
    options
}

fn serve(root: PathBuf, fault: Fault, started: &mpsc::Sender<SocketAddr>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let service = {
            let mut builder = S3ServiceBuilder::new(FileSystem::new(root).expect("a file system"));
            builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
            if matches!(fault, Fault::IgnoresConditions) {
                builder.set_access(Forgetful);
            }
            builder.build()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        started.send(listener.local_addr().expect("an address")).expect("the test waits");
        let server = Builder::new(TokioExecutor::new());
        let front = Arc::new(Front { fault, gate: tokio::sync::Mutex::default(), seen: Mutex::default() });
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            let (service, front) = (service.clone(), Arc::clone(&front));
            let answers = service_fn(move |request| Arc::clone(&front).answer(service.clone(), request));
            tokio::spawn(server.serve_connection(TokioIo::new(socket), answers).into_owned());
        }
    });
}

/// What is wrong with a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// Conditions on writes are passed over, as Garage does.
    IgnoresConditions,
    /// Does what is asked with this method, and breaks the connection instead of saying so, once per object.
    LosesFirstAnswers(&'static str),
    /// Refuses the first requests.
    Overloaded {
        refusals: usize,
    },
}

/// What stands between the network and the server.
struct Front {
    fault: Fault,
    gate: tokio::sync::Mutex<()>,
    seen: Mutex<Vec<String>>,
}

/// Forgets conditions after the signature over them was checked.
struct Forgetful;

#[async_trait]
impl S3Access for Forgetful {
    async fn put_object(&self, request: &mut S3Request<PutObjectInput>) -> S3Result<()> {
        request.input.if_match = None;
        request.input.if_none_match = None;
        Ok(())
    }

    async fn complete_multipart_upload(
        &self,
        request: &mut S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<()> {
        request.input.if_match = None;
        request.input.if_none_match = None;
        Ok(())
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Front {
    async fn answer(
        self: Arc<Self>,
        service: S3Service,
        request: http::Request<Incoming>,
    ) -> Result<s3s::HttpResponse, Failure> {
        // The server looks at a condition first and writes then, which is not how S3 does it: requests with a
        // condition are answered one after the other.
        let has_condition =
            ["if-match", "if-none-match"].iter().any(|name| request.headers().contains_key(*name));
        let _turn = if has_condition { Some(self.gate.lock().await) } else { None };
        let is_first = self.is_first(&request);
        if is_first && matches!(self.fault, Fault::Overloaded { .. }) {
            return Ok(overloaded());
        }
        let answer = Service::call(&service, request).await?;
        match self.fault {
            Fault::LosesFirstAnswers(_) if is_first => {
                // Read to its end, as the server may still be at work.
                let _ = http_body_util::BodyExt::collect(answer.into_body()).await;
                Err("the answer is lost".into())
            }
            _ => Ok(answer),
        }
    }

    fn is_first(&self, request: &http::Request<Incoming>) -> bool {
        let mut seen = self.seen.lock().expect("no panic");
        match self.fault {
            Fault::LosesFirstAnswers(method) if request.method() == method => {
                let name = format!("{} {}", request.method(), request.uri());
                let is_first = !seen.contains(&name);
                seen.push(name);
                is_first
            }
            Fault::Overloaded { refusals } => {
                seen.push(String::new());
                seen.len() <= refusals
            }
            _ => false,
        }
    }
}

fn overloaded() -> s3s::HttpResponse {
    let text = "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
    let mut response = s3s::HttpResponse::new(s3s::Body::from(text.to_owned()));
    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Names of all files below a folder, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                names.push(path.strip_prefix(folder).expect("below").display().to_string());
            }
        }
    }
    names.sort();
    names
}
