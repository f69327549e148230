//! The largest directory that there can be: what a client has to take when it starts, made up and properly signed.

use allium_shared::crypto::keys::IdentityKeypair;
use allium_shared::netdir::{
    Authorities, Authority, AuthorityKeypair, ConsensusDraft, ExitPolicy, ListedAuthority, MAX_RELAYS, RelayEntry,
    RelayRole, Roles, SoftwareVersion, Validity,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A network of nine authorities, five of which make a quorum, and of as many relays as there may be.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The authorities' secrets.
    pub seeds: Vec<[u8; 32]>,
    /// Who signs.
    pub authorities: Authorities,
    relays: Vec<RelayEntry>,
}

impl Directory {
    /// The largest one; always the same.
    pub fn largest() -> Option<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let seeds: Vec<[u8; 32]> = (0..9).map(|_| bytes(&mut rng)).collect();
        let authority = |(index, seed): (usize, &[u8; 32])| {
            let nickname = format!("authority{index}").parse().ok()?;
            let url = format!("https://authority{index}.example.org");
            Some(Authority { nickname, key: keypair(seed).identity(), url })
        };
        let authorities = seeds.iter().enumerate().map(authority).collect::<Option<_>>()?;
        let families: Vec<[u8; 32]> = (0..400).map(|_| bytes(&mut rng)).collect();
        let policy: Vec<_> = ["reject 10.0.0.0/8:*", "reject 192.168.0.0/16:*", "accept *:80", "accept *:443"]
            .into_iter()
            .map_while(|rule| rule.parse().ok())
            .collect();
        let policy = ExitPolicy::new(policy).ok()?;
        let relays = (0..MAX_RELAYS).map(|index| relay(&mut rng, index, &families, &policy));
        Some(Self { authorities: Authorities::new(authorities).ok()?, relays: relays.collect::<Option<_>>()?, seeds })
    }

    /// The same an hour later: `percent` of a hundred relays are others, with new keys and addresses.
    pub fn later(mut self, percent: usize) -> Option<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        for (index, entry) in self.relays.iter_mut().enumerate().filter(|(index, _)| index % 100 < percent) {
            let other = relay(&mut rng, MAX_RELAYS + index, &[], &ExitPolicy::default())?;
            *entry = RelayEntry { roles: entry.roles, weight: entry.weight, ..other };
        }
        Some(self)
    }

    /// The list of relays with the signatures of all authorities, of which the first hour begins at `valid_after`, in
    /// seconds since 1970.
    pub fn consensus(&self, valid_after: u64) -> Option<Vec<u8>> {
        let (fresh_until, valid_until) = (valid_after + 3600, valid_after + 3 * 3600);
        let validity = Validity { valid_after, fresh_until, valid_until };
        let mut draft = ConsensusDraft::new(*self.authorities.network(), validity, self.relays.clone());
        let listed = |authority: &Authority| ListedAuthority {
            key: authority.key,
            nickname: authority.nickname.clone(),
            url: authority.url.clone(),
            commitment: None,
            reveal: None,
        };
        draft.authorities = self.authorities.iter().map(listed).collect();
        draft.parameters = [("padding-interval".to_owned(), 2_500)].into();
        // Most relays answer always.
        let poorly = self.relays.iter().enumerate().filter(|(index, _)| index.is_multiple_of(12));
        draft.health = poorly.map(|(index, relay)| (relay.identity, (index / 12 % 101) as u8)).collect();
        let keypairs: Vec<_> = self.seeds.iter().map(keypair).collect();
        draft.sign(&keypairs.iter().collect::<Vec<_>>()).ok()
    }
}

fn keypair(seed: &[u8; 32]) -> AuthorityKeypair {
    AuthorityKeypair::new(IdentityKeypair::from_seed(seed))
}

/// A relay with keys that no other has. Nobody computes with them before a circuit needs them, so they are no real ones.
fn relay(rng: &mut ChaCha20Rng, index: usize, families: &[[u8; 32]], policy: &ExitPolicy) -> Option<RelayEntry> {
    let is_exit = index % 5 == 1;
    let roles = [
        (RelayRole::Guard, index % 5 != 1),
        (RelayRole::Middle, true),
        (RelayRole::Exit, is_exit),
        (RelayRole::Rendezvous, !index.is_multiple_of(3)),
        (RelayRole::Chord, index.is_multiple_of(4)),
        (RelayRole::Mailbox, index % 16 == 3),
    ];
    let roles: Roles = roles.into_iter().filter(|(_, has)| *has).map(|(role, _)| role).collect();
    let [a, b, c, d] = bytes(rng);
    // Reserved, so that nobody is ever there.
    let url = format!("ws://{}.{b}.{c}.{d}:9001/link", 240 + a % 15).parse().ok()?;
    let nickname = format!("relay{index}").parse().ok()?;
    let keys = (bytes(rng).into(), bytes(rng).into(), bytes(rng).into());
    let mut entry = RelayEntry::new(keys.0, keys.1, keys.2, roles, nickname, url);
    // A few carry most of the traffic, as everywhere.
    entry.weight = 20 + 100_000 / (1 + u32::from_be_bytes(bytes(rng)) % 2_000);
    entry.version = SoftwareVersion::own();
    if index.is_multiple_of(3) {
        entry.secure_url = Some(format!("wss://relay{index}.example.org/link").parse().ok()?);
    }
    if index.is_multiple_of(4) {
        entry.family = families.get(index / 4 % families.len().max(1)).map(|family| (*family).into());
    }
    if is_exit {
        entry.exit_policy = policy.clone();
    }
    Some(entry)
}

fn bytes<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}
