//! Building circuits, and meeting people with them: waiting at rendezvous relays, and looking there.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::Rng;

use super::api::{ContactId, ContactState, Event, InviteId, LinkId};
use super::circuits::{CircuitKey, FirstSecrets, Managed, Phase, Place, Talk, Task, Visit, Wait, WaitState};
use super::contacts::{Contact, KeyBytes, OpenInvite, Part, Stage};
use super::relays::{End, NoPath, hop, hops, jitter};
use super::store::{Key, Then};
use super::talks::PING_TIME;
use super::{Client, HOP_TIME, SPARES};
use crate::cell::DestroyReason;
use crate::cell::fragment::{Assembler, Fragment, split};
use crate::cell::message::{Cookie, RelayMessage};
use crate::circuit::{Circuit, Received, Side};
use crate::contact::invite::{INVITE_RELAYS, Invite, invite_identity};
use crate::crypto::handshake::{
    self, CLIENT_MESSAGE_LEN, CircuitKeys, ClientHandshake, KeyStream, SERVER_MESSAGE_LEN, ServerPublic,
};
use crate::crypto::keys::{OnionSecret, RelayIdentity};
use crate::rendezvous::{MEETINGS, Meeting};

/// Circuits that may be under construction at once.
const MAX_BUILDING: usize = 16;

/// Relays that a visitor looks at in parallel.
const VISITS: usize = 2;

/// How many relays of a ranking a visitor tries in one round: the host waits at the first that work.
const RANKS: usize = 8;

/// The pause between two rounds of a search, at first and at most.
const ROUND_PAUSE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(10));

/// How long a handshake through a rendezvous relay may take, or what two joined clients say first.
const MEETING_TIME: Duration = Duration::from_secs(6);

/// What to say when no invite can be made.
const TOO_FEW_PLACES: &str = "There are too few relays where a visitor could meet you: none of them may have one operator or \
                              stand in one subnet with those that lead there. Try again later.";

impl Contact {
    /// Whether we are the one who waits.
    pub(super) fn is_host(&self) -> bool {
        self.met().is_some_and(|met| matches!(met.part, Part::Host { .. }))
    }
}

impl Client {
    /// Builds what is missing.
    pub(super) fn keep_circuits(&mut self) {
        self.keep_waiting_for_invites();
        let ids: Vec<_> = self.contacts.keys().copied().collect();
        for id in ids {
            match self.contacts.get(&id) {
                Some(contact) if contact.is_host() => self.keep_waiting_for(id),
                Some(contact) if contact.talk.is_none() => self.keep_looking_for(id),
                _ => {}
            }
        }
        let spares = self.circuits.values().filter(|managed| matches!(managed.task, Task::Spare)).count();
        for _ in spares..SPARES {
            let Ok((link, path)) = self.path(End::Any) else { break };
            if self.build(link, &path, Task::Spare).is_none() {
                break;
            }
        }
    }

    /// A path for a new circuit, over a guard whose link is open.
    pub(super) fn path(&mut self, end: End) -> Result<(LinkId, Vec<RelayIdentity>), NoPath> {
        let building = self.circuits.values().filter(|managed| !managed.circuit.is_open()).count();
        if self.directory.consensus.is_none() || building >= MAX_BUILDING {
            return Err(NoPath::NotYet);
        }
        let now = self.network_now();
        let links = &self.links;
        let link_to = |guard: &RelayIdentity| links.iter().find(|(_, link)| link.guard == *guard && link.is_open());
        let path = self.relays.path(&mut self.rng, now, end, |guard| link_to(guard).is_some())?;
        let link = path.first().and_then(link_to).ok_or(NoPath::NotYet)?;
        Ok((*link.0, path))
    }

    /// Drops circuits that are kept ready and would not be built like this today.
    pub(super) fn drop_outdated_spares(&mut self) {
        let outdated =
            |managed: &Managed| matches!(managed.task, Task::Spare) && !self.relays.stands(managed.circuit.path());
        let outdated: Vec<_> =
            self.circuits.iter().filter(|(_, managed)| outdated(managed)).map(|(key, _)| *key).collect();
        outdated.into_iter().for_each(|key| self.drop_circuit(key));
    }

