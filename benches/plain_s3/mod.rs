//! An S3 server that costs little: s3s speaks the protocol and checks signatures and checksums; what comes is kept as it
//! comes, a file for each part, and what is known of it in memory.
//!
//! s3s-fs hashes every part once more, copies all parts when an upload is completed, and takes several times the CPU of
//! its client, which on one machine is then all that a bench sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::SystemTime,
};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    Body, S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
        DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition, GetObjectInput, GetObjectOutput,
        HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Metadata, Object,
        PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
    },
    s3_error,
    service::S3ServiceBuilder,
};

/// Starts a server that keeps its files in a folder, in which folders are buckets that are there already; it ends with
/// the process.
pub(crate) fn serve(folder: &Path, key_id: &'static str, secret: &'static str) -> SocketAddr {
    let (started, address) = mpsc::channel();
    let kept = Kept { folder: folder.to_owned(), ..Kept::default() };
    kept.find(folder, "").expect("a folder that can be read");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut service = S3ServiceBuilder::new(kept);
            service.set_auth(SimpleAuth::from_single(key_id, secret));
            let service = service.build();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            started.send(listener.local_addr().expect("an address")).expect("somebody waits");
            let server = Builder::new(TokioExecutor::new());
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                socket.set_nodelay(true).expect("an option of every socket");
                tokio::spawn(server.serve_connection(TokioIo::new(socket), service.clone()).into_owned());
            }
        });
    });
    address.recv().expect("the server starts")
}

#[derive(Default)]
struct Kept {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By bucket and key.
    objects: BTreeMap<String, Arc<Stored>>,
    uploads: BTreeMap<String, Upload>,
    /// What is new gets the next number.
    last: u64,
}

struct Stored {
    parts: Vec<Part>,
    size: u64,
    tag: String,
    metadata: Option<Metadata>,
    modified: SystemTime,
}

#[derive(Default)]
struct Upload {
    parts: BTreeMap<i32, Part>,
    metadata: Option<Metadata>,
}

#[derive(Clone)]
struct Part {
    path: PathBuf,
    size: u64,
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        let mut state = self.state();
        state.last += 1;
        state.last
    }

    fn get(&self, name: &str) -> S3Result<Arc<Stored>> {
        self.state().objects.get(name).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// Makes objects of the files in the folders that are there.
    fn find(&self, folder: &Path, above: &str) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let (path, name) = {
                let entry = entry?;
                (entry.path(), format!("{above}{}", entry.file_name().to_string_lossy()))
            };
            if path.is_dir() {
                self.find(&path, &format!("{name}/"))?;
            } else if !above.is_empty() {
                let part = Part { size: path.metadata()?.len(), path };
                self.publish(name, vec![part], None, (None, None)).expect("no condition");
            }
        }
        Ok(())
    }

    /// Writes a body into a file of its own.
    async fn keep(&self, body: Option<StreamingBlob>) -> S3Result<Part> {
        let path = self.folder.join(self.next().to_string());
        let mut pieces = body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.try_next().await.map_err(|_| s3_error!(InternalError))? {
            bytes.extend_from_slice(&piece);
        }
        fs::write(&path, &bytes).map_err(|_| s3_error!(InternalError))?;
        Ok(Part { path, size: bytes.len() as u64 })
    }

    /// Makes an object appear, if the conditions hold; returns its tag.
    fn publish(
        &self,
        name: String,
        parts: Vec<Part>,
        metadata: Option<Metadata>,
        (must_be, must_not_be): (Option<ETagCondition>, Option<ETagCondition>),
    ) -> S3Result<ETag> {
        let mut state = self.state();
        let present = state.objects.get(&name);
        let is_other = |tag: &ETag| present.is_none_or(|object| object.tag != tag.value());
        let is_refused = match (must_be, must_not_be) {
            (Some(ETagCondition::ETag(tag)), _) => is_other(&tag),
            (_, Some(_)) => present.is_some(),
            _ => false,
        };
        if is_refused {
            return Err(s3_error!(PreconditionFailed));
        }
        state.last += 1;
        let tag = format!("{:032x}", state.last);
        let size = parts.iter().map(|part| part.size).sum();
        let stored = Stored { parts, size, tag: tag.clone(), metadata, modified: SystemTime::now() };
        state.objects.insert(name, Arc::new(stored));
        Ok(ETag::Strong(tag))
    }
}

