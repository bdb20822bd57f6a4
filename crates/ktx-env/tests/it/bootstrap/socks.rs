//! A SOCKS 5 proxy on loopback (RFC 1928, RFC 1929).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// The reply codes for success and for a connection that the rules forbid.
const SUCCEEDED: u8 = 0;
const NOT_ALLOWED: u8 = 2;

/// A proxy that lives as long as its value and always connects to one server.
pub(super) struct SocksProxy {
    pub(super) address: SocketAddr,
    asked: UnboundedReceiver<String>,
    reply: Arc<AtomicU8>,
    _tasks: JoinSet<()>,
}

impl SocksProxy {
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reply = Arc::new(AtomicU8::new(SUCCEEDED));
        let (log, asked) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let code = Arc::clone(&reply);
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let code = code.load(Ordering::Relaxed);
                tokio::spawn(serve(client, server, code, log.clone()));
            }
        });
        Self {
            address,
            asked,
            reply,
            _tasks: tasks,
        }
    }

    /// The next request: user name, password, host and port.
    pub(super) async fn asked(&mut self) -> String {
        self.asked.recv().await.unwrap()
    }

    /// Connects to nothing from now on.
    pub(super) fn refuse(&self) {
        self.reply.store(NOT_ALLOWED, Ordering::Relaxed);
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, code: u8, log: UnboundedSender<String>) {
    assert_eq!(client.read_u8().await.unwrap(), 5);
    let methods = counted(&mut client).await;
    assert!(methods.contains(&2), "{methods:?}");
    client.write_all(&[5, 2]).await.unwrap();

    assert_eq!(client.read_u8().await.unwrap(), 1);
    let user = text(counted(&mut client).await);
    let password = text(counted(&mut client).await);
    client.write_all(&[1, 0]).await.unwrap();

    let mut request = [0; 4];
    client.read_exact(&mut request).await.unwrap();
    let host = match request {
        [5, 1, 0, 1] => Ipv4Addr::from(client.read_u32().await.unwrap()).to_string(),
        [5, 1, 0, 3] => text(counted(&mut client).await),
        _ => panic!("{request:?}"),
    };
    let port = client.read_u16().await.unwrap();
    log.send(format!("{user}:{password} {host}:{port}"))
        .unwrap();
    client
        .write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    if code == SUCCEEDED {
        let mut server = TcpStream::connect(server).await.unwrap();
        // How the transfer ends is for the two ends of it to judge.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// Bytes after their number.
async fn counted(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; client.read_u8().await.unwrap().into()];
    client.read_exact(&mut bytes).await.unwrap();
    bytes
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
