//! A child process that cannot outlive its parent.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;

/// The shell that holds the other end of the leash. It reads a pipe that only the parent can write
/// to: when the pipe closes, by a drop or because the parent was killed, the program is signalled,
/// and when it has ended its directory is removed. (`PR_SET_PDEATHSIG` would need `unsafe`, and
/// Linux.) The signal is repeated because a program that has only just begun may still ignore it.
const HOLDER: &str = r#"
signal=$1 directory=$2; shift 2
exec 3<&0 </dev/null
"$@" 3<&- & program=$!
{
    read -r _ <&3
    : >"$directory/.released"
    while kill -s "$signal" "$program"; do sleep 1; done
} 2>/dev/null & watcher=$!
wait "$program"; code=$?
kill "$watcher" 2>/dev/null
if [ -e "$directory/.released" ]; then cd / && rm -rf -- "$directory"; fi
exit "$code"
"#;

/// A running program on its leash. Dropping it ends the program and removes its directory; so does
/// the death of this process, whatever its cause.
#[derive(Debug)]
pub(super) struct Leash {
    holder: Child,
}

/// What to run on a leash.
#[derive(Debug)]
pub(super) struct Program<'a> {
    /// The program and its arguments.
    pub(super) command: Vec<OsString>,
    /// The signal that ends it, as `kill -s` names it.
    pub(super) signal: &'static str,
    /// Its working directory, removed when the leash ends it (not when it ends by itself).
    pub(super) directory: &'a Path,
    /// Where its standard output and standard error go.
    pub(super) log: File,
    /// Whom it runs as.
    pub(super) account: &'a Account,
}

impl Leash {
    /// How long a program may take to end before it is abandoned to the holder.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Starts `program`.
    ///
    /// # Errors
    /// If there is no `sh`, or no process can be made.
    pub(super) fn start(program: Program<'_>) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", HOLDER, "sh", program.signal])
            .arg(program.directory)
            .args(&program.command)
            .current_dir(program.directory)
            .stdin(Stdio::piped())
            .stdout(program.log.try_clone()?)
            .stderr(program.log)
            // A Ctrl-C is for the parent alone: it decides in which order things end.
            .process_group(0);
        program.account.apply(&mut command);
        Ok(Self {
            holder: command.spawn()?,
        })
    }

    /// How the program ended, if it has.
    ///
    /// # Errors
    /// If the operating system won't say.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.holder.try_wait()
    }

    /// Waits until the program ends by itself.
    ///
    /// # Errors
    /// If the operating system won't say.
    pub(super) fn wait(mut self) -> io::Result<ExitStatus> {
        // Held on to: `Child::wait` would close it, and so let go of the leash.
        let _held = self.holder.stdin.take();
        self.holder.wait()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let deadline = Instant::now() + Self::PATIENCE;
        while matches!(self.holder.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The words of a command line, of whatever string types they are.
pub(super) fn words(words: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    words
        .iter()
        .map(|&word| AsRef::<OsStr>::as_ref(word).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn shell(script: &str, directory: &Path) -> Leash {
        let log = File::create(directory.join("log")).unwrap();
        Leash::start(Program {
            command: words(&[&"sh", &"-c", &script]),
            signal: "TERM",
            directory,
            log,
            account: &Account::own(),
        })
        .unwrap()
    }

    #[test]
    fn a_dropped_leash_ends_the_program_and_removes_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = tempfile::tempdir().unwrap();
        let path = fifo.path().join("alive");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        // The program holds the only write end, so its end is the pipe's end.
        let script = format!("exec 9>'{}'; exec sleep 600", path.display());
        let leash = shell(&script, directory.path());
        let mut alive = File::open(&path).unwrap();
        drop(leash);
        assert_eq!(alive.read(&mut [0; 1]).unwrap(), 0);
        assert!(!directory.path().exists());
    }

    #[test]
    fn a_program_that_ends_by_itself_leaves_its_exit_code_and_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let status = shell("exit 7", directory.path()).wait().unwrap();
        assert_eq!(status.code(), Some(7));
        assert!(directory.path().join("log").exists());
    }
}
