//! A second S3 server, of Python, which knows users, rights, versions and object lock.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use backup_storage::{AccessKeys, ObjectOptions, ObjectStore};
use serde_json::Value;

/// The server; it ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    answers: BufReader<ChildStdout>,
    about: Value,
}

impl Server {
    pub(crate) fn start() -> Self {
        let python = python();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/s3_with_rights.py");
        let mut process = Command::new(&python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("there is no {} ({e}): run scripts/servers", python.display()));
        let mut answers = BufReader::new(process.stdout.take().expect("its output"));
        let about = next(&mut answers);
        Self { process, answers, about }
    }

    /// A store in the name of one of its users.
    pub(crate) fn store(&self, user: &str, place: &str) -> ObjectStore {
        self.store_with(user, place, &super::options())
    }

    pub(crate) fn store_with(&self, user: &str, place: &str, options: &ObjectOptions) -> ObjectStore {
        let keys = &self.about["users"][user];
        let text = |value: &Value| value.as_str().expect("a key").to_owned();
        let options = options.clone().with_access_keys(AccessKeys::new(text(&keys[0]), text(&keys[1])));
        ObjectStore::open(&self.url(place), &options).expect("a store")
    }

    pub(crate) fn url(&self, place: &str) -> String {
        let endpoint = self.about["endpoint"].as_str().expect("an endpoint");
        format!("s3://{place}?endpoint={endpoint}")
    }

    pub(crate) fn ask(&mut self, command: &str) -> Value {
        let input = self.process.stdin.as_mut().expect("its input");
        writeln!(input, "{command}").expect("it listens");
        next(&mut self.answers)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn next(answers: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    answers.read_line(&mut line).expect("an answer");
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("the server said {line:?}: run scripts/servers"))
}

/// The Python that `scripts/servers` makes.
fn python() -> PathBuf {
    let folder = env::var_os("BACKUP_PYTHON").map(PathBuf::from).unwrap_or_else(|| {
        let id = Command::new("id").arg("-u").output().expect("the command id");
        Path::new("/var/tmp").join(format!("backup-python-{}", String::from_utf8_lossy(&id.stdout).trim()))
    });
    folder.join("bin/python")
}
