//! What an operation says of itself while it runs.

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it happened to: a preset, or a stage around them.
    pub preset: &'static str,
    /// What happened.
    pub state: State,
    /// One line for people.
    pub detail: Option<String>,
    /// Bytes done so far.
    pub bytes: Option<u64>,
    /// Bytes in all.
    pub total_bytes: Option<u64>,
}

/// What happened to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It began.
    Started,
    /// It goes on.
    Progress,
    /// It ended well.
    Finished,
}

impl State {
    /// The name that programs see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Progress => "progress",
            Self::Finished => "finished",
        }
    }
}

impl Event {
    /// An event without details.
    pub fn new(preset: &'static str, state: State) -> Self {
        Self {
            preset,
            state,
            detail: None,
            bytes: None,
            total_bytes: None,
        }
    }

    /// Adds a line for people; an empty one is none.
    #[must_use]
    pub fn detail(mut self, detail: &str) -> Self {
        self.detail = (!detail.is_empty()).then(|| detail.to_owned());
        self
    }

    /// Adds how many bytes are done.
    #[must_use]
    pub fn bytes(mut self, bytes: u64, total: u64) -> Self {
        self.bytes = Some(bytes);
        self.total_bytes = Some(total);
        self
    }
}
