//! A guide as somebody who follows it: its configurations are written, its commands typed, its answers compared.
//!
//! A Markdown file is told from top to bottom in one shell and one folder. What a fenced block is for is said by the
//! word behind its fence:
//!
//! | word | what is done |
//! | --- | --- |
//! | `sh` | typed; every command must exit with 0 |
//! | `sh exits=3` | typed; the last command must exit with 3, those before it with 0 |
//! | `sh ignored` | not typed; the text says why |
//! | `toml` | written as `backup.toml`; without a table of its own, its keys take the place of the last job's |
//! | `toml ignored` | not written |
//! | `cron` | each line's command is run by `sh`, and must print nothing |
//! | `text` | its lines must be, in this order, in what the block before it printed |
//! | `powershell`, `yaml`, `json`, `sql` | for the reader |
//!
//! In a line of `text`, `…` is anything, digits are any digits, and the number that the second id or instant of one
//! second has is passed over.
//!
//! What stands between `<!-- test` and `-->` is typed too and not seen: set-up, and checks of what the guide says.
//! Folders that a reader has and a test has not (`/srv`, `/var/backups` …) lie in the test's own.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::program::program;

/// Folders of the reader's machine.
const FOLDERS: [&str; 5] = ["/etc/backup", "/home/me", "/mnt/", "/srv/", "/var/backups"];
/// Words of blocks that are only read.
const ONLY_READ: [&str; 4] = ["json", "powershell", "sql", "yaml"];

/// One part of a guide that is acted on.
struct Part {
    line: usize,
    action: Action,
}

enum Action {
    Typed { text: String, exits: i32 },
    Scheduled(String),
    Written(String),
    Expected(String),
}

/// A guide and the folder in which it is followed.
pub(crate) struct Guide {
    name: String,
    text: String,
    setup: String,
    folder: TempDir,
    variables: Vec<(String, String)>,
    path: Vec<PathBuf>,
}

