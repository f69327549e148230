//! The profile's records in IndexedDB, sealed: all are read at the start, then written batch by batch.
//!
//! The header, which contains the profile's key, is in a separate store, together with the secret that opens it while there
//! is no passphrase. Changing the passphrase is one transaction on that store.
//!
//! # Layout
//!
//! - `database`: the stores, and transactions on them
//! - `browser_key`: the secret that opens the profile without a passphrase
//! - `writer`: batches, one after the other

mod browser_key;
mod database;
mod writer;

use std::cell::RefCell;
use std::rc::Rc;

use allium_shared::client::api::Write;
use allium_shared::vault::{
    Cost, DeviceSecret, Header, HeaderError, RecordError, RecordName, UnlockError, Vault, Way, WrapError,
};
use js_sys::{Reflect, Uint8Array};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use zeroize::Zeroizing;

use self::database::{Change, Connection, PLAIN, SEALED, VAULT};
pub use self::writer::Writer;

// The keys of the store that has the header.
const HEADER: &str = "header";
const DEVICE: &str = "device";

/// Why records could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageError {
    /// The browser gives this page no database, as in some private windows.
    Unavailable,
    /// The disk, or the browser's share of it, is full.
    Full,
    /// The database is there and failed.
    Failed,
}

/// Why a profile can't be used. Nothing of it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileError {
    /// The database cannot be used.
    Storage(StorageError),
    /// The browser gives no random numbers.
    NoRandomness,
    /// The header cannot be read.
    Header(HeaderError),
    /// There are records, and no header.
    HeaderMissing,
    /// There is a header that needs no passphrase, but the secret that opens it is missing.
    KeyMissing,
    /// The browser's key doesn't work.
    Browser,
    /// The passphrase is wrong, or the browser's key.
    Unlock(UnlockError),
    /// The new passphrase cannot be used.
    Wrap(WrapError),
    /// A record cannot be read.
    Record(RecordError),
}

/// What opens the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// A passphrase.
    Passphrase,
    /// A key that the browser keeps.
    Browser,
    /// A secret stored beside it, because the browser keeps no keys for this page.
    Nothing,
}

/// A profile whose header has been read.
pub enum Opened {
    /// It is open.
    Open(Storage),
    /// It waits for its passphrase.
    Locked(Locked),
}

/// A profile that waits for its passphrase.
pub struct Locked {
    connection: Connection,
    header: Header,
}

/// An open profile. Clones are the same one.
#[derive(Clone)]
pub struct Storage {
    connection: Connection,
    sealer: Rc<Sealer>,
}

struct Sealer {
    vault: Vault,
    rng: RefCell<ChaCha20Rng>,
}

impl Locked {
    /// Opens the profile. This blocks the thread for as long as the passphrase's cost.
    pub fn unlock(&self, passphrase: &str) -> Result<Storage, ProfileError> {
        let vault = self.header.unlock_by_passphrase(passphrase).map_err(ProfileError::Unlock)?;
        Ok(Storage { connection: self.connection.clone(), sealer: Rc::new(Sealer::new(vault, rng()?)) })
    }

    /// Closes the database.
    pub fn close(&self) {
        self.connection.close();
    }
}

impl Storage {
    /// Opens or creates the database, and opens the profile if it has no passphrase. A profile from before there were
    /// headers is sealed first.
    pub async fn open() -> Result<Opened, ProfileError> {
        let connection = Connection::open().await?;
        let sealer = match read_header(&connection).await? {
            Some(header) if header.way() == Way::Device => {
                let kept = connection.get(VAULT, DEVICE).await?.ok_or(ProfileError::KeyMissing)?;
                let secret = browser_key::take(&kept).await?;
                Sealer::new(header.unlock_by_device(&secret).map_err(ProfileError::Unlock)?, rng()?)
            }
            Some(header) => {
                let connection = connection.drop_plain().await?;
                return Ok(Opened::Locked(Locked { connection, header }));
            }
            None => create(&connection).await?,
        };
        // It is empty already, but its name would show that it was once used.
        let connection = connection.drop_plain().await?;
        Ok(Opened::Open(Self { connection, sealer: Rc::new(sealer) }))
    }

    /// Closes the connection once running transactions have finished.
    pub fn close(&self) {
        self.connection.close();
    }

    /// Reads every record, in the order of their keys.
    pub async fn load(&self) -> Result<Vec<(String, Vec<u8>)>, ProfileError> {
        let sealed = self.connection.all(SEALED).await?;
        let open = |(name, sealed): (JsValue, Vec<u8>)| {
            self.sealer.vault.open_record(&Uint8Array::new(&name).to_vec(), &sealed).map_err(ProfileError::Record)
        };
        let mut records = sealed.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        records.sort_unstable();
        Ok(records)
    }

    /// Writes the records of several batches as one transaction; when it returns, they survive a crash.
    pub async fn write(&self, writes: impl IntoIterator<Item = &Write>) -> Result<(), StorageError> {
        let change = |write: &Write| match &write.value {
            Some(value) => self.sealer.put(&write.key, value),
            None => Ok(Change::Delete(SEALED, bytes(&self.sealer.vault.record_name(&write.key)))),
        };
        let changes = writes.into_iter().map(change).collect::<Result<_, _>>()?;
        self.connection.change(&[SEALED], changes).await
    }

