//! Bad input at an authority's door: each is refused by its own status, and counted by its own reason.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use allium_shared::crypto::keys::IdentityKeypair;
use allium_shared::netdir::{
    Authorities, FamilyKeypair, MAX_DESCRIPTOR_LEN, NetworkId, RelayDescriptor, RelayEntry, RelayRole, Roles,
};
use allium_tests::directory::{self, Record};
use allium_tests::liar::UNKNOWN;
use allium_tests::machines::{Machines, Place};
use allium_tests::network::free_port;
use allium_tests::peer::now;
use allium_tests::wait;

/// How far a relay's clock may be off, in seconds.
const MAX_CLOCK_OFFSET: u64 = 600;

/// How long a new relay has to come up at authorities of tests, in seconds.
const DOWN_AFTER: u64 = 3;

/// What one address may send at once.
const BURST: u64 = 256;

/// Numbers are renewed every ten seconds.
const MOVED_WITHIN: Duration = Duration::from_secs(30);

/// A relay's key pair and what it would publish now, the same for the same seed.
fn relay(seed: u8) -> (IdentityKeypair, RelayDescriptor) {
    let keypair = IdentityKeypair::from_seed(&[seed; 32]);
    let entry = RelayEntry::new(
        keypair.identity(),
        [seed ^ 0x40; 32].into(),
        [seed ^ 0x80; 32].into(),
        Roles::from_iter([RelayRole::Guard, RelayRole::Middle]),
        format!("relay{seed}").parse().unwrap(),
        format!("ws://127.0.0.1:1/{seed}").parse().unwrap(),
    );
    (keypair, RelayDescriptor { published: now().as_secs(), uptime: 0, entry, certificate: None })
}

/// An authority, and what was sent to it by what should have become of it.
struct Door {
    machines: Machines,
    place: Place,
    network: NetworkId,
    sent: BTreeMap<&'static str, u64>,
}

impl Door {
    fn open() -> Self {
        let mut machines = Machines::new(5, &[]);
        let place = Place { ip: [127, 0, 0, 1].into(), port: free_port(), namespace: None };
        let authorities = Authorities::new(vec![machines.keygen("alone", &place)]).unwrap();
        machines.authority("alone", &place, &authorities);
        wait::until(directory::PATIENCE, "the authority", || directory::get(&format!("{}/healthz", place.url())));
        Self { machines, place, network: *authorities.network(), sent: BTreeMap::new() }
    }

    fn url(&self) -> String {
        format!("{}/directory/descriptor", self.place.url())
    }

    #[track_caller]
    fn send(&mut self, what: &str, bytes: &[u8], status: u16, result: &'static str) {
        assert_eq!(directory::post(&self.url(), bytes), status, "{what}");
        *self.sent.entry(result).or_default() += 1;
    }

