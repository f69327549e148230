//! Every English text of the page, in one place, so that another language can follow.
//!
//! One text has a duty: [`READY`] ends in `ready` in every language, because the tests of all of them wait for it.

use std::fmt::Display;

use allium_shared::client::api::{ContactState, DeliveryState, Progress};
use allium_shared::vault::{HeaderError, RecordError, UnlockError, WrapError};

use crate::storage::{ProfileError, Protection, StorageError};

pub const APP_NAME: &str = "Allium";

// The connection's state.
pub const STARTING: &str = "Starting…";
pub const READY: &str = "Connected · ready";

/// The state while a step is under way.
pub fn step_under_way(step: Progress, again: bool) -> &'static str {
    match (step, again) {
        (Progress::FetchingDirectory, false) => "Fetching the relay list…",
        (Progress::ConnectingGuard, false) => "Connecting to a relay…",
        (Progress::BuildingCircuit, false) => "Building a circuit…",
        (Progress::FetchingDirectory, true) => "Reconnecting: relay list…",
        (Progress::ConnectingGuard, true) => "Reconnecting to a relay…",
        (Progress::BuildingCircuit, true) => "Rebuilding circuits…",
        (Progress::Ready, _) => READY,
    }
}

// Starting.
pub const START_TITLE: &str = "Getting you connected";
pub const START_AGAIN_TITLE: &str = "Getting you connected again";

/// A step's name and what it does, for the picture of the start.
pub fn step_explained(step: Progress) -> (&'static str, &'static str) {
    match step {
        Progress::FetchingDirectory => ("Relay list", "Fetching the list of relays and checking who signed it."),
        Progress::ConnectingGuard => {
            ("First relay", "An encrypted link to your guard, the only relay that sees your address.")
        }
        Progress::BuildingCircuit => ("Circuit", "A path through three relays, none of which knows both of its ends."),
        Progress::Ready => ("Ready", "Circuits stand."),
    }
}

pub const STEP_DONE: &str = "done";
pub const STEP_ACTIVE: &str = "under way";
pub const STEP_WAITING: &str = "waiting";

// Empty states.
pub const WELCOME_TITLE: &str = "Say hello to someone";
pub const WELCOME_TEXT: &str = "Create an invite and give its link to one person, or add the link that someone gave \
    you. No account and no phone number: the link is all it takes.";
pub const CHOOSE_TITLE: &str = "Choose a conversation";
pub const CHOOSE_TEXT: &str = "Messages are encrypted on this device and travel through relays that never know who \
    is talking to whom.";
pub const OFFERED_TITLE: &str = "You have been invited";
pub const OFFERED_TEXT: &str = "Give the person who invited you a name, and add them. The link has been removed from \
    your address bar and history.";
pub const OFFERED_BUTTON: &str = "Choose a name";

// The path.
pub const PATH_LABEL: &str = "Path of your messages";
pub const PATH_NONE: &str = "No path at the moment";
pub const PATH_YOU: &str = "You";
pub const PATH_SOMEONE: &str = "Contact";
pub const PATH_HIDDEN: &str = "Relays chosen by the other side: hidden from you, as yours are from them";
pub const PATH_EXPLAINED: &str = "Your circuit: each relay knows only its neighbours";
pub const PATH_GUARD: &str = "guard";
pub const PATH_MIDDLE: &str = "middle";
pub const PATH_MEETING: &str = "meeting";

// Invites.
pub const INVITE_TITLE: &str = "Invite someone";
pub const INVITE_CREATE: &str = "Create invite";
pub const INVITE_ANOTHER: &str = "New invite";
pub const INVITE_PREPARING: &str = "Building circuits to two relays where your visitor can meet you…";
pub const INVITE_LINK: &str = "Invite link";
pub const INVITE_HINT: &str = "For one person, once. Keep Allium open until they have used it.";
pub const COPY: &str = "Copy";
pub const COPIED: &str = "Copied";
pub const COPY_FAILED: &str = "Press Ctrl+C";

/// Somebody used the invite.
pub fn invite_taken(name: &str) -> String {
    format!("{name} accepted your invite.")
}

