//! A family of processes, of every kind that code can start, and where they
//! have got to.

use crate::support::is_alive;

use super::support::Output;

/// Starts a child, one with a session of its own, and a daemon; prints their
/// numbers, the code's own first.
const BEGINNING: &str = "import os, subprocess, time\n\
    def daemonize():\n\
    \x20   reader, writer = os.pipe()\n\
    \x20   if os.fork() == 0:\n\
    \x20       os.setsid()\n\
    \x20       if os.fork() == 0:\n\
    \x20           os.write(writer, str(os.getpid()).encode())\n\
    \x20           time.sleep(600)\n\
    \x20       os._exit(0)\n\
    \x20   os.wait()\n\
    \x20   return int(os.read(reader, 20))\n\
    child = subprocess.Popen(['sleep', '600']).pid\n\
    apart = subprocess.Popen(['sleep', '600'], start_new_session=True).pid\n\
    print(os.getpid(), child, apart, daemonize(), flush=True)\n";

/// `code`, run by somebody with a family.
pub(crate) fn with_family(code: &str) -> String {
    format!("{BEGINNING}{code}")
}

/// The processes of such a call.
pub(crate) struct Family(Vec<String>);

impl Family {
    /// Those that the first line of the output names.
    pub(crate) async fn of(output: &mut Output) -> Self {
        Self::named(&output.line().await)
    }

    /// Those that `line` names.
    pub(crate) fn named(line: &str) -> Self {
        let family = Self(line.split_whitespace().map(str::to_owned).collect());
        assert_eq!(family.0.len(), 4, "{line}");
        family
    }

    /// Whether all of them are alive.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.iter().all(|process| is_alive(process))
    }

    /// Whether none of them is alive any more.
    pub(crate) fn is_gone(&self) -> bool {
        !self.0.iter().any(|process| is_alive(process))
    }
}
