//! Whether a fault does what its name says: otherwise a campaign proves nothing.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::Signal;
use tempfile::TempDir;

use super::child::boot_nanos;
use super::cluster::{Cluster, Kind};
use super::dice::Dice;
use super::disk::{SHIM, Shim, library};
use super::host::{Host, missing};
use super::judge::violations;
use super::logs::LogPipe;
use super::network::{Cut, Layer, Network};
use super::process::wait_for;
use super::processes::{self, Crowd};
use super::quota::Quota;
use super::{round, skip};

/// Two hosts with a socket each, and the network between them.
struct Wire {
    hosts: [Host; 2],
    sockets: [UdpSocket; 2],
    network: Network,
    _folder: TempDir,
}

const PORT: u16 = 7000;
const MANY: u64 = 300;

impl Wire {
    fn new() -> Option<Wire> {
        if let Some(missing) = missing() {
            skip::because(missing);
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (one, to_one) = Host::new(0, folder.path());
        let (two, to_two) = Host::new(1, folder.path());
        let hosts = [one, two];
        let sockets = hosts.each_ref().map(|host| host.inside(|| UdpSocket::bind((host.addr.as_str(), PORT)).unwrap()));
        sockets[1].set_read_timeout(Some(Duration::from_millis(600))).unwrap();
        Some(Wire { hosts, sockets, network: Network::new(vec![to_one, to_two], Dice::new(1, 1)), _folder: folder })
    }

    /// Sends numbers from the first host to the second: those that arrived, with their times on the way.
    fn arrivals(&self, padding: usize) -> Vec<(u64, Duration)> {
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut bytes, mut arrived) = ([0; 2000], Vec::new());
                while self.sockets[1].recv(&mut bytes).is_ok() {
                    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
                    arrived.push((word(0), Duration::from_nanos(boot_nanos() - word(8))));
                }
                arrived
            });
            for number in 0..MANY {
                let mut bytes = [number.to_ne_bytes(), boot_nanos().to_ne_bytes()].concat();
                bytes.resize(16 + padding, 0);
                self.sockets[0].send_to(&bytes, (self.hosts[1].addr.as_str(), PORT)).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
            reader.join().unwrap()
        })
    }

    fn listener(&self) -> (TcpListener, SocketAddr) {
        let listener = self.hosts[1].inside(|| TcpListener::bind((self.hosts[1].addr.as_str(), PORT)).unwrap());
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    fn dial(&self, addr: SocketAddr) -> std::io::Result<TcpStream> {
        self.hosts[0].inside(|| TcpStream::connect_timeout(&addr, Duration::from_millis(500)))
    }
}

fn with(layer: Layer, padding: usize) -> Option<Vec<(u64, Duration)>> {
    let wire = Wire::new()?;
    wire.network.lay(vec![(0, 1)], layer);
    Some(wire.arrivals(padding))
}

fn median(arrived: &[(u64, Duration)]) -> Duration {
    let mut times: Vec<Duration> = arrived.iter().map(|(_, time)| *time).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn without_a_layer_all_arrives_in_order_and_a_layer_can_be_taken_off() {
    let Some(wire) = Wire::new() else { return };
    let layer = wire.network.lay(vec![(0, 1)], Layer { cut: Cut::All, ..Layer::default() });
    assert_eq!(wire.arrivals(0), []);
    wire.network.take_off(layer);
    let numbers: Vec<u64> = wire.arrivals(0).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (0..MANY).collect::<Vec<u64>>());
}

#[test]
fn a_cut_is_one_way() {
    let Some(wire) = Wire::new() else { return };
    wire.network.lay(vec![(1, 0)], Layer { cut: Cut::All, ..Layer::default() });
    assert_eq!(wire.arrivals(0).len() as u64, MANY);
}

#[test]
fn loss_loses_and_duplication_duplicates_about_as_many_as_it_says() {
    let Some(arrived) = with(Layer { loss: 500, ..Layer::default() }, 0) else { return };
    assert!((100..200).contains(&arrived.len()), "{}", arrived.len());
    let Some(arrived) = with(Layer { duplicate: 500, ..Layer::default() }, 0) else { return };
    assert!((400..500).contains(&arrived.len()), "{}", arrived.len());
}

