//! The admin address of a node: its numbers and its health, for those who run it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::text::{CONTENT_TYPE, Source, Text};
use crate::http::server::{self, ListenError};
use crate::shutdown::Shutdown;

/// Where the numbers are.
pub const METRICS_PATH: &str = "/metrics";

/// How often the numbers are looked up; in between, everybody is told the same.
pub const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);

/// Opens the admin address, where there is to be one.
pub async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, ListenError> {
    let Some(address) = address else { return Ok(None) };
    let listener = server::listen(address).await?;
    tracing::info!(%address, "the admin address is open");
    Ok(Some(listener))
}

/// Serves `/metrics` and what is in `router` at the admin address, if there is one, until the end.
pub async fn serve(
    listener: Option<TcpListener>,
    sources: Vec<Arc<dyn Source>>,
    router: Router,
    mut shutdown: Shutdown,
) {
    let Some(listener) = listener else { return };
    let snapshot = || Bytes::from(Text::of(sources.iter().map(|source| &**source)));
    let (sender, snapshots) = watch::channel(snapshot());
    let metrics = move || async move {
        let text = snapshots.borrow().clone();
        ([(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")], text)
    };
    let router = router.route(METRICS_PATH, get(metrics));
    let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one comes at once.
    ticks.tick().await;
    let renewing = async {
        loop {
            ticks.tick().await;
            sender.send_replace(snapshot());
        }
    };
    tokio::select! {
        () = server::serve(listener, router, shutdown.clone()) => {}
        () = renewing => {}
        () = shutdown.wait() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::http::client;
    use crate::shutdown;

    struct Count(AtomicU64);

    impl Source for Count {
        fn write(&self, text: &mut Text) {
            text.gauge("count", "A count.", 1, self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[tokio::test]
    async fn numbers_stay_the_same_for_a_while() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{METRICS_PATH}", listener.local_addr().unwrap());
        let (trigger, shutdown) = shutdown::channel();
        let sources: Vec<Arc<dyn Source>> = vec![Arc::new(Count(AtomicU64::new(0)))];
        let serving = tokio::spawn(serve(Some(listener), sources, Router::new(), shutdown));
        let shown = || async { client::get(&url, None, 1000).await.unwrap().body.unwrap() };
        let first = shown().await;
        assert!(first.ends_with(b"\ncount 0\n"), "{first:?}");
        for _ in 0..3 {
            assert_eq!(shown().await, first, "not looked up for each who asks");
        }
        trigger.shut_down();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_node_without_an_admin_address_has_none() {
        let (_trigger, shutdown) = shutdown::channel();
        assert!(listen(None).await.unwrap().is_none());
        serve(None, Vec::new(), Router::new(), shutdown).await;
    }
}
