//! Every English text of the page, in one place, so that it can be translated.
//!
//! [`READY`] must end in `ready` in every language: tests wait for that.

use std::fmt::Display;

use allium_shared::client::api::{ContactState, DeliveryState, Progress, RelayView};
use allium_shared::netdir::RelayRole;
use allium_shared::vault::{HeaderError, RecordError, UnlockError, WrapError};

use crate::storage::{ProfileError, Protection, StorageError};

pub const APP_NAME: &str = "Allium";

// The connection's state.
pub const STARTING: &str = "Starting…";
pub const READY: &str = "Connected · ready";

/// The state of the connection during a step.
pub fn step_under_way(step: Progress, again: bool) -> &'static str {
    match (step, again) {
        (Progress::FetchingDirectory, false) => "Downloading the relay list…",
        (Progress::ConnectingGuard, false) => "Connecting to a relay…",
        (Progress::BuildingCircuit, false) => "Building a circuit…",
        (Progress::FetchingDirectory, true) => "Reconnecting: relay list…",
        (Progress::ConnectingGuard, true) => "Reconnecting to a relay…",
        (Progress::BuildingCircuit, true) => "Rebuilding circuits…",
        (Progress::Ready, _) => READY,
    }
}

// Starting.
pub const START_TITLE: &str = "Connecting…";
pub const START_AGAIN_TITLE: &str = "Reconnecting…";

/// A step's name and what happens in it, for the start screen.
pub fn step_explained(step: Progress) -> (&'static str, &'static str) {
    match step {
        Progress::FetchingDirectory => ("Relay list", "Downloading the relay list and checking its signatures."),
        Progress::ConnectingGuard => {
            ("First relay", "An encrypted link to your guard, the only relay that sees your IP address.")
        }
        Progress::BuildingCircuit => ("Circuit", "A path through three relays. None of them knows both ends."),
        Progress::Ready => ("Ready", "You can send and receive messages."),
    }
}

pub const STEP_DONE: &str = "done";
pub const STEP_ACTIVE: &str = "in progress";
pub const STEP_WAITING: &str = "waiting";

// Empty states.
pub const WELCOME_TITLE: &str = "Say hello to someone";
pub const WELCOME_TEXT: &str = "Create an invite and give its link to one person, or add the link that someone gave \
    you. You need no account and no phone number.";
pub const CHOOSE_TITLE: &str = "Choose a conversation";
pub const CHOOSE_TEXT: &str = "Messages are encrypted on this device and travel through relays that never know who \
    is talking to whom.";
pub const OFFERED_TITLE: &str = "You have been invited";
pub const OFFERED_TEXT: &str = "What should we call the person who invited you? The link has been removed from your \
    address bar and history.";
pub const OFFERED_BUTTON: &str = "Accept invite";

// The path.
pub const PATH_LABEL: &str = "The path of your messages";
pub const PATH_NONE: &str = "Not connected";
pub const PATH_YOU: &str = "You";
pub const PATH_SOMEONE: &str = "Contact";
pub const PATH_HIDDEN: &str = "Relays chosen by your contact. They are hidden from you, as yours are from them.";
pub const PATH_EXPLAINED: &str = "Your circuit. Each relay knows only its neighbours.";
pub const PATH_GUARD: &str = "guard";
pub const PATH_MIDDLE: &str = "middle";
pub const PATH_MEETING: &str = "meeting";

// Invites.
pub const INVITE_TITLE: &str = "Invite someone";
pub const INVITE_CREATE: &str = "Create invite";
pub const INVITE_ANOTHER: &str = "New invite";
pub const INVITE_PREPARING: &str = "Creating your invite…";
pub const INVITE_LINK: &str = "Invite link";
pub const INVITE_HINT: &str = "For one person. You decide whether they become a contact. Keep Allium open until \
    then.";
pub const INVITE_REUSABLE_HINT: &str = "For anyone who has the link, until you revoke it. You decide about each \
    person.";