// Adding.
pub const ADD_TITLE: &str = "Have an invite link?";
pub const ADD_LINK: &str = "Invite link";
pub const ADD_LINK_PLACEHOLDER: &str = "Paste the invite link";
pub const ADD_NAME: &str = "Their name";
pub const ADD_NAME_PLACEHOLDER: &str = "Their name";
pub const ADD_OWN_NAME: &str = "Your name, as they will see it (optional)";
pub const ADD_OWN_NAME_PLACEHOLDER: &str = "Your name";
pub const ADD: &str = "Add contact";
pub const ADDING: &str = "Adding…";
pub const ADD_LINK_MISSING: &str = "Paste the invite link that you were given.";
pub const ADD_NAME_MISSING: &str = "Give the contact a name: only you will see it.";

/// A name is longer than the engine takes.
pub const NAME_TOO_LONG: &str = "This name is too long. Choose a shorter one.";

// Contacts.
pub const CONTACTS: &str = "Contacts";
pub const CONTACTS_NONE: &str = "Nobody here yet";
pub const CONTACT_SILENT: &str = "No messages yet";
pub const OWN_PREFIX: &str = "You: ";

/// A contact's state, in a word.
pub fn contact_state(state: ContactState) -> &'static str {
    match state {
        ContactState::Connecting => "connecting…",
        ContactState::Connected => "connected",
        ContactState::Offline => "offline",
    }
}

/// How many messages wait to be read, for those who cannot see the badge.
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
pub const TEXT_TOO_LONG: &str = "This message is too long. Send it in two parts.";

/// The pill over a conversation that is scrolled up.
pub fn new_messages(count: usize) -> String {
    match count {
        0 => "Newest messages".into(),
        1 => "1 new message".into(),
        _ => format!("{count} new messages"),
    }
}

/// What stands in an empty conversation.
pub fn conversation_empty(name: &str) -> String {
    format!("This is the beginning of your conversation with {name}. Only the two of you can read it.")
}

/// What happens to messages while a contact cannot be reached.
pub fn contact_away(name: &str) -> String {
    format!("{name} cannot be reached right now. What you send waits on this device until you are both online.")
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
    }
}

/// How many bytes a message may still take.
pub fn bytes_left(left: usize) -> String {
    format!("{left} left")
}

// Another tab.
pub const ELSEWHERE_TITLE: &str = "Allium is open in another tab";
pub const ELSEWHERE_TEXT: &str = "It can run in one tab at a time, so that no message is lost between two. Close the \
    other tab, or go on in this one.";
pub const ELSEWHERE_BUTTON: &str = "Use Allium here";
pub const ELSEWHERE_WAITING: &str = "The other tab is putting everything away…";

// The passphrase.
pub const SETTINGS: &str = "Passphrase and lock";
pub const CLOSE: &str = "Close";
pub const LOCK: &str = "Lock now";
pub const LOCKING: &str = "Locking…";
pub const UNLOCK_TITLE: &str = "Allium is locked";
pub const UNLOCK_TEXT: &str = "Your contacts and messages in this browser are encrypted with your passphrase.";
pub const UNLOCK: &str = "Unlock";
pub const UNLOCKING: &str = "Trying the passphrase. That takes a moment, so that guessing it takes long…";
pub const PASSPHRASE: &str = "Passphrase";
pub const PASSPHRASE_CURRENT: &str = "Current passphrase";
pub const PASSPHRASE_NEW: &str = "New passphrase";
pub const PASSPHRASE_AGAIN: &str = "New passphrase once more";
pub const PASSPHRASE_SET: &str = "Set passphrase";
pub const PASSPHRASE_CHANGE: &str = "Change passphrase";
pub const PASSPHRASE_REMOVE: &str = "Remove it";
pub const PASSPHRASE_TRYING: &str = "Encrypting the key. That takes a moment…";
pub const PASSPHRASE_DONE: &str = "Done. This holds from now on.";
pub const PASSPHRASE_WARNING: &str = "A forgotten passphrase cannot be replaced: nobody, Allium included, can open your \
    contacts and messages without it. Several random words are a good one.";
pub const PASSPHRASE_MISSING: &str = "Type a new passphrase first.";
pub const PASSPHRASE_DIFFERENT: &str = "The two are not the same. Type the new passphrase twice.";

/// What opens the profile, and what that is worth.
pub fn protection(protection: Protection) -> &'static str {
    match protection {
        Protection::Passphrase => {
            "Your contacts and messages open with your passphrase only. Allium asks for it at each start."
        }
        Protection::Browser => {
            "Your contacts and messages are encrypted with a key that this browser keeps. Whoever can use this browser can \
             open them. With a passphrase they cannot."
        }
        Protection::Nothing => {
            "Your contacts and messages are encrypted, but the key lies beside them: this page came over an insecure \
             connection, and the browser keeps no keys for it. Only a passphrase protects them here."
        }
    }
}

