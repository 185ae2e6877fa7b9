//! Relays between nodes, which can be cut.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::cluster::Plan;

/// For each node a relay to each other node. Their threads end with the test.
#[derive(Debug, Clone)]
pub(crate) struct Relays {
    /// From one node to another: the port to dial instead.
    ports: BTreeMap<(String, String), u16>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    cut: Option<String>,
    /// Open connections, and the two nodes.
    open: Vec<(String, String, TcpStream)>,
}

impl Relays {
    pub(crate) fn start(plan: &Plan) -> Relays {
        let mut relays = Relays { ports: BTreeMap::new(), state: Arc::default() };
        for (from, ..) in &plan.nodes {
            for (to, _, port, _) in plan.nodes.iter().filter(|(to, ..)| to != from) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                relays.ports.insert((from.clone(), to.clone()), listener.local_addr().unwrap().port());
                let (state, from, to, port) = (relays.state.clone(), from.clone(), to.clone(), *port);
                thread::spawn(move || accept(&listener, &state, &from, &to, port));
            }
        }
        relays
    }

    /// The plan as the node `id` should see it.
    pub(crate) fn plan_of(&self, id: &str, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for (node, _, port, _) in plan.nodes.iter_mut().filter(|(node, ..)| node != id) {
            *port = self.ports[&(id.to_owned(), node.clone())];
        }
        plan
    }

    /// Cuts every connection from and to this node.
    pub(crate) fn cut(&self, node: &str) {
        let mut state = self.state.lock().unwrap();
        state.cut = Some(node.to_owned());
        for (from, to, stream) in &state.open {
            if from == node || to == node {
                // It may be closed already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().cut = None;
    }
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>, from: &str, to: &str, port: u16) {
    for near in listener.incoming() {
        let Ok(near) = near else { continue };
        let mut state = state.lock().unwrap();
        let is_cut = state.cut.as_deref().is_some_and(|cut| cut == from || cut == to);
        let Some(far) = TcpStream::connect(("127.0.0.1", port)).ok().filter(|_| !is_cut) else {
            continue;
        };
        for (source, sink) in [(&near, &far), (&far, &near)] {
            source.set_nodelay(true).unwrap();
            state.open.push((from.to_owned(), to.to_owned(), source.try_clone().unwrap()));
            let (source, sink) = (source.try_clone().unwrap(), sink.try_clone().unwrap());
            thread::spawn(move || copy(source, sink));
        }
        state.open.retain(|(_, _, stream)| stream.peer_addr().is_ok());
    }
}

fn copy(mut source: TcpStream, mut sink: TcpStream) {
    let mut bytes = [0; 16384];
    while let Ok(read @ 1..) = source.read(&mut bytes) {
        if sink.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // They may be closed already.
    let _ = source.shutdown(Shutdown::Both);
    let _ = sink.shutdown(Shutdown::Both);
}