    pub(super) fn build(&mut self, link: LinkId, path: &[RelayIdentity], task: Task) -> Option<CircuitKey> {
        let hops = hops(self.directory.consensus.as_ref()?, path)?;
        let circ = self.links.get_mut(&link)?.new_circ_id();
        let mut cells = Vec::new();
        let circuit = Circuit::build(&mut self.rng, circ, hops, &mut cells).ok()?;
        let key = CircuitKey(self.next_circuit);
        self.next_circuit += 1;
        self.links.get_mut(&link)?.circuits.insert(circ, key);
        self.send_cells(link, &cells);
        let deadline = Some(self.now.instant + self.relays.stretch(HOP_TIME));
        self.circuits.insert(key, Managed { circuit, link, task, deadline });
        Some(key)
    }

    /// Sends a message to the last hop of a circuit.
    fn send_on(&mut self, key: CircuitKey, message: &RelayMessage) {
        if let Some(managed) = self.circuits.get_mut(&key) {
            let mut cells = Vec::new();
            managed.circuit.send(message, &mut cells);
            let link = managed.link;
            self.send_cells(link, &cells);
        }
    }

    /// What a circuit's cell meant.
    pub(super) fn received(&mut self, key: CircuitKey, received: Received) {
        match received {
            Received::Nothing => {}
            Received::Open => self.circuit_open(key),
            Received::Message(message) => self.relay_message(key, *message),
            Received::Data(stream, data) => match self.circuits.get(&key).map(|managed| &managed.task) {
                Some(Task::Ask(_)) => self.request_data(key, stream, &data),
                _ => self.talk_data(key, stream, &data),
            },
            Received::Connected(_) => {}
            Received::Ended(_, reason) => self.request_ended(key, reason),
            Received::Destroyed(_) => self.close_circuit(key, None),
        }
    }

    fn circuit_open(&mut self, key: CircuitKey) {
        self.proven = true;
        self.counts.opened += 1;
        let Some(managed) = self.circuits.get_mut(&key) else { return };
        match &mut managed.task {
            Task::Spare | Task::Talk(_) => managed.deadline = None,
            Task::Wait(wait) => {
                wait.state = WaitState::Establishing;
                managed.deadline = Some(self.now.instant + self.relays.stretch(HOP_TIME));
                let message = RelayMessage::EstablishRendezvous(wait.meeting.cookie);
                self.send_on(key, &message);
            }
            Task::Visit(_) => self.knock(key),
            Task::Ask(_) => self.begin_request(key),
        }
    }

    /// A circuit is gone; `key` is out of its link's table already. With `blame`, it went wrong on its way, and the relay
    /// that did not do its part is left alone for a while.
    pub(super) fn circuit_lost(&mut self, key: CircuitKey, blame: bool) {
        let Some(managed) = self.circuits.remove(&key) else { return };
        let now = self.now.instant;
        let building = !managed.circuit.is_open();
        let refused = matches!(&managed.task, Task::Wait(Wait { state: WaitState::Establishing, .. }));
        if blame && (building || refused) {
            let at = managed.circuit.reached().min(managed.circuit.path().len().saturating_sub(1));
            if let Some(hop) = managed.circuit.path().get(at) {
                let relay = hop.identity;
                // A guard that will not have us wait at it may still be a good guard.
                if !(refused && self.relays.keeps_guard(&relay)) {
                    self.relays.failed(relay, now);
                }
                // A guard that does not even answer a CREATE holds up everything: its link goes too.
                let silent = at == 0 && managed.deadline.is_some_and(|deadline| deadline <= now);
                if silent && self.links.contains_key(&managed.link) {
                    self.close_link(managed.link);
                }
            }
        }
        match managed.task {
            Task::Spare | Task::Visit(_) => {}
            Task::Wait(wait) => self.wait_lost(&wait),
            Task::Talk(talk) => self.talk_lost(key, &talk),
            Task::Ask(request) => self.request_lost(*request),
        }
    }

    // ---- waiting ----

    /// Chooses places for a new invite; the link is given out once somebody could come.
    pub(super) fn begin_invite(&mut self, id: u64) {
        let mut secret = [0; 16];
        self.rng.fill_bytes(&mut secret);
        let key = KeyBytes::of(&OnionSecret::generate(&mut self.rng));
        self.invites.insert(id, OpenInvite { key, secret, places: Vec::new(), published: false });
    }