pub const INVITE_OPTIONS: &str = "Options";
pub const INVITE_REUSABLE: &str = "Reusable link";
pub const INVITE_EXPIRES: &str = "Expires";
pub const INVITE_NOTE: &str = "Private label (optional)";
pub const INVITE_NOTE_PLACEHOLDER: &str = "Private label, e.g. \"Sam\"";
pub const INVITE_LOST: &str = "The tab that was creating this invite has closed. If the invite isn't listed under \
    Options, create it again.";
pub const INVITES_OPEN: &str = "Open invites";
pub const INVITE_WITHDRAW: &str = "Revoke";
pub const INVITE_UNNAMED: &str = "Invite";

/// When an invite can expire, in seconds from now, each with its text.
pub const INVITE_ENDS: [(Option<u64>, &str); 5] = [
    (None, "when used or revoked"),
    (Some(3600), "after an hour"),
    (Some(86_400), "after a day"),
    (Some(7 * 86_400), "after a week"),
    (Some(30 * 86_400), "after 30 days"),
];

/// The kind of an open invite, when it was made, and when it expires.
pub fn invite_kind(reusable: bool, made: &str, ends: Option<&str>) -> String {
    let kind = if reusable { "reusable" } else { "for one person" };
    match ends {
        Some(ends) => format!("{kind}, created {made}, expires {ends}"),
        None => format!("{kind}, created {made}"),
    }
}

// Requests.
pub const REQUESTS: &str = "Requests";
pub const REQUEST_ACCEPT: &str = "Accept";
pub const REQUEST_DECLINE: &str = "Decline";
pub const REQUEST_DECLINE_HINT: &str = "They will see that you declined";
pub const REQUEST_BLOCK_HINT: &str = "They will not be told";
pub const BLOCK: &str = "Block";
pub const UNBLOCK: &str = "Unblock";
pub const BLOCK_HINT: &str = "Stop all contact. They are not told: to them you appear offline";

pub const SAFETY: &str = "Safety number";
pub const SAFETY_SAME: &str = "Numbers match";
pub const SAFETY_UNDO: &str = "Undo";

/// The label of the button that shows the safety number.
pub fn safety_title(verified: bool) -> &'static str {
    if verified { "Safety number: compared" } else { "Safety number: not compared yet" }
}

/// How to use a safety number.
pub fn safety_hint(name: &str) -> String {
    format!(
        "Read these digits to {name} when you meet or speak, not in this chat. If {name} sees the same digits, nobody is \
         intercepting your messages."
    )
}

/// Shown while there is no number yet.
pub fn safety_later(name: &str) -> String {
    format!("The number will appear once {name} has answered.")
}

/// Shown below a number that was compared.
pub fn verified(name: &str) -> String {
    format!("You have compared this number with {name}.")
}

/// Shown below the name in a request.
pub fn request_asks(invite_note: &str, at: &str) -> String {
    match invite_note {
        "" => format!("asked to contact you · {at}"),
        note => format!("used your invite “{note}” · {at}"),
    }
}
pub const COPY: &str = "Copy";
pub const COPIED: &str = "Copied";
pub const COPY_FAILED: &str = "Press Ctrl+C";

/// Shown when somebody has used the invite.
pub fn invite_taken(name: &str) -> String {
    format!("{name} used your invite. Accept or decline.")
}

// Adding.
pub const ADD_TITLE: &str = "Have an invite link?";
pub const ADD_LINK: &str = "Invite link";
pub const ADD_LINK_PLACEHOLDER: &str = "Paste the invite link";
pub const ADD_NAME: &str = "Their name";
pub const ADD_NAME_PLACEHOLDER: &str = "Their name";
pub const ADD_OWN_NAME: &str = "Your name, as they will see it (optional)";
pub const ADD_OWN_NAME_PLACEHOLDER: &str = "Your name";
pub const ADD_NOTE: &str = "Message with your request (optional)";
pub const ADD_NOTE_PLACEHOLDER: &str = "Message with your request (optional)";
pub const NOTE_TOO_LONG: &str = "This message is too long for a request. Shorten it.";
pub const ADD: &str = "Add contact";
pub const ADDING: &str = "Adding…";
pub const ADD_LINK_MISSING: &str = "Paste the invite link that you were given.";
pub const ADD_NAME_MISSING: &str = "Give this contact a name. Only you will see it.";