    /// Sends what the relay of this seed would publish, changed like this.
    #[track_caller]
    fn publish(
        &mut self,
        what: &str,
        seed: u8,
        change: impl FnOnce(&mut RelayDescriptor),
        (status, result): (u16, &'static str),
    ) {
        let (keypair, mut descriptor) = relay(seed);
        change(&mut descriptor);
        self.send(what, &descriptor.sign(&keypair, &self.network), status, result);
    }

    /// Sends the beginning of a descriptor that is said to be so long; gives the answer.
    #[track_caller]
    fn begin(&self, length: u64, body: &[u8]) -> String {
        let mut socket = TcpStream::connect((self.place.ip, self.place.port)).unwrap();
        socket.set_read_timeout(Some(directory::PATIENCE)).unwrap();
        let head = format!(
            "POST /directory/descriptor HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        // What it has not read it may answer with a reset, behind its answer.
        let mut chunk = [0; 1024];
        while let Ok(count @ 1..) = socket.read(&mut chunk) {
            answer.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8(answer).unwrap()
    }

    fn count(&self, result: &str) -> u64 {
        let numbers = directory::numbers(&self.place.admin());
        numbers.get(&format!("allium_authority_descriptors_total{{result=\"{result}\"}}")).copied().unwrap_or(0)
    }
}

#[test]
fn bad_descriptors_are_refused_and_counted_by_their_reasons() {
    let mut door = Door::open();
    let network = door.network;
    let (keypair, first) = relay(1);
    let bytes = first.sign(&keypair, &network);
    door.send("a relay", &bytes, 200, "changed");
    door.send("the same again", &bytes, 409, "outdated");
    door.publish("a sign of life", 1, |relay| relay.published = first.published + 1, (200, "renewed"));
    door.publish("an older one", 1, |relay| relay.published = first.published - 1, (409, "outdated"));

    // The first is not there, but it has a while to come up.
    let taken = (409, "taken");
    door.publish("another's nickname", 2, |relay| relay.entry.nickname = first.entry.nickname.clone(), taken);
    door.publish("another's link key", 2, |relay| relay.entry.link_key = first.entry.link_key, taken);
    door.publish("another's onion key", 2, |relay| relay.entry.onion_key = first.entry.onion_key, taken);
    door.publish("another's address", 2, |relay| relay.entry.url = first.entry.url.clone(), taken);

    let (keypair, second) = relay(2);
    let good = second.sign(&keypair, &network);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let foreign = second.sign(&keypair, &NetworkId::from_bytes([7; 32]));
    for (what, bytes, result) in [
        ("a changed signature", changed(&|bytes| *bytes.last_mut().unwrap() ^= 1), "signature"),
        ("a changed time", changed(&|bytes| bytes[9] ^= 1), "signature"),
        ("another's signature", second.sign(&relay(3).0, &network), "signature"),
        ("one for another network", foreign, "signature"),
        ("nothing", Vec::new(), "malformed"),
        ("half of one", good[..good.len() / 2].to_vec(), "malformed"),
        ("one and a byte", changed(&|bytes| bytes.push(0)), "malformed"),
        ("one of another version", changed(&|bytes| bytes[1] = 9), "malformed"),
        ("noise", vec![0xa5; 300], "malformed"),
    ] {
        door.send(what, &bytes, 400, result);
    }

    let late = now().as_secs() - MAX_CLOCK_OFFSET - 5;
    let early = now().as_secs() + MAX_CLOCK_OFFSET + 60;
    door.publish("one of the past", 2, |relay| relay.published = late, (409, "clock"));
    door.publish("one of the future", 2, |relay| relay.published = early, (409, "clock"));
    door.publish("one of the end of time", 2, |relay| relay.published = u64::MAX, (409, "clock"));

    door.send("one that is too long", &vec![0; MAX_DESCRIPTOR_LEN + 1], 413, "transfer");
    for (what, length, body, status) in [
        ("one that is far too long, and is not waited for", 1 << 40, vec![0; 2 * MAX_DESCRIPTOR_LEN], 413),
        ("one that does not come", 300, Vec::new(), 408),
    ] {
        let answer = door.begin(length, &body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        *door.sent.entry("transfer").or_default() += 1;
    }

    let family = FamilyKeypair::new(IdentityKeypair::from_seed(&[90; 32]));
    let member = relay(2).0.identity();
    let of_another = family.certify(&network, &relay(3).0.identity());
    let certified = family.certify(&network, &member);
    door.publish(
        "a family without a word",
        2,
        |relay| relay.entry.family = Some(family.identity()),
        (400, "malformed"),
    );
    let in_family = |certificate: [u8; 64]| {
        let family = family.identity();
        move |relay: &mut RelayDescriptor| (relay.entry.family, relay.certificate) = (Some(family), Some(certificate))
    };
    door.publish("a family's word for another", 2, in_family(of_another), (400, "signature"));
    door.publish("a family's word", 2, in_family(certified), (200, "changed"));
    door.publish("unknown fields", 3, |relay| relay.entry.other.insert(UNKNOWN, vec![7; 90]), (200, "changed"));

    let expected = door.sent.clone();
    wait::until(MOVED_WITHIN, &format!("the counts {expected:?}"), || {
        expected.iter().all(|(result, count)| door.count(result) == *count).then_some(())
    });
    let known = ["relay1", "relay2", "relay3"].map(|name| directory::known(&door.place.url(), name).is_some());
    assert_eq!(known, [true; 3], "good ones are held");

    // One address alone does not keep an authority busy.
    let mut refused = 0;
    while refused == 0 {
        refused += u64::from(directory::post(&door.url(), b"again") == 429);
        *door.sent.entry("malformed").or_default() += 1;
        assert!(door.sent["malformed"] < 40 * BURST, "everything is taken");
    }
    wait::until(MOVED_WITHIN, "the count of what was too much", || (door.count("rate") == refused).then_some(()));
    let record = Record::new(directory::authorities(&door.place.url()));
    record.assert_no_misconduct(&door.place.url());
}

#[test]
fn a_relay_that_was_made_up_keeps_no_name_and_no_address_from_one_that_is_there() {
    let mut door = Door::open();
    let place = Place { ip: [127, 0, 0, 1].into(), port: free_port(), namespace: None };
    let link = format!("ws://{}:{}/link", place.ip, place.port);
    let claim = |relay: &mut RelayDescriptor| {
        relay.entry.nickname = "late".parse().unwrap();
        relay.entry.url = link.parse().unwrap();
    };
    door.publish("a relay that is not there", 1, claim, (200, "changed"));
    let known = || directory::known(&door.place.url(), "late").unwrap();
    let made_up = known();
    assert_eq!(made_up["identity"], relay(1).0.identity().to_hex());
    // As long as a new one has to come up.
    let firm_until = made_up["since"].as_u64().unwrap() + DOWN_AFTER + 1;
    wait::until(directory::PATIENCE, "the end of its grace", || (now().as_secs() > firm_until).then_some(()));
    assert_eq!(known()["runs"], false);

    let authorities = directory::authorities(&door.place.url());
    door.machines.relay("late", &place, &authorities);
    let mut record = Record::new(authorities);
    let consensus = record.await_all([&door.place.url()], "the relay in the consensus", |one| one.relays().len() == 1);
    let listed = consensus.relays().first().unwrap();
    assert_eq!((listed.nickname.as_str(), listed.url.as_str()), ("late", &*link));
    assert_ne!(listed.identity, relay(1).0.identity());
    assert_eq!(directory::known(&door.place.url(), "late").unwrap()["identity"], listed.identity.to_hex());
    // Now who made it up comes too late.
    door.publish(
        "the same again",
        1,
        |relay| {
            claim(relay);
            relay.published += 30;
        },
        (409, "taken"),
    );
    assert!(door.machines.log("alone").contains("answers in place of others"), "{}", door.machines.log("alone"));
}
