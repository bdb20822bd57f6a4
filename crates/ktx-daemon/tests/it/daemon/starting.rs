//! How a daemon and its starter get to know each other, and let go.
#![cfg(target_os = "linux")]

use std::fs::TryLockError;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use ktx_os::process::Identity;
use ktx_protocol::startup::{PUBLISHED, Ready};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tonic::Code;

use super::support::{
    Bearer, Daemon, PATIENCE, World, client, connect, eventually, first_line, in_session, request,
    run, value,
};

/// How long a daemon may stay whose starter is gone.
const LONELY: Duration = Duration::from_secs(2);

/// A daemon that is nobody's child, and what connects it with its starter.
struct Detached {
    world: World,
    ready: Ready,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl Detached {
    async fn start() -> Self {
        let world = World::new();
        let command = world.command();
        Self::start_with(world, command).await
    }

    async fn start_with(world: World, mut command: Command) -> Self {
        let mut starter = command
            .args(["--listen", &world.endpoint(), "--detach"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = starter.stdin.take();
        let mut stdout = starter.stdout.take().unwrap();
        // Nobody has to wait for the daemon: what was started ends at once.
        let ended = tokio::time::timeout(PATIENCE, starter.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(0));
        let ready: Ready = first_line(&mut stdout).await.expect("it listens");
        assert_ne!(Some(ready.pid), starter.id());
        Self {
            world,
            ready,
            stdin,
            stdout,
        }
    }

    /// What the starter does when others can know of the daemon.
    async fn publish(&mut self) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(PUBLISHED.as_bytes()).await.unwrap();
        // The daemon lets go of everything that was lent to it.
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stdout.read_to_end(&mut rest)).await;
        read.expect("standard output is closed").unwrap();
        assert_eq!(rest, b"");
        self.stdin = None;
    }

    fn number(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.ready.pid).unwrap()).unwrap()
    }

    fn is_alive(&self) -> bool {
        Identity::of(self.ready.pid).unwrap().is_some()
    }

    async fn expect_work(&self) {
        let bearer = Bearer(format!("Bearer {}", self.ready.token.as_str()));
        let mut client = client(connect(&self.world.endpoint()).await, bearer);
        let done = client.execute(request("6 * 7")).await.unwrap();
        assert_eq!(value(&done.into_inner()), 42);
    }

    /// Waits until nothing is left: not the daemon, nor anybody in its group.
    async fn expect_end(&self) {
        eventually("the daemon to end", || !self.is_alive()).await;
        eventually("its group to empty", || members(self.ready.pid).is_empty()).await;
        self.world.is_empty().await;
    }
}

/// The processes of a group that have not ended: those that nobody has waited
/// for yet are nothing of the daemon's.
fn members(group: u32) -> Vec<String> {
    let mut members = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let stat = fs_err::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; state, parent and group
        // follow it.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        if fields.get(2) == Some(&&*group.to_string()) && fields[0] != "Z" {
            members.push(stat);
        }
    }
    members
}

impl Drop for Detached {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = rustix::process::kill_process(self.number(), Signal::KILL);
        }
    }
}

#[test]
fn is_nobodys_child_in_a_session_of_its_own() {
    run(async {
        let mut daemon = Detached::start().await;
        let identity = Identity::of(daemon.ready.pid).unwrap().unwrap();
        assert_eq!(identity.start_time, daemon.ready.start_time);
        assert_eq!(daemon.ready.endpoint.to_string(), daemon.world.endpoint());
        assert_eq!(
            rustix::process::getsid(Some(daemon.number())).unwrap(),
            daemon.number()
        );
        assert_eq!(
            rustix::process::getpgid(Some(daemon.number())).unwrap(),
            daemon.number()
        );
        // It serves before others know of it: its starter makes sure.
        daemon.expect_work().await;
        daemon.publish().await;
        daemon.expect_work().await;
        rustix::process::kill_process(daemon.number(), Signal::TERM).unwrap();
        daemon.expect_end().await;
        assert!(!daemon.world.socket().exists());
    });
}

#[test]
fn leaves_when_its_starter_ends_before_others_know() {
    run(async {
        for last_words in ["", "publ", "published", "nonsense\n"] {
            let mut daemon = Detached::start().await;
            let mut stdin = daemon.stdin.take().unwrap();
            stdin.write_all(last_words.as_bytes()).await.unwrap();
            let ended = Instant::now();
            drop(stdin);
            eventually("the daemon to end", || !daemon.is_alive()).await;
            assert!(
                ended.elapsed() < LONELY,
                "{last_words:?} {:?}",
                ended.elapsed()
            );
            daemon.expect_end().await;
            assert!(!daemon.world.socket().exists());
            assert!(daemon.world.log().contains("the starter is gone"));
        }
    });
}

