//! A child process that ends with its owner.

use std::io;
use std::process::{Child, Command};

use limits_test::child;

/// Killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts it. The thread that does so must live as long as it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        child::spawn(command).map(Self)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
