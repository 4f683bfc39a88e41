//! What a pipeline is set to do, in short and without secrets: for a person who looks at the status page.

/// A short account of a pipeline's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The value of `SINK_TYPE`.
    pub sink: &'static str,
    /// How many bytes may be read and not yet delivered.
    pub window_bytes: u64,
    /// Other settings, each with its value as text. They hold no secret.
    pub settings: Vec<(&'static str, String)>,
}
