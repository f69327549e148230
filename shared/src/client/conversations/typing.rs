//! Who is writing, and what contacts are told of the person.

use std::time::Duration;

use super::Conversations;
use crate::client::api::{ContactId, Event};
use crate::client::contacts::Contacts;
use crate::client::context::Context;
use crate::messaging::frame::Frame;
use crate::time::Instant;
use crate::token_bucket::TokenBucket;

/// How often a contact may begin or stop writing: each second, and how often at once.
const TYPING_RATE: (u32, u32) = (2, 8);

/// After this time a contact who has not said that they go on writing has stopped.
const TYPING_TIME: Duration = Duration::from_secs(12);

/// Who is writing in a conversation.
#[derive(Debug, Default)]
pub(super) struct Typing {
    /// Until when the contact counts as writing, if they do.
    pub(super) theirs: Option<Instant>,
    /// True if the contact was told that the person is.
    ours: bool,
    /// How often that of the contact may change.
    rate: Option<TokenBucket>,
}

impl Conversations {
    /// A contact has begun or stopped writing.
    pub(super) fn they_type(&mut self, id: ContactId, typing: bool, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        let state = &mut conversation.typing;
        let rate = state.rate.get_or_insert_with(|| TokenBucket::new(TYPING_RATE.0, TYPING_RATE.1, now));
        if !rate.take(now) {
            return;
        }
        let was = state.theirs.is_some();
        state.theirs = typing.then_some(now + TYPING_TIME);
        if was != typing {
            cx.event(Event::Typing { contact: id, typing });
        }
    }

    /// A contact does not write any more, or nobody can tell.
    pub(super) fn stopped_typing(&mut self, id: ContactId, cx: &mut Context<'_>) {
        if let Some(conversation) = self.conversations.get_mut(&id)
            && conversation.typing.theirs.take().is_some()
        {
            cx.event(Event::Typing { contact: id, typing: false });
        }
    }

    /// Contacts who have not been heard of for a while have stopped writing.
    pub(super) fn check_typing(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let is_silent = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let silent = self.conversations.iter().filter(|(_, conversation)| is_silent(conversation.typing.theirs));
        for id in silent.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.stopped_typing(id, cx);
        }
    }

    /// The person has begun or stopped writing, or goes on.
    pub(in super::super) fn type_to(
        &mut self,
        id: ContactId,
        typing: bool,
        contacts: &mut Contacts,
        cx: &mut Context<'_>,
    ) {
        let typing = typing && !cx.profile.no_typing;
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        if !typing && !conversation.typing.ours {
            return;
        }
        conversation.typing.ours = typing;
        if let Some(circuit) = contacts.open_channel(id) {
            contacts.send_frame(circuit, &Frame::Typing(typing), cx);
        }
    }

    /// Sets whether contacts are told what the person has read.
    pub(in super::super) fn set_receipts(&self, on: bool, cx: &mut Context<'_>) {
        cx.profile.no_receipts = !on;
        cx.put_profile();
        cx.store.tell(cx.profile.privacy());
    }

    /// Sets whether contacts are told when the person is writing.
    pub(in super::super) fn set_typing_notices(&mut self, on: bool, contacts: &mut Contacts, cx: &mut Context<'_>) {
        cx.profile.no_typing = !on;
        cx.put_profile();
        cx.store.tell(cx.profile.privacy());
        if !on {
            let told = self.conversations.iter().filter(|(_, conversation)| conversation.typing.ours);
            for id in told.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.type_to(id, false, contacts, cx);
            }
        }
    }
}
