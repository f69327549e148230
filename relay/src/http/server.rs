//! Serves a router with limits on everything that a peer could hold on to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::shutdown::Shutdown;

/// Connections that are served at once; more wait to be accepted. Links count on their own, once they are links.
const MAX_CONNECTIONS: usize = 4096;

/// How long a peer may take for a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// How long a peer may take for the head of a request, or leave a connection idle.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// How long a connection may last, unless it becomes a link.
const CONNECTION_TIME: Duration = Duration::from_secs(120);

/// How much of a request's head is kept, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// Nobody can connect to this address.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

/// Opens a socket to be served.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// Serves `router` until the end. Handlers may ask for the peer's address with [`ConnectInfo`].
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    accept(listener, None, router, shutdown).await;
}

/// Serves `router` by TLS until the end, with the same limits.
pub async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor, router: Router, shutdown: Shutdown) {
    accept(listener, Some(acceptor), router, shutdown).await;
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router, mut shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accept = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&permits).acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let Some((accepted, permit)) = shutdown.unless(accept).await else { return };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, router, shutdown) = (tls.clone(), router.clone(), shutdown.clone());
                tokio::spawn(async move {
                    serve_peer(stream, tls, peer, router, shutdown).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Too many open files, mostly: wait until some are closed.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_peer(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: SocketAddr,
    router: Router,
    mut shutdown: Shutdown,
) {
    // A link's records are small and must not wait for each other; where that fails they are merely late.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve_connection(stream, peer, router, shutdown).await };
    // What peers do wrong with TLS ends their connection and is nobody else's business either.
    let shaken = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream));
    if let Some(Ok(Ok(stream))) = shutdown.unless(shaken).await {
        serve_connection(stream, peer, router, shutdown).await;
    }
}

async fn serve_connection<S>(stream: S, peer: SocketAddr, router: Router, mut shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = TowerToHyperService::new(router.layer(axum::Extension(ConnectInfo(peer))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_LEN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // What peers do wrong with HTTP ends their connection and is nobody else's business.
    let _ = shutdown.unless(tokio::time::timeout(CONNECTION_TIME, connection)).await;
}
