//! What only root can do to a node: take away its network, or its disk.
//!
//! Each node gets a network namespace of its own, a virtual cable and a bridge that joins them; nothing leaves the
//! host. The namespaces belong to processes that end with the test, and so do they.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::cluster::{CALM, Cluster, SWIFT};
use super::lease_log::Claims;
use super::process::{Process, wait_for};
use super::skip;

const THREE: [&str; 3] = ["1", "2", "3"];

/// A network namespace, which lasts as long as the process in it.
struct Namespace(Process);

impl Namespace {
    fn new(name: &str) -> Namespace {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "cat"]);
        let holder = Process::start(name, holder);
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        wait_for("a namespace", || {
            // Not there yet, or still ours.
            let theirs = fs::read_link(format!("/proc/{}/ns/net", holder.id())).ok()?;
            (theirs != own).then_some(())
        });
        Namespace(holder)
    }

    /// `command`, as it is run inside.
    fn wrap(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net=/proc/{}/ns/net", self.0.id())).arg(command.get_program()).args(command.get_args());
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside
    }

    /// Runs `ip` inside.
    #[track_caller]
    fn ip(&self, arguments: &str) {
        let mut ip = Command::new("ip");
        ip.args(arguments.split(' '));
        let output = self.wrap(&ip).output().unwrap();
        assert!(output.status.success(), "ip {arguments}: {output:?}");
    }
}

/// Three nodes on a bridge.
struct Network {
    cluster: Cluster,
    bridge: Namespace,
    hosts: Vec<Namespace>,
}

impl Network {
    fn started(election_timeout_ms: u64) -> Option<Network> {
        if !is_possible(&["--net", "ip", "link"]) {
            return None;
        }
        let bridge = Namespace::new("bridge");
        bridge.ip("link add bridge type bridge");
        bridge.ip("link set bridge up");
        let mut cluster = Cluster::planned(&THREE, election_timeout_ms);
        let addrs = THREE.map(|id| format!("10.77.0.{id}"));
        cluster.plan.certs = Some(cluster.ca.sign("hosts", &addrs.each_ref().map(String::as_str)));
        for (node, addr) in cluster.plan.nodes.iter_mut().zip(&addrs) {
            node.1.clone_from(addr);
        }
        let mut hosts = Vec::new();
        for id in THREE {
            let host = Network::host(&bridge, id, &format!("to{id}"));
            let plan = cluster.plan.clone();
            let command = host.wrap(&cluster.command(id, &plan));
            cluster.run(id, command);
            hosts.push(host);
        }
        Some(Network { cluster, bridge, hosts })
    }

    /// A host with the address of this node, on the bridge by a cable of its own.
    fn host(bridge: &Namespace, id: &str, cable: &str) -> Namespace {
        let host = Namespace::new("host");
        bridge.ip(&format!("link add {cable} type veth peer name out netns {}", host.0.id()));
        bridge.ip(&format!("link set {cable} master bridge up"));
        host.ip(&format!("addr add 10.77.0.{id}/24 dev out"));
        host.ip("link set out up");
        host.ip("link set lo up");
        host
    }

    /// Takes the host away without a word, and puts a new one in its place, as after a power failure.
    fn power_fails(&mut self, id: &str) {
        self.cut(id);
        self.cluster.kill(id);
        let at = THREE.iter().position(|one| *one == id).unwrap();
        self.hosts[at] = Network::host(&self.bridge, id, &format!("new{id}"));
        let plan = self.cluster.plan.clone();
        let command = self.hosts[at].wrap(&self.cluster.command(id, &plan));
        self.cluster.run(id, command);
    }

    /// Nothing reaches this node, and nothing that it sends arrives. No side gets an error.
    fn cut(&self, id: &str) {
        self.bridge.ip(&format!("link set to{id} nomaster"));
    }

    fn mend(&self, id: &str) {
        self.bridge.ip(&format!("link set to{id} master bridge"));
    }
}

/// Whether `unshare` runs this; says so if not.
fn is_possible(arguments: &[&str]) -> bool {
    let mut probe = Command::new("unshare");
    probe.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let possible = probe.status().is_ok_and(|status| status.success());
    if !possible {
        skip::because("needs root, and the commands unshare, nsenter and ip");
    }
    possible
}

#[test]
fn a_leader_that_is_cut_off_loses_its_lease_before_the_next_one_leads() {
    let Some(network) = Network::started(SWIFT) else {
        return;
    };
    for _ in 0..2 {
        let first = network.cluster.leader();
        let survivors = network.cluster.others(&first.id);
        let survivors: Vec<&str> = survivors.iter().map(String::as_str).collect();

        network.cut(&first.id);

        wait_for("the survivors' leader", || {
            network.cluster.agreed_by(&survivors).filter(|next| next.token > first.token)
        });
        wait_for("the old leader to know", || {
            let view = network.cluster.processes[&first.id].view()?;
            (view.role != "leader" && view.token.is_none()).then_some(())
        });
        network.mend(&first.id);
        let last = network.cluster.leader();
        assert!(last.token > first.token);
    }
    network.cluster.nobody_panicked();
    network.cluster.judge(Claims::Stand);
}

