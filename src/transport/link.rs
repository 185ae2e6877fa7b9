//! One frame over a connection, and why a connection is of no more use.

use std::fmt;
use std::io;
use std::time::Duration;

use super::frame;
use super::wire::{self, Frame, Protocol, Protocols};
use crate::clock;
use crate::election::Instant;
use crate::tls::{HandshakeError, Stream};

/// Why a connection is of no more use.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// It is gone: the other side closed it, or it broke.
    Gone(String),
    /// The other side did not answer in time.
    Silent { waited_for: &'static str, after: Duration },
    /// One side does not accept the other: somebody has to change something.
    Refused(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Gone(what) | LinkError::Refused(what) => f.write_str(&printable(what)),
            LinkError::Silent { waited_for, after } => write!(f, "waited {after:.0?} for {waited_for}"),
        }
    }
}

/// TLS breaks where it is read, as when the other side refuses this node's certificate. And a frame may be none.
impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<HandshakeError>() {
            Ok(error) => error.into(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => LinkError::Refused(error.to_string()),
            Err(error) => LinkError::Gone(error.to_string()),
        }
    }
}

impl From<HandshakeError> for LinkError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Network(error) => LinkError::Gone(error.to_string()),
            HandshakeError::BadPeer(what) | HandshakeError::RefusedByPeer(what) => LinkError::Refused(what),
        }
    }
}

const MOST_SHOWN: usize = 1000;

/// A text for one line of the log or of a terminal. It may hold what a peer has sent. Every character that moves the
/// cursor, turns the direction of the text or cannot be seen becomes `?`.
pub(super) fn printable(text: &str) -> String {
    // What Rust would escape, the quotes and the backslash apart.
    let plain = |char: char| matches!(char, '"' | '\'' | '\\') || char.escape_debug().len() == 1;
    let shown = text.chars().take(MOST_SHOWN);
    shown.map(|char| if plain(char) { char } else { '?' }).collect()
}

/// Sends a frame as `protocol` has it.
pub(super) fn send(stream: &mut Stream, frame: &Frame, protocol: Protocol) -> Result<(), LinkError> {
    frame::write_frame(stream, &wire::encode(frame, protocol)).map_err(LinkError::from)
}

/// Receives a frame on a connection that has its protocol.
pub(super) fn receive(
    stream: &mut Stream,
    waited_for: &'static str,
    deadline: Instant,
    protocol: Protocol,
) -> Result<Frame, LinkError> {
    let body = read(stream, waited_for, deadline)?;
    wire::decode(&body, protocol).map_err(LinkError::Refused)
}

/// Receives the first frame of the other side, and chooses the protocol to go on with.
pub(super) fn receive_first(
    stream: &mut Stream,
    waited_for: &'static str,
    deadline: Instant,
    speaks: Protocols,
) -> Result<(Frame, Protocol), LinkError> {
    let body = read(stream, waited_for, deadline)?;
    wire::decode_first(&body, speaks).map_err(LinkError::Refused)
}

fn read(stream: &mut Stream, waited_for: &'static str, deadline: Instant) -> Result<Vec<u8>, LinkError> {
    let started = clock::now();
    let mut body = Vec::new();
    stream.set_deadline(deadline);
    match frame::read_frame(stream, &mut body) {
        Ok(()) => Ok(body),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(LinkError::Silent { waited_for, after: clock::now().since(started) })
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_turns_or_hides_text_is_not_shown_and_the_rest_is() {
        let turns = ['\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{200e}', '\u{200f}', '\u{61c}'];
        let moves = ['\u{1b}', '\n', '\r', '\t', '\0', '\u{7f}', '\u{9b}', '\u{2028}', '\u{2029}', '\u{85}'];
        let hides = ['\u{ad}', '\u{200b}', '\u{2060}', '\u{feff}', '\u{fff9}', '\u{e0041}', '\u{e000}'];
        for char in turns.into_iter().chain(moves).chain(hides) {
            assert_eq!(printable(&format!("a{char}b")), "a?b", "{char:?}");
        }
        let text = "node \"zwei\" can't: C:\\größe, 三, \u{1f600} 50 %";
        assert_eq!(printable(text), text);
        assert_eq!(printable(&"x".repeat(5000)).len(), MOST_SHOWN);
    }

    #[test]
    fn no_error_shows_what_a_peer_has_put_into_it() {
        for error in [LinkError::Gone("a\u{202e}b".into()), LinkError::Refused("a\u{202e}b".into())] {
            assert_eq!(error.to_string(), "a?b");
        }
    }
}
