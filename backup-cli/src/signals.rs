//! Signals while a command is guarded: before it starts they stop the backup, while it runs they are its own, and after
//! it ended they stop what is left to do.

use std::{
    io,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backup::CancelToken;

/// So many signals without an end of the work end the process at once.
const PATIENCE: u32 = 3;

/// Who a signal is for.
enum Phase {
    /// The work that this token stops; and how many signals have come.
    Ours(CancelToken, u32),
    /// The guarded command.
    #[cfg_attr(not(unix), allow(dead_code))]
    Theirs(u32),
    /// Work that another program does, to which its own signals come.
    Nobodys,
}

/// What catches the signals.
pub(crate) struct Signals {
    phase: Arc<Mutex<Phase>>,
}

impl Signals {
    /// Catches them from now on; until the command starts they raise `cancel`.
    pub(crate) fn catch(cancel: &CancelToken) -> io::Result<Self> {
        let phase = Arc::new(Mutex::new(Phase::Ours(cancel.clone(), 0)));
        platform::catch(Arc::clone(&phase))?;
        Ok(Self { phase })
    }

    /// Starts a command, passes signals on to it until it ends, and from then on lets them raise `after`.
    ///
    /// # Errors
    /// The command could not be started; `Interrupted` when a signal came before.
    pub(crate) fn run(&self, command: &mut Command, after: &CancelToken) -> io::Result<ExitStatus> {
        let mut child = self.start(command)?;
        // The process stays a child until its signals are ours again, so that its number is nobody else's.
        let ended = platform::wait_for_end(&child);
        *locked(&self.phase) = Phase::Ours(after.clone(), 0);
        let status = child.wait();
        ended.and(status)
    }

    /// Lets signals pass from now on; not once one came.
    pub(crate) fn ignore(&self) -> bool {
        let mut phase = locked(&self.phase);
        let is_stopped = matches!(&*phase, Phase::Ours(cancel, _) if cancel.is_cancelled());
        if !is_stopped {
            *phase = Phase::Nobodys;
        }
        !is_stopped
    }

    /// Lets signals raise `cancel` from now on.
    pub(crate) fn raise(&self, cancel: &CancelToken) {
        *locked(&self.phase) = Phase::Ours(cancel.clone(), 0);
    }

    fn start(&self, command: &mut Command) -> io::Result<Child> {
        let mut phase = locked(&self.phase);
        if matches!(&*phase, Phase::Ours(cancel, _) if cancel.is_cancelled()) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn()?;
        *phase = Phase::Theirs(child.id());
        Ok(child)
    }
}

/// Nothing panics while it holds the lock.
fn locked(phase: &Mutex<Phase>) -> MutexGuard<'_, Phase> {
    phase.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_ours(phase: &mut Phase) -> bool {
    let Phase::Ours(cancel, count) = phase else { return false };
    cancel.cancel();
    *count += 1;
    if *count >= PATIENCE {
        std::process::exit(130);
    }
    true
}

#[cfg(unix)]
mod platform {
    use std::{
        io,
        process::Child,
        sync::{Arc, Mutex},
        thread,
    };

    use rustix::{
        io::Errno,
        process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
    };
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::{SignalsInfo, exfiltrator::origin::WithOrigin},
        low_level::siginfo::{Cause, Origin},
    };

    use super::{Phase, is_ours, locked};

    pub(super) fn catch(phase: Arc<Mutex<Phase>>) -> io::Result<()> {
        let ignored = ignored();
        let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let mut signals = SignalsInfo::<WithOrigin>::new(wanted)?;
        let listen = move || {
            for origin in &mut signals {
                let mut phase = locked(&phase);
                if !is_ours(&mut phase)
                    && let Phase::Theirs(child) = &*phase
                {
                    pass_on(&origin, *child);
                }
            }
        };
        thread::Builder::new().name("backup-signals".to_owned()).spawn(listen)?;
        Ok(())
    }

    /// The signals that whoever started us wants ignored (`nohup`, `trap ''`), one bit each, as far as the system tells.
    /// Catching one would have the command die of it.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
    }

    /// What a terminal sends (Ctrl-C, its own end) goes to the command at the same time as to us: sent by the kernel,
    /// not by a process.
    fn pass_on(origin: &Origin, child: u32) {
        if matches!(origin.cause, Cause::Kernel) {
            return;
        }
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        if let Some((pid, signal)) = pid.zip(Signal::from_named_raw(origin.signal)) {
            // It may have ended this very moment.
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) fn wait_for_end(child: &Child) -> io::Result<()> {
        let pid = Pid::from_child(child);
        loop {
            match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::{
        io,
        process::Child,
        sync::{Arc, Mutex},
    };

    use super::{Phase, is_ours, locked};

    /// The console tells the command itself.
    pub(super) fn catch(phase: Arc<Mutex<Phase>>) -> io::Result<()> {
        let handler = move || {
            is_ours(&mut locked(&phase));
        };
        ctrlc::set_handler(handler).map_err(io::Error::other)
    }

    pub(super) fn wait_for_end(_child: &Child) -> io::Result<()> {
        Ok(())
    }
}