    /// What opens the profile.
    pub async fn protection(&self) -> Result<Protection, ProfileError> {
        match read_header(&self.connection).await?.ok_or(ProfileError::HeaderMissing)?.way() {
            Way::Passphrase(_) => Ok(Protection::Passphrase),
            Way::Device => {
                let kept = self.connection.get(VAULT, DEVICE).await?.ok_or(ProfileError::KeyMissing)?;
                Ok(if browser_key::is_guarded(&kept) { Protection::Browser } else { Protection::Nothing })
            }
        }
    }

    /// Replaces whatever opens the profile with the passphrase `new`. `current` is its passphrase, if it has one.
    pub async fn set_passphrase(&self, current: &str, new: &str) -> Result<(), ProfileError> {
        self.check(current).await?;
        let Sealer { vault, rng } = &*self.sealer;
        let header =
            vault.header_for_passphrase(&mut *rng.borrow_mut(), new, Cost::USUAL).map_err(ProfileError::Wrap)?;
        let changes = vec![Change::Put(VAULT, HEADER.into(), bytes(&header)), Change::Delete(VAULT, DEVICE.into())];
        Ok(self.connection.change(&[VAULT], changes).await?)
    }

    /// Replaces the passphrase with a key of the browser.
    pub async fn remove_passphrase(&self, current: &str) -> Result<(), ProfileError> {
        self.check(current).await?;
        let changes = self.sealer.for_device().await?;
        Ok(self.connection.change(&[VAULT], changes).await?)
    }

    async fn check(&self, current: &str) -> Result<(), ProfileError> {
        match read_header(&self.connection).await? {
            Some(header) if header.way() != Way::Device => {
                header.unlock_by_passphrase(current).map(drop).map_err(ProfileError::Unlock)
            }
            _ => Ok(()),
        }
    }
}

impl Sealer {
    fn new(vault: Vault, rng: ChaCha20Rng) -> Self {
        Self { vault, rng: RefCell::new(rng) }
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<Change, StorageError> {
        let sealed = self.vault.seal_record(&mut *self.rng.borrow_mut(), key, value);
        let (name, sealed): (RecordName, Vec<u8>) = sealed.map_err(|_| StorageError::Failed)?;
        Ok(Change::Put(SEALED, bytes(&name), bytes(&sealed)))
    }

    /// A header for a new secret of this device, and what to store of that secret.
    async fn for_device(&self) -> Result<Vec<Change>, ProfileError> {
        let secret = DeviceSecret::generate(&mut *self.rng.borrow_mut());
        let header = self.vault.header_for_device(&mut *self.rng.borrow_mut(), &secret);
        let kept = browser_key::keep(&secret).await?;
        Ok(vec![Change::Put(VAULT, HEADER.into(), bytes(&header)), Change::Put(VAULT, DEVICE.into(), kept)])
    }
}

/// Creates a header, and seals the records of a profile without one, in one transaction.
async fn create(connection: &Connection) -> Result<Sealer, ProfileError> {
    // A new header has a new key, which opens none of these records.
    if !connection.all(SEALED).await?.is_empty() {
        return Err(ProfileError::HeaderMissing);
    }
    let mut rng = rng()?;
    let sealer = Sealer::new(Vault::create(&mut rng), rng);
    let mut changes = sealer.for_device().await?;
    let mut stores = vec![VAULT, SEALED];
    if connection.has(PLAIN) {
        for (key, value) in connection.all(PLAIN).await? {
            if let Some(key) = key.as_string() {
                changes.push(sealer.put(&key, &value)?);
            }
        }
        changes.push(Change::Clear(PLAIN));
        stores.push(PLAIN);
    }
    connection.change(&stores, changes).await?;
    Ok(sealer)
}

async fn read_header(connection: &Connection) -> Result<Option<Header>, ProfileError> {
    let Some(bytes) = connection.get(VAULT, HEADER).await? else { return Ok(None) };
    Header::decode(&Uint8Array::new(&bytes).to_vec()).map(Some).map_err(ProfileError::Header)
}

fn rng() -> Result<ChaCha20Rng, ProfileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|_| ProfileError::NoRandomness)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

fn bytes(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

impl From<StorageError> for ProfileError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Asks the browser not to delete the profile when space runs short. It may refuse, and need not ask the person.
pub async fn ask_to_persist() {
    if is_persisted().await == Some(false)
        && let Some(asked) = manager().and_then(|manager| manager.persist().ok())
    {
        let _ = JsFuture::from(asked).await;
    }
}

/// True if the browser has agreed to that; `None` if it doesn't say.
pub async fn is_persisted() -> Option<bool> {
    let persisted = JsFuture::from(manager()?.persisted().ok()?).await.ok()?;
    persisted.as_bool()
}

/// Only for pages, not for workers. Insecure origins have none.
fn manager() -> Option<web_sys::StorageManager> {
    let navigator: JsValue = web_sys::window()?.navigator().into();
    Reflect::get(&navigator, &"storage".into()).ok()?.dyn_into().ok()
}
