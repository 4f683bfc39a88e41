//! Text that somebody else has written, made safe to print.

/// Without what would move the cursor of a terminal: a store, or a far side, decides what stands there.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
