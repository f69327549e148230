//! Addresses of authorities: one moves, and all others follow by what it votes; and all are known by the name of a host.

use allium_shared::netdir::{Authorities, Consensus};
use allium_tests::chat::Pair;
use allium_tests::directory::Record;
use allium_tests::forward::Forward;
use allium_tests::machines::{Machines, Place};
use allium_tests::network::free_port;

use super::{INTERVAL, moment};

const NAMES: [&str; 3] = ["ann", "bob", "eve"];
const RELAYS: usize = 5;

fn place() -> Place {
    Place { ip: [127, 0, 0, 1].into(), port: free_port(), namespace: None }
}

struct Scene {
    machines: Machines,
    record: Record,
    list: Authorities,
    authorities: [Place; 3],
    relays: Vec<Place>,
}

impl Scene {
    /// A network whose authorities are known by addresses that `url` gives for the places where they are.
    #[track_caller]
    fn start(url: impl Fn(&Place) -> String) -> Self {
        let mut machines = Machines::new(INTERVAL, &[("path-subnet-v4-bits", 0)]);
        let authorities = NAMES.map(|_| place());
        let named = || NAMES.into_iter().zip(&authorities);
        let entries = named().map(|(name, place)| machines.keygen_at(name, &url(place))).collect();
        let list = Authorities::new(entries).unwrap();
        for (name, place) in named() {
            machines.authority_at(name, place, &url(place), &list);
        }
        let relays: Vec<Place> = (0..RELAYS).map(|_| place()).collect();
        for (number, place) in relays.iter().enumerate() {
            machines.relay(&format!("relay{number}"), place, &list);
        }
        let mut scene = Self { machines, record: Record::new(list.clone()), list, authorities, relays };
        scene.await_all("a consensus with all relays, signed by all", |_| true);
        scene
    }

    /// Waits until all nodes hold a consensus that lists all relays, that all authorities have signed, and that is such.
    #[track_caller]
    fn await_all(&mut self, what: &str, such: impl Fn(&Consensus) -> bool) -> Consensus {
        let urls: Vec<String> = self.authorities.iter().chain(&self.relays).map(Place::url).collect();
        self.record.await_all(&urls, what, |one| {
            one.signers().len() == NAMES.len() && one.relays().len() == RELAYS && such(one)
        })
    }

    /// Where `ann` is, by a consensus.
    fn of_ann(&self, consensus: &Consensus) -> String {
        let ann = self.list.iter().find(|one| one.nickname.as_str() == "ann").unwrap();
        consensus.authority(&ann.key).map(|listed| listed.url.clone()).unwrap_or_default()
    }
}

#[test]
fn an_authority_moves_and_everybody_follows() {
    let mut scene = Scene::start(Place::url);
    let pair = Pair::meet(&scene.authorities[1].url());
    let (old, new) = (scene.authorities[0].clone(), place());
    let first = scene.await_all("the old address", |_| true);
    assert_eq!(scene.of_ann(&first), old.url());

    // Its operator changes its address, and for a while has the old one passed on. Nobody else's file changes.
    scene.machines.remove("ann");
    let list = scene.list.clone();
    scene.machines.authority("ann", &new, &list);
    let forward = Forward::open(old.port, new.port);
    scene.authorities[0] = new.clone();
    let key = list.iter().find(|one| one.nickname.as_str() == "ann").unwrap().key;
    let at = |url: String| move |one: &Consensus| one.authority(&key).is_some_and(|listed| listed.url == url);
    scene.await_all("the new address", at(new.url()));
    assert!(forward.passed() > 0, "nobody has known it by its old address");
    drop(forward);

    // Now nobody answers at the old address.
    let gone = moment();
    let next = scene
        .await_all("the votes of all without the old address", |one| one.validity().valid_after >= gone + 2 * INTERVAL);
    assert_eq!(scene.of_ann(&next), new.url());
    // Who is started again with the old list, but what it has kept, finds it as well; and so do two who hold on to each other.
    scene.machines.kill("bob");
    scene.machines.restart("bob");
    scene.machines.kill("relay0");
    scene.machines.restart("relay0");
    let back = moment();
    scene.await_all("all of them again", |one| one.validity().valid_after >= back + INTERVAL);
    // With one of the others gone, a quorum takes the one that has moved.
    scene.machines.kill("eve");
    let two = moment() + INTERVAL;
    let urls: Vec<String> = scene.authorities[..2].iter().chain(&scene.relays).map(Place::url).collect();
    let left = scene.record.await_all(&urls, "a consensus of the two", |one| one.validity().valid_after >= two);
    assert!(left.signers().contains(&key) && left.signers().len() == 2);
    pair.assert_talking("After the move");
    for place in &scene.authorities[..2] {
        scene.record.assert_no_misconduct(&place.url());
    }
}

#[test]
fn authorities_are_known_by_the_name_of_a_host() {
    let url = |place: &Place| format!("http://localhost:{}", place.port);
    let mut scene = Scene::start(url);
    let named = scene.await_all("their names", |consensus| consensus.authorities().len() == 3);
    let listed: Vec<&str> = named.authorities().iter().map(|one| one.url.as_str()).collect();
    assert!(listed.len() == 3 && listed.iter().all(|url| url.starts_with("http://localhost:")), "{listed:?}");
    // Clients too: who is given one by its name, and takes the others' names from it.
    Pair::meet(&url(&scene.authorities[0])).assert_talking("By name");
}
