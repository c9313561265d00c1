//! What was said on the wire: each request is watched, because the errors of the client above do not tell it.
//!
//! The client hides the status and error code of a failed request, the store's clock, and what keeps an object
//! locked. It also has no conditional completion of a multipart upload. All four pass by here.

use std::{
    error::Error as StdError,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
        ReqwestConnector,
    },
};

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// Runs one attempt; its requests are noted in `call`.
pub(super) async fn watched<F: Future>(call: &Arc<Call>, attempt: F) -> F::Output {
    CALL.scope(Arc::clone(call), attempt).await
}

/// One attempt at something.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// A multipart upload is completed only while nothing stands under its key.
    pub(super) create_only: bool,
    seen: Mutex<Seen>,
}

impl Call {
    pub(super) fn new(create_only: bool) -> Self {
        Self { create_only, seen: Mutex::default() }
    }

    /// What is known of its last request.
    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// The outcome of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The method, e.g. `PUT`.
    pub(super) method: String,
    /// The status, when the store answered at all.
    pub(super) status: Option<u16>,
    /// The store's own word for what is wrong, e.g. `NoSuchBucket`.
    pub(super) code: Option<String>,
    /// The store's own sentence for it.
    pub(super) message: Option<String>,
    /// The store's clock.
    pub(super) date: Option<Timestamp>,
    /// How long it wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Until when the object may not be deleted.
    pub(super) locked: Option<Locked>,
    /// Where the bucket is, as S3 tells with errors.
    pub(super) region: Option<String>,
    /// Why there was no answer.
    pub(super) transport: Option<Transport>,
    /// The request was one for credentials, not one to the store.
    pub(super) is_for_credentials: bool,
}

impl Seen {
    /// Whether the store said yes.
    pub(super) fn is_success(&self) -> bool {
        !self.is_for_credentials && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Why an object may not be deleted (S3 Object Lock).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// Retention, with its mode (`GOVERNANCE` or `COMPLIANCE`).
    Until(Timestamp, String),
    /// A legal hold, which ends when somebody takes it off.
    LegalHold,
}

/// A request without an answer.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) kind: HttpErrorKind,
    /// The causes, outermost first; without the URL, which may hold a signature.
    pub(super) causes: Vec<String>,
}

/// Makes clients that are watched.
#[derive(Debug)]
pub(super) struct WatchedConnector;

impl HttpConnector for WatchedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(WatchedService { inner }))
    }
}

#[derive(Debug)]
struct WatchedService {
    inner: HttpClient,
}

#[async_trait]
impl HttpService for WatchedService {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Ok(call) = CALL.try_with(Arc::clone) else { return self.inner.execute(request).await };
        if call.create_only && completes_upload(&request) {
            // Not among the signed headers, which S3 allows for those that do not begin with x-amz-.
            request.headers_mut().insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let mut seen = Seen {
            method: request.method().to_string(),
            is_for_credentials: is_for_credentials(request.uri().host().unwrap_or_default()),
            ..Seen::default()
        };
        let is_post = request.method() == Method::POST;
        match self.inner.execute(request).await {
            Ok(response) => examine(response, is_post, seen, &call).await,
            Err(error) => {
                seen.transport = Some(Transport { kind: error.kind(), causes: causes_of(&error) });
                call.note(seen);
                Err(error)
            }
        }
    }
}

fn completes_upload(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::POST && query.split('&').any(|pair| pair.starts_with("uploadId="))
}

/// The places that hand out credentials: of machines, containers, and the vendors' token services.
fn is_for_credentials(host: &str) -> bool {
    const HOSTS: [&str; 8] = [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "metadata",
        "oauth2.googleapis.com",
        "login.microsoftonline.com",
    ];
    HOSTS.contains(&host) || host.starts_with("sts.")
}

