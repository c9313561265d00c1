//! Whether a process of this machine still lives.

use serde::{Deserialize, Serialize};

/// A process, told from every other one of any machine, also from later ones with its number. It can be judged only
/// where its number means something: since the same start of the same machine, in the same namespace of processes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Process {
    /// The machine's start and the namespace: `/proc/sys/kernel/random/boot_id` and `/proc/self/ns/pid` (proc(5),
    /// pid_namespaces(7)).
    place: String,
    pid: i32,
    /// When it was started, in clock ticks after the machine (field 22 of `/proc/PID/stat`, proc_pid_stat(5)).
    started: u64,
}

impl Process {
    /// This one; `None` where the system does not tell.
    pub(super) fn this() -> Option<Self> {
        let pid = i32::try_from(std::process::id()).ok()?;
        Some(Self { place: system::place()?, pid, started: system::started(pid)? })
    }

    /// Whether it is certain that it has ended.
    pub(super) fn has_ended(&self) -> bool {
        let is_of_here = system::place().is_some_and(|here| here == self.place);
        let is_another = || system::started(self.pid).is_some_and(|started| started != self.started);
        is_of_here && (system::is_gone(self.pid) || is_another())
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;

    pub(super) fn place() -> Option<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.to_str()?))
    }

    pub(super) fn started(pid: i32) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name that may hold anything, in parentheses.
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ').nth(19)?.parse().ok()
    }

    /// Asked of the kernel: `/proc` may hide the processes of others.
    pub(super) fn is_gone(pid: i32) -> bool {
        let pid = rustix::process::Pid::from_raw(pid);
        pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn place() -> Option<String> {
        None
    }

    pub(super) fn started(_pid: i32) -> Option<u64> {
        None
    }

    pub(super) fn is_gone(_pid: i32) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_certainly_has_ended_is_dead() {
        let this = Process::this().unwrap();
        assert!(!this.has_ended());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let other = Process { pid, started: system::started(pid).unwrap(), ..this.clone() };
        assert!(!other.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.has_ended());
        let elsewhere = Process { place: "another machine".to_owned(), ..other };
        assert!(!elsewhere.has_ended(), "its number means nothing here");
        let before = Process { started: this.started + 1, ..this };
        assert!(before.has_ended(), "another process has its number now");
    }
}