#[test]
fn leaves_when_it_is_told_to_before_others_know() {
    run(async {
        let daemon = Detached::start().await;
        rustix::process::kill_process(daemon.number(), Signal::TERM).unwrap();
        let told = Instant::now();
        eventually("the daemon to end", || !daemon.is_alive()).await;
        assert!(told.elapsed() < LONELY, "{:?}", told.elapsed());
        daemon.expect_end().await;
    });
}

#[test]
fn holds_nothing_of_its_starter() {
    run(async {
        let world = World::new();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let number = writer.as_raw_fd();
        let mut command = world.command();
        command
            .current_dir(world.path(""))
            .env("SECRET_OF_STARTER", "x");
        // SAFETY: it only makes a system call, on a descriptor that is open.
        unsafe {
            command.pre_exec(move || {
                let lent = std::os::fd::BorrowedFd::borrow_raw(number);
                Ok(rustix::io::fcntl_setfd(
                    lent.as_fd(),
                    rustix::io::FdFlags::empty(),
                )?)
            });
        }
        let mut daemon = Detached::start_with(world, command).await;
        drop(writer);
        daemon.publish().await;
        daemon.expect_work().await;

        let read = tokio::task::spawn_blocking(move || {
            std::io::Read::read(&mut reader, &mut [0; 1]).unwrap()
        });
        let read = tokio::time::timeout(PATIENCE, read).await;
        assert_eq!(read.expect("nobody holds the pipe").unwrap(), 0);
        let process = format!("/proc/{}", daemon.ready.pid);
        for stream in 0..3 {
            let stream = fs_err::read_link(format!("{process}/fd/{stream}")).unwrap();
            assert_eq!(stream.to_str(), Some("/dev/null"));
        }
        let directory = fs_err::read_link(format!("{process}/cwd")).unwrap();
        assert_eq!(directory.to_str(), Some("/"));
        rustix::process::kill_process(daemon.number(), Signal::TERM).unwrap();
        daemon.expect_end().await;
    });
}

#[test]
fn is_gone_with_its_group_when_it_is_killed() {
    run(async {
        let mut daemon = Detached::start().await;
        daemon.publish().await;
        daemon.expect_work().await;
        rustix::process::kill_process(daemon.number(), Signal::KILL).unwrap();
        daemon.expect_end().await;
    });
}

#[test]
fn holds_the_lease_of_its_environment() {
    run(async {
        let world = World::new();
        let path = world.environment.root().join(".ktx-lease");
        let mut command = world.command();
        let ended = command
            .args(["--listen", &world.endpoint(), "--leased"])
            .output();
        let ended = ended.await.unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{stderr}");
        assert!(
            stderr.contains(" is being removed: there is no "),
            "{stderr}"
        );

        let lease = fs_err::File::create(&path).unwrap();
        let mut command = world.command();
        command.arg("--leased");
        let daemon = Detached::start_with(world, command).await;
        daemon.expect_work().await;
        assert!(matches!(
            lease.file().try_lock(),
            Err(TryLockError::WouldBlock)
        ));
        rustix::process::kill_process(daemon.number(), Signal::TERM).unwrap();
        daemon.expect_end().await;
        lease.file().try_lock().unwrap();
    });
}

#[test]
fn says_why_no_python_can_be_had_and_tries_again() {
    run(async {
        let world = World::new();
        let package = world.environment.site_packages().join("ktx_daemon");
        let aside = world.path("aside");
        fs_err::rename(&package, &aside).unwrap();
        let mut daemon = Daemon::start_in(world, &[]).await;
        for _ in 0..3 {
            for session in ["", "s"] {
                let failed = daemon.execute(in_session(session, "1")).await.unwrap_err();
                assert_eq!(failed.code(), Code::Unavailable, "{failed}");
                assert!(failed.message().contains("ModuleNotFoundError"), "{failed}");
            }
        }
        fs_err::rename(&aside, &package).unwrap();
        assert_eq!(value(&daemon.run("1").await), 1);
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().await.code(), Some(0));
        daemon.world.is_empty().await;
    });
}
