use std::sync::Mutex;

use allium_shared::crypto::keys::IdentityKeypair;
use allium_shared::netdir::{
    Authorities, Authority, AuthorityKeypair, ConsensusDraft, RelayEntry, RelayRole, Validity,
};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::directory::routes;
use crate::http::server;
use crate::metrics::directory::Fetch;
use crate::metrics::value::Value;
use crate::shutdown;

#[test]
fn a_relay_mirrors_where_it_takes_links() {
    let mirror = |url: &str| mirror(&url.parse().unwrap());
    assert_eq!(mirror("ws://127.0.0.2:7101/link").as_deref(), Some("http://127.0.0.2:7101"));
    assert_eq!(mirror("ws://[::1]:7101/link").as_deref(), Some("http://[::1]:7101"));
    assert_eq!(mirror("wss://relay.example:7443/link").as_deref(), Some("https://relay.example:7443"));
    assert_eq!(mirror("wss://h/link").as_deref(), Some("https://h"));
}

/// What a source does with requests for updates.
type Trick = fn(Vec<u8>) -> Result<Vec<u8>, StatusCode>;

/// A network of one authority, whose directory is served, and a node that fetches from there.
struct Scene {
    keypair: AuthorityKeypair,
    source: Arc<Directory>,
    url: String,
    node: Fetcher,
    /// The paths that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
    _serving: shutdown::Trigger,
}

impl Scene {
    async fn start(trick: Trick) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keypair = AuthorityKeypair::new(IdentityKeypair::from_seed(&[1; 32]));
        let authority = Authority { nickname: "ann".parse().unwrap(), key: keypair.identity(), url: url.clone() };
        let authorities = Arc::new(Authorities::new(vec![authority]).unwrap());
        let directory = || Arc::new(Directory::open(Arc::clone(&authorities), Clock::start(), None));
        let (source, asked) = (directory(), Arc::<Mutex<Vec<String>>>::default());
        let log = Arc::clone(&asked);
        let tamper = move |request: Request, next: Next| {
            let path = request.uri().path().to_owned();
            log.lock().unwrap().push(path.clone());
            async move {
                let response = next.run(request).await;
                if !path.starts_with(UPDATE_PATH) {
                    return response;
                }
                let body = axum::body::to_bytes(response.into_body(), MAX_UPDATE_LEN).await.unwrap();
                trick(body.to_vec()).into_response()
            }
        };
        let router: Router = routes::router("authority", "ann", Arc::clone(&source));
        let (serving, shutdown) = shutdown::channel();
        tokio::spawn(server::serve(listener, router.layer(middleware::from_fn(tamper)), shutdown));
        let node = Fetcher { directory: directory(), sources: Sources::Authorities { except: None }, last: None };
        Self { keypair, source, url, node, asked, _serving: serving }
    }

    /// The source has a new consensus of eight relays, one of which has this weight.
    async fn publish(&self, age: u64, weight: u32) {
        let mut relays: Vec<RelayEntry> = (1..=8).map(relay).collect();
        relays[3].weight = weight;
        relays.sort_by_key(|relay| relay.identity);
        let valid_after = Clock::start().now().unix.as_secs() - age;
        let validity = Validity { valid_after, fresh_until: valid_after + 1, valid_until: valid_after + 1000 };
        let draft = ConsensusDraft::new(*self.source.authorities().network(), validity, relays);
        assert!(self.source.accept(&draft.sign(&[&self.keypair]).unwrap()).await.unwrap());
    }

    /// Fetches once; gives what was counted and the paths that were asked for.
    async fn fetch(&mut self) -> (Vec<Fetch>, Vec<String>) {
        let counts = |node: &Fetcher| -> Vec<_> {
            node.directory.metrics().fetches.iter().map(|(label, count)| (label, count.get())).collect()
        };
        let before = counts(&self.node);
        self.node.refresh().await;
        let after = counts(&self.node);
        let new = after.into_iter().zip(before).filter(|(after, before)| after.1 > before.1);
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        (new.map(|(after, _)| after.0).collect(), asked)
    }

    fn assert_in_step(&self) {
        let bytes = |directory: &Directory| directory.current().unwrap().as_bytes().to_vec();
        assert_eq!(bytes(&self.node.directory), bytes(&self.source));
    }

    fn update_path(&self) -> String {
        format!("{UPDATE_PATH}{}", self.node.directory.current().unwrap().digest())
    }
}

