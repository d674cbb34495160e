//! The tasks of look-ups. They outlive the caller that started them, so somebody else must end them.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs tasks that outlive their callers. Clones share one set of tasks.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let tasks = landfall::facade::registry::Tasks::default();
/// tasks.spawn(std::future::pending());
/// tasks.close().await; // cancels the task, and returns when it has ended
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    closed: CancellationToken,
}

impl Tasks {
    /// Runs `work` to its end, or until [`close`](Self::close), which drops it.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Cancels all tasks, those that are spawned later as well, and waits until they have ended.
    pub async fn close(&self) {
        self.closed.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
