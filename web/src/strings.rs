//! Every English text of the page, in one place, so that another language can follow.
//!
//! One text has a duty: [`READY`] ends in `ready` in every language, because the tests of all of them wait for it.

use std::fmt::Display;

use allium_shared::client::api::{ContactState, DeliveryState, Progress, RelayView};
use allium_shared::netdir::RelayRole;
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
pub const INVITE_PREPARING: &str = "Letting relays know where your visitor may ask for you…";
pub const INVITE_LINK: &str = "Invite link";
pub const INVITE_HINT: &str =
    "For one person. You are asked before they become a contact. Keep Allium open until then.";
pub const INVITE_REUSABLE_HINT: &str = "For anybody who has the link, until you withdraw it. You are asked each time.";
pub const INVITE_OPTIONS: &str = "Options";
pub const INVITE_REUSABLE: &str = "Many people may use it";
pub const INVITE_EXPIRES: &str = "Ends";
pub const INVITE_NOTE: &str = "Note for yourself (optional)";
pub const INVITE_NOTE_PLACEHOLDER: &str = "Whom is it for?";
pub const INVITE_LOST: &str =
    "The tab that was making this invite has gone. If it is not among the open ones under Options, create it again.";
pub const INVITES_OPEN: &str = "Open invites";
pub const INVITE_WITHDRAW: &str = "Withdraw";
pub const INVITE_UNNAMED: &str = "Invite";

/// The choices of when an invite ends, in seconds, each with its text.
pub const INVITE_ENDS: [(Option<u64>, &str); 5] = [
    (None, "when it is used or withdrawn"),
    (Some(3600), "after an hour"),
    (Some(86_400), "after a day"),
    (Some(7 * 86_400), "after a week"),
    (Some(30 * 86_400), "after 30 days"),
];

/// An open invite's kind and times.
pub fn invite_kind(reusable: bool, made: &str, ends: Option<&str>) -> String {
    let kind = if reusable { "for many" } else { "for one person" };
    match ends {
        Some(ends) => format!("{kind}, made {made}, ends {ends}"),
        None => format!("{kind}, made {made}"),
    }
}

// Requests.
pub const REQUESTS: &str = "Requests";
pub const REQUEST_ACCEPT: &str = "Accept";
pub const REQUEST_DECLINE: &str = "Decline";
pub const REQUEST_DECLINE_HINT: &str = "They are told that you have declined";
pub const REQUEST_BLOCK_HINT: &str = "They are told nothing";
pub const BLOCK: &str = "Block";
pub const UNBLOCK: &str = "Unblock";
pub const BLOCK_HINT: &str =
    "Hear no more of them. They are told nothing, and find you as silent as if you were offline";

pub const SAFETY: &str = "Safety number";
pub const SAFETY_SAME: &str = "It is the same";
pub const SAFETY_UNDO: &str = "Take that back";

/// On the button that shows the safety number.
pub fn safety_title(verified: bool) -> &'static str {
    if verified { "Safety number: compared" } else { "Safety number: not compared yet" }
}

/// What to do with a safety number.
pub fn safety_hint(name: &str) -> String {
    format!(
        "Read these digits to {name} when you meet or speak, not in this chat. If {name} sees the same, nobody stands between \
         you and reads along."
    )
}

/// Where there is no number yet.
pub fn safety_later(name: &str) -> String {
    format!("The number will be here as soon as {name} has answered.")
}

/// Under a number that was compared.
pub fn verified(name: &str) -> String {
    format!("You have compared it with {name}.")
}

/// Under the name of somebody who asks for contact.
pub fn request_asks(invite_note: &str, at: &str) -> String {
    match invite_note {
        "" => format!("wants to talk to you · {at}"),
        note => format!("came by your invite “{note}” · {at}"),
    }
}
pub const COPY: &str = "Copy";
pub const COPIED: &str = "Copied";
pub const COPY_FAILED: &str = "Press Ctrl+C";

/// Somebody used the invite.
pub fn invite_taken(name: &str) -> String {
    format!("{name} has used your invite, and waits for your answer.")
}

