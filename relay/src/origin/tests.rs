//! Relays that ask each other over links on the loopback.

use std::time::Duration;

use allium_shared::cell::DestroyReason;
use allium_shared::crypto::keys::{IdentityKeypair, LinkSecret, OnionSecret};
use allium_shared::netdir::{
    Authorities, Authority, AuthorityKeypair, ConsensusDraft, RelayEntry, RelayRole, Validity,
};
use allium_shared::relay::keys::RelayKeys;
use allium_shared::relay::link::LinkKeys;
use allium_shared::relay::services::{NoMirror, SharedUserKeys, relay_services};
use allium_shared::services::read_time;
use allium_shared::stream::EndCause;
use allium_shared::stream::request::StreamRequestError;
use axum::Router;
use axum::routing::any;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use self::echo_service::{ECHO, EchoService};
use super::stream::RelayStreamError;
use super::*;
use crate::clock::Clock;
use crate::directory::Directory;
use crate::http::server;
use crate::shutdown::{self, Trigger};
use crate::{link, relay};

/// The one that the simulator has too.
#[path = "../../../tests/src/sim/echo_service.rs"]
mod echo_service;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// Dropped where no runtime may be: so its runtime is left to end in the background.
struct Node {
    identity: RelayIdentity,
    switchboard: Arc<Switchboard>,
    origin: RelayOrigin,
    /// Drives everything of the relay: without it, its sockets are gone.
    runtime: Option<Runtime>,
    _serving: Trigger,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Relays of one network, and one more that is listed but not there.
async fn network(count: u8) -> (Vec<Node>, RelayIdentity) {
    let keypair = AuthorityKeypair::new(IdentityKeypair::from_seed(&[200; 32]));
    let url = "http://127.0.0.1:1".to_owned();
    let authority = Authority { nickname: "ann".parse().unwrap(), key: keypair.identity(), url };
    let authorities = Arc::new(Authorities::new(vec![authority]).unwrap());
    let mut rng = random::rng().unwrap();
    let (mut entries, mut nodes) = (Vec::new(), Vec::new());
    for seed in 0..=count {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let guard = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let identity = IdentityKeypair::from_seed(&[seed; 32]).identity();
        let (link, onion) = (LinkSecret::generate(&mut rng), OnionSecret::generate(&mut rng));
        let url = format!("ws://{}/link", listener.local_addr().unwrap()).parse().unwrap();
        let nickname = format!("relay{seed}").parse().unwrap();
        let roles = [RelayRole::Middle].into_iter().collect();
        entries.push(RelayEntry::new(identity, link.public(), onion.public(), roles, nickname, url));
        if seed == count {
            drop(guard);
            runtime.shutdown_background();
            continue;
        }
        let clock = Clock::start();
        let directory = Arc::new(Directory::open(Arc::clone(&authorities), clock, None));
        let services = relay_services(NoMirror, &SharedUserKeys::default(), false).with_streams(ECHO, EchoService);
        let circuits = Arc::new(RelayKeys { identity, onion: onion.into(), services: Arc::new(services) });
        let keys = Arc::new(LinkKeys { network: *authorities.network().as_bytes(), link, circuits });
        let switchboard = Switchboard::new(keys, Arc::clone(&directory), clock, 64 << 20, link::spawn).unwrap();
        let router = Router::new().route(link::PATH, any(relay::upgrade)).with_state(Arc::clone(&switchboard));
        let (serving, shutdown) = shutdown::channel();
        tokio::spawn(server::serve(TcpListener::from_std(listener).unwrap(), router, shutdown));
        let origin = RelayOrigin::start(&switchboard).unwrap();
        drop(guard);
        nodes.push((directory, Node { identity, switchboard, origin, runtime: Some(runtime), _serving: serving }));
    }
    let absent = entries[usize::from(count)].identity;
    let valid_after = Clock::start().now().unix.as_secs();
    let validity = Validity { valid_after, fresh_until: valid_after + 1000, valid_until: valid_after + 1000 };
    let consensus = ConsensusDraft::new(*authorities.network(), validity, entries).sign(&[&keypair]).unwrap();
    for (directory, _) in &nodes {
        assert!(directory.accept(&consensus).await.unwrap());
    }
    (nodes.into_iter().map(|(_, node)| node).collect(), absent)
}

fn megabyte() -> Vec<u8> {
    (0..1_000_000_u32).map(|n| (n / 3) as u8).collect()
}

async fn time(from: &Node, of: RelayIdentity) -> Result<StreamAnswer, OriginError> {
    from.origin.request(of, StreamRequest::new(Service::TIME, Vec::new())).await
}

/// Writes a megabyte and reads it back at the same time.
async fn assert_echoes(stream: &RelayStream) {
    let bytes = megabyte();
    let write = async {
        let mut written = 0;
        while written < bytes.len() {
            written += stream.write(&bytes[written..]).await.unwrap();
        }
    };
    let read = async {
        let mut read = Vec::new();
        while read.len() < bytes.len() {
            read.extend(stream.read(100_000).await.unwrap());
        }
        read
    };
    let ((), read) = tokio::join!(write, read);
    assert!(read == bytes);
}

#[tokio::test]
async fn relays_ask_each_other_over_the_links_between_them() {
    tokio::time::timeout(PATIENCE, async {
        let (nodes, _) = network(2).await;
        let [a, b] = &nodes[..] else { panic!() };
        let answer = time(a, b.identity).await.unwrap();
        let now = Clock::start().now().unix.as_secs();
        assert!(read_time(&answer.bytes).unwrap().as_secs().abs_diff(now) < 10);
        let bytes = megabyte();
        let request = StreamRequest::new(ECHO, Vec::new()).with_body(bytes.clone()).with_max_answer(bytes.len());
        assert!(a.origin.request(b.identity, request).await.unwrap().bytes == bytes);
        // Both ways at once, over the same link.
        let there = a.origin.open(b.identity, ECHO, Vec::new()).await.unwrap();
        let back = b.origin.open(a.identity, ECHO, Vec::new()).await.unwrap();
        tokio::join!(assert_echoes(&there), assert_echoes(&back));
        assert_eq!((a.switchboard.links(), b.switchboard.links()), (1, 1));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_can_not_be_ordered_is_refused_and_nothing_else_ends() {
    tokio::time::timeout(PATIENCE, async {
        let (nodes, absent) = network(2).await;
        let [a, b] = &nodes[..] else { panic!() };
        let stream = a.origin.open(b.identity, ECHO, Vec::new()).await.unwrap();
        assert_eq!(time(a, a.identity).await, Err(OriginError::OwnRelay));
        assert_eq!(time(a, RelayIdentity([99; 32])).await, Err(OriginError::NotListed));
        assert_eq!(time(a, absent).await, Err(OriginError::NotOpened(DestroyReason::ConnectFailed)));
        let unknown = a.origin.request(b.identity, StreamRequest::new(Service(249), Vec::new())).await;
        assert!(matches!(unknown, Err(OriginError::Request(StreamRequestError::Refused(_)))), "{unknown:?}");
        let strange = a.origin.open(RelayIdentity([99; 32]), ECHO, Vec::new()).await;
        assert_eq!(strange.err(), Some(RelayStreamError::Origin(OriginError::NotListed)));
        let unknown = a.origin.open(b.identity, Service(249), Vec::new()).await;
        assert!(matches!(unknown, Err(RelayStreamError::Over(EndCause::Peer(_)))), "{unknown:?}");
        // What nobody waits for any more is cancelled.
        let opening = a.origin.open(b.identity, ECHO, Vec::new());
        assert!(opening.now_or_never().is_none());
        drop(a.origin.open(b.identity, ECHO, Vec::new()).await.unwrap());
        assert_echoes(&stream).await;
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_relay_that_goes_away_ends_what_was_ordered_of_it() {
    tokio::time::timeout(PATIENCE, async {
        let (mut nodes, _) = network(3).await;
        let gone = nodes.remove(1);
        let [a, c] = &nodes[..] else { panic!() };
        let lost = a.origin.open(gone.identity, ECHO, Vec::new()).await.unwrap();
        let kept = a.origin.open(c.identity, ECHO, Vec::new()).await.unwrap();
        // It has begun to read, and nothing comes.
        let reading = lost.read(1);
        let gone_identity = gone.identity;
        let going = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(gone);
        };
        let (read, ()) = tokio::join!(reading, going);
        assert_eq!(read, Err(RelayStreamError::Over(EndCause::CircuitLost)));
        assert_eq!(lost.write(b"more").await, Err(RelayStreamError::Over(EndCause::CircuitLost)));
        let again = time(a, gone_identity).await;
        assert!(matches!(again, Err(OriginError::NotOpened(_))), "{again:?}");
        assert_echoes(&kept).await;
    })
    .await
    .unwrap();
}
