//! The AWS tools' own files: `~/.aws/config` and `~/.aws/credentials`.
//!
//! Read for static keys, a session token, the region and the endpoint of one profile. What the AWS tools do besides
//! (single sign-on, `role_arn`, `credential_process`) is not done here; such a profile is refused, not ignored.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use backup_core::{Error, Result, file};

/// Nobody's is larger.
const MAX_FILE: u64 = 1 << 20;

/// What a profile says; all of it may be missing.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<String>,
    pub(super) session_token: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// The profile of this name, else of `AWS_PROFILE`, else `default`.
///
/// # Errors
/// `NotFound` when a profile that was named is in neither file; `Unsupported` when it says to get keys in a way that
/// is not known here.
pub(super) fn read(named: Option<&str>) -> Result<Profile> {
    let from_environment = env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    let named = named.map(str::to_owned).or(from_environment);
    let config = file_of("AWS_CONFIG_FILE", "config").map(|path| text_of(&path)).transpose()?;
    let keys =
        file_of("AWS_SHARED_CREDENTIALS_FILE", "credentials").map(|path| text_of(&path)).transpose()?;
    select(named.as_deref(), &config.unwrap_or_default(), &keys.unwrap_or_default())
}

fn file_of(variable: &str, name: &str) -> Option<PathBuf> {
    let chosen = env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    chosen.or_else(|| Some(env::home_dir()?.join(".aws").join(name)))
}

fn text_of(path: &Path) -> Result<String> {
    match file::read(path, MAX_FILE) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.is_not_found() => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn select(named: Option<&str>, config: &str, credentials: &str) -> Result<Profile> {
    let name = named.unwrap_or("default");
    let mut values = BTreeMap::new();
    // The default profile's heading has no "profile"; what the file of keys says wins.
    let headings =
        if name == "default" { vec!["default".to_owned()] } else { vec![format!("profile {name}")] };
    let mut found = false;
    for (text, heading) in
        headings.iter().map(|heading| (config, heading.as_str())).chain([(credentials, name)])
    {
        if let Some(section) = section(text, heading) {
            found = true;
            values.extend(section);
        }
    }
    if !found && named.is_some() {
        return Err(Error::new(
            backup_core::ErrorKind::NotFound,
            format!("there is no AWS profile \"{name}\""),
        )
        .with_hint("Name one that is in ~/.aws/config or ~/.aws/credentials, or unset AWS_PROFILE."));
    }
    let mut take = |key: &str| values.remove(key).filter(|value: &String| !value.is_empty());
    let profile = Profile {
        access_key_id: take("aws_access_key_id"),
        secret_access_key: take("aws_secret_access_key"),
        session_token: take("aws_session_token"),
        region: take("region"),
        endpoint: take("endpoint_url"),
    };
    let other = ["role_arn", "credential_process", "sso_session", "sso_start_url", "credential_source"];
    match other.into_iter().find(|key| values.contains_key(*key)) {
        Some(key) if profile.access_key_id.is_none() && named.is_some() => Err(Error::new(
            backup_core::ErrorKind::Unsupported,
            format!("the AWS profile \"{name}\" gets its keys by \"{key}\", which is not known here"),
        )
        .with_hint(
            "Run `eval \"$(aws configure export-credentials --format env)\"` first; the AWS tools hand over keys so.",
        )),
        _ => Ok(profile),
    }
}

/// The settings below `[heading]`; indented lines belong to nested settings and are passed over.
fn section(text: &str, heading: &str) -> Option<BTreeMap<String, String>> {
    let mut values: Option<BTreeMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.split_whitespace().eq(heading.split_whitespace());
            if inside {
                values.get_or_insert_default();
            }
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((key, value)) = trimmed.split_once('=')
        {
            let value = value.split(" #").next().unwrap_or_default();
            values.get_or_insert_default().insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use backup_core::ErrorKind;

    use super::*;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n\n[profile ops]\nregion=eu-central-1 # Frankfurt\n\
        endpoint_url = https://s3.example.org\ns3 =\n  max_concurrent_requests = 4\n\n[profile sso]\nsso_session = x\n";
    const KEYS: &str = "[default]\naws_access_key_id = A\naws_secret_access_key = B=\n[ops]\naws_access_key_id=C\n\
        aws_secret_access_key=D\naws_session_token=E\n";

    #[test]
    fn a_profile_is_put_together_from_both_files() {
        let default = select(None, CONFIG, KEYS).unwrap();
        assert_eq!(default.region.as_deref(), Some("eu-west-1"));
        assert_eq!(default.secret_access_key.as_deref(), Some("B="));
        let ops = select(Some("ops"), CONFIG, KEYS).unwrap();
        assert_eq!(ops.region.as_deref(), Some("eu-central-1"));
        assert_eq!(ops.endpoint.as_deref(), Some("https://s3.example.org"));
        assert_eq!((ops.access_key_id.as_deref(), ops.session_token.as_deref()), (Some("C"), Some("E")));
    }

    #[test]
    fn no_files_are_no_error_but_a_missing_profile_is() {
        assert!(select(None, "", "").unwrap().access_key_id.is_none());
        assert_eq!(select(Some("opps"), CONFIG, KEYS).err().unwrap().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_profile_without_keys_of_its_own_is_refused() {
        let error = select(Some("sso"), CONFIG, KEYS).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("\"sso_session\""));
    }
}