    fn keep_waiting_for_invites(&mut self) {
        let now = self.now.instant;
        let ids: Vec<_> = self.invites.keys().copied().collect();
        for id in ids {
            self.fill_places(id);
            let Some(invite) = self.invites.get(&id) else { continue };
            let meetings: Vec<_> = invite.invite(self.network_prefix()).meetings().collect();
            for meeting in meetings {
                let place = Place::Invite { invite: id, relay: meeting.relay };
                if self.is_waiting(place) || self.relays.is_failing(&meeting.relay, now) {
                    continue;
                }
                match self.wait_at(place, meeting) {
                    Ok(()) | Err(NoPath::NotYet) => {}
                    Err(reason) => self.unreachable_place(id, place, reason),
                }
            }
        }
    }

    /// There is no way to a place where an invite was to wait. One that nobody has seen yet goes elsewhere.
    fn unreachable_place(&mut self, id: u64, place: Place, reason: NoPath) {
        let (Place::Invite { relay, .. }, Some(invite)) = (place, self.invites.get_mut(&id)) else { return };
        if invite.published {
            return;
        }
        invite.places.retain(|(place, _)| *place != relay);
        if reason == NoPath::TooFew {
            self.invites.remove(&id);
            self.error("invite", TOO_FEW_PLACES.to_owned());
        }
    }

    fn fill_places(&mut self, id: u64) {
        let Some(invite) = self.invites.get_mut(&id) else { return };
        if invite.published || self.directory.consensus.is_none() {
            return;
        }
        let taken: Vec<_> = invite.places.iter().map(|(relay, _)| *relay).collect();
        let count = INVITE_RELAYS.saturating_sub(taken.len());
        let chosen = self.relays.meeting_places(&mut self.rng, self.now.instant, count, &taken);
        if chosen.len() < count {
            self.invites.remove(&id);
            return self.error("invite", TOO_FEW_PLACES.to_owned());
        }
        for relay in chosen {
            let mut cookie = [0; 20];
            self.rng.fill_bytes(&mut cookie);
            invite.places.push((relay, cookie));
        }
    }

    fn keep_waiting_for(&mut self, id: ContactId) {
        let Some(met) = self.contacts.get(&id).and_then(Contact::met) else { return };
        let generation = met.generation;
        // Of an earlier generation, or of the secret before a contact introduced themselves again.
        let is_outdated = |wait: &Wait| match wait.place {
            Place::Contact { contact, generation: of, relay } if contact == id => {
                of != generation || wait.meeting.cookie != met.root.meeting(generation, relay).cookie
            }
            _ => false,
        };
        let outdated: Vec<_> = self
            .circuits
            .iter()
            .filter(|(_, managed)| matches!(&managed.task, Task::Wait(wait) if is_outdated(wait)))
            .map(|(key, _)| *key)
            .collect();
        for key in outdated {
            self.drop_circuit(key);
        }
        let mut waiting =
            self.waits().filter(|(_, place)| matches!(place, Place::Contact { contact, .. } if *contact == id)).count();
        let Some(consensus) = &self.directory.consensus else { return };
        let Some(met) = self.contacts.get_mut(&id).and_then(Contact::met_mut) else { return };
        if waiting >= MEETINGS {
            return;
        }
        let relays = met.ranked(generation, consensus).to_vec();
        for relay in relays {
            let place = Place::Contact { contact: id, generation, relay };
            let failing = self.relays.is_failing(&relay, self.now.instant);
            if waiting >= MEETINGS || failing || self.is_waiting(place) {
                continue;
            }
            let Some(met) = self.contacts.get(&id).and_then(Contact::met) else { return };
            if self.wait_at(place, met.root.meeting(generation, relay)).is_ok() {
                waiting += 1;
            }
        }
    }

