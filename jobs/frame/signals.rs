//! Ctrl-C and SIGTERM: what is kept is said once, and the process ends.
//!
//! No work is lost that was finished: a partition that is done has left its receipt, and what is half written has no final name yet. So
//! the process may end at any moment, without waiting for its threads.

use std::io::{IsTerminal, Write};

use dataset::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// Ends the process on the first signal, with exit code 130 (Ctrl-C) or 143 (SIGTERM).
pub(crate) fn watch() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| Error::io("signals", e))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Nobody else writes from here on: no progress bar comes back over the message.
            let mut stderr = std::io::stderr().lock();
            let clear = if stderr.is_terminal() { "\r\u{1b}[2K" } else { "" };
            let said = "stopped: finished partitions are kept; run the same command again to go on";
            let _ = writeln!(stderr, "{clear}{said}").and_then(|()| stderr.flush());
            low_level::exit(128 + signal);
        }
    });
    Ok(())
}