#[test]
fn delay_and_jitter_delay_and_reordering_reorders() {
    let Some(arrived) = with(Layer { delay: 100, ..Layer::default() }, 0) else { return };
    assert!(median(&arrived) >= Duration::from_millis(100), "{:?}", median(&arrived));
    let Some(arrived) = with(Layer { jitter: 100, ..Layer::default() }, 0) else { return };
    assert!(median(&arrived) >= Duration::from_millis(20), "{:?}", median(&arrived));
    assert!(arrived.is_sorted_by_key(|(number, _)| *number));
    let Some(arrived) = with(Layer { reorder: 300, ..Layer::default() }, 0) else { return };
    assert!(!arrived.is_sorted_by_key(|(number, _)| *number));
    assert_eq!(arrived.len() as u64, MANY);
}

#[test]
fn a_slow_line_delays_and_then_drops() {
    // 44 bytes each millisecond on a line for 10 of them.
    let Some(arrived) = with(Layer { rate: 10_000, ..Layer::default() }, 0) else { return };
    assert!((30..200).contains(&arrived.len()), "{}", arrived.len());
    assert!(median(&arrived) >= Duration::from_millis(50), "{:?}", median(&arrived));
}

#[test]
fn a_flapping_line_carries_a_part() {
    let Some(arrived) = with(Layer { cut: Cut::Flapping(50), ..Layer::default() }, 0) else { return };
    assert!((50..250).contains(&arrived.len()), "{}", arrived.len());
}

#[test]
fn a_cut_of_large_packets_lets_small_ones_pass() {
    let large = Layer { cut: Cut::Large, ..Layer::default() };
    let Some(arrived) = with(large, 1000) else { return };
    assert_eq!(arrived, []);
    let Some(arrived) = with(large, 100) else { return };
    assert_eq!(arrived.len() as u64, MANY);
}

