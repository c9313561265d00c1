//! The vendors' clients, set up as their own tools would be.

use std::{env, sync::Arc};

use backup_core::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore as Remote, RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, Checksum, S3ConditionalPut},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    multipart::MultipartStore,
};

use super::{
    options::{AccessKeys, ObjectOptions, ServerSideEncryption},
    profile::{self, Profile},
    transport::WatchedConnector,
    url::{Location, Vendor},
};

/// The two faces of one client.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) objects: Arc<dyn Remote>,
    pub(super) uploads: Arc<dyn MultipartStore>,
}

impl Client {
    fn new<C: Remote + MultipartStore>(client: C) -> Self {
        let client = Arc::new(client);
        Self { objects: Arc::clone(&client) as Arc<dyn Remote>, uploads: client }
    }
}

/// A client that reads, and one whose requests carry the headers for writing.
pub(super) fn connect(location: &Location, options: &ObjectOptions) -> Result<(Client, Client)> {
    let is_s3 = location.vendor == Vendor::S3;
    if !is_s3 && (options.server_side_encryption.is_some() || options.access_keys.is_some()) {
        return Err(unsupported(location, "encryption at rest and access keys can be given for S3 only"));
    }
    if location.vendor == Vendor::Azure && options.storage_class.is_some() {
        return Err(unsupported(location, "storage classes can be chosen for S3 and Google only"));
    }
    let mut writing = client_options(location, options);
    // Silence while a part is sent is no silence of the store's, so this is for reading only.
    let reading = writing.clone().with_read_timeout(options.idle_timeout);
    if let Some(headers) = write_headers(options)? {
        writing = writing.with_default_headers(headers);
    }
    match location.vendor {
        Vendor::S3 => {
            let reader = s3(location, options, reading)?;
            let writer = s3(location, options, writing)?;
            Ok((Client::new(reader), Client::new(writer)))
        }
        Vendor::Google => {
            Ok((Client::new(google(location, reading)?), Client::new(google(location, writing)?)))
        }
        Vendor::Azure => Ok((Client::new(azure(location, reading)?), Client::new(azure(location, writing)?))),
    }
}

fn unsupported(location: &Location, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the store \"{location}\" cannot be used: {why}"))
        .with_hint("Set it as the default of the bucket or container instead.")
}

/// No clock of the client's runs over a whole request: it would end long transfers.
fn client_options(location: &Location, options: &ObjectOptions) -> ClientOptions {
    let says_http = |endpoint: &str| endpoint.starts_with("http://");
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(options.connect_timeout)
        .with_allow_http(location.endpoint.as_deref().is_some_and(says_http))
}

fn write_headers(options: &ObjectOptions) -> Result<Option<HeaderMap>> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.write_headers {
        let wrong = || Error::invalid(format!("\"{}\" cannot be a header", name.escape_debug()));
        let header = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        headers.insert(header, HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?);
    }
    Ok((!headers.is_empty()).then_some(headers))
}

/// Each request is made once: what is repeated is decided above, where a new signature is made for it too.
fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, backoff: BackoffConfig::default(), ..RetryConfig::default() }
}