impl Guide {
    /// A file of this repository, by its path from the root.
    pub(crate) fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let folder = tempfile::tempdir().unwrap();
        for name in ["work", "home", "out"].iter().chain(&FOLDERS) {
            fs::create_dir_all(folder.path().join(name.trim_start_matches('/'))).unwrap();
        }
        let path = vec![program().parent().unwrap().to_owned()];
        let (name, setup) = (name.to_owned(), String::new());
        Self { name, text, setup, folder, variables: Vec::new(), path }
    }

    /// A variable that the reader has set before.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Programs that the reader has.
    pub(crate) fn with_programs(mut self, folder: PathBuf) -> Self {
        self.path.push(folder);
        self
    }

    /// Only the part behind a heading, up to the next one of its rank.
    pub(crate) fn section(mut self, heading: &str) -> Self {
        let start = self.text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}")) + 1;
        let rank = heading.split(' ').next().unwrap();
        let rest = &self.text[start + heading.len()..];
        let end = rest.find(&format!("\n{rank} ")).map_or(self.text.len(), |at| start + heading.len() + at);
        // Lines keep their numbers.
        let above = "\n".repeat(self.text[..start].matches('\n').count());
        self.text = above + &self.text[start..end];
        self
    }

    /// Only the part above a heading.
    pub(crate) fn before(mut self, heading: &str) -> Self {
        let end = self.text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
        self.text.truncate(end + 1);
        self
    }

    /// What is typed before the guide begins.
    pub(crate) fn after(mut self, setup: &str) -> Self {
        setup.clone_into(&mut self.setup);
        self
    }

    /// Another text in the place of one that a test cannot type.
    pub(crate) fn read_as(mut self, written: &str, typed: &str) -> Self {
        assert!(self.text.contains(written), "{} no longer has {written:?}", self.name);
        self.text = self.text.replace(written, typed);
        self
    }

    /// Follows it to its end.
    #[track_caller]
    pub(crate) fn follow(self) {
        let parts = self.parts();
        assert!(parts.len() > 1, "nothing is typed");
        let script = self.file("script");
        fs::write(&script, self.script(&parts)).unwrap();
        let status = self.shell(&script).status().unwrap();
        let at = fs::read_to_string(self.file("at")).unwrap_or_default();
        assert!(
            status.success(),
            "{}:{}: {status}\n{}",
            self.name,
            at.trim(),
            self.printed(at.trim().parse().unwrap_or(0))
        );
        self.compare(&parts);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// A shell with nothing of the surroundings but the system's programs.
    fn shell(&self, script: &Path) -> Command {
        let system = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(self.path.iter().cloned().chain(std::env::split_paths(&system)));
        let mut shell = Command::new("bash");
        shell.arg(script).env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        shell
            .env("PATH", path.unwrap())
            .env("HOME", self.folder.path().join("home"))
            .env("LC_ALL", "C.UTF-8");
        shell.current_dir(self.folder.path().join("work")).stdin(Stdio::null());
        let log = fs::File::create(self.file("0")).unwrap();
        shell.stdout(log.try_clone().unwrap()).stderr(log);
        shell
    }

    fn parts(&self) -> Vec<Part> {
        let setup = Action::Typed { text: self.setup.clone(), exits: 0 };
        let (mut parts, mut configuration) = (vec![Part { line: 0, action: setup }], String::new());
        let mut lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        while let Some((line, text)) = lines.next() {
            if let Some(first) = text.strip_prefix("<!-- test") {
                let (mut hidden, mut rest) = (String::new(), first);
                while !rest.contains("-->") {
                    hidden += &format!("{rest}\n");
                    rest = lines.next().unwrap_or_else(|| panic!("{}:{line}: no end", self.name)).1;
                }
                hidden += rest.split("-->").next().unwrap();
                parts.push(Part { line, action: Action::Typed { text: hidden, exits: 0 } });
            } else if let Some(word) = text.strip_prefix("```") {
                let block: Vec<&str> =
                    lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
                let action = self.action(line, word.trim(), &block.join("\n"), &mut configuration);
                parts.extend(action.map(|action| Part { line, action }));
            }
        }
        parts
    }

    fn action(&self, line: usize, word: &str, block: &str, configuration: &mut String) -> Option<Action> {
        match word.split_once(' ').unwrap_or((word, "")) {
            (_, "ignored") => None,
            ("sh", "") => Some(Action::Typed { text: block.to_owned(), exits: 0 }),
            ("sh", how) if how.starts_with("exits=") => {
                Some(Action::Typed { text: block.to_owned(), exits: how[6..].parse().unwrap() })
            }
            ("cron", "") => Some(Action::Scheduled(by_cron(block))),
            ("toml", "") => {
                *configuration = configured(configuration, block);
                Some(Action::Written(configuration.clone()))
            }
            ("text", "") => Some(Action::Expected(block.to_owned())),
            (word, "") if ONLY_READ.contains(&word) => None,
            _ => panic!("{}:{line}: nobody knows what to do with a block of {word:?}", self.name),
        }
    }

    fn script(&self, parts: &[Part]) -> String {
        let mut script = "set -euo pipefail\n".to_owned();
        for Part { line, action } in parts {
            let (at, out) = (self.file("at"), self.file(&line.to_string()));
            let _ = writeln!(script, "echo {line} >{}", at.display());
            let out = out.display();
            match action {
                Action::Typed { text, exits: 0 } => {
                    let _ = writeln!(script, "{{\n:\n{}\n}} >{out} 2>&1", self.here(text));
                }
                Action::Typed { text, exits } => {
                    let text = self.here(text);
                    let _ = writeln!(
                        script,
                        "set +e\n(\nset -euo pipefail\n{text}\n) >{out} 2>&1\ncode=$?\nset -e\n\
                         if [ $code != {exits} ]; then echo \"exit code $code, not {exits}\" >>{out}; exit 1; fi"
                    );
                }
                Action::Scheduled(text) => {
                    let text = self.here(text);
                    let _ = writeln!(script, "{{\n{text}\n}} >{out} 2>&1\ntest ! -s {out}");
                }
                Action::Written(text) => {
                    let file = self.file(&format!("{line}.toml"));
                    fs::write(&file, self.here(text)).unwrap();
                    let _ = writeln!(script, "cp {} backup.toml", file.display());
                }
                Action::Expected(_) => {}
            }
        }
        script
    }

    /// A text with the reader's folders in the test's own.
    fn here(&self, text: &str) -> String {
        let root = self.folder.path().display();
        FOLDERS.iter().fold(text.to_owned(), |text, folder| text.replace(folder, &format!("{root}{folder}")))
    }

    fn printed(&self, line: usize) -> String {
        let bytes = fs::read(self.file(&line.to_string())).unwrap_or_default();
        let root = self.folder.path().display().to_string();
        String::from_utf8_lossy(&bytes).replace(&root, "")
    }

    #[track_caller]
    fn compare(&self, parts: &[Part]) {
        let mut typed = 0;
        for Part { line, action } in parts {
            match action {
                Action::Typed { .. } | Action::Scheduled(_) => typed = *line,
                Action::Written(_) => {}
                Action::Expected(expected) => {
                    let printed = self.printed(typed);
                    let mut lines = printed.lines();
                    for expected in expected.lines().filter(|line| !line.trim().is_empty()) {
                        let found = lines.any(|line| is_like(line, expected));
                        assert!(found, "{}:{line}: {expected:?} is not in\n{printed}", self.name);
                    }
                }
            }
        }
    }
}