fn relay(seed: u8) -> RelayEntry {
    let identity = IdentityKeypair::from_seed(&[seed; 32]).identity();
    let url = format!("ws://127.0.0.1:{}/link", 7100 + u16::from(seed)).parse().unwrap();
    let nickname = format!("relay{seed}").parse().unwrap();
    RelayEntry::new(
        identity,
        [seed ^ 64; 32].into(),
        [seed ^ 128; 32].into(),
        [RelayRole::Middle].into_iter().collect(),
        nickname,
        url,
    )
}

#[tokio::test]
async fn what_is_held_is_brought_up_to_date() {
    let mut scene = Scene::start(|update| {
        assert!(update[0] != 1, "nobody needs the whole");
        Ok(update)
    })
    .await;
    assert_eq!(scene.fetch().await, (vec![Fetch::Refused], vec![CONSENSUS_PATH.to_owned()]));
    scene.publish(9, 1).await;
    assert_eq!(scene.fetch().await, (vec![Fetch::Taken], vec![CONSENSUS_PATH.to_owned()]));
    scene.assert_in_step();
    for age in [7, 5] {
        let path = scene.update_path();
        assert_eq!(scene.fetch().await, (vec![Fetch::Unchanged], vec![path.clone()]));
        scene.publish(age, 100 + u32::try_from(age).unwrap()).await;
        assert_eq!(scene.fetch().await, (vec![Fetch::Updated], vec![path]));
        scene.assert_in_step();
    }
    assert_eq!(scene.node.last.as_deref(), Some(&*scene.url));
}

#[tokio::test]
async fn who_holds_what_is_no_base_any_more_gets_the_whole_at_once() {
    let mut scene = Scene::start(Ok).await;
    scene.publish(30, 1).await;
    scene.fetch().await;
    let path = scene.update_path();
    for age in (5..25).rev() {
        scene.publish(age, 1).await;
    }
    assert_eq!(scene.fetch().await, (vec![Fetch::Taken], vec![path]));
    scene.assert_in_step();
}

#[tokio::test]
async fn updates_that_are_of_no_use_are_replaced_by_the_whole() {
    // An old node that has none; nonsense; another base; a difference whose result nobody has signed.
    let tricks: [(Trick, Fetch); 4] = [
        (|_| Err(StatusCode::NOT_FOUND), Fetch::Refused),
        (|_| Ok(b"<html>".to_vec()), Fetch::Invalid),
        (
            |mut update| {
                update[1] ^= 1;
                Ok(update)
            },
            Fetch::Invalid,
        ),
        (
            |mut update| {
                *update.last_mut().unwrap() ^= 1;
                Ok(update)
            },
            Fetch::Invalid,
        ),
    ];
    for (trick, counted) in tricks {
        let mut scene = Scene::start(trick).await;
        scene.publish(9, 1).await;
        scene.fetch().await;
        let path = scene.update_path();
        scene.publish(7, 2).await;
        let (mut results, asked) = scene.fetch().await;
        results.sort_by_key(|result| *result != Fetch::Taken);
        assert_eq!((results, asked), (vec![Fetch::Taken, counted], vec![path, CONSENSUS_PATH.to_owned()]));
        scene.assert_in_step();
    }
}

#[tokio::test]
async fn a_source_that_is_not_there_is_asked_once() {
    let mut scene = Scene::start(Ok).await;
    scene.publish(9, 1).await;
    scene.fetch().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let fetched = scene.node.fetch(&format!("http://{nobody}")).await;
    assert!(matches!(fetched, Err(FetchError::Http(HttpError::Connect(_)))), "{fetched:?}");
    assert_eq!(scene.node.directory.metrics().fetches.of(Fetch::Unreachable).get(), 1);
}
