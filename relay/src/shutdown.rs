//! How a node learns that it has to end.

use std::future::Future;
use std::io::{self, Read};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Set by `allium network` in the nodes that it starts: they end with their standard input, which is with their parent.
pub const EXIT_WITH_STDIN: &str = "ALLIUM_EXIT_WITH_STDIN";

/// How long a node may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// Ends whoever holds a [`Shutdown`] of it, also when it is dropped.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Says when to end.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what it ends.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Ends all.
    pub fn shut_down(&self) {
        self.0.send_replace(true);
    }

    /// Another holder's side.
    pub fn subscribe(&self) -> Shutdown {
        Shutdown(self.0.subscribe())
    }
}

impl Shutdown {
    /// Waits for the end.
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone, which is as good as pulled.
        let _ = self.0.wait_for(|end| *end).await;
    }

    /// Whether the end has come.
    pub fn is_set(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Runs `future` until it is done or the end has come, which gives `None`.
    pub async fn unless<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            output = future => Some(output),
        }
    }
}

/// A shutdown that comes with SIGINT, with SIGTERM, or with the end of standard input where a parent has asked for it.
pub fn from_environment() -> io::Result<Shutdown> {
    let (trigger, shutdown) = channel();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut parent = with_parent()?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = parent.wait() => {}
        }
        trigger.shut_down();
        tokio::select! {
            () = tokio::time::sleep(GRACE) => tracing::warn!("ending took too long"),
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(shutdown)
}

fn with_parent() -> io::Result<Shutdown> {
    let (trigger, shutdown) = channel();
    if std::env::var_os(EXIT_WITH_STDIN).is_none_or(|value| value != "1") {
        // Nobody is to pull it: it lives as long as the process.
        std::mem::forget(trigger);
        return Ok(shutdown);
    }
    // Standard input says when the parent is gone, but a stopped process cannot see it: the kernel can end that one.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
        let mut buffer = [0; 64];
        while !matches!(io::stdin().read(&mut buffer), Ok(0) | Err(_)) {}
        trigger.shut_down();
    })?;
    Ok(shutdown)
}