// Adding.
pub const ADD_TITLE: &str = "Have an invite link?";
pub const ADD_LINK: &str = "Invite link";
pub const ADD_LINK_PLACEHOLDER: &str = "Paste the invite link";
pub const ADD_NAME: &str = "Their name";
pub const ADD_NAME_PLACEHOLDER: &str = "Their name";
pub const ADD_OWN_NAME: &str = "Your name, as they will see it (optional)";
pub const ADD_OWN_NAME_PLACEHOLDER: &str = "Your name";
pub const ADD_NOTE: &str = "What they read with your request (optional)";
pub const ADD_NOTE_PLACEHOLDER: &str = "Say who you are";
pub const NOTE_TOO_LONG: &str = "What you say with your request is too long. Save some of it for later.";
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
        ContactState::Requested => "waiting for their answer",
        ContactState::Declined => "has declined",
        ContactState::Blocked => "blocked",
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

/// What stands over the field while a contact's state says more than that they are away.
pub fn contact_apart(state: ContactState, name: &str) -> Option<String> {
    match state {
        ContactState::Connecting | ContactState::Connected => None,
        ContactState::Offline => Some(contact_away(name)),
        ContactState::Requested => {
            Some(format!("{name} has your request. What you write now waits on this device until they accept it."))
        }
        ContactState::Declined => Some(format!("{name} has declined your request.")),
        ContactState::Blocked => Some(format!(
            "You have blocked {name}: nothing goes from one of you to the other. To them you seem offline."
        )),
    }
}

/// A contact is writing.
pub fn is_typing(name: &str) -> String {
    format!("{name} is writing…")
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

/// How many bytes a message may still take.
pub fn bytes_left(left: usize) -> String {
    format!("{left} left")
}

// Another tab.
pub const ELSEWHERE_TITLE: &str = "Allium is open in another tab";
pub const ELSEWHERE_TEXT: &str = "The two cannot work together: the other one is of another version, or this browser does not let \
    them. Close the other tab or reload it, or go on in this one.";
pub const ELSEWHERE_SILENT: &str = "The other one does not answer: it sleeps, hangs, or is of an older version. Close it or reload it, or \
    try to go on in this one.";
pub const ELSEWHERE_BUTTON: &str = "Use Allium here";
pub const TABS_BUSY: &str = "The tab that does Allium's work does not answer, and too much waits for it already. Close the other tabs of Allium.";
pub const TABS_SILENT: &str = "The tab that does Allium's work does not answer. What you do here waits for it, in this tab only: leave \
    this one open, and go to the other one or close it.";
pub const STATUS_SILENT: &str = "Waiting for another tab";
pub const ELSEWHERE_WAITING: &str = "The other tab is putting everything away…";
pub const ELSEWHERE_LATE: &str = "It does not answer: close that tab.";

// The settings.
pub const SETTINGS: &str = "Settings";
pub const PRIVACY: &str = "What contacts are told";
pub const PRIVACY_RECEIPTS: &str = "Tell contacts what I have read";
pub const PRIVACY_TYPING: &str = "Tell contacts when I am writing";
pub const BLOCKED: &str = "Blocked";
pub const BLOCKED_NONE: &str = "Nobody is blocked.";
pub const BLOCKED_REQUEST: &str = "has asked for contact";
pub const DEVICE: &str = "This tab and this browser";
pub const AVAILABILITY: &str = "You can be reached while Allium is open, also behind other tabs. What others write while it is closed \
    waits on their devices, until both of you are there. Browsers may put a tab to sleep that nobody looks at, above all on phones.";
pub const FOLLOWS: &str = "Allium is open in several tabs, and another one does the work for all of them. Close whichever you like: \
    one that is left goes on with it. It may ask for your passphrase.";

/// The button that unblocks somebody, for those who do not see whom it stands beside.
pub fn unblock(name: &str) -> String {
    format!("{UNBLOCK} {name}")
}

/// Whether the browser keeps what is stored, as far as it says so.
pub fn persistence(persisted: Option<bool>) -> &'static str {
    match persisted {
        Some(true) => "This browser keeps your contacts and messages until you remove them yourself.",
        Some(false) => {
            "This browser has not promised to keep your contacts and messages: if space on the device runs short, it may remove them."
        }
        None => {
            "This browser does not say whether it keeps your contacts and messages if space on the device runs short."
        }
    }
}

