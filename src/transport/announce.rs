//! Tells every peer that the processes of a node have died. The hello of a connection says so, see
//! [`Hello`](super::wire::Hello), and nothing else is said on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

use super::connections::Connections;
use super::dial::{Dialler, SHORTEST_PAUSE};
use super::renew::SideThread;
use super::{LinkError, Local, spawn};
use crate::clock;
use crate::election::{Instant, NodeId};

/// What has become of it, for each peer: it has been told, or why not.
type Told = BTreeMap<NodeId, Result<(), String>>;

/// Tells all peers at once, and those that cannot be reached again and again until `give_up_at`. Then the promises to
/// the dead have run out in any case.
pub(crate) fn announce(local: Local, give_up_at: Instant) -> io::Result<Told> {
    let (local, connections) = (Arc::new(local), Arc::<Connections>::default());
    // Nothing is dialled on the side.
    let (side, side_thread) = SideThread::start(&format!("le{}-next", local.me()))?;
    let (results, told) = crossbeam_channel::unbounded();
    for (peer, member) in local.members.peers() {
        let dialler = Dialler {
            local: local.clone(),
            peer,
            member: member.clone(),
            outboxes: Arc::default(),
            connections: connections.clone(),
            side: side.clone(),
        };
        let own_results = results.clone();
        let spawned = spawn(&format!("le{}-tell-{peer}", local.me()), move || {
            // The receiver is there until all have ended.
            let _ = own_results.send((peer, dialler.tell(give_up_at)));
        });
        if let Err(error) = spawned {
            let _ = results.send((peer, Err(format!("cannot start a thread: {error}"))));
        }
    }
    drop((results, side));
    let told = told.iter().collect();
    let _ = side_thread.join();
    Ok(told)
}

impl Dialler {
    fn tell(&self, give_up_at: Instant) -> Result<(), String> {
        let mut pause = SHORTEST_PAUSE;
        let mut refusal = None;
        loop {
            let why = match self.dial() {
                Ok(link) => {
                    link.close();
                    return Ok(());
                }
                Err(error) => error,
            };
            if let LinkError::Refused(_) = why {
                refusal = Some(why.to_string());
            }
            if give_up_at.since(clock::now()) <= pause {
                // The last attempt may say only that there was no time for it.
                return Err(refusal.unwrap_or(why.to_string()));
            }
            thread::park_timeout(pause);
            pause = (pause * 2).min(self.longest_pause());
        }
    }
}
