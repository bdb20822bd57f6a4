//! Everything that a network and its servers do wrong.

use std::path::Path;
use std::time::Duration;

use ktx_env::bootstrap::{Bounds, fetch};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::server::{Reply, Server};
use super::{FILE, Fixture, NOBODY, describe, env, index_of};

#[tokio::test]
async fn tells_login_pages_and_other_answers_apart() {
    let fixture = Fixture::new();
    let login = "<html><a href='/login'>Log in</a></html>";

    let server = Server::start(move |_, _| Reply::html(login)).await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_RESPONSE: `http://HOST/simple/uv/` is not a package index with uv in it
    Log in to the network in a browser, then run `ktx runtime install`
    ");
    for reply in [
        Reply::html(login),
        Reply::bytes(login.as_bytes()),
        Reply::Unannounced(login.into()),
    ] {
        let server = fixture.serving(reply).await;
        let described = fixture.failure(&server).await;
        assert!(
            described.contains("answered with a web page instead of") || described.contains("Size"),
            "{described}"
        );
    }
    let server = fixture.serving(Reply::status(404)).await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_RESPONSE: `http://HOST/files/uv-9.9.9-py3-none-any.whl` answered with status 404 (1 attempt in TIME)
    Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`
    ");
    let server = Server::start(|_, _| Reply::html("<a href='uv-1.0.tar.gz'>")).await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_RESPONSE: `http://HOST/simple/uv/` does not list `uv-9.9.9-py3-none-any.whl`
    Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`
    ");
    let server = Server::start(|_, _| Reply::html("x".repeat(200_000))).await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_RESPONSE: `http://HOST/simple/uv/` is longer than 100000 bytes
    Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`
    ");
    let server = Server::start(|_, _| Reply::redirect("/simple/uv/")).await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_RESPONSE: `HOST` redirects more than 5 times
    Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`
    ");
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn tells_other_bytes_from_a_failing_network() {
    let fixture = Fixture::new();
    let mut flipped = fixture.wheel.clone();
    flipped[1000] ^= 1;
    let server = fixture.serving(Reply::bytes(&flipped)).await;
    let described = fixture.failure(&server).await;
    assert!(
        described.starts_with(&format!(
            "KTX_UV_CHECKSUM: Checksum mismatch: `{FILE}` has sha256 "
        )),
        "{described}"
    );

    let mut longer = fixture.wheel.clone();
    longer.push(0);
    let server = fixture.serving(Reply::bytes(&longer)).await;
    let announced = fixture.failure(&server).await;
    let server = fixture.serving(Reply::Unannounced(longer)).await;
    assert_eq!(announced, fixture.failure(&server).await);
    insta::assert_snapshot!(announced, @r"
    KTX_UV_CHECKSUM: Size mismatch: `uv-9.9.9-py3-none-any.whl` has 60251 bytes instead of 60250
    Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`
    ");
}

#[tokio::test]
async fn refuses_a_pinned_wheel_without_the_pinned_binary() {
    let mut fixture = Fixture::new();
    let server = Server::start(fixture.healthy()).await;
    fixture.pin.binary.bytes -= 1;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_CHECKSUM: Could not unpack `uv-9.9.9-py3-none-any.whl`: `uv-9.9.9.data/scripts/uv` unpacks to more than the pinned 59999 bytes
    Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`
    ");
    fixture.pin.binary.bytes += 1;
    fixture.pin.binary.sha256 = "0".repeat(64);
    assert!(
        fixture
            .failure(&server)
            .await
            .contains("`uv-9.9.9.data/scripts/uv` has sha256")
    );
    fixture.pin.binary.path = "elsewhere/uv".to_owned();
    assert!(
        fixture
            .failure(&server)
            .await
            .contains("Could not unpack `uv-9.9.9-py3-none-any.whl`: `elsewhere/uv`")
    );
}

#[tokio::test]
async fn stops_waiting_for_silence() {
    let fixture = Fixture::new();
    let server = Server::start(|_, _| Reply::Silence).await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_NETWORK: No answer from `HOST` within 1.2 s (1 attempt in TIME)
    Name your proxy with `export HTTPS_PROXY=http://HOST:PORT` if the network has one
    ");
    let part = fixture.wheel[..1000].to_vec();
    let server = fixture
        .serving(Reply::Stall(fixture.wheel.len(), part))
        .await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_NETWORK: `HOST` stopped sending after 1000 of 60250 bytes: nothing came for 0.8 s (1 attempt in TIME)
    Try again with `ktx runtime install`
    ");
}

#[tokio::test]
async fn stops_waiting_for_a_trickle() {
    let fixture = Fixture::new();
    let server = fixture.serving(Reply::Trickle(fixture.wheel.len())).await;
    let described = fixture.failure(&server).await;
    assert!(described.contains("nothing came for 2 s"), "{described}");
}

#[tokio::test]
async fn stops_waiting_for_a_connection() {
    let fixture = Fixture::new();
    // A listener that never accepts, with its queue full: further connections
    // get no answer at all.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queue.push(stream);
    }
    let env = env(&[("UV_DEFAULT_INDEX", &format!("http://{address}/simple"))]);
    let error = fixture.fetch(&env).await.unwrap_err();
    insta::assert_snapshot!(describe(&error, &address.to_string()), @r"
    KTX_UV_NETWORK: No connection from `HOST` within 0.8 s (1 attempt in TIME)
    Name your proxy with `export HTTPS_PROXY=http://HOST:PORT` if the network has one
    ");
}

#[tokio::test]
async fn says_that_nobody_is_there() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = env(&[("UV_DEFAULT_INDEX", &format!("http://{address}/simple"))]);
    let error = fixture.fetch(&refused).await.unwrap_err();
    insta::assert_snapshot!(describe(&error, &address.to_string()), @r"
    KTX_UV_NETWORK: Could not connect to `HOST` (1 attempt in TIME)
    Name your proxy with `export HTTPS_PROXY=http://HOST:PORT` if the network has one
    ");
    let unknown = env(&[("UV_DEFAULT_INDEX", "https://index.invalid/simple")]);
    let mut request = fixture.request(&unknown);
    // How fast a resolver says no is not in the hands of this test.
    request.bounds = Bounds::default();
    let error = fetch(request, &|_, _| ()).await.unwrap_err();
    insta::assert_snapshot!(describe(&error, NOBODY), @r"
    KTX_UV_NETWORK: Could not resolve `index.invalid` (1 attempt in TIME)
    Name your proxy with `export HTTPS_PROXY=http://HOST:PORT` if the network has one
    ");
}

#[tokio::test]
async fn retries_what_passes_and_counts_the_attempts() {
    let fixture = Fixture::new();
    let part = fixture.wheel[..20_000].to_vec();
    for fault in [
        Reply::status(500),
        Reply::status(429),
        Reply::Whole(503, vec![("retry-after", "0".to_owned())], Vec::new()),
        Reply::Reset,
        Reply::Truncate(fixture.wheel.len(), part.clone()),
        Reply::Unannounced(part.clone()),
    ] {
        let healthy = fixture.healthy();
        let passing = fault.clone();
        let server = Server::start(move |target, before| match before {
            0 | 1 => passing.clone(),
            _ => healthy(target, before),
        })
        .await;
        // An index page that ends early cannot be told from a whole one unless
        // its length was announced.
        if !matches!(fault, Reply::Unannounced(_)) {
            fixture.fetch(&index_of(&server)).await.unwrap();
            assert_eq!(server.seen().len(), 6);
            fs_err::remove_file(fixture.directory.path().join("uv")).unwrap();
        }

        let server = fixture.serving(fault).await;
        let described = fixture.failure(&server).await;
        assert!(described.contains("(3 attempts in"), "{described}");
    }
    let server = fixture
        .serving(Reply::Truncate(fixture.wheel.len(), part))
        .await;
    insta::assert_snapshot!(fixture.failure(&server).await, @r"
    KTX_UV_NETWORK: `HOST` closed the connection after 20000 of 60250 bytes (3 attempts in TIME)
    Try again with `ktx runtime install`
    ");
    let patient = vec![("retry-after", "3600".to_owned())];
    let server = fixture
        .serving(Reply::Whole(429, patient, Vec::new()))
        .await;
    assert!(fixture.failure(&server).await.contains("(1 attempt in"));
}

#[tokio::test]
async fn leaves_nothing_behind_when_dropped() {
    let fixture = Fixture::new();
    let part = fixture.wheel[..20_000].to_vec();
    let server = fixture
        .serving(Reply::Stall(fixture.wheel.len(), part))
        .await;
    let env = index_of(&server);
    let begun = Notify::new();
    let progress = |_, _| {
        assert_eq!(fixture.left_behind().len(), 1);
        begun.notify_one();
    };
    tokio::select! {
        result = fetch(fixture.request(&env), &progress) => panic!("{result:?}"),
        () = begun.notified() => {}
    }
    assert_eq!(fixture.left_behind(), Vec::<String>::new());
}

#[tokio::test]
async fn names_the_directory_that_cannot_be_written() {
    let fixture = Fixture::new();
    let server = Server::start(fixture.healthy()).await;
    let env = index_of(&server);
    let mut request = fixture.request(&env);
    request.directory = Path::new("/nonexistent/uv");
    let error = fetch(request, &|_, _| ()).await.unwrap_err();
    insta::assert_snapshot!(describe(&error, NOBODY), @r"
    KTX_IO: Could not write `/nonexistent/uv`
    Check who may write there: `ls -ld '/nonexistent'`
    ");
}