// The passphrase.
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

// Other authorities than before.
pub const OTHER_AUTHORITIES_TITLE: &str = "This site names other authorities than before";
pub const OTHER_AUTHORITIES_MEANING: &str = "Authorities are the machines that decide which relays count. Since its first start \
    in this browser, Allium has kept their keys, and today this site names others. Either the network was set up anew, or somebody \
    wants to choose your relays. Allium cannot tell which, so it has not started.";
pub const OTHER_AUTHORITIES_SAFE: &str = "Your contacts and messages are safe: they are still stored in this browser, and nothing \
    has been sent.";
pub const OTHER_AUTHORITIES_ADVICE: &str = "Ask whoever runs this site, in another way than through it, which network it should \
    be. If this was a mistake and has been put right, reload the page. If the network really is a new one, your contacts are not in \
    it: to begin anew, remove what this site has stored in your browser, and with it your contacts and messages.";
pub const OTHER_AUTHORITIES_KEPT: &str = "Your network";
pub const OTHER_AUTHORITIES_NAMED: &str = "Named now";
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

// The network.
pub const NETWORK_LINK: &str = "The network";
pub const NETWORK_TITLE: &str = "The network";
pub const NETWORK_BACK: &str = "Back to your messages";
pub const NETWORK_COMING: &str = "Fetching the list of relays and checking who signed it…";
pub const PICTURE_TITLE: &str = "The relays as a flower";
pub const KIN: &str = "one family";
pub const DROOPING: &str = "often does not answer";
pub const HISTOGRAM: &str = "How many relays have how much weight";
pub const SIGNED_TITLE: &str = "Who says so";
pub const SIGNED_HINT: &str = "Authorities probe the relays, vote on them, and sign what they agree on. No single one can \
    put a relay into this list, or leave one out.";
pub const SIGNED: &str = "signed";
pub const NOT_SIGNED: &str = "has not signed";
pub const NEVER_VOTED: &str = ", did not vote";
pub const TIMES_TITLE: &str = "When";
pub const TIMES_BEGIN: &str = "Agreed on";
pub const TIMES_NEXT: &str = "Next list due";
pub const TIMES_END: &str = "Counts until";
pub const DUE_NOW: &str = "any moment now";
pub const RAN_OUT: &str = "has run out";
pub const NOTHING_TITLE: &str = "What is not here";
pub const NOTHING_TEXT: &str = "Who talks with whom, and how much: nobody knows, so nothing could be shown. Nor are your own \
    guards and paths marked, in case somebody looks over your shoulder.";
pub const PARAMETERS_TITLE: &str = "Numbers that all go by";
pub const PARAMETERS_NONE: &str = "The authorities have set none: everyone goes by the usual ones.";
pub const NETWORK_ID: &str = "Network";
pub const DIGEST: &str = "Digest of this list";
pub const RULES: &str = "Rules of the count";
pub const RELAYS_TITLE: &str = "Relays";
pub const SEARCH: &str = "Search by name, key, address, family or version";
pub const ORDER: &str = "Order";
pub const COLUMN_RELAY: &str = "Relay";
pub const COLUMN_ROLES: &str = "Roles";
pub const COLUMN_WEIGHT: &str = "Weight";
pub const COLUMN_HEALTH: &str = "Health";
pub const COLUMN_ADDRESS: &str = "Address";
pub const COLUMN_VERSION: &str = "Version";
pub const VERSION_NONE: &str = "not said";
pub const IDENTITY: &str = "Identity";
pub const FAMILY: &str = "Family";
pub const FAMILY_NONE: &str = "none: nobody has said that it runs other relays too";
pub const EXIT_POLICY: &str = "Opens connections to";
pub const EXIT_POLICY_NONE: &str = "nothing";
pub const PAGES: &str = "Pages of the table";
pub const PAGE_BEFORE: &str = "Before";
pub const PAGE_NEXT: &str = "Next";

/// How many relays there are.
pub fn relay_count(count: usize) -> String {
    if count == 1 { "1 relay".into() } else { format!("{} relays", number(count)) }
}

