//! A cluster whose network has become too slow for its timing says so.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;

/// How long each byte is under way, in either direction.
const DELAY: Duration = Duration::from_millis(10);

/// A port that leads to `port`, but slowly. Its threads end with the test.
fn slow_way_to(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // The node may not run yet. Its peer dials again.
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                from.set_nodelay(true).unwrap();
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || pass_on(from, to));
            }
        }
    });
    slow
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        thread::sleep(DELAY);
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // The other direction may have ended it.
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// A round trip of 20 ms is more than a twentieth of 300 ms. It has to last for 6 s.
#[test]
fn a_leader_whose_peers_answer_too_slowly_for_its_timing_warns_once() {
    let ids = ["1", "2", "3"];
    let mut cluster = Cluster::planned(&ids, 300);
    cluster.plan.heartbeat_interval_ms = Some(60);
    for id in ids {
        let mut plan = cluster.plan.clone();
        for (_, _, port, _) in plan.nodes.iter_mut().filter(|(other, ..)| other != id) {
            *port = slow_way_to(*port);
        }
        cluster.start_as(id, id, &plan);
    }
    let leader = cluster.leader();
    let process = &cluster.processes[&leader.id];
    let says = ["WARN", "is too slow for its timing: ", "an answer of node", "instead of 300ms"];
    process.wait_until_it_mentions(&says);
    cluster.stays(&leader, 2000);
    let process = &cluster.processes[&leader.id];
    let count = process.see(|record| record.log.iter().filter(|line| line.contains("is too slow")).count());
    assert_eq!(count, 1, "{}", process.dump());
}
