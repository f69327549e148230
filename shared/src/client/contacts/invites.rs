//! This client's own invites: making, publishing and ending them.

use rand_core::Rng as _;

use super::Contacts;
use super::records::InviteRecord;
use crate::cell::introduction::IntroAuthKey;
use crate::client::api::{Event, InviteId, InviteInfo};
use crate::client::context::Context;
use crate::client::onion_service::{Audience, Caller, OnionService};
use crate::client::store::{Key, KeyBytes};
use crate::contact::invite::{Invite, is_over};
use crate::crypto::keys::{OnionSecret, RelayIdentity};
use crate::time::{Instant, UnixTime};

/// Invites that may be open at once.
const MAX_INVITES: usize = 32;

/// The longest note about an invite, in bytes.
const MAX_INVITE_NOTE: usize = 200;

/// What to say when no invite can be made.
const TOO_FEW_RELAYS: &str = "There are too few relays where a visitor could ask for you: none of them may have one operator or \
                              stand in one subnet with your guards. Try again later.";

/// An invite in memory.
pub(super) struct OpenInvite {
    pub(super) record: InviteRecord,
    /// True once its link has been given out; until then its relays may still change.
    pub(super) published: bool,
}

impl OpenInvite {
    /// The invite as its link carries it.
    fn link(&self, network: [u8; 8]) -> Invite {
        let record = &self.record;
        Invite {
            network,
            reusable: record.reusable,
            expires: record.expires,
            key: *record.key.secret().public().as_bytes(),
            secret: record.secret,
            places: record.places.iter().map(|(relay, auth_key)| (*relay, IntroAuthKey(*auth_key).id())).collect(),
        }
    }
}

impl Contacts {
    /// Makes an invite; its link is given out once somebody could come.
    pub(in super::super) fn invite(
        &mut self,
        reusable: bool,
        expires_in: Option<u64>,
        note: &str,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) {
        if self.invites.len() >= MAX_INVITES {
            let message = format!("There are {MAX_INVITES} open invites. Withdraw one that you do not need any more.");
            return cx.error("invite", message);
        }
        let now = cx.circuits.network_now().unix;
        let expires = match expires_in {
            None => 0,
            Some(secs) => match u32::try_from(now.as_secs().saturating_add(secs).div_ceil(60)) {
                Ok(minutes) if secs > 0 => minutes,
                _ => {
                    let message = "An invite ends after at least a second, and before the year 10136.";
                    return cx.error("invite", message.to_owned());
                }
            },
        };
        let mut secret = [0; 16];
        cx.rng.fill_bytes(&mut secret);
        let record = InviteRecord {
            key: KeyBytes::of(&OnionSecret::generate(cx.rng)),
            secret,
            reusable,
            expires,
            note: note[..note.floor_char_boundary(MAX_INVITE_NOTE)].to_owned(),
            made_at: now,
            places: Vec::new(),
        };
        let id = cx.profile.next_invite;
        cx.profile.next_invite += 1;
        cx.put_profile();
        self.invites.insert(id, OpenInvite { record, published: false });
        self.place_invite(id, onion, cx);
    }

    /// Tells the person the open invites.
    pub(in super::super) fn list_invites(&self, cx: &mut Context<'_>) {
        let list = self.invites.iter().filter(|(_, invite)| invite.published);
        let list = list.map(|(id, invite)| InviteInfo {
            id: InviteId(*id),
            fragment: invite.link(self.network).to_fragment(),
            reusable: invite.record.reusable,
            expires_at: (invite.record.expires != 0)
                .then(|| UnixTime::from_millis(u64::from(invite.record.expires) * 60_000)),
            note: invite.record.note.clone(),
            made_at: invite.record.made_at,
        });
        cx.event(Event::Invites { list: list.collect() });
    }

    /// Ends an invite: it is good for nobody any more.
    pub(in super::super) fn end_invite(&mut self, id: u64, onion: &mut OnionService, cx: &mut Context<'_>) {
        if self.invites.remove(&id).is_some() {
            cx.store.delete(Key::Invite(id).to_string());
            onion.stop_serving(Caller::Invite(id));
        }
    }

    /// Ends invites that have expired, and finds relays for those that have none.
    pub(super) fn maintain_invites(&mut self, onion: &mut OnionService, cx: &mut Context<'_>) {
        let now = cx.circuits.network_now().unix;
        let over = self.invites.iter().filter(|(_, invite)| is_over(invite.record.expires, now)).map(|(id, _)| *id);
        for id in over.collect::<Vec<_>>() {
            self.end_invite(id, onion, cx);
        }
        let bare = self.invites.iter().filter(|(_, invite)| invite.record.places.is_empty()).map(|(id, _)| *id);
        for id in bare.collect::<Vec<_>>() {
            if !self.place_invite(id, onion, cx) && onion.lacks_invite_relays(cx.profile) {
                self.invites.remove(&id);
                cx.error("invite", TOO_FEW_RELAYS.to_owned());
            }
        }
    }

    /// Finds relays for an invite that has none; returns whether it has some now.
    fn place_invite(&mut self, id: u64, onion: &mut OnionService, cx: &mut Context<'_>) -> bool {
        let Some(invite) = self.invites.get_mut(&id) else { return false };
        let Some(relays) = onion.choose_invite_relays(cx.profile) else { return false };
        invite.record.places = relays.into_iter().map(|relay| (relay, IntroAuthKey::random(cx.rng).0)).collect();
        self.serve_invite(id, onion, cx.now.instant);
        true
    }

    /// Has introductions accepted for an invite.
    pub(super) fn serve_invite(&self, id: u64, onion: &mut OnionService, now: Instant) {
        let Some(invite) = self.invites.get(&id) else { return };
        let places = invite.record.places.iter().map(|(relay, auth_key)| (*relay, IntroAuthKey(*auth_key)));
        let audience = Audience::InviteHolders { places: places.collect(), published: invite.published };
        let verification = invite.link(self.network).verification();
        onion.serve(Caller::Invite(id), invite.record.key.clone(), verification, audience, now);
    }

    /// Gives out the links of invites for which somebody could come.
    pub(super) fn publish_invites(&mut self, onion: &mut OnionService, cx: &mut Context<'_>) {
        let waiting = self.invites.iter().filter(|(id, invite)| !invite.published && onion.is_confirmed(**id));
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(invite) = self.invites.get_mut(&id) else { continue };
            invite.published = true;
            cx.store.put(Key::Invite(id).to_string(), &invite.record);
            // Only once it is on disk.
            cx.store.tell(Event::Invite { id: InviteId(id), fragment: invite.link(self.network).to_fragment() });
            self.serve_invite(id, onion, cx.now.instant);
        }
    }

    /// There is no way to a relay any more: invites that nobody has seen go elsewhere.
    pub(super) fn move_invites_from(&mut self, relay: &RelayIdentity, onion: &mut OnionService) {
        for (id, invite) in self.invites.iter_mut().filter(|(_, invite)| !invite.published) {
            if invite.record.places.iter().any(|(place, _)| place == relay) {
                invite.record.places.clear();
                onion.stop_serving(Caller::Invite(*id));
            }
        }
    }
}
