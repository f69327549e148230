//! The pages, one of which is shown.

mod elsewhere;
mod failed;
mod messenger;
mod put_away;
mod unlock;

pub use self::elsewhere::Elsewhere;
pub use self::failed::Failed;
pub use self::messenger::Messenger;
pub use self::put_away::PutAway;
pub use self::unlock::Unlock;
