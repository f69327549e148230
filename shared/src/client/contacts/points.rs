//! Where contacts find each other: they tell each other their introduction points.

use super::{Contacts, FollowUp, Violation};
use crate::client::api::ContactId;
use crate::client::circuits::CircuitId;
use crate::client::context::Context;
use crate::client::onion_service::{OnionService, points_for};
use crate::messaging::frame::Frame;
use crate::rendezvous::IntroPoint;

impl Contacts {
    /// Tells contacts whose channels allow it where they find this client from now on.
    pub(super) fn send_all_points(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<ContactId> = self.contacts.keys().copied().collect();
        for id in ids {
            self.send_points(id, cx);
        }
    }

    /// Tells one of them, if there is anything new.
    pub(super) fn send_points(&mut self, id: ContactId, cx: &mut Context<'_>) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let (Some(circuit), Some(relationship)) = (contact.channel, contact.relationship()) else { return };
        let points = points_for(cx.profile, &relationship.secret);
        if points.is_empty() || relationship.acknowledged == points {
            return;
        }
        let Some(channel) = self.channels.get_mut(&circuit) else { return };
        // One at a time: the answer does not say to which.
        if !channel.phase.is_greeted() || channel.pending_points.is_some() {
            return;
        }
        channel.pending_points = Some(points.clone());
        self.send_frame(circuit, &Frame::Points(points), cx);
    }

    /// The contact accepts introductions elsewhere from now on.
    pub(super) fn points_changed(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        points: Vec<IntroPoint>,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        let relationship = contact.record.relationship.as_mut().ok_or(Violation)?;
        if relationship.their_points != points {
            relationship.their_points = points;
            contact.put(cx.store);
            contact.set_approach(onion, cx.now.instant);
        }
        self.after.push(cx.store, FollowUp::PointsKept(circuit));
        Ok(())
    }

    /// The contact has stored where this client accepts introductions.
    pub(super) fn points_kept(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let pending = self.channels.get_mut(&circuit).and_then(|channel| channel.pending_points.take());
        let pending = pending.ok_or(Violation)?;
        let contact = self.contacts.get_mut(&id).ok_or(Violation)?;
        if let Some(relationship) = &mut contact.record.relationship {
            relationship.acknowledged = pending;
            contact.put(cx.store);
        }
        contact.set_service(onion, cx.now.instant);
        Ok(())
    }
}
