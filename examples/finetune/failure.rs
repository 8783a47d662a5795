//! What can go wrong, and which exit code it gets.

use std::fmt;

/// Why the program stops early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller asked for something that cannot be done: exit code 2.
    Usage(String),
    /// Something broke on the way: exit code 1.
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

/// The result of everything that can stop the program.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// The exit code that tells the shell which of the two it was.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Internal(_) => 1,
        }
    }

    /// A failure that is nobody's request: `doing` says what was tried.
    pub(crate) fn while_doing(doing: &str, cause: impl fmt::Display) -> Self {
        Self::Internal(format!("{doing}: {cause}").into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Internal(cause) => write!(f, "{cause}"),
        }
    }
}

impl From<candle_core::Error> for Failure {
    fn from(cause: candle_core::Error) -> Self {
        Self::Internal(Box::new(cause))
    }
}
