//! A thousand silent connections and garbage at full speed, from many addresses and from that of the members: no leader
//! changes, memory stays bounded, and the log still shows the trouble of a member.
//!
//! `LEADELECT_FLOOD=60` makes it last a minute.

use std::collections::VecDeque;
use std::env;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::cluster::{CALM, Cluster, SWIFT};
use super::holdings::holdings;
use super::lease_log::Claims;
use super::process::{try_for, wait_for};

const THREE: [&str; 3] = ["1", "2", "3"];
const SILENT: usize = 1000;
/// All that an attack may add to a node.
const MOST_MEMORY: u64 = 8 * 1024 * 1024;
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Half of the time the members' own address, else one of many.
fn from(count: u64) -> Ipv4Addr {
    if count % 2 == 0 { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(127, 0, 1, (count / 2 % 250) as u8 + 1) }
}

fn dial(from: Ipv4Addr, port: u16) -> rustix::io::Result<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(TcpStream::from(socket))
}

struct Attack {
    ports: Vec<u16>,
    over: AtomicBool,
    silent: AtomicU64,
    garbage: AtomicU64,
}

impl Attack {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Keeps a thousand connections that say nothing, and replaces the oldest.
    fn stay_silent(&self) {
        let mut open = VecDeque::new();
        for count in 0_u64.. {
            if self.is_over() {
                return;
            }
            let port = self.ports[usize::try_from(count).unwrap() % self.ports.len()];
            // A socket may be lacking for a moment.
            open.extend(dial(from(count / 3), port));
            self.silent.fetch_add(1, Ordering::SeqCst);
            if open.len() > SILENT {
                open.pop_front();
            }
        }
    }

    /// Says garbage and closes, over and over.
    fn say_garbage(&self) {
        let garbage = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 64], vec![0x16, 3, 1, 0, 2, 9, 9], vec![0xff; 5000]];
        for count in 0_u64.. {
            if self.is_over() {
                return;
            }
            let index = usize::try_from(count).unwrap();
            let Ok(mut tcp) = dial(from(count / 3), self.ports[index % self.ports.len()]) else {
                continue;
            };
            // It may be closed already.
            let _ = tcp.write_all(&garbage[index % garbage.len()]);
            self.garbage.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The own bytes of a process in memory, and its threads.
fn size(pid: u32) -> Option<(u64, u64)> {
    holdings(pid).map(|held| (held.anonymous, held.threads))
}

#[test]
fn a_flood_from_many_addresses_and_from_that_of_the_members_changes_no_leader_and_costs_little() {
    let seconds = env::var("LEADELECT_FLOOD").ok().map(|text| text.parse::<u64>().unwrap());
    // A busy machine may take a lease that is renewed every tenth of a second.
    let mut cluster = Cluster::started(&THREE, if seconds.is_some() { SWIFT } else { CALM });
    let leader = cluster.settled();
    let follower = cluster.others(&leader.id).remove(0);
    let pids: Vec<u32> = cluster.processes.values().map(super::process::Process::id).collect();
    let sizes = || pids.iter().filter_map(|pid| size(*pid));
    let before: Vec<(u64, u64)> = sizes().collect();
    let ports = cluster.plan.nodes.iter().map(|node| node.2).collect();
    let (over, silent, garbage) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let attack = Attack { ports, over, silent, garbage };

    let mut most = before.clone();
    let (back, worst_back) = thread::scope(|scope| {
        scope.spawn(|| attack.stay_silent());
        scope.spawn(|| attack.say_garbage());
        scope.spawn(|| attack.say_garbage());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds.unwrap_or(6)) {
            for (most, now) in most.iter_mut().zip(sizes()) {
                *most = (most.0.max(now.0), most.1.max(now.1));
            }
            thread::sleep(Duration::from_millis(20));
        }
        cluster.stays(&leader, 0);
        // A member that goes is seen in the log, and comes back through the flood.
        cluster.kill(&follower);
        let gone = ["INFO", "peer", &follower, "refused"];
        cluster.processes[&leader.id].wait_until_it_mentions(&gone);
        let began = Instant::now();
        cluster.start(&follower);
        let back = try_for(Duration::from_secs(60), || cluster.agreed()).map(|_| began.elapsed());
        attack.over.store(true, Ordering::SeqCst);
        (back, began.elapsed())
    });
    assert!(back.is_some(), "not back within {worst_back:?}: {}", cluster.dump());
    let ended = Instant::now();
    wait_for("the end of the attackers' threads", || {
        let now = size(cluster.processes[&leader.id].id()).expect("it runs").1;
        let at = cluster.processes.keys().position(|id| *id == leader.id).unwrap();
        (now <= before[at].1 + 2).then_some(())
    });
    let calm_again = ended.elapsed();

    let more: Vec<u64> = before.iter().zip(&most).map(|(before, most)| most.0.saturating_sub(before.0)).collect();
    eprintln!(
        "{} silent, {} with garbage; KiB more: {:?}; threads at most: {:?}; a restarted member was back \
         after {back:?}, threads {calm_again:?} after the end",
        attack.silent.load(Ordering::SeqCst),
        attack.garbage.load(Ordering::SeqCst),
        more.iter().map(|bytes| bytes / 1024).collect::<Vec<_>>(),
        most.iter().map(|size| size.1).collect::<Vec<_>>(),
    );
    cluster.stays(&leader, 0);
    assert!(more.iter().all(|more| *more < MOST_MEMORY), "{more:?}");
    assert!(calm_again < BACK_WITHIN, "{calm_again:?}");
    let throttled = cluster.processes[&leader.id].see(|record| record.mentions(&["more lines about strangers"]));
    assert!(throttled, "{}", cluster.dump());
    cluster.nobody_panicked();
    cluster.judge(Claims::Stand);
}