/// A name is longer than the engine allows.
pub const NAME_TOO_LONG: &str = "This name is too long. Choose a shorter one.";

// Contacts.
pub const CONTACTS: &str = "Contacts";
pub const CONTACTS_NONE: &str = "No conversations yet";
pub const CONTACT_SILENT: &str = "No messages yet";
pub const OWN_PREFIX: &str = "You: ";

/// A contact's state, in a few words.
pub fn contact_state(state: ContactState) -> &'static str {
    match state {
        ContactState::Connecting => "connecting…",
        ContactState::Connected => "connected",
        ContactState::Offline => "offline",
        ContactState::Requested => "request sent",
        ContactState::Declined => "declined",
        ContactState::Blocked => "blocked",
    }
}

/// The number of unread messages, for screen readers.
pub fn unread(count: usize) -> String {
    if count == 1 { "1 unread message".into() } else { format!("{count} unread messages") }
}

// Conversations.
pub const BACK: &str = "Back to contacts";
pub const MESSAGES: &str = "Messages";
pub const SHOW_EARLIER: &str = "Show earlier messages";
pub const TODAY: &str = "Today";
pub const YESTERDAY: &str = "Yesterday";
pub const MESSAGE: &str = "Message";
pub const SEND: &str = "Send";
pub const DISMISS: &str = "Dismiss";
pub const TEXT_TOO_LONG: &str = "This message is too long. Shorten it or split it.";

/// The label of the button that scrolls a conversation to its end.
pub fn new_messages(count: usize) -> String {
    match count {
        0 => "Latest messages".into(),
        1 => "1 new message".into(),
        _ => format!("{count} new messages"),
    }
}

/// Shown in an empty conversation.
pub fn conversation_empty(name: &str) -> String {
    format!("This is the beginning of your conversation with {name}. Only the two of you can read it.")
}

/// What happens to messages while a contact is offline.
pub fn contact_away(name: &str) -> String {
    format!("{name} is offline. Your messages stay on this device until you are both online.")
}

/// Shown above the message field while messages are not delivered at once.
pub fn contact_apart(state: ContactState, name: &str) -> Option<String> {
    match state {
        ContactState::Connecting | ContactState::Connected => None,
        ContactState::Offline => Some(contact_away(name)),
        ContactState::Requested => {
            Some(format!("{name} hasn't answered your request. Your messages stay on this device until they accept."))
        }
        ContactState::Declined => Some(format!("{name} declined your request.")),
        ContactState::Blocked => {
            Some(format!("You blocked {name}. You won't receive each other's messages. You appear offline to them."))
        }
    }
}

/// Shown while a contact is typing.
pub fn is_typing(name: &str) -> String {
    format!("{name} is typing…")
}

/// The placeholder of the field for a message.
pub fn write_to(name: &str) -> String {
    format!("Message {name}")
}

/// A delivery mark in words.
pub fn delivery(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "Waiting to be sent",
        DeliveryState::Sent => "Sent",
        DeliveryState::Delivered => "Delivered",
        DeliveryState::Read => "Read",
    }
}

/// How many bytes are left for a message.
pub fn bytes_left(left: usize) -> String {
    format!("{left} left")
}

// Another tab.
pub const ELSEWHERE_TITLE: &str = "Allium is open in another tab";
pub const ELSEWHERE_TEXT: &str = "This tab can't share with the other one: that one is a different version, or your \
    browser doesn't allow it. Close or reload the other tab, or continue here.";
pub const ELSEWHERE_SILENT: &str = "The other tab isn't responding: it is asleep or frozen, or an older version. \
    Close or reload it, or try to continue here.";
pub const ELSEWHERE_BUTTON: &str = "Use Allium here";
pub const TABS_BUSY: &str = "The Allium tab that is connected isn't responding, and too many requests are waiting \
    for it. Close the other Allium tabs.";
pub const TABS_SILENT: &str = "The Allium tab that is connected isn't responding. Your changes wait in this tab: \
    keep it open, and switch to the other tab or close it.";
pub const STATUS_SILENT: &str = "Waiting for another tab";
pub const ELSEWHERE_WAITING: &str = "The other tab is saving everything…";
pub const ELSEWHERE_LATE: &str = "The other tab isn't responding. Please close it.";