/// The profile cannot be opened, or its passphrase not changed.
pub fn profile_failed(error: ProfileError) -> String {
    match error {
        ProfileError::Storage(error) => storage_failed(error).into(),
        ProfileError::NoRandomness => NO_RANDOMNESS.into(),
        ProfileError::Unlock(UnlockError::WrongPassphrase) => "This passphrase is wrong.".into(),
        ProfileError::Unlock(UnlockError::OutOfMemory) | ProfileError::Wrap(WrapError::OutOfMemory) => {
            "There is not enough memory to try a passphrase. Close other tabs, then try again.".into()
        }
        ProfileError::Wrap(WrapError::Empty) => PASSPHRASE_MISSING.into(),
        ProfileError::Header(HeaderError::Damaged) => damaged("its header is damaged"),
        ProfileError::Header(HeaderError::Format(error)) => damaged(&format!("its header has another form ({error})")),
        ProfileError::HeaderMissing => damaged("its header is missing"),
        ProfileError::KeyMissing => damaged("the browser's key to it is missing"),
        ProfileError::Browser => damaged("the browser's key to it does not work"),
        ProfileError::Unlock(UnlockError::WrongDevice | UnlockError::OtherWay) => {
            damaged("the browser's key does not fit it")
        }
        ProfileError::Record(RecordError::Sealed) => damaged("a record in it is damaged"),
        ProfileError::Record(RecordError::Format(error)) => {
            damaged(&format!("a record in it has another form ({error})"))
        }
    }
}

fn damaged(what: &str) -> String {
    format!("What Allium has stored in this browser cannot be opened: {what}. Nothing was changed.")
}

// What goes wrong.
pub const FAILED_TITLE: &str = "Allium cannot start";
pub const RELOAD: &str = "Reload the page";
pub const DIRECTORY_SILENT: &str = "the directory takes too long to answer";
pub const DIRECTORY_UNREACHABLE: &str = "the directory does not answer";
pub const NO_RANDOMNESS: &str =
    "This browser gives Allium no random numbers, and without them there is no encryption. Use another browser.";

pub const NO_WORKER: &str = "Allium does its work beside the page, in a part that this browser did not start. Reload the page; if \
    this stays, use a newer browser, or another one.";
pub const CRASHED_TITLE: &str = "Allium has stopped";
pub const CRASHED: &str = "Allium has stopped because of a fault of its own. Nothing that was stored is lost: reload the \
    page to go on.";

/// The directory answered with an error.
pub fn directory_refused(status: u16) -> String {
    format!("the directory has nothing to give (status {status})")
}

/// The directory gives no answer, which is tried again.
pub fn directory_trouble(problem: &str) -> String {
    format!("No connection yet: {problem}. Still trying.")
}

/// The directory's answer is of no use.
pub fn directory_broken(error: &impl Display) -> String {
    format!("The directory's answer cannot be used: {error}. Reload the page; if this stays, tell whoever runs it.")
}

/// The engine did not start.
pub fn engine_failed(error: &impl Display) -> String {
    format!("{error}. Reload the page; if this stays, this version of Allium cannot read what an other one stored.")
}

/// The store could not be opened or read.
pub fn storage_failed(error: StorageError) -> &'static str {
    match error {
        StorageError::Unavailable => {
            "This browser lets Allium store nothing here, so it could not keep your contacts and messages. Private \
             windows often forbid it: use an ordinary window, or allow this site to store data."
        }
        StorageError::Full => "There is no space left to store messages. Free some space, then reload the page.",
        StorageError::Failed => "What Allium has stored in this browser cannot be read. Reload the page.",
    }
}

/// The store cannot be written.
pub fn storage_failing(error: StorageError) -> &'static str {
    match error {
        StorageError::Full => {
            "There is no space left to store messages. They wait until you free some; keep this tab open."
        }
        StorageError::Unavailable | StorageError::Failed => {
            "Messages cannot be stored at the moment. Allium keeps trying; if this stays, reload the page."
        }
    }
}

/// The title of the tab.
pub fn title(unread: usize) -> String {
    if unread == 0 { APP_NAME.into() } else { format!("({unread}) {APP_NAME}") }
}
