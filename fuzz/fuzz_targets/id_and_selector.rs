//! Names that people type or stores list: what is accepted stays inside its folder and prints as it was read.
#![no_main]

use backup_core::{
    content::Content,
    id::{BackupId, Key, SourceName},
    pipeline::Compression,
    selector::Selector,
    verify::Level,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<BackupId>() {
        assert_eq!(id.as_str(), text);
        assert!(text.starts_with(&format!("{}-{}-", id.source(), id.content())));
        let (instant, number) = id.order();
        let tail = if number > 1 { format!("{instant}-{number}") } else { instant.to_owned() };
        assert_eq!(text, format!("{}-{}-{tail}", id.source(), id.content()));
        assert_eq!(id.to_string().parse::<BackupId>().expect("its own text"), id);
        Key::new(text).expect("an id can name an object");
        assert_eq!(text.parse::<Selector>().expect("an id selects"), Selector::Prefix(text.to_owned()));
    }
    if let Ok(key) = Key::new(text) {
        assert_eq!(key.as_str(), text);
        let segments = text.split('/');
        assert!(segments.clone().all(|segment| !segment.is_empty() && !segment.starts_with('.')));
        let whole = [key.folder(), key.name()].join("/");
        assert_eq!(whole.trim_start_matches('/'), text);
    }
    if let Ok(name) = SourceName::new(text) {
        assert_eq!(name.as_str(), text);
        assert_eq!(SourceName::from_text(text), name);
        Key::new(text).expect("a source can name a folder");
    }
    let nearest = SourceName::from_text(text);
    assert_eq!(SourceName::new(nearest.as_str()).expect("the nearest valid name"), nearest);
    if let Ok(compression) = text.parse::<Compression>() {
        assert_eq!(compression.to_string().parse::<Compression>().expect("its own text"), compression);
    }
    if let Ok(content) = text.parse::<Content>() {
        assert_eq!(content.to_string(), text);
    }
    let _ = text.parse::<Level>();
    let _ = text.parse::<Selector>();
});