// The settings.
pub const SETTINGS: &str = "Settings";
pub const PRIVACY: &str = "Privacy";
pub const PRIVACY_RECEIPTS: &str = "Read receipts";
pub const PRIVACY_TYPING: &str = "Typing indicators";
pub const BLOCKED: &str = "Blocked";
pub const BLOCKED_NONE: &str = "Nobody is blocked.";
pub const BLOCKED_REQUEST: &str = "asked to contact you";
pub const DEVICE: &str = "This tab and this browser";
pub const AVAILABILITY: &str = "Contacts can reach you while Allium is open, even in a background tab. Messages sent \
    to you while it is closed stay on your contacts' devices until you are both online. Your browser may pause \
    hidden tabs, especially on phones.";
pub const FOLLOWS: &str = "Allium is open in several tabs, and another tab keeps the connection for all of them. You \
    can close any of them: a remaining tab takes over. It may ask for your passphrase.";

/// The label of an unblock button, for screen readers.
pub fn unblock(name: &str) -> String {
    format!("{UNBLOCK} {name}")
}

/// What the browser says about keeping stored data.
pub fn persistence(persisted: Option<bool>) -> &'static str {
    match persisted {
        Some(true) => "This browser keeps your contacts and messages until you delete them.",
        Some(false) => "This browser may delete your contacts and messages if the device runs out of space.",
        None => "This browser doesn't say whether it keeps your contacts and messages if the device runs out of space.",
    }
}

// The passphrase.
pub const CLOSE: &str = "Close";
pub const LOCK: &str = "Lock now";
pub const LOCKING: &str = "Locking…";
pub const UNLOCK_TITLE: &str = "Allium is locked";
pub const UNLOCK_TEXT: &str = "Your contacts and messages in this browser are encrypted with your passphrase.";
pub const UNLOCK: &str = "Unlock";
pub const UNLOCKING: &str = "Unlocking. This takes a moment, to slow down anyone who guesses…";
pub const PASSPHRASE: &str = "Passphrase";
pub const PASSPHRASE_CURRENT: &str = "Current passphrase";
pub const PASSPHRASE_NEW: &str = "New passphrase";
pub const PASSPHRASE_AGAIN: &str = "Repeat passphrase";
pub const PASSPHRASE_SET: &str = "Set passphrase";
pub const PASSPHRASE_CHANGE: &str = "Change passphrase";
pub const PASSPHRASE_REMOVE: &str = "Remove passphrase";
pub const PASSPHRASE_TRYING: &str = "Encrypting. This takes a moment…";
pub const PASSPHRASE_SAVED: &str = "Passphrase saved.";
pub const PASSPHRASE_REMOVED: &str = "Passphrase removed.";
pub const PASSPHRASE_WARNING: &str = "If you forget your passphrase, nobody can open your contacts and messages, and \
    it can't be reset. Use five or more random words.";
pub const PASSPHRASE_MISSING: &str = "Enter a new passphrase first.";
pub const PASSPHRASE_DIFFERENT: &str = "The passphrases don't match.";

/// What opens the profile, and how well that protects it.
pub fn protection(protection: Protection) -> &'static str {
    match protection {
        Protection::Passphrase => {
            "Only your passphrase opens your contacts and messages. Allium asks for it at each start."
        }
        Protection::Browser => {
            "Your contacts and messages are encrypted with a key that this browser keeps. Anyone who can use this browser can \
             open them. Set a passphrase to prevent that."
        }
        Protection::Nothing => {
            "Your contacts and messages are encrypted, but the key is stored next to them: this page was loaded over an \
             insecure connection, so the browser can't protect the key. Set a passphrase to protect them."
        }
    }
}

