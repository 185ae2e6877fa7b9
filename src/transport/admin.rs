//! How this node answers a client.
//!
//! A client needs a certificate of the CA to ask for the status. To change anything it needs a certificate that is
//! valid for the name of one of the nodes.

use std::net::IpAddr;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::Local;
use super::wire::{ClientCall, ClientReply, ClientRequest, LONGEST_PEER_ERROR};
use crate::clock;
use crate::election::NodeId;
use crate::engine::{Answer, Call};
use crate::tls::Certificate;

/// Does what `request` asks for, and returns the parts of the reply. If it refuses or fails: the reason to tell the
/// client.
pub(super) fn answer(
    local: &Local,
    request: &ClientRequest,
    from: IpAddr,
    certificate: Option<&Certificate>,
) -> Result<Vec<ClientReply>, String> {
    request.is_for(local.me(), &local.cluster)?;
    match request.call {
        ClientCall::Status => Ok(status(local)),
        ClientCall::Resign { hold_off } => {
            check_member(local, certificate)?;
            log::info!(logger: local.log, "node {}: {from} asks it to resign", local.me());
            hand_over(local, None, hold_off)
        }
        ClientCall::Transfer { to } => {
            check_member(local, certificate)?;
            let to = local.members.successor(to);
            let to = to.map_err(|error| error.to_string())?;
            log::info!(logger: local.log, "node {}: {from} asks it to hand over to {to}", local.me());
            hand_over(local, Some(to), Duration::ZERO)
        }
    }
}

/// Returns when this node no longer leads, which is at the latest when its lease has run out.
fn hand_over(local: &Local, successor: Option<NodeId>, hold_off: Duration) -> Result<Vec<ClientReply>, String> {
    let answers = local.inbox.call(Call::HandOver { successor, hold_off });
    let limit = local.timing.election_timeout() + local.rpc_timeout;
    let ends_at = clock::now() + limit;
    loop {
        match answers.recv_timeout(ends_at.since(clock::now())) {
            Ok(Answer::Refused(refusal)) => return Err(refusal.to_string()),
            Ok(Answer::Begun) => {}
            Ok(Answer::Done) => return Ok(vec![ClientReply::Done]),
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!(
                    "node {} has not done it within {limit:?}, and may still do it: see whether its election thread \
                     waits for its disk, and who leads before you ask again",
                    local.me()
                ));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("node {} stops, or has too much to do", local.me()));
            }
        }
    }
}

/// Does not ask the election thread, so that a node whose disk hangs can still be looked at.
fn status(local: &Local) -> Vec<ClientReply> {
    let status =
        local.board.status(local.leadership.lease(clock::now()).map(|lease| (lease.token(), lease.remaining())));
    let head = ClientReply::Status {
        role: status.role,
        term: status.term,
        leader: status.leader,
        token: status.token,
        lease: status.lease,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: clock::now().since(local.started_at),
        peers: u16::try_from(status.peers.len()).expect("a config has at most 64 nodes"),
    };
    let peers = status.peers.into_iter().map(|mut peer| {
        peer.last_error = peer.last_error.map(|error| error.chars().take(LONGEST_PEER_ERROR).collect());
        ClientReply::Peer(peer)
    });
    let logger = ClientReply::Logger { stuck: status.logger_stuck, lines_lost: status.counters.lines_lost };
    [head].into_iter().chain(peers).chain([logger]).collect()
}

fn check_member(local: &Local, certificate: Option<&Certificate>) -> Result<(), String> {
    let Some(certificate) = certificate else {
        return Ok(()); // `insecure: true`
    };
    let mut members = local.members.iter();
    if members.any(|(_, member)| certificate.is_valid_for(member.name())) {
        return Ok(());
    }
    Err("this certificate is for none of the nodes: it may ask for the status; to change anything use the certificate \
         of a node"
        .into())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::Receiver;

    use super::super::tests::local;
    use super::*;
    use crate::inbox::{Inbox, Post};
    use crate::tls::Credentials;
    use crate::tls::test_ca::TestCa;

    const RESIGN: ClientCall = ClientCall::Resign { hold_off: Duration::ZERO };

    /// Node 1 of two, and what reaches its election thread.
    fn node() -> (Local, Receiver<Post>) {
        let (inbox, mail) = Inbox::new();
        let local = Local { inbox, ..local(["one.example", "two.example"]) };
        (local, mail)
    }

    fn ask(local: &Local, call: ClientCall, names: &[&str]) -> Result<Vec<ClientReply>, String> {
        let ca = TestCa::new("ca");
        let credentials = Credentials::load(&ca.sign("client", names)).expect("loaded");
        let request = ClientRequest { cluster: local.cluster.clone(), to: local.me(), call };
        let from = IpAddr::from([127, 0, 0, 9]);
        answer(local, &request, from, Some(credentials.certificate()))
    }

    #[test]
    fn a_client_that_is_no_node_may_look_and_change_nothing() {
        let (local, mail) = node();
        let names = ["three.example"];
        let told = ask(&local, ClientCall::Status, &names).expect("a status");
        let is_status = matches!(told[..], [ClientReply::Status { peers: 0, .. }, ClientReply::Logger { .. }]);
        assert!(is_status, "{told:?}");
        let to = NodeId::from(2);
        for call in [RESIGN, ClientCall::Transfer { to }] {
            let refused = ask(&local, call, &names).expect_err("no member");
            assert!(refused.contains("for none of the nodes"), "{refused}");
        }
        assert!(mail.is_empty());
    }

    #[test]
    fn a_call_to_an_election_thread_that_hangs_has_an_end() {
        let (local, mail) = node();
        let refused = ask(&local, RESIGN, &["two.example"]).expect_err("nobody answers");
        let in_doubt = ["has not done it within", "may still do it"];
        let says_so = in_doubt.iter().all(|part| refused.contains(part));
        assert!(says_so, "{refused}");
        assert_eq!(mail.len(), 1);
        drop(mail);
        let refused = ask(&local, RESIGN, &["two.example"]).expect_err("nobody is there");
        assert_eq!(refused, "node 1 stops, or has too much to do");
    }

    #[test]
    fn a_call_for_another_node_or_cluster_is_refused_with_both() {
        let (local, _mail) = node();
        let (cluster, call) = (local.cluster.clone(), ClientCall::Status);
        let right = ClientRequest { cluster, to: local.me(), call };
        let answer = |request: &ClientRequest| answer(&local, request, [127, 0, 0, 9].into(), None);
        let refused = |request: ClientRequest| answer(&request).expect_err("wrong");
        let mut wrong = right.clone();
        wrong.to = NodeId::from(2);
        assert_eq!(refused(wrong), "this is node 1, not node 2: check the addresses");
        let mut wrong = right.clone();
        wrong.cluster = "elsewhere".into();
        assert_eq!(refused(wrong), "different cluster: here c, there elsewhere; make the configs agree");
        assert!(answer(&right).is_ok());
    }
}