impl Stored {
    fn read(&self, mut start: u64, end: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity((end - start) as usize);
        let mut offset = 0;
        for part in &self.parts {
            let last = offset + part.size;
            if start < last && start < end {
                let mut file = fs::File::open(&part.path)?;
                file.seek(SeekFrom::Start(start - offset))?;
                start += file.take(end.min(last) - start).read_to_end(&mut bytes)? as u64;
            }
            offset = last;
        }
        Ok(bytes)
    }
}

fn name_of(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

#[async_trait]
impl S3 for Kept {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let part = self.keep(input.body).await?;
        let conditions = (input.if_match, input.if_none_match);
        let tag = self.publish(name_of(&input.bucket, &input.key), vec![part], input.metadata, conditions)?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(tag), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let stored = self.get(&name_of(&input.bucket, &input.key))?;
        let range = input.range.map(|range| range.check(stored.size)).transpose()?;
        let wanted = range.clone().unwrap_or(0..stored.size);
        let bytes = stored.read(wanted.start, wanted.end).map_err(|_| s3_error!(InternalError))?;
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(bytes.len() as i64),
            content_range: range
                .map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, stored.size)),
            body: Some(StreamingBlob::from(Body::from(bytes))),
            e_tag: Some(ETag::Strong(stored.tag.clone())),
            last_modified: Some(Timestamp::from(stored.modified)),
            metadata: stored.metadata.clone(),
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let stored = self.get(&name_of(&req.input.bucket, &req.input.key))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(stored.size as i64),
            e_tag: Some(ETag::Strong(stored.tag.clone())),
            last_modified: Some(Timestamp::from(stored.modified)),
            metadata: stored.metadata.clone(),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let start = name_of(&req.input.bucket, req.input.prefix.as_deref().unwrap_or_default());
        let state = self.state();
        let found = state.objects.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start));
        let (mut contents, mut folders) = (Vec::new(), BTreeSet::new());
        for (name, stored) in found {
            let below = name.get(start.len()..).unwrap_or_default();
            let key = name.split_once('/').map(|(_, key)| key.to_owned()).unwrap_or_default();
            match below.find('/') {
                Some(end) if req.input.delimiter.is_some() => {
                    folders.insert(key[..key.len() - below.len() + end + 1].to_owned());
                }
                _ => contents.push(Object {
                    key: Some(key),
                    size: Some(stored.size as i64),
                    e_tag: Some(ETag::Strong(stored.tag.clone())),
                    last_modified: Some(Timestamp::from(stored.modified)),
                    ..Default::default()
                }),
            }
        }
        let folders = folders.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some(contents.len() as i32),
            contents: Some(contents),
            common_prefixes: Some(folders),
            is_truncated: Some(false),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let gone = self.state().objects.remove(&name_of(&req.input.bucket, &req.input.key));
        for part in gone.iter().flat_map(|stored| &stored.parts) {
            let _ = fs::remove_file(&part.path);
        }
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let id = self.next().to_string();
        let upload = Upload { metadata: req.input.metadata, ..Upload::default() };
        self.state().uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(req.input.bucket),
            key: Some(req.input.key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let part = self.keep(input.body).await?;
        let tag = format!("{:032x}", part.size);
        let mut state = self.state();
        let upload = state.uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, part);
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(tag)), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let upload = self.state().uploads.remove(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let parts = upload.parts.into_values().collect();
        let conditions = (input.if_match, input.if_none_match);
        let tag = self.publish(name_of(&input.bucket, &input.key), parts, upload.metadata, conditions)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(tag),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let gone =
            self.state().uploads.remove(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        for part in gone.parts.values() {
            let _ = fs::remove_file(&part.path);
        }
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