/// The profile can't be opened, or its passphrase can't be changed.
pub fn profile_failed(error: ProfileError) -> String {
    match error {
        ProfileError::Storage(error) => storage_failed(error).into(),
        ProfileError::NoRandomness => NO_RANDOMNESS.into(),
        ProfileError::Unlock(UnlockError::WrongPassphrase) => "Wrong passphrase.".into(),
        ProfileError::Unlock(UnlockError::OutOfMemory) | ProfileError::Wrap(WrapError::OutOfMemory) => {
            "Not enough memory to check a passphrase. Close other tabs, then try again.".into()
        }
        ProfileError::Wrap(WrapError::Empty) => PASSPHRASE_MISSING.into(),
        ProfileError::Header(HeaderError::Damaged) => damaged("its header is damaged"),
        ProfileError::Header(HeaderError::Format(error)) => {
            damaged(&format!("its header has an unknown format ({error})"))
        }
        ProfileError::HeaderMissing => damaged("its header is missing"),
        ProfileError::KeyMissing => damaged("the browser's key is missing"),
        ProfileError::Browser => damaged("the browser's key does not work"),
        ProfileError::Unlock(UnlockError::WrongDevice | UnlockError::OtherWay) => {
            damaged("the browser's key does not match")
        }
        ProfileError::Record(RecordError::Sealed) => damaged("a record is damaged"),
        ProfileError::Record(RecordError::Format(error)) => {
            damaged(&format!("a record has an unknown format ({error})"))
        }
    }
}

fn damaged(what: &str) -> String {
    format!("Allium can't open its data in this browser: {what}. Nothing was changed.")
}

// Errors.
pub const FAILED_TITLE: &str = "Allium couldn't start";
pub const RELOAD: &str = "Reload the page";
pub const DIRECTORY_SILENT: &str = "the directory takes too long to answer";
pub const DIRECTORY_UNREACHABLE: &str = "the directory doesn't answer";

// Other authorities than before.
pub const OTHER_AUTHORITIES_TITLE: &str = "This site names different authorities than before";
pub const OTHER_AUTHORITIES_MEANING: &str = "Authorities decide which relays belong to the network. Allium saved \
    their keys when it first started in this browser, and today this site names different ones. Either the network \
    was set up again, or someone wants to choose your relays. Allium can't tell which, so it has not started.";
pub const OTHER_AUTHORITIES_SAFE: &str = "Your contacts and messages are safe: they are still stored in this \
    browser, and nothing was sent.";
pub const OTHER_AUTHORITIES_ADVICE: &str = "Ask the operator of this site which network is right, and don't use this \
    site to ask. If it was a mistake that has been fixed, reload the page. If the network really is new, your \
    contacts aren't in it: to start over, delete this site's data in your browser. That deletes your contacts and \
    messages.";
pub const OTHER_AUTHORITIES_KEPT: &str = "Your network";
pub const OTHER_AUTHORITIES_NAMED: &str = "Named today";
pub const NO_RANDOMNESS: &str = "This browser provides no random numbers, so Allium can't encrypt anything. Use \
    another browser.";

pub const NO_WORKER: &str = "The background worker failed to start. Reload the page. If that doesn't help, use a \
    newer browser or a different one.";
pub const CRASHED_TITLE: &str = "Allium crashed";
pub const CRASHED: &str = "Allium crashed. Your stored messages are safe: reload the page to continue.";

/// The directory answered with an HTTP error.
pub fn directory_refused(status: u16) -> String {
    format!("the directory answered with an error (status {status})")
}

/// The directory doesn't answer; Allium keeps trying.
pub fn directory_trouble(problem: &str) -> String {
    format!("Not connected yet: {problem}. Still trying…")
}

/// The directory's answer is invalid.
pub fn directory_broken(error: &impl Display) -> String {
    format!(
        "The directory's answer is invalid: {error}. Reload the page. If that doesn't help, tell the site's operator."
    )
}

/// The engine did not start.
pub fn engine_failed(error: &impl Display) -> String {
    format!(
        "{error}. Reload the page. If that doesn't help, this version of Allium can't read data from another version."
    )
}

/// The store could not be opened or read.
pub fn storage_failed(error: StorageError) -> &'static str {
    match error {
        StorageError::Unavailable => {
            "This browser doesn't let Allium store data, so it can't keep your contacts and messages. Private windows often \
             forbid it: use an ordinary window, or allow this site to store data."
        }
        StorageError::Full => "No space left to store messages. Free some space, then reload the page.",
        StorageError::Failed => "Allium can't read its data in this browser. Reload the page.",
    }
}