fn s3(location: &Location, options: &ObjectOptions, client: ClientOptions) -> Result<AmazonS3> {
    let mut location = location.clone();
    let mut builder = AmazonS3Builder::from_env();
    let has_keys = builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_some();
    let profile = match &options.access_keys {
        Some(keys) => given(keys),
        None => profile::read(location.profile.as_deref())?,
    };
    // As the AWS tools do: keys in the environment win, unless the profile was named by the caller.
    if let (Some(id), Some(secret)) = (profile.access_key_id, profile.secret_access_key)
        && (!has_keys || location.profile.is_some() || options.access_keys.is_some())
    {
        // Not by the builder's parts: a session token of the environment's would be mixed in.
        let credential = AwsCredential { key_id: id, secret_key: secret, token: profile.session_token };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
    }
    let region = location.region.take().or_else(|| {
        let set = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| env::var(name).ok());
        set.filter(|region| !region.is_empty()).or(profile.region)
    });
    builder = builder.with_region(region.unwrap_or_else(|| default_region(&location).to_owned()));
    let endpoint = location.endpoint.clone().or_else(environment_endpoint).or(profile.endpoint);
    let mut client = client;
    if let Some(endpoint) = endpoint {
        client = client.with_allow_http(endpoint.starts_with("http://"));
        let is_virtual = location.virtual_hosted == Some(true);
        let endpoint = if is_virtual { in_host(&endpoint, &location.bucket) } else { endpoint };
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(is_virtual);
    } else {
        // Amazon's certificates do not cover dots in a bucket's name.
        let is_virtual = location.virtual_hosted.unwrap_or(!location.bucket.contains('.'));
        builder = builder.with_virtual_hosted_style_request(is_virtual);
    }
    builder = encrypted(builder, options.server_side_encryption.as_ref())
        .with_bucket_name(&location.bucket)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // A bulk delete answers 200 for what it did not delete.
        .with_disable_bulk_delete(true)
        .with_client_options(client)
        .with_http_connector(WatchedConnector)
        .with_retry(once());
    builder.build().map_err(|e| misconfigured(&location, &e))
}

fn given(keys: &AccessKeys) -> Profile {
    Profile {
        access_key_id: Some(keys.id.clone()),
        secret_access_key: Some(keys.secret.clone()),
        session_token: keys.session_token.clone(),
        ..Profile::default()
    }
}

fn environment_endpoint() -> Option<String> {
    let set = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].into_iter().find_map(|name| env::var(name).ok());
    set.filter(|endpoint| !endpoint.is_empty())
}

fn default_region(location: &Location) -> &'static str {
    if location.is_r2() { "auto" } else { "us-east-1" }
}

fn in_host(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{bucket}.{rest}"),
        None => endpoint.to_owned(),
    }
}

fn encrypted(builder: AmazonS3Builder, encryption: Option<&ServerSideEncryption>) -> AmazonS3Builder {
    let key = |name: &str| name.parse::<AmazonS3ConfigKey>().ok();
    let (Some(kind), Some(id)) = (key("aws_server_side_encryption"), key("aws_sse_kms_key_id")) else {
        return builder;
    };
    match encryption {
        None => builder,
        Some(ServerSideEncryption::Aes256) => builder.with_config(kind, "AES256"),
        Some(ServerSideEncryption::Kms(None)) => builder.with_config(kind, "aws:kms"),
        Some(ServerSideEncryption::Kms(Some(name))) => {
            builder.with_config(kind, "aws:kms").with_config(id, name)
        }
    }
}

fn google(location: &Location, client: ClientOptions) -> Result<object_store::gcp::GoogleCloudStorage> {
    let mut builder = GoogleCloudStorageBuilder::from_env();
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if let Ok(path) = env::var("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.with_application_credentials(path);
    }
    builder
        .with_bucket_name(&location.bucket)
        .with_client_options(client)
        .with_http_connector(WatchedConnector)
        .with_retry(once())
        .build()
        .map_err(|e| misconfigured(location, &e))
}

fn azure(location: &Location, client: ClientOptions) -> Result<object_store::azure::MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::from_env();
    if let Some(account) = &location.account {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder
        .with_container_name(&location.bucket)
        .with_client_options(client)
        .with_http_connector(WatchedConnector)
        .with_retry(once())
        .build()
        .map_err(|e| misconfigured(location, &e))
}

/// Made before any request, so the text holds no signature; keys are not part of it either.
fn misconfigured(location: &Location, cause: &object_store::Error) -> Error {
    Error::invalid(format!("the store \"{location}\" cannot be used as it is configured"))
        .with_source(cause.to_string())
        .with_hint("docs/stores.md lists what is read for which kind of store.")
}
