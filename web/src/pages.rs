//! The pages, one of which is shown.

mod elsewhere;
mod failed;
mod messenger;
mod network;

pub use self::elsewhere::Elsewhere;
pub use self::failed::Failed;
pub use self::messenger::Messenger;
pub use self::network::Network;
