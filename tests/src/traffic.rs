//! Two clients who never stop talking, and the account of what arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::chat::{Chat, Event, Mark, Pair};

/// How often each of the two sends a message.
const PACE: Duration = Duration::from_millis(100);

/// Messages both ways, one each tenth of a second, until [`Traffic::finish`].
#[derive(Debug)]
pub struct Traffic<'a> {
    pair: &'a Pair,
    stop: Arc<AtomicBool>,
    senders: [Option<JoinHandle<Vec<Sent>>>; 2],
}

/// A message that is on the sender's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    id: String,
    text: String,
}

impl<'a> Traffic<'a> {
    /// Lets the two talk; the texts begin with `about`.
    pub fn start(pair: &'a Pair, about: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |chat: &Arc<Chat>, to: &str, way: &str| {
            let (chat, stop) = (Arc::clone(chat), Arc::clone(&stop));
            let (to, prefix) = (to.to_owned(), format!("{about} {way}"));
            Some(thread::spawn(move || talk(&chat, &to, &prefix, &stop)))
        };
        let senders =
            [sender(&pair.inviter, &pair.visitor_name, "there"), sender(&pair.visitor, &pair.inviter_name, "back")];
        Self { pair, stop, senders }
    }

    /// Ends the talk, and checks that every message arrived within `limit`, once, in order, and is known as delivered.
    /// Returns how many there were.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> usize {
        let [there, back] = self.stop();
        let Pair { inviter, visitor, .. } = self.pair;
        settle(inviter, visitor, &there, limit);
        settle(visitor, inviter, &back, limit);
        there.len() + back.len()
    }

    fn stop(&mut self) -> [Vec<Sent>; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.senders.each_mut().map(|sender| match sender.take().map(JoinHandle::join) {
            Some(Ok(sent)) => sent,
            Some(Err(_)) if thread::panicking() => Vec::new(),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Vec::new(),
        })
    }
}

impl Drop for Traffic<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn talk(chat: &Chat, to: &str, prefix: &str, stop: &AtomicBool) -> Vec<Sent> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let text = format!("{prefix} {}", sent.len());
        sent.push(Sent { id: chat.send(to, &text), text });
        thread::sleep(PACE);
    }
    sent
}

/// Waits until the recipient has printed all of `sent` and the sender knows; then checks order and number.
#[track_caller]
fn settle(sender: &Chat, recipient: &Chat, sent: &[Sent], limit: Duration) {
    let Some(last) = sent.last() else { return };
    let prefix = last.text.rsplit_once(' ').map_or("", |(prefix, _)| prefix);
    let arrived = |events: &[Event]| -> Vec<Sent> {
        let ours = events.iter().filter_map(|event| match event {
            Event::Message { id, text, .. } if text.starts_with(prefix) => {
                Some(Sent { id: id.clone(), text: text.clone() })
            }
            _ => None,
        });
        ours.collect()
    };
    let what = format!("all {} messages `{prefix} …`", sent.len());
    recipient.expect_all(Mark::default(), limit, &what, |events| {
        // Order and repetitions are looked at below, where they are told from a loss.
        let arrived = arrived(events);
        sent.iter().all(|message| arrived.contains(message)).then_some(())
    });
    for message in sent {
        sender.await_delivered(&message.id);
    }
    let arrived = arrived(&recipient.events());
    let first_wrong = arrived.iter().zip(sent).position(|(arrived, sent)| arrived != sent);
    assert_eq!(first_wrong, None, "`{prefix} …` arrived in another order: {arrived:?}");
    assert_eq!(arrived.len(), sent.len(), "`{prefix} …` arrived more than once: {arrived:?}");
}
