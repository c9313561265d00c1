//! The names of object stores: `s3://bucket/prefix?…`, `gs://…`, `az://…`.

use std::fmt;

use backup_core::{Error, Result, id::Key};
use url::Url;

use super::options::ObjectOptions;

/// Whose protocol a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    S3,
    Google,
    Azure,
}

impl Vendor {
    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "s3" => Some(Self::S3),
            "gs" => Some(Self::Google),
            "az" => Some(Self::Azure),
            _ => None,
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    /// What the vendor calls a bucket.
    pub(super) fn bucket_word(self) -> &'static str {
        if self == Self::Azure { "container" } else { "bucket" }
    }

    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &[
                "endpoint",
                "region",
                "profile",
                "addressing_style",
                "storage_class",
                "sse",
                "max_parts",
                "part_size",
                "equal_parts",
            ],
            Self::Google => &["endpoint", "storage_class", "max_parts", "part_size"],
            Self::Azure => &["endpoint", "account", "max_parts", "part_size"],
        }
    }
}

/// A parsed URL, and the options that its query parameters changed.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) vendor: Vendor,
    pub(super) bucket: String,
    /// Without slashes at its ends; may be empty.
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) account: Option<String>,
    /// Requests go to `bucket.endpoint` instead of `endpoint/bucket`. Default: only to Amazon's own endpoints.
    pub(super) virtual_hosted: Option<bool>,
}

impl Location {
    /// Reads a URL. What is wrong with it is said without its query, which people put keys into.
    pub(super) fn parse(text: &str, options: &mut ObjectOptions) -> Result<Self> {
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        let shown = shown.rsplit_once('@').map_or(shown.to_owned(), |(_, rest)| format!("…@{rest}"));
        let wrong = |why: &str| Error::invalid(format!("the store \"{shown}\" cannot be used: {why}"));
        let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
        let vendor = Vendor::of_scheme(url.scheme()).ok_or_else(|| wrong("its kind is not known"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a URL is no place for keys").with_hint(
                "Put them where the vendor's own tools read them; docs/stores.md lists the places.",
            ));
        }
        let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| {
            wrong(&format!("it names no {}", vendor.bucket_word()))
                .with_hint(format!("Write {}://NAME/FOLDER.", vendor.scheme()))
        })?;
        let mut location = Self {
            vendor,
            bucket: bucket.to_owned(),
            prefix: url.path().trim_matches('/').to_owned(),
            endpoint: None,
            region: None,
            profile: None,
            account: None,
            virtual_hosted: None,
        };
        if !location.prefix.is_empty() {
            Key::new(location.prefix.clone()).map_err(|_| {
                wrong("its folder has a character that stores treat differently")
                    .with_hint("Use letters, digits, \"_\", \".\", \"-\", \"=\" and \"/\".")
            })?;
        }
        for (name, value) in url.query_pairs() {
            location.set(&name, &value, options).map_err(|why| wrong(&why).with_hint(location.advice()))?;
        }
        Ok(location)
    }

    fn set(&mut self, name: &str, value: &str, options: &mut ObjectOptions) -> Result<(), String> {
        if !self.vendor.parameters().contains(&name) {
            return Err(format!("there is no parameter \"{}\"", name.escape_debug()));
        }
        let bad = || format!("\"{}\" is no value for \"{name}\"", value.escape_debug());
        match name {
            // Not repeated: somebody may have put a password into it.
            "endpoint" => {
                let why = || "its endpoint is not http://HOST or https://HOST".to_owned();
                self.endpoint = Some(checked_endpoint(value).ok_or_else(why)?);
            }
            "region" => self.region = Some(value.to_owned()),
            "profile" => self.profile = Some(value.to_owned()),
            "account" => self.account = Some(value.to_owned()),
            "addressing_style" => {
                self.virtual_hosted = match value {
                    "virtual" => Some(true),
                    "path" => Some(false),
                    _ => return Err(bad()),
                }
            }
            "storage_class" => options.storage_class = Some(value.to_owned()),
            "sse" => options.server_side_encryption = Some(value.parse().map_err(|_| bad())?),
            "max_parts" => options.max_parts = value.parse().map_err(|_| bad())?,
            "part_size" => options.part_bytes = Some(value.parse().map_err(|_| bad())?),
            "equal_parts" => options.equal_parts = Some(value.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        }
        Ok(())
    }

    fn advice(&self) -> String {
        let names = self.vendor.parameters().join(", ");
        format!(
            "A URL of this kind may have {names}; keys go where the vendor's own tools read them (docs/stores.md)."
        )
    }

    /// Whether the endpoint is one of Cloudflare R2, which wants parts of equal size.
    pub(super) fn is_r2(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| {
            let host = endpoint.split("://").nth(1).unwrap_or_default();
            host.split(['/', ':']).next().unwrap_or_default().ends_with(".r2.cloudflarestorage.com")
        })
    }
}