/// The store can't be written.
pub fn storage_failing(error: StorageError) -> &'static str {
    match error {
        StorageError::Full => {
            "No space left to store messages. Free some space and keep this tab open; your messages wait."
        }
        StorageError::Unavailable | StorageError::Failed => {
            "Allium can't store messages right now and keeps trying. If this doesn't change, reload the page."
        }
    }
}

// The network.
pub const NETWORK_LINK: &str = "Network";
pub const NETWORK_TITLE: &str = "Network";
pub const NETWORK_BACK: &str = "Back to your messages";
pub const NETWORK_COMING: &str = "Downloading the relay list and checking its signatures…";
pub const PICTURE_TITLE: &str = "The relays as a flower";
pub const KIN: &str = "same family";
pub const DROOPING: &str = "often unreachable";
pub const HISTOGRAM: &str = "Number of relays by weight";
pub const SIGNED_TITLE: &str = "Signatures";
pub const SIGNED_HINT: &str = "Authorities probe the relays, vote on them, and sign the result. No single authority \
    can add or remove a relay.";
pub const SIGNED: &str = "signed";
pub const NOT_SIGNED: &str = "not signed";
pub const NEVER_VOTED: &str = ", did not vote";
pub const TIMES_TITLE: &str = "Validity";
pub const TIMES_BEGIN: &str = "Valid since";
pub const TIMES_NEXT: &str = "Next list due";
pub const TIMES_END: &str = "Valid until";
pub const DUE_NOW: &str = "any moment now";
pub const RAN_OUT: &str = "expired";
pub const NOTHING_TITLE: &str = "What we can't show";
pub const NOTHING_TEXT: &str = "Nobody knows who talks to whom or how much, so it can't be shown. Your own guards \
    and paths aren't marked either, in case someone looks over your shoulder.";
pub const PARAMETERS_TITLE: &str = "Network parameters";
pub const PARAMETERS_NONE: &str = "None set: all relays and clients use the defaults.";
pub const NETWORK_ID: &str = "Network";
pub const DIGEST: &str = "Digest of this list";
pub const RULES: &str = "Voting rules";
pub const RELAYS_TITLE: &str = "Relays";
pub const SEARCH: &str = "Search by name, key, address, family or version";
pub const ORDER: &str = "Order";
pub const COLUMN_RELAY: &str = "Relay";
pub const COLUMN_ROLES: &str = "Roles";
pub const COLUMN_WEIGHT: &str = "Weight";
pub const COLUMN_HEALTH: &str = "Health";
pub const COLUMN_ADDRESS: &str = "Address";
pub const COLUMN_VERSION: &str = "Version";
pub const VERSION_NONE: &str = "unknown";
pub const IDENTITY: &str = "Identity";
pub const FAMILY: &str = "Family";
pub const FAMILY_NONE: &str = "none declared";
pub const EXIT_POLICY: &str = "Connects to";
pub const EXIT_POLICY_NONE: &str = "nothing";
pub const PAGES: &str = "Pages of the table";
pub const PAGE_BEFORE: &str = "Previous";
pub const PAGE_NEXT: &str = "Next";

/// How many relays there are.
pub fn relay_count(count: usize) -> String {
    if count == 1 { "1 relay".into() } else { format!("{} relays", number(count)) }
}

/// The content of the picture, for screen readers.
pub fn picture_text(count: usize, rest: usize) -> String {
    let shown = relay_count(count - rest);
    let others = if rest == 0 { String::new() } else { format!(" The dots around them are {} more.", number(rest)) };
    format!(
        "Each of {shown} is a floret. The higher its weight, the larger it is and the nearer to the centre.{others} The \
         table below has the same information."
    )
}

/// How the picture shows relays without a floret.
pub fn picture_rest(shown: usize, rest: usize, share: &str, each: usize) -> String {
    let dots = if each == 1 { "one dot each".into() } else { format!("one dot per {each}") };
    format!(
        "The {} heaviest relays as florets; around them the other {}, {dots}, with {share} of the weight.",
        number(shown),
        number(rest)
    )
}

