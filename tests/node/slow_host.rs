//! On a host where a handshake takes half an election timeout, connections are renewed all the time, and no lease is
//! lost.
//!
//! Each node has a share of a processor: a control group with a quota, which needs root. Its certificates are of RSA
//! with 4096 bits, live 20 s, and are replaced every few seconds. Beside it runs the same cluster with certificates
//! that live for years: what is lost there, the machine has lost.
//!
//! Variables make a measurement of it: for how many seconds it runs (`LEADELECT_SLOW_HOST`), how many thousandths of a
//! percent of a processor each node has (`.._SHARE`), and in a period of how many microseconds (`.._PERIOD`). For five
//! minutes:
//!
//! ```sh
//! LEADELECT_SLOW_HOST=300 cargo test --release --test node slow_host -- --nocapture
//! ```

use std::env;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::certs::{Ca, THIS_HOST};
use super::child;
use super::cluster::{Cluster, SWIFT};
use super::lease_log::Claims;
use super::quota::Quota;
use super::skip;

const THREE: [&str; 3] = ["1", "2", "3"];

/// How long a certificate lives, and how often it is replaced.
const LIFE: Duration = Duration::from_secs(20);
const REPLACED_EVERY: Duration = Duration::from_secs(7);

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn rsa_4096() -> Option<KeyPair> {
    let output = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"])
        .output()
        .ok()?;
    let pem = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| KeyPair::from_pem(&pem).unwrap())
}

fn ends_after(life: Duration) -> impl Fn(&mut CertificateParams) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    move |params| params.not_after = date_time_ymd(1970, 1, 1) + now + life
}

/// Three nodes on slow hosts.
struct SlowCluster<'a> {
    cluster: Cluster,
    key: &'a KeyPair,
    life: Duration,
    _quotas: Vec<Quota>,
}

impl SlowCluster<'_> {
    fn started<'a>(name: &str, ca: KeyPair, key: &'a KeyPair, life: Duration) -> Option<SlowCluster<'a>> {
        let period = number("LEADELECT_SLOW_HOST_PERIOD", 40_000);
        let share = number("LEADELECT_SLOW_HOST_SHARE", DEFAULT_SHARE);
        let quota = (period * share / 100_000).max(1000);
        let mut quotas = Vec::new();
        for id in THREE {
            quotas.push(Quota::new(&format!("{name}-{id}"), quota, period).ok()?);
        }
        let mut cluster = Cluster::planned(&THREE, SWIFT);
        cluster.ca = Ca::with_key(ca);
        let certs = cluster.ca.sign_key("shared", &THIS_HOST, key, ends_after(life));
        cluster.plan.certs = Some(certs);
        for (id, quota) in THREE.iter().zip(&quotas) {
            let plan = cluster.plan.clone();
            let mut command = cluster.command(id, &plan);
            command.env(child::CHECK_INTERVAL, "50");
            cluster.run(id, command);
            quota.take(cluster.processes[*id].id());
        }
        Some(SlowCluster { cluster, key, life, _quotas: quotas })
    }

    /// As a tool does it: the new file takes the place of the old one in one step.
    fn replace_certificates(&self) {
        let new = self.cluster.ca.sign_key("new", &THIS_HOST, self.key, ends_after(self.life));
        fs::rename(new.cert, &self.cluster.plan.certs.as_ref().unwrap().cert).unwrap();
    }

    fn count(&self, text: &str) -> usize {
        let count = |record: &super::process::Record| record.log.iter().filter(|line| line.contains(text)).count();
        self.cluster.processes.values().map(|process| process.see(count)).sum()
    }

    /// How many leases were won after `began`, when there was one; how many connections were made; what the nodes said.
    fn end(self, began: u64) -> (usize, usize, String) {
        self.cluster.nobody_panicked();
        let connections = self.count("connected to ");
        let dump = self.cluster.dump();
        let runs = self.cluster.judge(Claims::MayBeReleased);
        assert!(!runs.is_empty(), "nobody ever led: {dump}");
        (runs.iter().filter(|run| run.is_won_after(began)).count(), connections, dump)
    }
}

/// A build without optimisation needs several times as much for everything.
const DEFAULT_SHARE: u64 = if cfg!(debug_assertions) { 10_000 } else { 2_500 };

#[test]
fn connections_that_are_renewed_all_the_time_cost_no_lease_on_a_slow_host() {
    let seconds = number("LEADELECT_SLOW_HOST", 24);
    let keys: Option<[KeyPair; 4]> = (|| Some([rsa_4096()?, rsa_4096()?, rsa_4096()?, rsa_4096()?]))();
    let Some([one, two, three, four]) = keys else {
        return skip::because("needs the command openssl");
    };
    let started = SlowCluster::started("renewed", one, &two, LIFE);
    let control = SlowCluster::started("control", three, &four, Duration::from_secs(10 * 365 * 24 * 3600));
    let (Some(renewed), Some(control)) = (started, control) else {
        return skip::because("needs root, and control groups for the processor");
    };
    // They may take several elections to begin with. What counts comes after.
    renewed.cluster.leader();
    control.cluster.leader();
    let settled = child::boot_nanos();
    let (began, mut replaced) = (Instant::now(), Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        if replaced.elapsed() >= REPLACED_EVERY {
            renewed.replace_certificates();
            replaced = Instant::now();
        }
        thread::sleep(Duration::from_millis(50));
    }
    let (lost, connections, dump) = renewed.end(settled);
    let (lost_there, connections_there, _) = control.end(settled);
    eprintln!(
        "in {seconds} s: {lost} leases lost and {connections} connections made; \
         control: {lost_there} lost, {connections_there} made"
    );
    assert!(connections >= connections_there + 6 * usize::try_from(seconds / LIFE.as_secs()).unwrap());
    assert!(lost <= lost_there, "{lost} leases lost, and {lost_there} without renewals: {dump}");
}
