//! The configuration people write: what is accepted means the same when it is written again, and what is refused is
//! refused with a place, without a secret.
#![no_main]

use backup::Config;
use libfuzzer_sys::fuzz_target;

fn lookup(name: &str) -> Option<String> {
    (name.len() == 1).then(|| "value".to_owned())
}

fuzz_target!(|text: &str| {
    match Config::parse(text, "backup.toml", &lookup) {
        Ok(config) => {
            let written = config.to_toml();
            let read = Config::parse(&written, "backup.toml", &lookup).expect("its own text");
            assert_eq!(read, config, "{written}");
        }
        Err(error) => assert!(error.to_string().starts_with("backup.toml:"), "{error}"),
    }
});
