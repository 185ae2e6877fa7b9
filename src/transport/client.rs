//! A client: asks a node one question, and is no node itself.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::connect::connect;
use super::wire::{self, Ask, Frame, Question, Told};
use super::{LinkError, printable, receive, send};
use crate::clock;
use crate::election::{NodeId, Timing};
use crate::members::Member;
use crate::tls::{self, Credentials, HandshakeError, Stream};

/// The shortest time that a node is given to accept a connection, for its handshake, and to answer. Nobody's lease
/// depends on it, and a client may be far from the nodes, whose own limit is for the network between them.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) cluster: String,
    pub(crate) timing: Timing,
    pub(crate) rpc_timeout: Duration,
    /// Nothing if the config says `insecure: true`.
    pub(crate) credentials: Option<Arc<Credentials>>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// At least one part.
    pub(crate) told: Vec<Told>,
    /// From the question to the first part of the answer.
    pub(crate) round_trip: Duration,
    /// When the node's certificate ends, in seconds since 1970.
    pub(crate) certificate_ends: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The node was not asked.
    Unasked(LinkError),
    /// It was, as far as can be told from here: it may do what it was asked for.
    Asked(LinkError),
}

impl Asker {
    /// Asks the node `to`. Bounded: the name, the connection, the handshake and the answer have a wait each,
    /// and a hand-over the time that a leader has to stop its work.
    pub(crate) fn ask(&self, to: NodeId, member: &Member, question: Question) -> Result<Answer, Unanswered> {
        let stream = self.dial(member).map_err(Unanswered::Unasked)?;
        self.put(stream, to, question).map_err(Unanswered::Asked)
    }

    /// How long each step may take.
    fn wait(&self) -> Duration {
        self.rpc_timeout.max(SHORTEST_WAIT)
    }

    fn dial(&self, member: &Member) -> Result<Stream, LinkError> {
        let wait = self.wait();
        let gives_up_at = clock::now() + wait;
        let given_up = || {
            let silent = LinkError::Silent { waited_for: "a name server", after: wait };
            (clock::now() >= gives_up_at).then_some(silent)
        };
        let tcp = connect(member, wait, "leadelect-dns", given_up)?;
        let began = clock::now();
        let no_tls = |error| match error {
            // It accepts connections and says nothing: whoever asks wants to know that it hangs.
            HandshakeError::Network(error) if error.kind() == ErrorKind::TimedOut => {
                LinkError::Silent { waited_for: "its part of the TLS handshake", after: clock::now().since(began) }
            }
            error => error.into(),
        };
        match &self.credentials {
            Some(credentials) => tls::connect(tcp, member.name(), credentials, began + wait).map_err(no_tls),
            None => Ok(Stream::plain(tcp, began + wait)),
        }
    }

    fn put(&self, mut stream: Stream, to: NodeId, question: Question) -> Result<Answer, LinkError> {
        let certificate_ends = stream.peer_certificate().and_then(|certificate| certificate.not_after());
        let time_to_do = match question {
            Question::Status => Duration::ZERO,
            // As long as the node itself waits, which may be configured otherwise.
            Question::Resign { .. } | Question::Transfer { .. } => self.timing.election_timeout() * 2,
        };
        let asked = clock::now();
        let deadline = asked + self.wait() + time_to_do;
        stream.set_deadline(deadline);
        let ask = Ask { protocol: wire::PROTOCOL, cluster: self.cluster.clone(), to, question };
        send(&mut stream, &Frame::Ask(ask))?;
        let mut next = || match receive(&mut stream, "an answer", deadline)? {
            Frame::Told(told) => Ok(shown(told)),
            Frame::Refused(reason) => Err(LinkError::Refused(format!("refused by the node: {}", printable(&reason)))),
            other => Err(LinkError::Refused(format!("expected an answer, found {other:?}"))),
        };
        let first = next()?;
        let round_trip = clock::now().since(asked);
        let more = match first {
            Told::Status { peers, .. } => peers,
            Told::Peer { .. } | Told::Done => 0,
        };
        let mut told = vec![first];
        for _ in 0..more {
            told.push(next()?);
        }
        stream.close();
        Ok(Answer { told, round_trip, certificate_ends })
    }
}

/// The same, with texts that are fit for a terminal, whatever the node has put into them.
fn shown(mut told: Told) -> Told {
    match &mut told {
        Told::Status { version, .. } => *version = printable(version),
        Told::Peer { last_error, .. } => *last_error = last_error.as_deref().map(printable),
        Told::Done => {}
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_tells_does_nothing_to_a_terminal() {
        let told = shown(Told::Peer {
            id: NodeId::from(2),
            connected: false,
            last_heard: None,
            round_trip: None,
            certificate_days: None,
            last_error: Some("\x1b[2Jgone\n".into()),
            requests: 0,
            failures: 0,
        });
        let Told::Peer { last_error, .. } = told else {
            panic!("expected a peer: {told:?}");
        };
        assert_eq!(last_error.as_deref(), Some("?[2Jgone?"));
    }
}
