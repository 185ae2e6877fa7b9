//! How a client calls a node: it sends one request and reads the reply. It takes no part in the election.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use super::connect::connect;
use super::wire::{ClientCall, ClientReply, ClientRequest, Frame, Protocols};
use super::{LinkError, printable, receive_first, send};
use crate::clock;
use crate::election::{NodeId, Timing};
use crate::members::Member;
use crate::tls::{self, Credentials, End, HandshakeError, Stream, Turns};

/// The shortest limit for each step of a call. `rpc_timeout` is for the network between the nodes, and a client may be
/// far from them. No lease depends on it.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Calls the nodes of one cluster. The look-up of a name, the connection, the handshake and the reply have a limit
/// each. A hand-over also gets the time that a leader has to stop its work.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) cluster: String,
    pub(crate) timing: Timing,
    pub(crate) rpc_timeout: Duration,
    /// Nothing if the config says `insecure: true`.
    pub(crate) credentials: Option<Arc<Credentials>>,
}

#[derive(Debug)]
pub(crate) struct NodeReply {
    pub(crate) first: ClientReply,
    /// The parts after the first.
    pub(crate) peers: Vec<ClientReply>,
    /// The last part of a status.
    pub(crate) logger: Option<ClientReply>,
    /// From the request to the first part.
    pub(crate) round_trip: Duration,
    /// When the first of the certificates ends that the node has shown.
    pub(crate) end: Option<End>,
}

impl Caller {
    fn wait(&self) -> Duration {
        self.rpc_timeout.max(SHORTEST_WAIT)
    }

    pub(crate) fn dial(&self, member: &Member) -> Result<Stream, LinkError> {
        let wait = self.wait();
        let gives_up_at = clock::now() + wait;
        let given_up = || {
            let silent = LinkError::Silent { waited_for: "a name server", after: wait };
            (clock::now() >= gives_up_at).then_some(silent)
        };
        let tcp = connect(member, wait, "leadelect-dns", given_up)?;
        let began = clock::now();
        let no_tls = |error| match error {
            // It accepts connections and then is silent: it hangs.
            HandshakeError::Network(error) if error.kind() == ErrorKind::TimedOut => {
                LinkError::Silent { waited_for: "its part of the TLS handshake", after: clock::now().since(began) }
            }
            error => error.into(),
        };
        match &self.credentials {
            Some(credentials) => {
                tls::connect(tcp, member.name(), credentials, &Turns::default(), began + wait).map_err(no_tls)
            }
            None => Ok(Stream::plain(tcp, began + wait)),
        }
    }

    /// Calls the node `to`. After an error it may still do what was asked.
    pub(crate) fn exchange(&self, mut stream: Stream, to: NodeId, call: ClientCall) -> Result<NodeReply, LinkError> {
        let end = stream.end().cloned();
        let time_to_do = match call {
            ClientCall::Status => Duration::ZERO,
            // The limit of the node itself, or longer: the node may be configured differently.
            ClientCall::Resign { .. } | ClientCall::Transfer { .. } => self.timing.election_timeout() * 2,
        };
        let asked = clock::now();
        let deadline = asked + self.wait() + time_to_do;
        stream.set_deadline(deadline);
        let speaks = Protocols::of_this_build();
        let request = ClientRequest { cluster: self.cluster.clone(), to, call };
        send(&mut stream, &Frame::ClientRequest(speaks, request), speaks.highest)?;
        let mut next = || match receive_first(&mut stream, "an answer", deadline, speaks)?.0 {
            Frame::ClientReply(_, part) => Ok(without_control_characters(part)),
            Frame::Refused(reason) => Err(LinkError::Refused(format!("refused by the node: {}", printable(&reason)))),
            other => Err(LinkError::Refused(format!("expected an answer, found {other:?}"))),
        };
        let first = next()?;
        let round_trip = clock::now().since(asked);
        let more = match first {
            ClientReply::Status { peers, .. } => peers,
            ClientReply::Peer(_) | ClientReply::Done | ClientReply::Logger { .. } => 0,
        };
        let peers = (0..more).map(|_| next()).collect::<Result<_, _>>()?;
        let logger = match first {
            ClientReply::Status { .. } => Some(next()?),
            ClientReply::Peer(_) | ClientReply::Done | ClientReply::Logger { .. } => None,
        };
        stream.close();
        Ok(NodeReply { first, peers, logger, round_trip, end })
    }
}

/// The same part, but the texts that the node has put into it do nothing to a terminal.
fn without_control_characters(mut part: ClientReply) -> ClientReply {
    match &mut part {
        ClientReply::Status { version, .. } => *version = printable(version),
        ClientReply::Peer(peer) => peer.last_error = peer.last_error.as_deref().map(printable),
        ClientReply::Done | ClientReply::Logger { .. } => {}
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::PeerStatus;

    #[test]
    fn what_a_node_tells_does_nothing_to_a_terminal() {
        let mut told = PeerStatus::unknown(NodeId::from(2), String::new());
        told.last_error = Some("\x1b[2Jgone\n".into());
        let shown = without_control_characters(ClientReply::Peer(told));
        let ClientReply::Peer(peer) = shown else {
            panic!("expected a peer: {shown:?}");
        };
        assert_eq!(peer.last_error.as_deref(), Some("?[2Jgone?"));
    }
}