/// The commands of a crontab, as `cron` runs them.
fn by_cron(block: &str) -> String {
    let lines = block.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let command = |line: &str| {
        // A setting is for those below it.
        if line.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase())) {
            return format!("export {line}");
        }
        let command = line.splitn(6, ' ').nth(5).unwrap_or_else(|| panic!("no command in {line:?}"));
        assert!(!command.replace("\\%", "").contains('%'), "cron makes a line end of the % in {line:?}");
        format!("sh -c '{}'", command.replace("\\%", "%").replace('\'', r"'\''"))
    };
    lines.map(command).collect::<Vec<_>>().join("\n")
}

/// A configuration, or the last one with other values of the last job's keys.
fn configured(last: &str, block: &str) -> String {
    if block.lines().any(|line| line.starts_with('[')) {
        return format!("{block}\n");
    }
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let keys: Vec<_> = block.lines().filter_map(key).collect();
    let start = last.rfind("[jobs.").expect("a job before its keys");
    let (above, job) = last.split_at(start);
    let kept: Vec<&str> =
        job.lines().filter(|line| key(line).is_none_or(|key| !keys.contains(&key))).collect();
    format!("{above}{}\n{block}\n", kept.join("\n"))
}

/// Whether a line is the expected one: `…` is anything, and digits are any digits.
fn is_like(line: &str, expected: &str) -> bool {
    let plain = |text: &str| -> String {
        let mut plain = String::new();
        for c in text.trim().chars() {
            let c = if c.is_ascii_digit() { '0' } else { c };
            let is_repeated = plain.ends_with(c) && (c == '0' || c == ' ');
            if !is_repeated {
                plain.push(c);
            }
        }
        // The second of the same second has a number.
        plain.replace("0T0Z-0", "0T0Z")
    };
    let (line, expected) = (plain(line), plain(expected));
    let mut pieces = expected.split('…');
    let Some(mut rest) = line.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
        last = Some(piece);
    }
    rest.is_empty() || last == Some("") || last.is_some_and(|piece| line.ends_with(piece))
}

#[test]
fn an_expected_line_may_leave_out_what_differs() {
    assert!(is_like("8.2 MB in 3.1 MB, 12 rows", "10.0 MB in … MB, 7 rows"));
    assert!(is_like("id  app-full-20260101T000000Z", "id app-full-…"));
    assert!(!is_like("8.2 MB of 3 MB", "1.0 MB in …"));
    assert!(is_like("app-full-20260101T000000Z-2", "app-full-20260101T000000Z"));
    assert!(!is_like("done, almost", "done"));
}

#[test]
fn keys_of_a_job_take_the_place_of_its_own() {
    let last = "[stores.local]\nurl = \"b\"\n[jobs.app]\nsource = \"app.db\"\nretention = { daily = 1 }\n";
    let next = configured(last, "retention = { daily = 2 }");
    assert!(next.contains("daily = 2") && !next.contains("daily = 1") && next.contains("source"), "{next}");
}
