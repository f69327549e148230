//! Writes batches in order, and reports which are on disk.

use allium_shared::client::api::{BatchId, Input, Write};
use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt as _;
use gloo_timers::future::TimeoutFuture;
use wasm_bindgen_futures::spawn_local;

use super::{Storage, StorageError};

/// How long to wait after a failed write; doubled each time up to the maximum.
const RETRY_MILLIS: u32 = 1_000;
const RETRY_MILLIS_MAX: u32 = 30_000;

type Batch = (BatchId, Vec<Write>);

/// Writes batches one transaction after the other, and never gives up on one: nothing is acknowledged before it is on
/// disk, so a full disk only makes everything wait.
pub struct Writer {
    batches: mpsc::UnboundedSender<Batch>,
    finished: oneshot::Receiver<()>,
}

impl Writer {
    /// Starts to write to `storage`. Each batch on disk becomes an [`Input::Persisted`]; `trouble` is called when writing
    /// fails, and when it works again.
    pub fn start(
        storage: Storage,
        inputs: mpsc::UnboundedSender<Input>,
        trouble: impl Fn(Option<StorageError>) + 'static,
    ) -> Self {
        let (batches, mut waiting) = mpsc::unbounded::<Batch>();
        let (finish, finished) = oneshot::channel();
        spawn_local(async move {
            while let Some(first) = waiting.next().await {
                // All waiting batches share one transaction, since the flush to disk is the expensive part.
                let mut group = vec![first];
                while let Ok(next) = waiting.try_recv() {
                    group.push(next);
                }
                persist(&storage, &group, &trouble).await;
                for (batch, _) in group {
                    let _ = inputs.unbounded_send(Input::Persisted(batch));
                }
            }
            storage.close();
            let _ = finish.send(());
        });
        Self { batches, finished }
    }

    /// Queues a batch.
    pub fn write(&self, batch: BatchId, writes: Vec<Write>) {
        let _ = self.batches.unbounded_send((batch, writes));
    }

    /// Waits until all batches are on disk, and closes the database.
    pub async fn finish(self) {
        drop(self.batches);
        let _ = self.finished.await;
    }
}

async fn persist(storage: &Storage, group: &[Batch], trouble: &impl Fn(Option<StorageError>)) {
    let mut pause = RETRY_MILLIS;
    let mut failed = false;
    while let Err(error) = storage.write(group.iter().flat_map(|(_, writes)| writes)).await {
        failed = true;
        trouble(Some(error));
        TimeoutFuture::new(pause).await;
        pause = (pause * 2).min(RETRY_MILLIS_MAX);
    }
    if failed {
        trouble(None);
    }
}
