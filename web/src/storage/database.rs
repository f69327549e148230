//! The browser's database: which stores it has, and how it is read and written.

use std::future::IntoFuture as _;

use futures_util::future::try_join;
use idb::{Database, DatabaseEvent as _, Factory, ObjectStoreParams, Query, TransactionMode, TransactionResult};
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{IdbDatabase, IdbTransaction};

use super::StorageError;

const NAME: &str = "allium";

/// Sealed records, by name.
pub(super) const SEALED: &str = "sealed";

/// The header, and what the browser keeps to open it.
pub(super) const VAULT: &str = "vault";

/// Plain records by key, from before there were headers.
pub(super) const PLAIN: &str = "records";

/// The open database. Clones are the same connection.
#[derive(Clone)]
pub(super) struct Connection(IdbDatabase);

/// One change of a store.
pub(super) enum Change {
    Put(&'static str, JsValue, JsValue),
    Delete(&'static str, JsValue),
    Clear(&'static str),
}

impl Connection {
    /// Opens or creates the database, with the stores that this version writes to.
    pub(super) async fn open() -> Result<Self, StorageError> {
        let connection = Self::upgrade(None, add_stores).await?;
        if connection.has(SEALED) && connection.has(VAULT) {
            return Ok(connection);
        }
        connection.and_then(add_stores).await
    }

    /// Removes the store of plain records.
    pub(super) async fn drop_plain(self) -> Result<Self, StorageError> {
        if !self.has(PLAIN) {
            return Ok(self);
        }
        self.and_then(|database| database.delete_object_store(PLAIN)).await
    }

    /// Opens the next version of the database, which `change` creates.
    async fn and_then(
        self,
        change: impl FnOnce(&Database) -> Result<(), idb::Error> + 'static,
    ) -> Result<Self, StorageError> {
        let version = Database::from(self.0.clone()).version().map_err(|_| StorageError::Failed)?;
        self.close();
        Self::upgrade(Some(version + 1), change).await
    }

    async fn upgrade(
        version: Option<u32>,
        change: impl FnOnce(&Database) -> Result<(), idb::Error> + 'static,
    ) -> Result<Self, StorageError> {
        let open = async {
            let mut request = Factory::new()?.open(NAME, version)?;
            request.on_upgrade_needed(move |event| {
                // If a store is missing afterwards, the first transaction that needs it fails.
                let _ = event.database().and_then(|database| change(&database));
            });
            request.await
        };
        open.await.map(|database: Database| Self(database.into())).map_err(|_| StorageError::Unavailable)
    }

    /// Closes the connection once running transactions have finished.
    pub(super) fn close(&self) {
        self.0.close();
    }

    pub(super) fn has(&self, store: &str) -> bool {
        Database::from(self.0.clone()).store_names().iter().any(|name| name == store)
    }

    /// One value of a store.
    pub(super) async fn get(&self, store: &str, key: &str) -> Result<Option<JsValue>, StorageError> {
        let get = async {
            let database = Database::from(self.0.clone());
            let store = database.transaction(&[store], TransactionMode::ReadOnly)?.object_store(store)?;
            store.get(JsValue::from_str(key))?.await
        };
        get.await.map_err(|_: idb::Error| StorageError::Failed)
    }

    /// All keys and bytes of a store.
    pub(super) async fn all(&self, store: &str) -> Result<Vec<(JsValue, Vec<u8>)>, StorageError> {
        let all = async {
            let database = Database::from(self.0.clone());
            let store = database.transaction(&[store], TransactionMode::ReadOnly)?.object_store(store)?;
            // An idle transaction ends, so both requests are made before either is awaited.
            let keys = store.get_all_keys(None::<Query>, None)?.into_future();
            let values = store.get_all(None::<Query>, None)?.into_future();
            let (keys, values) = try_join(keys, values).await?;
            Ok(keys.into_iter().zip(values.into_iter().map(|value| Uint8Array::new(&value).to_vec())).collect())
        };
        all.await.map_err(|_: idb::Error| StorageError::Failed)
    }

    /// Makes all changes in one transaction; when it returns, they survive a crash.
    pub(super) async fn change(&self, stores: &[&str], changes: Vec<Change>) -> Result<(), StorageError> {
        let transaction = self.begin_durable(stores).map_err(|_| StorageError::Failed)?;
        let handle = idb::Transaction::from(transaction.clone());
        match fill(handle, changes).await {
            Ok(TransactionResult::Committed) => Ok(()),
            _ if transaction.error().is_some_and(|error| error.name() == "QuotaExceededError") => {
                Err(StorageError::Full)
            }
            _ => Err(StorageError::Failed),
        }
    }

    /// By default, some browsers report a transaction as complete before it has reached the disk.
    fn begin_durable(&self, stores: &[&str]) -> Result<IdbTransaction, JsValue> {
        let options = Object::new();
        Reflect::set(&options, &"durability".into(), &"strict".into())?;
        let stores: Array = stores.iter().map(|store| JsValue::from_str(store)).collect();
        let database: &DurableDatabase = self.0.unchecked_ref();
        database.transaction(&stores, "readwrite", &options)
    }
}

fn add_stores(database: &Database) -> Result<(), idb::Error> {
    let there = database.store_names();
    for store in [SEALED, VAULT] {
        if !there.iter().any(|name| name == store) {
            database.create_object_store(store, ObjectStoreParams::new())?;
        }
    }
    Ok(())
}

async fn fill(transaction: idb::Transaction, changes: Vec<Change>) -> Result<TransactionResult, idb::Error> {
    for change in changes {
        match change {
            Change::Put(store, key, value) => drop(transaction.object_store(store)?.put(&value, Some(&key))?),
            Change::Delete(store, key) => drop(transaction.object_store(store)?.delete(key)?),
            Change::Clear(store) => drop(transaction.object_store(store)?.clear()?),
        }
    }
    transaction.await
}

#[wasm_bindgen]
extern "C" {
    /// `IDBDatabase` with the third argument of `transaction`, which web-sys still calls unstable; browsers that don't
    /// know it ignore it.
    type DurableDatabase;

    #[wasm_bindgen(method, catch)]
    fn transaction(
        this: &DurableDatabase,
        stores: &Array,
        mode: &str,
        options: &Object,
    ) -> Result<IdbTransaction, JsValue>;
}
