//! The calls that differ between operating systems, all in one place.

use std::process::Command;

/// Puts a program into a process group of its own, so that it can be ended with everything it starts, and so that a
/// Ctrl-C at the terminal reaches us first.
#[cfg(unix)]
pub(crate) fn isolate(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    die_with_parent(command);
}

/// Windows programs end with their pipes.
#[cfg(windows)]
pub(crate) fn isolate(_command: &mut Command) {}

/// A program must not outlive us, even when we are killed: it would go on holding locks on the server.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let parent = rustix::process::getpid();
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        // We may have died between fork and here.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::Error::other("orphaned"))
        }
    };
    // SAFETY: the closure makes two system calls and allocates only on a path that ends the process.
    #[allow(unsafe_code, reason = "the only way to run a system call in the child before its program")]
    unsafe {
        command.pre_exec(tie);
    }
}

/// Elsewhere a program that lost us ends when it next uses its pipes.
#[cfg(all(unix, not(target_os = "linux")))]
fn die_with_parent(_command: &mut Command) {}

/// Asks a group to end.
#[cfg(unix)]
pub(crate) fn end_group(leader: u32) {
    signal(leader, rustix::process::Signal::TERM);
}

/// Ends a group.
#[cfg(unix)]
pub(crate) fn kill_group(leader: u32) {
    signal(leader, rustix::process::Signal::KILL);
}

#[cfg(unix)]
fn signal(leader: u32, signal: rustix::process::Signal) {
    let leader = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw);
    // A group that is gone needs no signal.
    let _ = leader.map(|leader| rustix::process::kill_process_group(leader, signal));
}

/// Ends a program and everything it started.
#[cfg(windows)]
pub(crate) fn end_group(leader: u32) {
    let _ = Command::new("taskkill").args(["/T", "/F", "/PID", &leader.to_string()]).output();
}

/// Ends a program and everything it started.
#[cfg(windows)]
pub(crate) fn kill_group(leader: u32) {
    end_group(leader);
}

/// Makes room for more bytes in a pipe, so that its two ends wait for each other less often. Whether it has the room.
#[cfg(target_os = "linux")]
pub(crate) fn widen(pipe: &impl std::os::fd::AsFd, bytes: usize) -> bool {
    // The system's limit for unprivileged users is 1 MiB; less than what was asked for is no reason to stop.
    rustix::pipe::fcntl_setpipe_size(pipe, bytes).is_ok_and(|size| size >= bytes)
}

/// Pipes have the size the system gives them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn widen<P>(_pipe: &P, _bytes: usize) -> bool {
    false
}
