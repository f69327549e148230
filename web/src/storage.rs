//! The profile's records in IndexedDB: all read at the start, then written batch by batch.

mod writer;

use std::future::IntoFuture as _;

use allium_shared::client::api::Write;
use futures_util::future::try_join;
use idb::builder::{DatabaseBuilder, ObjectStoreBuilder};
use idb::{Database, Query, TransactionMode, TransactionResult};
use js_sys::{JsString, Object, Reflect, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{IdbDatabase, IdbTransaction};

pub use self::writer::Writer;

const DATABASE: &str = "allium";
const RECORDS: &str = "records";

/// Raised when the shape of the database (not of the records in it) changes.
const VERSION: u32 = 1;

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

/// The open database.
pub struct Storage {
    database: IdbDatabase,
}

impl Storage {
    /// Opens the database, or makes it.
    pub async fn open() -> Result<Self, StorageError> {
        let store = ObjectStoreBuilder::new(RECORDS);
        let database = DatabaseBuilder::new(DATABASE)
            .version(VERSION)
            .add_object_store(store)
            .build()
            .await
            .map_err(|_| StorageError::Unavailable)?;
        Ok(Self { database: database.into() })
    }

    /// Closes the connection, once what is under way has ended.
    pub fn close(&self) {
        self.database.close();
    }

    /// Reads every record, in the order of their keys.
    pub async fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StorageError> {
        self.try_load().await.map_err(|_| StorageError::Failed)
    }

    async fn try_load(&self) -> Result<Vec<(String, Vec<u8>)>, idb::Error> {
        let database = Database::from(self.database.clone());
        let store = database.transaction(&[RECORDS], TransactionMode::ReadOnly)?.object_store(RECORDS)?;
        // A transaction ends when it has nothing left to do, so both requests are made before either is awaited.
        let keys = store.get_all_keys(None::<Query>, None)?.into_future();
        let values = store.get_all(None::<Query>, None)?.into_future();
        let (keys, values) = try_join(keys, values).await?;
        let keys = keys.into_iter().filter_map(|key| key.as_string());
        Ok(keys.zip(values.into_iter().map(|value| Uint8Array::new(&value).to_vec())).collect())
    }

    /// Writes the records of several batches as one transaction; when it returns, they survive a crash.
    pub async fn write(&self, writes: impl IntoIterator<Item = &Write>) -> Result<(), StorageError> {
        let transaction = self.begin_durable().map_err(|_| StorageError::Failed)?;
        let handle = idb::Transaction::from(transaction.clone());
        match Self::fill(handle, writes).await {
            Ok(TransactionResult::Committed) => Ok(()),
            _ if transaction.error().is_some_and(|error| error.name() == "QuotaExceededError") => {
                Err(StorageError::Full)
            }
            _ => Err(StorageError::Failed),
        }
    }

    async fn fill(
        transaction: idb::Transaction,
        writes: impl IntoIterator<Item = &Write>,
    ) -> Result<TransactionResult, idb::Error> {
        let store = transaction.object_store(RECORDS)?;
        for write in writes {
            let key = JsValue::from_str(&write.key);
            match &write.value {
                Some(value) => drop(store.put(&Uint8Array::from(value.as_slice()), Some(&key))?),
                None => drop(store.delete(key)?),
            }
        }
        transaction.await
    }

    /// By default some browsers call a transaction complete before it has reached the disk.
    fn begin_durable(&self) -> Result<IdbTransaction, JsValue> {
        let options = Object::new();
        Reflect::set(&options, &"durability".into(), &"strict".into())?;
        let database: &DurableDatabase = self.database.unchecked_ref();
        database.transaction(&RECORDS.into(), &"readwrite".into(), &options)
    }
}

#[wasm_bindgen]
extern "C" {
    /// `IDBDatabase` with the third argument of `transaction`, which web-sys still calls unstable; browsers that do not
    /// know it pass over it.
    type DurableDatabase;

    #[wasm_bindgen(method, catch)]
    fn transaction(
        this: &DurableDatabase,
        store: &JsString,
        mode: &JsString,
        options: &Object,
    ) -> Result<IdbTransaction, JsValue>;
}

/// Asks the browser not to clear the profile away when space runs short; it may say no, and need not ask the person.
pub async fn ask_to_persist() {
    let Some(window) = web_sys::window() else { return };
    let navigator: JsValue = window.navigator().into();
    // Insecure origins have no storage manager.
    let manager = Reflect::get(&navigator, &"storage".into()).ok();
    let Some(manager) = manager.and_then(|manager| manager.dyn_into::<web_sys::StorageManager>().ok()) else { return };
    let Ok(persisted) = manager.persisted() else { return };
    if JsFuture::from(persisted).await.is_ok_and(|already| already.is_truthy()) {
        return;
    }
    if let Ok(asked) = manager.persist() {
        let _ = JsFuture::from(asked).await;
    }
}