#[test]
fn a_follower_that_was_cut_off_comes_back_and_disturbs_nobody() {
    let Some(network) = Network::started(CALM) else {
        return;
    };
    let leader = network.cluster.settled();
    let others = network.cluster.others(&leader.id);
    let (follower, friend) = (others[0].as_str(), others[1].as_str());

    network.cut(follower);

    wait_for("the follower to ask for pre-votes", || {
        let view = network.cluster.processes[follower].view()?;
        (view.role == "candidate").then_some(())
    });
    assert_eq!(network.cluster.leader_of(&[&leader.id, friend]), leader);
    network.mend(follower);
    let back = network.cluster.leader();
    assert_eq!(back, leader, "same term, same token: {}", network.cluster.dump());
    network.cluster.stays(&leader, CALM);
    assert_eq!(network.cluster.judge(Claims::Stand).len(), 1);
}

/// The others still have connections of the process that died, and cannot know that it did.
#[test]
fn a_node_whose_host_lost_power_and_came_back_is_not_called_two_processes() {
    let Some(mut network) = Network::started(CALM) else {
        return;
    };
    let leader = network.cluster.settled();
    let others = network.cluster.others(&leader.id);
    let (follower, friend) = (others[0].as_str(), others[1].as_str());

    network.power_fails(follower);

    let told = ["another process spoke as node", "if it still runs, stop one; if not, just wait"];
    network.cluster.processes[&leader.id].wait_until_it_mentions(&told);
    assert_eq!(network.cluster.leader(), leader, "it waits and is let in");
    for id in [&leader.id, follower, friend] {
        let wrong = network.cluster.processes[id].see(|record| record.mentions(&["two processes run"]));
        assert!(!wrong, "{}", network.cluster.dump());
    }
    network.cluster.judge(Claims::Stand);
}

/// A cluster of one node, which is alone in a namespace and listens on `listen`.
fn alone(listen: &str, prepare: impl FnOnce(&Namespace)) -> Option<(Cluster, Namespace)> {
    if !is_possible(&["--net", "ip", "link"]) {
        return None;
    }
    let host = Namespace::new("host");
    prepare(&host);
    let mut cluster = Cluster::planned(&["1"], SWIFT);
    cluster.plan.node("1").3 = format!("listen: \"{listen}\"");
    let plan = cluster.plan.clone();
    let command = host.wrap(&cluster.command("1", &plan));
    cluster.run("1", command);
    assert!(cluster.is_ready("1"));
    Some((cluster, host))
}

#[test]
fn a_node_stops_where_it_cannot_dial_itself() {
    for listen in ["0.0.0.0", "::"] {
        if TcpListener::bind((listen, 0)).is_err() {
            continue; // a kernel without IPv6
        }
        // The loopback interface is down.
        let Some((mut cluster, _host)) = alone(listen, |_| {}) else {
            return;
        };
        cluster.stop("1");
    }
}

#[test]
fn a_node_stops_whose_address_was_removed_while_it_ran() {
    let address = "10.77.0.1";
    let prepare = |host: &Namespace| {
        host.ip("link set lo up");
        host.ip(&format!("addr add {address}/32 dev lo"));
    };
    let Some((mut cluster, host)) = alone(address, prepare) else {
        return;
    };
    host.ip(&format!("addr del {address}/32 dev lo"));
    host.ip("link set lo down");
    cluster.stop("1");
}

#[test]
fn a_node_whose_disk_is_full_does_not_start_and_names_the_file() {
    if !is_possible(&["--mount", "mount", "-t", "tmpfs", "-o", "size=4k", "none", "/mnt"]) {
        return;
    }
    let mut cluster = Cluster::planned(&["1"], SWIFT);
    let state = cluster.folder().join("state");
    fs::create_dir(&state).unwrap();
    let plan = cluster.plan.clone();
    let node = cluster.command("1", &plan);
    let mut command = Command::new("unshare");
    // The disk has one page, and the vote file needs more.
    let script = "mount -t tmpfs -o size=4k none \"$0\" && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(&state).arg(node.get_program()).args(node.get_args());
    command.envs(node.get_envs().filter_map(|(name, value)| Some((name, value?))));

    cluster.run("1", command);

    let status = cluster.process("1").wait_for_end();
    assert!(!status.success());
    cluster.processes["1"].wait_until_it_mentions(&["node-1.vote", "free some space"]);
    cluster.nobody_panicked();
}