// The legend of the picture.
pub const TINT_GUARD: &str = "guards: first relay of a circuit";
pub const TINT_BOTH: &str = "guards and exits";
pub const TINT_EXIT: &str = "exits: last relay to the internet";
pub const TINT_BETWEEN: &str = "other relays";

/// How many relays have a weight from this power of two to the next.
pub fn bar(from: u32, count: usize) -> String {
    let to = if from == 0 { "0".into() } else { number((from as usize).saturating_mul(2) - 1) };
    format!("weight {} to {to}: {}", number(from as usize), relay_count(count))
}

/// One line about a relay.
pub fn relay_line(relay: &RelayView, share: &str) -> String {
    let roles: Vec<&str> = relay.roles.iter().map(|one| role(*one)).collect();
    format!(
        "{} · {} · weight {} ({share}) · health {}",
        relay.nickname,
        roles.join(", "),
        relay.weight,
        health(relay.health)
    )
}

/// A role in a word.
pub fn role(role: RelayRole) -> &'static str {
    match role {
        RelayRole::Guard => "guard",
        RelayRole::Middle => "middle",
        RelayRole::Exit => "exit",
        RelayRole::Rendezvous => "meeting",
        RelayRole::Chord => "ring",
        RelayRole::Mailbox => "mailbox",
    }
}

/// What a role means, and how many relays have it.
pub fn role_sum(role: RelayRole, count: usize, share: &str) -> String {
    let what = match role {
        RelayRole::Guard => "First relay of a circuit: sees the client's IP address",
        RelayRole::Middle => "Between two other relays",
        RelayRole::Exit => "Last relay of a circuit to the internet",
        RelayRole::Rendezvous => "Joins the circuits of two people",
        RelayRole::Chord => "Store presence records",
        RelayRole::Mailbox => "Store messages for people who are offline",
    };
    format!("{what}. {}, {share} of the weight", relay_count(count))
}

/// The percentage of probes that a relay answers.
pub fn health(health: u8) -> String {
    format!("{health} %")
}

/// The same, explained.
pub fn health_explained(health: u8) -> String {
    format!("answered {health} of the last 100 probes, by vote of the authorities")
}

/// A weight, explained.
pub fn weight_explained(weight: u32, share: &str) -> String {
    format!("{}: {share} of the total weight", number(weight as usize))
}

/// The other relays of a family.
pub fn relatives(names: &[String], others: usize) -> String {
    match (names.is_empty(), others) {
        (true, _) => "no other relay of this family is listed".into(),
        (false, 0) => format!("with {}; never two in one circuit", names.join(", ")),
        (false, _) => format!("with {} and {} more; never two in one circuit", names.join(", "), number(others)),
    }
}

/// How many authorities signed.
pub fn signed_by(signed: usize, all: usize, quorum: usize) -> String {
    format!("Signed by {signed} of {all} authorities ({quorum} required). Your browser checked the signatures.")
}

/// How many relays a search found.
pub fn found(found: usize, all: usize) -> String {
    if found == all { relay_count(all) } else { format!("{} of {}", number(found), relay_count(all)) }
}

/// How the table is sorted.
pub fn order_by(column: &str) -> String {
    format!("By {}", column.to_lowercase())
}

/// Which page of the table this is.
pub fn page_of(page: usize, pages: usize) -> String {
    format!("{page} of {pages}")
}

/// A rough span of time.
fn span(secs: u64) -> String {
    match secs {
        0..100 => format!("{secs} s"),
        100..6_000 => format!("{} min", secs.div_ceil(60)),
        6_000..172_800 => format!("{} h", secs.div_ceil(3_600)),
        _ => format!("{} days", secs.div_ceil(86_400)),
    }
}

/// A time in the future.
pub fn in_time(secs: u64) -> String {
    format!("in {}", span(secs))
}

/// A time in the past.
pub fn ago(secs: u64) -> String {
    format!("{} ago", span(secs))
}

/// A number with thousands separators.
pub fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The title of the tab that shows the network.
pub fn network_title(unread: usize) -> String {
    title(unread).replace(APP_NAME, "Network · Allium")
}

/// The title of the tab.
pub fn title(unread: usize) -> String {
    if unread == 0 { APP_NAME.into() } else { format!("({unread}) {APP_NAME}") }
}
