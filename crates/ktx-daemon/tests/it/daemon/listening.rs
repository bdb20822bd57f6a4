//! Where a daemon listens, and where it refuses to.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Output as Ended;

use ktx_protocol::startup::Ready;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::process::Command;
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::support::{
    Bearer, PATIENCE, World, client, connect, eventually, ready, request, run, serve, value,
};

/// How a daemon ends that does not begin to listen.
async fn refused(mut command: Command) -> (Option<i32>, String) {
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let Ended {
        status,
        stderr,
        stdout,
    } = ended.expect("it ends").unwrap();
    assert_eq!(stdout, b"");
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn listens_on_a_socket_of_its_users_own() {
    serve(&[], async |daemon| {
        let socket = fs_err::metadata(daemon.world.socket()).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn refuses_a_directory_that_others_may_enter() {
    run(async {
        let world = World::new();
        let open = world.path("open");
        fs_err::create_dir(&open).unwrap();
        let link = world.path("link");
        std::os::unix::fs::symlink(world.path("socket"), &link).unwrap();
        for (mode, directory) in [
            (0o755, &open),
            (0o710, &open),
            (0o701, &open),
            (0o700, &link),
        ] {
            fs_err::set_permissions(directory, PermissionsExt::from_mode(mode)).unwrap();
            let socket = directory.join("daemon");
            let mut command = world.command();
            command
                .arg("--listen")
                .arg(format!("unix:{}", socket.display()));
            let (status, stderr) = refused(command).await;
            assert_eq!(status, Some(1), "{stderr}");
            assert!(
                stderr.contains("only its owner, this user, may enter"),
                "{stderr}"
            );
            assert!(!socket.exists());
        }
        world.is_empty().await;
    });
}

#[test]
fn leaves_a_socket_alone_that_another_daemon_listens_on() {
    serve(&[], async |daemon| {
        let mut command = daemon.world.command();
        command.args(["--listen", &daemon.world.endpoint()]);
        let (status, stderr) = refused(command).await;
        assert_eq!(status, Some(1));
        assert!(
            stderr.starts_with("error: Cannot listen at `unix:/"),
            "{stderr}"
        );
        assert_eq!(value(&daemon.run("1").await), 1);
        connect(&daemon.world.endpoint()).await;
    });
}

#[test]
fn serves_this_machine_on_a_port_that_the_system_chooses() {
    run(async {
        let world = World::new();
        let mut command = world.command();
        let mut process = command.args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let ready = ready::<Ready>(&mut process).await;
        let address = ready.endpoint.to_string();
        let bearer = Bearer(format!("Bearer {}", ready.token.as_str()));
        let channel = connect(&format!("http://{address}")).await;
        let done = client(channel.clone(), bearer)
            .execute(request("6 * 7"))
            .await;
        assert_eq!(value(&done.unwrap().into_inner()), 42);
        let stranger = Bearer(format!("Bearer {}", "0".repeat(64)));
        let refused_call = client(channel, stranger).execute(request("1")).await;
        assert_eq!(refused_call.unwrap_err().code(), Code::Unauthenticated);

        // A port that somebody has is not shared with anybody.
        let mut command = world.command();
        command.args(["--listen", &address]);
        let (status, stderr) = refused(command).await;
        assert_eq!(status, Some(1), "{stderr}");

        process.start_kill().unwrap();
        process.wait().await.unwrap();
        world.is_empty().await;
    });
}

/// Writes a certificate for 127.0.0.1, its key and a token; returns what
/// clients trust.
fn write_secrets(world: &World, token: &str) -> Certificate {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let trusted = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    fs_err::write(world.path("certificate"), certificate.pem()).unwrap();
    fs_err::write(world.path("key"), key.serialize_pem()).unwrap();
    fs_err::write(world.path("token"), token).unwrap();
    fs_err::set_permissions(world.path("token"), PermissionsExt::from_mode(0o600)).unwrap();
    Certificate::from_pem(trusted)
}

fn exposed(world: &World, files: &[(&str, &str)]) -> Command {
    let mut command = world.command();
    command.args(["--listen", "0.0.0.0:0"]);
    for (option, file) in files {
        command.arg(option).arg(world.path(file));
    }
    command
}

const TLS: [(&str, &str); 2] = [("--tls-cert", "certificate"), ("--tls-key", "key")];
const TOKEN: (&str, &str) = ("--token-file", "token");

#[test]
fn refuses_other_machines_without_tls_and_token() {
    run(async {
        let world = World::new();
        write_secrets(&world, &"5a".repeat(32));
        for files in [&[][..], &[TOKEN], &TLS] {
            let (status, stderr) = refused(exposed(&world, files)).await;
            assert_eq!(status, Some(2), "{files:?}");
            assert!(
                stderr.contains("can be reached from other machines"),
                "{stderr}"
            );
            assert!(stderr.contains("--tls-cert"), "{stderr}");
        }
        // A secret that others may read, or that is none, is of no use.
        for (mode, token) in [(0o640, "5a".repeat(32)), (0o600, "secret".to_owned())] {
            fs_err::write(world.path("token"), token).unwrap();
            fs_err::set_permissions(world.path("token"), PermissionsExt::from_mode(mode)).unwrap();
            let (status, stderr) = refused(exposed(&world, &[TLS[0], TLS[1], TOKEN])).await;
            assert_eq!(status, Some(2));
            assert!(stderr.starts_with("error: Cannot use `"), "{stderr}");
        }
        world.is_empty().await;
    });
}

#[test]
fn serves_other_machines_with_tls_and_token() {
    run(async {
        let world = World::new();
        let secret = "5a".repeat(32);
        let trusted = write_secrets(&world, &secret);
        let mut process = exposed(&world, &[TLS[0], TLS[1], TOKEN]).spawn().unwrap();
        let ready = ready::<Value>(&mut process).await;
        // Whoever gave the token knows it; what is said may be seen by others.
        assert_eq!(ready["token"], Value::Null);
        let endpoint = ready["endpoint"].as_str().unwrap();
        let address = endpoint.replace("0.0.0.0", "127.0.0.1");

        let encrypted = Endpoint::from_shared(format!("https://{address}")).unwrap();
        let tls = ClientTlsConfig::new().ca_certificate(trusted);
        let channel = encrypted.tls_config(tls).unwrap().connect().await.unwrap();
        let bearer = Bearer(format!("Bearer {secret}"));
        let done = client(channel.clone(), bearer.clone())
            .execute(request("6 * 7"))
            .await;
        assert_eq!(value(&done.unwrap().into_inner()), 42);
        let stranger = Bearer("Bearer ".to_owned());
        let refused_call = client(channel, stranger).execute(request("1")).await;
        assert_eq!(refused_call.unwrap_err().code(), Code::Unauthenticated);

        let plain = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let plain = client(plain.connect_lazy(), bearer)
            .execute(request("1"))
            .await;
        assert!(plain.is_err());

        process.start_kill().unwrap();
        process.wait().await.unwrap();
        world.is_empty().await;
    });
}

/// The beginning of a connection, and no settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What the daemon says first to a client that is the user `user`.
#[cfg(target_os = "linux")]
fn greeting(socket: PathBuf, user: u32) -> Vec<u8> {
    let client = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(user)).unwrap();
        let mut connection = UnixStream::connect(socket).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed already.
        let _ = connection.write_all(HELLO);
        let mut answer = vec![0; 1024];
        let length = connection.read(&mut answer).unwrap_or_default();
        answer.truncate(length);
        answer
    });
    client.join().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn turns_other_users_away() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: without root this cannot be two users");
        return;
    }
    serve(&[], async |daemon| {
        // As if both had been opened to everybody.
        let socket = daemon.world.socket();
        for path in [
            &daemon.world.path(""),
            &daemon.world.path("socket"),
            &socket,
        ] {
            fs_err::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        }
        assert_ne!(greeting(socket.clone(), 0), b"");
        for _ in 0..3 {
            assert_eq!(greeting(socket.clone(), 65534), b"");
        }
        let log = daemon.world.log();
        assert_eq!(log.matches("turned another user away").count(), 1, "{log}");
        assert_eq!(value(&daemon.run("1").await), 1);
    });
}

#[test]
fn writes_a_log_for_its_owners_eyes() {
    serve(&[], async |daemon| {
        let metadata = fs_err::metadata(daemon.world.path("log")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        eventually("the log to say so", || {
            daemon.world.log().contains("listening")
        })
        .await;
        assert!(!daemon.world.log().contains(daemon.token.as_str()));
    });
}