    fn waits(&self) -> impl Iterator<Item = (CircuitKey, Place)> + '_ {
        self.circuits.iter().filter_map(|(key, managed)| match &managed.task {
            Task::Wait(wait) => Some((*key, wait.place)),
            _ => None,
        })
    }

    fn is_waiting(&self, place: Place) -> bool {
        self.waits().any(|(_, other)| other == place)
    }

    fn wait_at(&mut self, place: Place, meeting: Meeting) -> Result<(), NoPath> {
        let (link, path) = match place {
            // We chose the relay ourselves: it is the last of our own hops.
            Place::Invite { .. } => self.path(End::Own(meeting.relay)),
            // The contact knows the secret that ranks the relays, and might run one that is ranked first.
            Place::Contact { .. } => self.path(End::Others(meeting.relay)),
        }?;
        let wait = Wait { place, meeting, state: WaitState::Building };
        self.build(link, &path, Task::Wait(wait)).map(|_| ()).ok_or(NoPath::NotYet)
    }

    fn wait_lost(&mut self, wait: &Wait) {
        // An invite that nobody has seen yet may go elsewhere.
        if let Place::Invite { invite, relay } = wait.place
            && let Some(invite) = self.invites.get_mut(&invite)
            && !invite.published
        {
            invite.places.retain(|(place, _)| *place != relay);
        }
    }

    /// Gives the link out once somebody waits at all its places.
    fn publish(&mut self, id: u64) {
        let prefix = self.network_prefix();
        let established = |relay: &RelayIdentity| {
            self.circuits.values().any(|managed| match &managed.task {
                Task::Wait(wait) => {
                    wait.place == Place::Invite { invite: id, relay: *relay }
                        && matches!(wait.state, WaitState::Waiting)
                }
                _ => false,
            })
        };
        let Some(invite) = self.invites.get(&id) else { return };
        let complete = invite.places.len() == INVITE_RELAYS;
        if invite.published || !complete || !invite.places.iter().all(|(relay, _)| established(relay)) {
            return;
        }
        if let Some(invite) = self.invites.get_mut(&id) {
            invite.published = true;
            self.store.put(Key::Invite(id).to_string(), invite);
            let fragment = invite.invite(prefix).to_fragment();
            self.store.then(Then::Tell(Event::Invite { id: InviteId(id), fragment }));
        }
    }

    // ---- looking ----

    fn keep_looking_for(&mut self, id: ContactId) {
        let mut running = self.visits(id).len();
        let now = self.now.instant;
        self.end_search_round(id, running);
        let Some(contact) = self.contacts.get(&id) else { return };
        if !contact.search.running {
            if contact.search.next_round > now || !self.links.values().any(super::links::Link::is_open) {
                return;
            }
            let queue = self.round(id);
            if let Some(contact) = self.contacts.get_mut(&id) {
                contact.search.running = true;
                contact.search.queue = queue;
            }
        }
        for _ in 0..self.contacts.get(&id).map_or(0, |contact| contact.search.queue.len()) {
            let Some(contact) = self.contacts.get_mut(&id).filter(|_| running < VISITS) else { return };
            let Some(meetings) = contact.search.queue.pop_front() else { return };
            match self.visit(id, &meetings) {
                Ok(()) => running += 1,
                Err(NoPath::NotYet) => {
                    if let Some(contact) = self.contacts.get_mut(&id) {
                        contact.search.queue.push_back(meetings);
                    }
                }
                // Not in this round.
                Err(NoPath::OutOfReach | NoPath::TooFew) => {}
            }
        }
        self.end_search_round(id, running);
    }

    /// Ends a round in which nothing is left to be tried, and nothing under way.
    fn end_search_round(&mut self, id: ContactId, running: usize) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        if contact.search.running && contact.search.queue.is_empty() && running == 0 {
            contact.search.running = false;
            let pause = (ROUND_PAUSE.0 * (1 << contact.search.rounds.min(8))).min(ROUND_PAUSE.1);
            contact.search.rounds += 1;
            contact.search.next_round = self.now.instant + jitter(pause, pause * 3 / 2, &mut self.rng);
            self.complain(id);
        }
    }

    /// All that is to be tried in one round: for each relay, in the ranking's order, this generation and the one before.
    /// (The host is one behind when the visitor's last word did not reach it.)
    fn round(&mut self, id: ContactId) -> VecDeque<Vec<(u64, Meeting)>> {
        let contact = self.contacts.get_mut(&id);
        let (Some(consensus), Some(contact)) = (&self.directory.consensus, contact) else { return VecDeque::new() };
        let mut queue: Vec<Vec<(u64, Meeting)>> = match &mut contact.record.stage {
            Stage::Invited(invited) => Invite::parse(&invited.invite)
                .map(|invite| invite.meetings().map(|meeting| vec![(0, meeting)]).collect())
                .unwrap_or_default(),
            Stage::Met(met) => {
                let generation = met.generation;
                let mut rank = |generation| {
                    let mut ranked = met.ranked(generation, consensus).to_vec();
                    ranked.truncate(RANKS);
                    ranked
                };
                let current = rank(generation);
                let before = generation.checked_sub(1);
                let earlier = before.map(rank).unwrap_or_default();
                let late = earlier.iter().filter(|relay| !current.contains(relay));
                let tries = |relay: &RelayIdentity| {
                    let now = current.contains(relay).then_some(generation);
                    let before = before.filter(|_| earlier.contains(relay));
                    now.into_iter().chain(before).map(|g| (g, met.root.meeting(g, *relay))).collect()
                };
                current.iter().chain(late).map(tries).collect()
            }
        };
        queue.retain(|meetings: &Vec<(u64, Meeting)>| {
            meetings.first().is_some_and(|(_, meeting)| consensus.relay(&meeting.relay).is_some())
        });
        let failing = |meetings: &Vec<(u64, Meeting)>| {
            meetings.first().is_some_and(|(_, meeting)| self.relays.is_failing(&meeting.relay, self.now.instant))
        };
        // Stable: those that failed lately come last, each group in its order.
        queue.sort_by_key(failing);
        queue.into()
    }

    /// Says once that nobody answers at an invite's relays.
    fn complain(&mut self, id: ContactId) {
        let now = self.now.instant;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let Stage::Invited(invited) = &contact.record.stage else { return };
        if contact.search.complained || contact.search.rounds < 4 {
            return;
        }
        let Ok(invite) = Invite::parse(&invited.invite) else { return };
        let Some(consensus) = &self.directory.consensus else { return };
        let gone = |relay: &RelayIdentity| consensus.relay(relay).is_none() || self.relays.is_failing(relay, now);
        let too_close = |relay: &RelayIdentity| gone(relay) || self.relays.is_out_of_reach(relay);
        let name = &contact.record.name;
        let message = if invite.places.iter().all(|(relay, _)| gone(relay)) {
            format!(
                "The relays that the invite of {name} names cannot be reached. Still trying; ask for a new invite if this \
                 lasts."
            )
        } else if invite.places.iter().all(|(relay, _)| too_close(relay)) {
            format!(
                "The relays that the invite of {name} names have one operator or stand in one subnet with your own guards. \
                 Ask for a new invite."
            )
        } else {
            format!(
                "Nobody answers to the invite of {name}: its maker is offline, or somebody has used it. Still trying."
            )
        };
        contact.search.complained = true;
        self.error("add", message);
    }

    /// The circuits that look for this contact.
    fn visits(&self, id: ContactId) -> Vec<CircuitKey> {
        let is_visit = |managed: &Managed| matches!(&managed.task, Task::Visit(visit) if visit.contact == id);
        self.circuits.iter().filter(|(_, managed)| is_visit(managed)).map(|(key, _)| *key).collect()
    }

    /// Sends a circuit to one relay: a spare one with another hop where one fits, else a new one.
    fn visit(&mut self, contact: ContactId, meetings: &[(u64, Meeting)]) -> Result<(), NoPath> {
        let Some((_, meeting)) = meetings.first() else { return Ok(()) };
        let relay = meeting.relay;
        let task =
            Task::Visit(Box::new(Visit { contact, meetings: meetings.iter().cloned().collect(), knocking: None }));
        let spare = self.circuits.iter().find(|(_, managed)| {
            matches!(managed.task, Task::Spare)
                && managed.circuit.is_open()
                && self.relays.may_follow(managed.circuit.path(), &relay)
        });
        let Some(key) = spare.map(|(key, _)| *key) else {
            let (link, path) = self.path(End::Others(relay))?;
            return self.build(link, &path, task).map(|_| ()).ok_or(NoPath::NotYet);
        };
        let next = self.directory.consensus.as_ref().and_then(|consensus| consensus.relay(&relay)).map(hop);
        let (Some(next), Some(managed)) = (next, self.circuits.get_mut(&key)) else { return Ok(()) };
        let mut cells = Vec::new();
        managed.task = task;
        managed.deadline = Some(self.now.instant + self.relays.stretch(HOP_TIME));
        let link = managed.link;
        if managed.circuit.extend(&mut self.rng, next, &mut cells).is_err() {
            self.close_circuit(key, Some(DestroyReason::Internal));
            return Ok(());
        }
        self.send_cells(link, &cells);
        Ok(())
    }

    /// Tries the next cookie at the relay, or goes away.
    fn knock(&mut self, key: CircuitKey) {
        let Some(Managed { task: Task::Visit(visit), deadline, .. }) = self.circuits.get_mut(&key) else { return };
        let contact = self.contacts.get(&visit.contact);
        let (Some((generation, meeting)), Some(contact)) = (visit.meetings.pop_front(), contact) else {
            return self.drop_circuit(key);
        };
        let host_key = match &contact.record.stage {
            Stage::Invited(invited) => Invite::parse(&invited.invite).ok().map(|invite| invite.key),
            Stage::Met(met) => match met.part {
                Part::Visitor { key, .. } => Some(key),
                Part::Host { .. } => None,
            },
        };
        let begun = host_key.and_then(|onion_key| {
            let server = ServerPublic { identity: invite_identity(&onion_key), onion_key };
            ClientHandshake::start(&mut self.rng, &server, &meeting.verification).ok()
        });
        let Some((handshake, message)) = begun else {
            return self.drop_circuit(key);
        };
        visit.knocking = Some((generation, handshake, Assembler::default()));
        *deadline = Some(self.now.instant + self.relays.stretch(MEETING_TIME));
        for fragment in split(&message) {
            let cookie: Option<Cookie> = (fragment.index == 0).then_some(meeting.cookie);
            self.send_on(key, &RelayMessage::Rendezvous1 { cookie, fragment });
        }
    }

    // ---- meeting ----

    fn relay_message(&mut self, key: CircuitKey, message: RelayMessage) {
        let Some(managed) = self.circuits.get_mut(&key) else { return };
        match (&mut managed.task, message) {
            (Task::Wait(wait), RelayMessage::RendezvousEstablished)
                if matches!(wait.state, WaitState::Establishing) =>
            {
                wait.state = WaitState::Waiting;
                managed.deadline = None;
                if let Place::Invite { invite, .. } = wait.place {
                    self.publish(invite);
                }
            }
            (Task::Wait(wait), RelayMessage::Rendezvous2(fragment)) => {
                if matches!(wait.state, WaitState::Waiting) {
                    wait.state = WaitState::Visited(Assembler::default());
                    managed.deadline = Some(self.now.instant + self.relays.stretch(MEETING_TIME));
                }
                let WaitState::Visited(assembler) = &mut wait.state else {
                    return self.close_circuit(key, Some(DestroyReason::Protocol));
                };
                match assembler.push(&fragment) {
                    Ok(None) => {}
                    Ok(Some(message)) => self.admit(key, &message),
                    Err(_) => self.close_circuit(key, Some(DestroyReason::Protocol)),
                }
            }
            (Task::Visit(visit), RelayMessage::RendezvousUnknown) if visit.knocking.is_some() => {
                visit.knocking = None;
                self.knock(key);
            }
            (Task::Visit(_), RelayMessage::RendezvousAccepted(fragment)) => {
                self.admitted(key, fragment);
            }
            _ => self.close_circuit(key, Some(DestroyReason::Protocol)),
        }
    }

    /// Host: a visitor's handshake is complete; answers it, if it is one of somebody who may come.
    fn admit(&mut self, key: CircuitKey, message: &[u8]) {
        let Some(Managed { task: Task::Wait(wait), .. }) = self.circuits.get(&key) else { return };
        let (place, verification) = (wait.place, wait.meeting.verification);
        let secret = match place {
            Place::Invite { invite, .. } => self.invites.get(&invite).map(|invite| invite.key.secret()),
            Place::Contact { contact, .. } => {
                self.contacts.get(&contact).and_then(Contact::met).and_then(|met| match &met.part {
                    Part::Host { key, .. } => Some(key.secret()),
                    Part::Visitor { .. } => None,
                })
            }
        };
        let answered = secret.and_then(|secret| {
            let identity = invite_identity(secret.public().as_bytes());
            let message = message.get(..CLIENT_MESSAGE_LEN)?;
            handshake::respond(&mut self.rng, &identity, &secret, &verification, message).ok()
        });
        let Some((answer, mut stream)) = answered else {
            return self.close_circuit(key, Some(DestroyReason::Protocol));
        };
        for fragment in split(&answer) {
            self.send_on(key, &RelayMessage::RendezvousAccept(fragment));
        }
        let keys = CircuitKeys::from(&mut stream);
        let (contact, phase) = match place {
            Place::Invite { invite, .. } => {
                (None, Phase::AwaitIntroduce { invite, secrets: FirstSecrets::read(&mut stream) })
            }
            Place::Contact { contact, .. } => (Some(contact), Phase::AwaitResume),
        };
        self.begin_talk(key, Side::Host, &keys, contact, phase);
    }

    /// Visitor: takes one fragment of the host's answer; at the third the two are joined.
    fn admitted(&mut self, key: CircuitKey, fragment: Fragment) {
        let Some(Managed { task: Task::Visit(visit), .. }) = self.circuits.get_mut(&key) else { return };
        let Some((_, _, assembler)) = &mut visit.knocking else {
            return self.close_circuit(key, Some(DestroyReason::Protocol));
        };
        let message = match assembler.push(&fragment) {
            Ok(None) => return,
            Ok(Some(message)) => message,
            Err(_) => return self.close_circuit(key, Some(DestroyReason::Protocol)),
        };
        let contact = visit.contact;
        let Some((generation, handshake, _)) = visit.knocking.take() else { return };
        let message = message.get(..SERVER_MESSAGE_LEN).unwrap_or_default();
        let Ok(mut stream) = handshake.finish(message) else {
            return self.close_circuit(key, Some(DestroyReason::Protocol));
        };
        self.stop_looking_for(contact, key);
        self.join_as_visitor(key, contact, generation, &mut stream);
    }

    fn join_as_visitor(&mut self, key: CircuitKey, id: ContactId, generation: u64, stream: &mut KeyStream) {
        let keys = CircuitKeys::from(&mut *stream);
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        match &mut contact.record.stage {
            Stage::Invited(_) => {
                let phase = Phase::AwaitWelcome { secrets: FirstSecrets::read(stream) };
                self.begin_talk(key, Side::Visitor, &keys, Some(id), phase);
                self.introduce(key, id);
            }
            Stage::Met(met) => {
                met.generation = met.generation.max(generation + 1);
                contact.put(&mut self.store);
                self.store.then(Then::Greeted(key));
                self.begin_talk(key, Side::Visitor, &keys, Some(id), Phase::Storing);
            }
        }
    }

    fn begin_talk(
        &mut self,
        key: CircuitKey,
        side: Side,
        keys: &CircuitKeys,
        contact: Option<ContactId>,
        phase: Phase,
    ) {
        if let Some(managed) = self.circuits.get_mut(&key) {
            managed.circuit.join(side, keys);
            managed.deadline = Some(self.now.instant + self.relays.stretch(MEETING_TIME));
            let patience = self.relays.stretch(PING_TIME);
            managed.task = Task::Talk(Box::new(Talk::new(contact, phase, patience, self.now.instant)));
        }
        if let Some(contact) = contact.and_then(|id| self.contacts.get_mut(&id))
            && !contact.is_host()
        {
            // One at a time: a second join would only undo the first.
            contact.talk = Some(key);
        }
    }

    fn stop_looking_for(&mut self, id: ContactId, keep: CircuitKey) {
        for key in self.visits(id) {
            if key != keep {
                self.drop_circuit(key);
            }
        }
        if let Some(contact) = self.contacts.get_mut(&id) {
            contact.search.queue.clear();
            contact.search.running = false;
        }
    }

    /// A contact is no longer reached over the circuit that carried it.
    pub(super) fn contact_lost(&mut self, id: ContactId) {
        let now = self.now.instant;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        contact.talk = None;
        let failed_at_once = contact.state != ContactState::Connected;
        if !failed_at_once {
            contact.search = super::contacts::Search::new(now);
            contact.state = ContactState::Connecting;
            let event = contact.event();
            self.event(event);
        } else if !contact.is_host() {
            let pause = (ROUND_PAUSE.0 * (1 << contact.search.rounds.min(8))).min(ROUND_PAUSE.1);
            contact.search.rounds += 1;
            contact.search.next_round = now + jitter(pause, pause * 3 / 2, &mut self.rng);
        }
    }
}
