//! What the environment says about index, proxies, certificates and passwords.

use std::io::Write as _;
use std::path::Path;

use ktx_env::bootstrap::BootstrapError;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::server::{Reply, Server, private_authority};
use super::socks::SocksProxy;
use super::{FILE, Fixture, NOBODY, describe, env};

#[tokio::test]
async fn takes_the_first_index_that_is_set() {
    let fixture = Fixture::new();
    let server = Server::start(fixture.healthy()).await;
    let index = server.index();
    let named = format!("internal={index}/");
    let unused = "http://127.0.0.1:1/simple";
    for env in [
        env(&[
            ("UV_DEFAULT_INDEX", &named),
            ("UV_INDEX_URL", unused),
            ("PIP_INDEX_URL", unused),
        ]),
        env(&[
            ("UV_DEFAULT_INDEX", " "),
            ("UV_INDEX_URL", &index),
            ("PIP_INDEX_URL", unused),
        ]),
        env(&[("PIP_INDEX_URL", &index)]),
    ] {
        fixture.fetch(&env).await.unwrap();
    }
}

#[tokio::test]
async fn refuses_indexes_that_are_not_on_the_network() {
    let fixture = Fixture::new();
    let describe_index = async |index: &str| {
        let env = env(&[("UV_DEFAULT_INDEX", index)]);
        describe(&fixture.fetch(&env).await.unwrap_err(), NOBODY)
    };
    insta::assert_snapshot!(describe_index("file:///srv/simple").await, @r"
    KTX_UV_NETWORK: Could not use `UV_DEFAULT_INDEX`: the scheme `file` is not supported, uv is fetched over `https` and `http` only
    Correct the variable, or remove it with `unset UV_DEFAULT_INDEX`
    ");
    insta::assert_snapshot!(describe_index("https://bücher.example/simple").await, @r"
    KTX_UV_NETWORK: Could not use `UV_DEFAULT_INDEX`: write the host in ASCII, as `xn--…`
    Correct the variable, or remove it with `unset UV_DEFAULT_INDEX`
    ");
    insta::assert_snapshot!(describe_index("./simple").await, @r"
    KTX_UV_NETWORK: Could not use `UV_DEFAULT_INDEX`: uv is fetched from an `https://` or `http://` address only
    Correct the variable, or remove it with `unset UV_DEFAULT_INDEX`
    ");
}

#[tokio::test]
async fn goes_through_the_proxy_unless_told_otherwise() {
    let fixture = Fixture::new();
    let proxy = Server::start(fixture.healthy()).await;
    let through = format!("http://user:secret@{}", proxy.address);
    // The name has no address: only a proxy can answer for it.
    let index = "http://index.invalid/simple";
    for variable in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        let env = env(&[("UV_DEFAULT_INDEX", index), (variable, &through)]);
        fixture.fetch(&env).await.unwrap();
    }
    let first = &proxy.seen()[0];
    assert_eq!(first.target, "http://index.invalid/simple/uv/");
    assert!(
        first
            .head
            .contains("proxy-authorization: basic dxnlcjpzzwnyzxq=")
    );

    let lower_wins = env(&[
        ("UV_DEFAULT_INDEX", index),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", &through),
    ]);
    fixture.fetch(&lower_wins).await.unwrap();
}

#[tokio::test]
async fn takes_names_of_other_scripts_in_their_ascii_form() {
    let fixture = Fixture::new();
    let proxy = Server::start(fixture.healthy()).await;
    let env = env(&[
        (
            "UV_DEFAULT_INDEX",
            "http://XN--BCHER-KVA.invalid/a%20b/simple",
        ),
        ("http_proxy", &format!("http://{}", proxy.address)),
    ]);
    fixture.fetch(&env).await.unwrap();
    assert_eq!(
        proxy.seen()[0].target,
        "http://xn--bcher-kva.invalid/a%20b/simple/uv/"
    );
}

#[tokio::test]
async fn goes_through_a_socks_proxy() {
    let fixture = Fixture::new();
    let server = Server::start(fixture.healthy()).await;
    let mut proxy = SocksProxy::start(server.address).await;
    for (scheme, index, asked) in [
        // The name has no address: only the proxy can look it up.
        ("socks5h", "http://index.invalid/simple", "index.invalid:80"),
        ("socks5", &server.index(), &server.address.to_string()),
    ] {
        let through = format!("{scheme}://user:p%40ss@{}", proxy.address);
        let env = env(&[("UV_DEFAULT_INDEX", index), ("ALL_PROXY", &through)]);
        fixture.fetch(&env).await.unwrap();
        for _ in ["the page", "the wheel"] {
            assert_eq!(proxy.asked().await, format!("user:p@ss {asked}"));
        }
    }
    let target = &server.seen()[0].target;
    assert_eq!(target, "/simple/uv/");

    proxy.refuse();
    let env = env(&[
        ("UV_DEFAULT_INDEX", "https://index.invalid/simple"),
        (
            "HTTPS_PROXY",
            &format!("socks5h://user:secret@{}", proxy.address),
        ),
    ]);
    let error = fixture.fetch(&env).await.unwrap_err();
    insta::assert_snapshot!(describe(&error, &proxy.address.to_string()), @r"
    KTX_UV_NETWORK: The proxy `HOST` did not connect to `index.invalid`
    Go past the proxy, if the network allows it, with `export NO_PROXY=index.invalid`
    ");
}

#[tokio::test]
async fn bypasses_the_proxy_for_listed_hosts_and_networks() {
    let fixture = Fixture::new();
    let v4 = Server::start(fixture.healthy()).await;
    let v6 = Server::bind("[::1]:0", None, fixture.healthy()).await;
    let named = format!("http://localhost:{}/simple", v4.address.port());
    let bypassed = [
        (v4.index(), "127.0.0.0/8"),
        (v4.index(), "example.com, 127.0.0.1"),
        (v4.index(), "*"),
        (v6.index(), "::1/128"),
        (v6.index(), "fe80::/10,::/16"),
        (v6.index(), "[::1]"),
        (v6.index(), "*"),
        (named.clone(), "localhost"),
        (named.clone(), "*.localhost"),
    ];
    for (index, list) in &bypassed {
        let env = env(&[
            ("UV_DEFAULT_INDEX", index),
            ("http_proxy", "http://127.0.0.1:1"),
            ("NO_PROXY", list),
        ]);
        fixture.fetch(&env).await.unwrap();
    }
    for (index, list) in [
        (v4.index(), "10.0.0.0/8"),
        (v6.index(), "::2/128"),
        (v6.index(), "fd00::/8"),
        (named, "example.com"),
    ] {
        let env = env(&[
            ("UV_DEFAULT_INDEX", &index),
            ("http_proxy", "http://127.0.0.1:1"),
            ("no_proxy", list),
        ]);
        let error = fixture.fetch(&env).await.unwrap_err();
        assert!(
            matches!(&error, BootstrapError::Connect { peer, .. } if peer.proxy.is_some()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn names_the_proxy_without_its_password() {
    let fixture = Fixture::new();
    let asks = Server::start(|_, _| Reply::status(407)).await;
    let refuses = Server::start(|_, _| Reply::status(403)).await;
    let describe_all = async |server: &Server, index: &str| {
        let through = format!("http://user:secret@{}", server.address);
        let env = env(&[("UV_DEFAULT_INDEX", index), ("ALL_PROXY", &through)]);
        let error = fixture.fetch(&env).await.unwrap_err();
        assert!(!format!("{error:?} {error} {:?}", error.hints()).contains("secret"));
        describe(&error, &server.address.to_string())
    };
    let plain = describe_all(&asks, "http://index.invalid/simple").await;
    assert_eq!(
        plain,
        describe_all(&asks, "https://index.invalid/simple").await
    );
    insta::assert_snapshot!(plain, @r"
    KTX_UV_NETWORK: The proxy `HOST` asks for a user name and a password (status 407)
    Give the proxy a user name and a password with `export HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT`
    ");
    insta::assert_snapshot!(describe_all(&refuses, "https://index.invalid/simple").await, @r"
    KTX_UV_NETWORK: The proxy `HOST` did not connect to `index.invalid`
    Go past the proxy, if the network allows it, with `export NO_PROXY=index.invalid`
    ");
    let typo = env(&[("HTTPS_PROXY", "ftp://user:secret@proxy:3128")]);
    insta::assert_snapshot!(describe(&fixture.fetch(&typo).await.unwrap_err(), NOBODY), @r"
    KTX_UV_NETWORK: Could not use `HTTPS_PROXY`: proxies of the scheme `ftp` are not supported
    Correct the variable, or remove it with `unset HTTPS_PROXY`
    ");
}

#[tokio::test]
async fn trusts_a_private_authority_only_when_told() {
    let fixture = Fixture::new();
    let (authority, tls) = private_authority();
    let server = Server::bind("127.0.0.1:0", Some(tls), fixture.healthy()).await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("ca.pem");
    fs_err::write(&file, authority).unwrap();
    let index = format!("https://localhost:{}/simple", server.address.port());
    let bundle = file.to_str().unwrap();
    let folder = directory.path().to_str().unwrap();

    for (variable, value) in [
        ("SSL_CERT_FILE", bundle),
        ("SSL_CERT_DIR", folder),
        ("NODE_EXTRA_CA_CERTS", bundle),
        ("PIP_CERT", bundle),
        ("REQUESTS_CA_BUNDLE", folder),
    ] {
        let env = env(&[("UV_DEFAULT_INDEX", &index), (variable, value)]);
        fixture.fetch(&env).await.unwrap();
        fs_err::remove_file(fixture.directory.path().join("uv")).unwrap();
    }
    let address = format!("localhost:{}", server.address.port());
    let error = fixture.fetch(&env(&[("UV_DEFAULT_INDEX", &index)])).await;
    insta::assert_snapshot!(describe(&error.unwrap_err(), &address), @r"
    KTX_UV_NETWORK: The certificate of `HOST` is not trusted: invalid peer certificate: UnknownIssuer
    Name the certificate authority of your network with `export SSL_CERT_FILE=/path/to/ca.pem`
    ");

    let proxy = Server::start(move |_, _| Reply::Tunnel(server.address)).await;
    let tunnelled = env(&[
        ("UV_DEFAULT_INDEX", &index),
        ("SSL_CERT_FILE", bundle),
        ("HTTPS_PROXY", &proxy.address.to_string()),
    ]);
    fixture.fetch(&tunnelled).await.unwrap();
    assert_eq!(proxy.seen()[0].target, address);

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    let index = env(&[("UV_DEFAULT_INDEX", &format!("https://{address}/simple"))]);
    let answer = async {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        // Closing with unread input would reset the connection.
        let _ = stream.read(&mut [0; 4096]).await;
        stream
    };
    let (error, _stream) = tokio::join!(fixture.fetch(&index), answer);
    insta::assert_snapshot!(describe(&error.unwrap_err(), &address.to_string()), @r"
    KTX_UV_NETWORK: No secure connection to `HOST`: received corrupt message of type InvalidContentType
    Check the scheme and port in `echo $UV_DEFAULT_INDEX $HTTPS_PROXY`
    ");
}

#[tokio::test]
async fn refuses_to_leave_https() {
    let fixture = Fixture::new();
    let (authority, tls) = private_authority();
    let server = Server::bind("127.0.0.1:0", Some(tls), |_, _| {
        Reply::redirect("http://user:secret@index.invalid/simple/uv/?token=secret")
    })
    .await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(authority.as_bytes()).unwrap();
    let env = env(&[
        (
            "UV_DEFAULT_INDEX",
            &format!("https://{}/simple", server.address),
        ),
        ("SSL_CERT_FILE", file.path().to_str().unwrap()),
    ]);
    let error = fixture.fetch(&env).await.unwrap_err();
    insta::assert_snapshot!(describe(&error, &server.address.to_string()), @r"
    KTX_UV_RESPONSE: Refused to follow a redirect from `https://HOST/simple/uv/` to `http://index.invalid/simple/uv/`
    Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`
    ");
}

#[tokio::test]
async fn says_which_certificate_setting_is_of_no_use() {
    let fixture = Fixture::new();
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path(), Path::new("/nonexistent/ca.pem")] {
        let env = env(&[("SSL_CERT_FILE", path.to_str().unwrap())]);
        let error = fixture.fetch(&env).await.unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("Could not use `SSL_CERT_FILE`: "),
            "{message}"
        );
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
}

#[tokio::test]
async fn sends_credentials_to_the_index_and_nowhere_else() {
    let fixture = Fixture::new();
    let elsewhere = fixture.serving(Reply::bytes(&fixture.wheel)).await;
    let file = format!("http://localhost:{}/files/{FILE}", elsewhere.address.port());
    let server = Server::start(move |target, _| match target {
        "/simple/uv/" => Reply::redirect("/again/uv/"),
        "/again/uv/" => Reply::html(format!("<a href='/files/{FILE}'>")),
        _ => Reply::redirect(file.clone()),
    })
    .await;
    let index = server.index().replace("//", "//user:p%40ss@");
    fixture
        .fetch(&env(&[("UV_DEFAULT_INDEX", &index)]))
        .await
        .unwrap();
    for seen in server.seen() {
        assert!(
            seen.head.contains("authorization: basic dxnlcjpwqhnz\r\n"),
            "{seen:?}"
        );
    }
    assert_eq!(server.seen().len(), 3);
    assert!(!elsewhere.seen()[0].head.contains("authorization"));

    let refusing = Server::start(|_, _| Reply::status(401)).await;
    let index = refusing.index().replace("//", "//user:secret@");
    let error = fixture
        .fetch(&env(&[("UV_DEFAULT_INDEX", &index)]))
        .await
        .unwrap_err();
    assert!(!format!("{error:?}").contains("secret"));
    insta::assert_snapshot!(describe(&error, &refusing.address.to_string()), @r"
    KTX_UV_RESPONSE: `http://HOST/simple/uv/` answered with status 401 (1 attempt in TIME)
    Give the index a user name and a password with `export UV_DEFAULT_INDEX=https://USER:PASSWORD@HOST/simple`
    ");
}
