//! What this node answers to a client: whoever has a certificate of the CA and is no node.
//!
//! Any client may ask what the node sees. What changes something is only for members, which is for whoever has a
//! certificate that is valid for the name of one of the nodes.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Local;
use super::tls::Certificate;
use super::wire::{Ask, MOST_TOLD, Question, Told};
use crate::clock;
use crate::inbox::Mail;

/// The answer to `ask`, a frame each; takes as long as it takes to do what is asked for.
///
/// # Errors
///
/// What to tell the client instead: why not.
pub(super) fn answer(
    local: &Local,
    ask: &Ask,
    certificate: Option<&Certificate>,
) -> Result<Vec<Told>, String> {
    ask.is_for(local.id, &local.cluster)?;
    match ask.question {
        Question::Status => Ok(status(local)),
        Question::Resign { hold_off } => {
            check_member(local, certificate)?;
            log::info!("node {}: a client has it resign", local.id);
            let (done, resigned) = crossbeam_channel::bounded(1);
            ask_election(local, Mail::Resign { hold_off, done })?;
            if !wait(local, &resigned)? {
                return Err(format!("node {} does not lead", local.id));
            }
            Ok(vec![Told::Done])
        }
        Question::Transfer { to } => {
            check_member(local, certificate)?;
            log::info!("node {}: a client has it hand over to {to}", local.id);
            let (done, transferred) = crossbeam_channel::bounded(1);
            ask_election(local, Mail::Transfer { to, done })?;
            wait(local, &transferred)??;
            Ok(vec![Told::Done])
        }
    }
}

/// Without asking the election thread, so that a node whose disk hangs can still be looked at.
fn status(local: &Local) -> Vec<Told> {
    let lease = local.office.lease();
    let (token, remaining) = match &lease {
        Some(lease) => (Some(lease.token()), lease.remaining()),
        None => (None, Duration::ZERO),
    };
    let status = local.board.status(token, remaining);
    let peers = status.peers.into_iter().map(|peer| Told::Peer {
        id: peer.id,
        connected: peer.connected,
        last_heard: peer.last_heard,
        round_trip: peer.round_trip,
        certificate_days: peer.certificate_days,
        last_error: peer
            .last_error
            .map(|error| error.chars().take(MOST_TOLD).collect()),
    });
    let peers: Vec<Told> = peers.collect();
    let head = Told::Status {
        role: status.role,
        term: status.term,
        leader: status.leader,
        token: status.token,
        lease: status.lease,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: clock::now().since(local.started_at),
        peers: u16::try_from(peers.len()).expect("a config has at most 64 nodes"),
    };
    [vec![head], peers].concat()
}

fn check_member(local: &Local, certificate: Option<&Certificate>) -> Result<(), String> {
    let Some(certificate) = certificate else {
        return Ok(()); // `insecure: true`
    };
    let mut members = local.members.values();
    if members.any(|member| certificate.is_valid_for(member.name())) {
        return Ok(());
    }
    Err(
        "this certificate is for none of the nodes: it may ask for the status; to change anything use the certificate \
         of a node"
            .into(),
    )
}

fn ask_election(local: &Local, mail: Mail) -> Result<(), String> {
    local.inbox.send(mail).map_err(|_| stops(local))
}

/// A leader has given up at the latest when its lease has run out.
fn wait<T>(local: &Local, done: &Receiver<T>) -> Result<T, String> {
    let limit = local.timing.election_timeout() + local.rpc_timeout;
    done.recv_timeout(limit).map_err(|error| match error {
        RecvTimeoutError::Timeout => format!(
            "node {} has not done it within {limit:?}: see whether its election thread waits for its disk",
            local.id
        ),
        RecvTimeoutError::Disconnected => stops(local),
    })
}

fn stops(local: &Local) -> String {
    format!("node {} stops", local.id)
}