/// Notes what an answer says. The body of a refusal is read here; so is that of a POST, whose refusal may come with
/// status 200 (<https://repost.aws/knowledge-center/s3-resolve-200-internalerror>).
async fn examine(
    response: HttpResponse,
    is_post: bool,
    mut seen: Seen,
    call: &Call,
) -> Result<HttpResponse, HttpError> {
    let (mut parts, body) = response.into_parts();
    seen.status = Some(parts.status.as_u16());
    seen.date = text_of(&parts.headers, "date").and_then(http_date);
    seen.retry_after =
        text_of(&parts.headers, "retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    seen.region = text_of(&parts.headers, "x-amz-bucket-region").map(str::to_owned);
    seen.locked = lock_of(&parts.headers);
    if parts.status.is_success() && !is_post {
        call.note(seen);
        return Ok(HttpResponse::from_parts(parts, body));
    }
    // Noted before the body is read, which may fail too.
    call.note(seen.clone());
    let bytes = body.bytes().await?;
    let text = String::from_utf8_lossy(&bytes);
    if !parts.status.is_success() || text.contains("<Error>") {
        seen.code =
            element(&text, "Code").or_else(|| text_of(&parts.headers, "x-ms-error-code").map(str::to_owned));
        seen.message = element(&text, "Message");
        if parts.status.is_success() {
            parts.status = hidden_status(seen.code.as_deref());
            seen.status = Some(parts.status.as_u16());
        }
        call.note(seen);
    }
    Ok(HttpResponse::from_parts(parts, bytes.into()))
}

/// The status that an error in the body of a 200 would have had.
fn hidden_status(code: Option<&str>) -> StatusCode {
    match code {
        Some("PreconditionFailed") => StatusCode::PRECONDITION_FAILED,
        Some("AccessDenied") => StatusCode::FORBIDDEN,
        Some("NoSuchUpload" | "NoSuchBucket" | "NoSuchKey") => StatusCode::NOT_FOUND,
        Some("EntityTooSmall" | "InvalidPart" | "InvalidPartOrder" | "MalformedXML") => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `Sat, 21 Nov 2026 15:00:20 GMT`, which differs from RFC 2822 in the name of the zone only.
fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn lock_of(headers: &HeaderMap) -> Option<Locked> {
    if text_of(headers, "x-amz-object-lock-legal-hold") == Some("ON") {
        return Some(Locked::LegalHold);
    }
    let until = text_of(headers, "x-amz-object-lock-retain-until-date")?.parse().ok()?;
    let mode = text_of(headers, "x-amz-object-lock-mode").unwrap_or("retention");
    Some(Locked::Until(until, mode.to_owned()))
}

/// The text of the first element of this name. All three vendors' errors are `<Error><Code/><Message/></Error>`.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    let value = value.lines().next().unwrap_or_default().trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn causes_of(error: &HttpError) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_clock_is_read() {
        let date = http_date("Sat, 21 Nov 2026 15:00:20 GMT").unwrap();
        assert_eq!(date.to_string(), "2026-11-21T15:00:20Z");
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn an_error_in_the_body_is_read() {
        let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>No such\nbucket</Message></Error>";
        assert_eq!(element(body, "Code").as_deref(), Some("NoSuchBucket"));
        assert_eq!(element(body, "Message").as_deref(), Some("No such"));
        assert_eq!(element("<html>Bad gateway</html>", "Code"), None);
        assert_eq!(hidden_status(Some("InternalError")), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(hidden_status(Some("PreconditionFailed")), StatusCode::PRECONDITION_FAILED);
    }

    #[test]
    fn a_lock_is_read_from_the_headers_of_an_object() {
        let mut headers = HeaderMap::new();
        assert_eq!(lock_of(&headers), None);
        headers.insert("x-amz-object-lock-mode", HeaderValue::from_static("COMPLIANCE"));
        headers.insert(
            "x-amz-object-lock-retain-until-date",
            HeaderValue::from_static("2027-01-02T03:04:05.000Z"),
        );
        let until = "2027-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(lock_of(&headers), Some(Locked::Until(until, "COMPLIANCE".into())));
        headers.insert("x-amz-object-lock-legal-hold", HeaderValue::from_static("ON"));
        assert_eq!(lock_of(&headers), Some(Locked::LegalHold));
    }
}
