//! A way to a server that can be cut, as a network is: nothing passes, and nobody is told.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The way; gone with all its connections when it is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    port: u16,
    open: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl Link {
    /// One to the server of this URL.
    pub(crate) async fn to(url: &str) -> Self {
        let (_, server) = url.split_once('@').unwrap();
        let (server, _) = server.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = watch::Sender::new(true);
        let listening = tokio::spawn(listen(listener, server.to_owned(), open.subscribe()));
        Self {
            port,
            open,
            listening,
        }
    }

    /// The URL by which the server is reached this way.
    pub(crate) fn url(&self, url: &str) -> String {
        let (user, rest) = url.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Nothing passes from now on.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Everything passes again, what was sent meanwhile included.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, server: String, open: watch::Receiver<bool>) {
    let mut ways = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (server, open) = (server.clone(), open.clone());
        ways.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            let ((from, to), (back, home)) = (client.into_split(), server.into_split());
            tokio::select! {
                () = pass(from, home, open.clone()) => {}
                () = pass(back, to, open) => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
