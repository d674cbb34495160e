//! A real proxy: it opens tunnels (CONNECT), forwards plain requests, and speaks SOCKS 5. `tests/doctor.rs` uses
//! it, too.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A proxy that leads every name to one address. It notes the first line of each request, and its credentials.
pub struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// On a port of the system's choice.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, target, log.clone()));
            }
        });
        Self { port, asked, task }
    }

    /// `scheme://userinfo127.0.0.1:port`.
    pub fn url(&self, scheme: &str, userinfo: &str) -> String {
        format!("{scheme}://{userinfo}127.0.0.1:{}", self.port)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, target: SocketAddr, log: Arc<Mutex<Vec<String>>>) {
    let Ok(mut onward) = TcpStream::connect(target).await else { return };
    let first = stream.read_u8().await.unwrap_or_default();
    let mut head = vec![first];
    if first == 5 {
        socks(&mut stream, &log).await;
    } else {
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let line = text.lines().next().unwrap_or_default().to_owned();
        let proof = text.lines().find(|line| line.to_lowercase().starts_with("proxy-authorization"));
        let noted = proof.map_or_else(|| line.clone(), |proof| format!("{line} [{proof}]"));
        log.lock().unwrap().push(noted);
        let begun = if line.starts_with("CONNECT ") {
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await
        } else {
            onward.write_all(&head).await
        };
        if begun.is_err() {
            return;
        }
    }
    let _closed = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
}

/// RFC 1928, without authentication.
async fn socks(stream: &mut TcpStream, log: &Mutex<Vec<String>>) {
    let methods = stream.read_u8().await.unwrap();
    stream.read_exact(&mut vec![0; methods.into()]).await.unwrap();
    stream.write_all(&[5, 0]).await.unwrap();
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [5, 1, 0, 3], "a connection to a name, which the proxy looks up");
    let length = stream.read_u8().await.unwrap();
    let mut name = vec![0; length.into()];
    stream.read_exact(&mut name).await.unwrap();
    let port = stream.read_u16().await.unwrap();
    log.lock().unwrap().push(format!("SOCKS {}:{port}", String::from_utf8(name).unwrap()));
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
}