/// What the picture shows, for those who do not see it.
pub fn picture_text(count: usize, rest: usize) -> String {
    let shown = relay_count(count - rest);
    let others = if rest == 0 { String::new() } else { format!(" Dots around them stand for {} more.", number(rest)) };
    format!(
        "A floret for each of {shown}: the heavier, the larger and the nearer to the middle.{others} The table below \
        says the same in words."
    )
}

/// What the picture leaves out.
pub fn picture_rest(shown: usize, rest: usize, share: &str, each: usize) -> String {
    let dots = if each == 1 { "a dot each".into() } else { format!("a dot for every {each}") };
    format!(
        "The {} heaviest relays as florets; around them the other {}, {dots}, with {share} of the weight.",
        number(shown),
        number(rest)
    )
}

// Which relays have a colour.

pub const TINT_GUARD: &str = "guards: where circuits begin";
pub const TINT_BOTH: &str = "guards that are exits too";
pub const TINT_EXIT: &str = "exits: where they leave the network";
pub const TINT_BETWEEN: &str = "in between";

/// How many relays have a weight between two powers of two.
pub fn bar(from: u32, count: usize) -> String {
    let to = if from == 0 { "0".into() } else { number((from as usize).saturating_mul(2) - 1) };
    format!("weight {} to {to}: {}", number(from as usize), relay_count(count))
}

/// A relay in a line.
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

/// What a role is, and how much there is of it.
pub fn role_sum(role: RelayRole, count: usize, share: &str) -> String {
    let what = match role {
        RelayRole::Guard => "Where circuits begin: the only relays that see clients' addresses",
        RelayRole::Middle => "Between others",
        RelayRole::Exit => "Where circuits leave the network",
        RelayRole::Rendezvous => "Where two people meet",
        RelayRole::Chord => "Keep who can be found where",
        RelayRole::Mailbox => "Keep messages for those who are away",
    };
    format!("{what}. {}, {share} of the weight", relay_count(count))
}

/// Which part of probes a relay answers.
pub fn health(health: u8) -> String {
    format!("{health} %")
}

/// The same with what it means.
pub fn health_explained(health: u8) -> String {
    format!("answered {health} of the last 100 probes, as the authorities have voted")
}

/// A weight with what it means.
pub fn weight_explained(weight: u32, share: &str) -> String {
    format!("{}: {share} of all weight in the network", number(weight as usize))
}

/// A relay's relatives.
pub fn relatives(names: &[String], others: usize) -> String {
    match (names.is_empty(), others) {
        (true, _) => "no other relay of it is listed".into(),
        (false, 0) => format!("with {}; no circuit has two of them", names.join(", ")),
        (false, _) => format!("with {} and {} more; no circuit has two of them", names.join(", "), number(others)),
    }
}

/// Who has signed.
pub fn signed_by(signed: usize, all: usize, quorum: usize) -> String {
    format!("Signed by {signed} of {all} authorities; {quorum} have to. Checked by this page itself.")
}

/// How many relays a search has found.
pub fn found(found: usize, all: usize) -> String {
    if found == all { relay_count(all) } else { format!("{} of {}", number(found), relay_count(all)) }
}

/// What the table is in order of.
pub fn order_by(column: &str) -> String {
    format!("By {}", column.to_lowercase())
}

/// Which page of the table this is.
pub fn page_of(page: usize, pages: usize) -> String {
    format!("{page} of {pages}")
}

/// A span of time, as exact as one wants to know it.
fn span(secs: u64) -> String {
    match secs {
        0..100 => format!("{secs} s"),
        100..6_000 => format!("{} min", secs.div_ceil(60)),
        6_000..172_800 => format!("{} h", secs.div_ceil(3_600)),
        _ => format!("{} days", secs.div_ceil(86_400)),
    }
}

/// How long something is still to come.
pub fn in_time(secs: u64) -> String {
    format!("in {}", span(secs))
}

/// How long ago something was.
pub fn ago(secs: u64) -> String {
    format!("{} ago", span(secs))
}

/// A number with its thousands apart.
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
    title(unread).replace(APP_NAME, "The network · Allium")
}

/// The title of the tab.
pub fn title(unread: usize) -> String {
    if unread == 0 { APP_NAME.into() } else { format!("({unread}) {APP_NAME}") }
}