#[test]
fn a_cut_of_new_connections_leaves_open_ones_and_a_reset_ends_them() {
    let Some(wire) = Wire::new() else { return };
    let (listener, addr) = wire.listener();
    let mut open = wire.dial(addr).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    let both = vec![(0, 1), (1, 0)];
    let syn = wire.network.lay(both.clone(), Layer { cut: Cut::Syn, ..Layer::default() });
    open.write_all(b"a").unwrap();
    other.read_exact(&mut [0]).unwrap();
    assert_eq!(wire.dial(addr).unwrap_err().kind(), ErrorKind::TimedOut);
    wire.network.take_off(syn);

    wire.network.lay(both, Layer { cut: Cut::Reset, ..Layer::default() });
    open.write_all(b"b").unwrap();
    assert_eq!(other.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(open.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(wire.dial(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_full_disk_and_one_that_is_read_only_take_nothing() {
    let Some(wire) = Wire::new() else { return };
    let host = &wire.hosts[0];
    let file = host.disk().join("file");
    host.fill_disk();
    assert_eq!(fs::write(&file, [1; 8192]).unwrap_err().kind(), ErrorKind::StorageFull);
    host.free_disk();
    fs::write(&file, [1; 8192]).unwrap();
    assert!(host.remount("ro"));
    assert_eq!(fs::write(&file, [1; 8192]).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert!(host.remount("rw"));
    fs::write(&file, [1; 8192]).unwrap();
    assert!(!wire.hosts[1].disk().join("file").exists(), "each host has a disk of its own");
}

fn shimmed(shim: &Shim, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("LD_PRELOAD", library()).env(SHIM, &shim.path).stderr(Stdio::null());
    command
}

#[test]
fn flushes_are_slow_or_fail_and_the_wall_clock_is_off() {
    if let Some(missing) = missing() {
        return skip::because(missing);
    }
    let folder = tempfile::tempdir().unwrap();
    let shim = Shim::new(folder.path().join("shim"));
    let file = folder.path().join("file");
    let file = file.to_str().unwrap();
    let flush = || shimmed(&shim, "dd", &["if=/dev/zero", &format!("of={file}"), "count=1", "conv=fdatasync"]).status();
    assert!(flush().unwrap().success());
    shim.flush_takes(Duration::from_millis(300));
    let start = Instant::now();
    assert!(flush().unwrap().success());
    assert!(start.elapsed() >= Duration::from_millis(300));
    shim.reset();
    shim.flush_fails(rustix::io::Errno::IO.raw_os_error());
    assert!(!flush().unwrap().success());
    shim.reset();

    let wall = || {
        let output = shimmed(&shim, "date", &["+%s"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
    };
    let before = wall();
    shim.wall_clock_is_off(-7200);
    assert!(wall() < before - 3600);
}

#[test]
fn a_log_that_hangs_takes_nothing_until_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = LogPipe::new(folder.path().join("log"));
    let at_once = OFlags::NONBLOCK.bits() as i32;
    let mut end = fs::OpenOptions::new().write(true).custom_flags(at_once).open(&log.path).unwrap();
    end.write_all(b"before\n").unwrap();
    wait_for("the first line", || (log.text() == "before\n").then_some(()));
    log.hang();
    assert_eq!(end.write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
    log.go_on();
    wait_for("room in the pipe", || end.write_all(b"after\n").ok());
    wait_for("the last line", || log.text().ends_with("after\n").then_some(()));
}

#[test]
fn a_process_without_descriptors_opens_nothing() {
    for (limit, says) in [(None, "open\n"), (Some(3), "")] {
        let mut child = Command::new("sh");
        child.args(["-c", "read line; exec 9</dev/null && echo open"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        processes::limit_descriptors(child.id().try_into().unwrap(), limit);
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, says.as_bytes());
    }
}

/// The processor time of a process, in ticks of 10 ms.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}

#[test]
fn a_quota_starves_and_a_crowd_is_there_until_it_is_dropped() {
    if let Some(missing) = missing() {
        return skip::because(missing);
    }
    let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let pid = busy.id().try_into().unwrap();
    let quota = Quota::new("bites", 5000, 100_000).unwrap();
    quota.take(pid);
    let before = ticks(pid);
    thread::sleep(Duration::from_secs(1));
    let used = ticks(pid) - before;
    drop(quota);
    wait_for("more of the processor", || (ticks(pid) > before + used + 30).then_some(()));
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(used <= 20, "{used} ticks of 100");

    let sleepers = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let named = all.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
        named.filter(|line| line == "sleep\u{0}120\u{0}").count()
    };
    let crowd = Crowd::idle(50);
    wait_for("50 sleepers", || (sleepers() >= 50).then_some(()));
    drop(crowd);
}

/// The manual says that this is not covered. So the judge has to see it.
#[test]
fn a_leftover_of_a_guard_and_a_node_that_are_killed_together_is_found() {
    if let Some(missing) = missing() {
        return skip::because(missing);
    }
    let mut cluster = Cluster::new(3, Kind::Run("deaf child stray"), 500, &Dice::new(1, 1));
    (0..3).for_each(|index| cluster.start(index));
    let leader = wait_for("a leader with all its processes", || {
        let leader = cluster.leader()?;
        (cluster.resource.actors(leader.token).len() == 3).then_some(leader)
    });
    let (_, guard) = wait_for("its guard", || cluster.command_and_guard());
    let index = cluster.leader_index().unwrap();
    let node = cluster.pid(index).unwrap();
    for signal in [Signal::STOP, Signal::KILL] {
        [node, guard].into_iter().for_each(|pid| processes::signal(pid, signal));
    }
    cluster.end(index, Signal::KILL);
    wait_for("acts of the next leader", || {
        let acts = cluster.resource.acts();
        let next = acts.iter().find(|act| act.token > leader.token)?.at;
        acts.iter().any(|act| act.token == leader.token && act.at > next).then_some(())
    });
    let outcome = round::finish(cluster);
    let found = violations(&outcome.history).join("\n");
    for what in ["overlap", "refused", "outlived"] {
        assert!(found.contains(what), "{what}: {found}");
    }
}