fn checked_endpoint(value: &str) -> Option<String> {
    let url = Url::parse(value).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain)
        .then(|| value.trim_end_matches('/').to_owned())
}

/// Without query: an endpoint is of no interest in a message, and a mistake may have put a key there.
impl Location {
    /// What tells it from a bucket of the same name elsewhere; no key is part of it.
    pub(super) fn identity(&self) -> String {
        let part = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!(" {name}={value}"))
        };
        format!("{self}{}{}", part("endpoint", &self.endpoint), part("account", &self.account))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{}://{}{slash}{}", self.vendor.scheme(), self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::options::ServerSideEncryption, *};

    fn parse(text: &str) -> Result<(Location, ObjectOptions)> {
        let mut options = ObjectOptions::default();
        Location::parse(text, &mut options).map(|location| (location, options))
    }

    #[test]
    fn a_bucket_a_folder_and_how_to_reach_them() {
        let (location, options) = parse(
            "s3://acme-backups/db/prod/?endpoint=http://127.0.0.1:9000/&region=eu-central-1&profile=ops\
             &storage_class=STANDARD_IA&sse=aws:kms:alias/backups&max_parts=1000&part_size=16777216",
        )
        .unwrap();
        assert_eq!(location.to_string(), "s3://acme-backups/db/prod");
        assert_eq!((location.vendor, location.prefix.as_str()), (Vendor::S3, "db/prod"));
        assert_eq!(location.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(location.region.as_deref(), Some("eu-central-1"));
        assert_eq!(location.profile.as_deref(), Some("ops"));
        assert_eq!(options.storage_class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(
            options.server_side_encryption,
            Some(ServerSideEncryption::Kms(Some("alias/backups".to_owned())))
        );
        assert_eq!((options.max_parts, options.part_bytes), (1000, Some(16 << 20)));
    }

    #[test]
    fn a_bucket_alone_is_enough() {
        for (text, vendor) in [("s3://b", Vendor::S3), ("gs://b/", Vendor::Google), ("az://b", Vendor::Azure)]
        {
            let (location, _) = parse(text).unwrap();
            assert_eq!(
                (location.vendor, location.bucket.as_str(), location.prefix.as_str()),
                (vendor, "b", "")
            );
        }
    }

    #[test]
    fn the_endpoint_of_r2_is_known() {
        let r2 = |text: &str| parse(text).unwrap().0.is_r2();
        assert!(r2("s3://b/p?endpoint=https://0123.r2.cloudflarestorage.com"));
        assert!(r2("s3://b/p?endpoint=https://0123.eu.r2.cloudflarestorage.com:443/"));
        assert!(!r2("s3://b/p?endpoint=https://minio.example.org/r2.cloudflarestorage.com"));
        assert!(!r2("s3://b/p"));
    }

    #[test]
    fn keys_in_a_url_are_refused_and_never_repeated() {
        for text in [
            "s3://AKIA123:hunter2@bucket/p",
            "s3://bucket/p?secret_access_key=hunter2",
            "s3://bucket/p?endpoint=http://me:hunter2@host",
            "s3://?secret=hunter2",
            "s3://bucket/a b?x=hunter2",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind(), backup_core::ErrorKind::Invalid);
            let told = format!("{error:?}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_answered_with_the_known_ones() {
        let error = parse("gs://bucket/p?regoin=x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the store \"gs://bucket/p\" cannot be used: there is no parameter \"regoin\""
        );
        assert!(error.hint().unwrap().contains("endpoint, storage_class"), "{error:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_location_or_an_error(text in "(s3|gs|az)://[ -~]{0,40}") {
            if let Ok((location, _)) = parse(&text) {
                prop_assert!(!location.bucket.is_empty());
                let again = parse(&location.to_string()).unwrap().0;
                prop_assert_eq!(again.to_string(), location.to_string());
            }
        }
    }
}
