//! A leader is stopped in the middle of its work, and writes when it goes on. No election can prevent that. The
//! resource has to refuse the write, by the fencing token. `cargo run --example fencing` (on Linux).
//!
//! Three nodes run as processes. The leader checks its lease and is stopped before it writes. Another node leads and
//! writes. The first leader goes on as if nothing had happened, and its write is refused.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, Command, Stdio};
use std::{env, net::TcpListener, path::Path, sync::mpsc, thread, time::Duration};

use leadelect::{Config, Node};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

/// The resource: a file with the last text and the token that came with it. It refuses a lower token. Returns the token
/// that it has now.
fn write(resource: &Path, token: u64, text: &str) -> io::Result<u64> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(resource)?;
    flock(&file, FlockOperation::LockExclusive)?; // until it is closed: compare and write are one act
    let mut kept = String::new();
    file.read_to_string(&mut kept)?;
    let highest = kept.split(' ').next().and_then(|word| word.parse().ok());
    if let Some(highest) = highest.filter(|highest| token < *highest) {
        return Ok(highest);
    }
    file.rewind()?;
    file.set_len(0)?;
    write!(file, "{token} {text}")?;
    Ok(token)
}

/// One node. It says what it does, and waits for a word before it writes.
fn node(id: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    set_parent_process_death_signal(Some(Signal::KILL))?; // also while it is stopped
    let node = Node::start(Config::from_yaml_file(folder.join("cfg.yaml"))?.for_node(id)?)?;
    let mut words = io::stdin().lines();
    loop {
        let Some(lease) = node.lease() else {
            thread::park_timeout(Duration::from_millis(10));
            continue;
        };
        let token = lease.token().0;
        println!("holds a lease with token {token}");
        // Anything may happen between the check of the lease and the write. Here it does.
        words.next().transpose()?;
        match write(&folder.join("resource"), token, id)? {
            kept if kept == token => println!("wrote with token {token}"),
            kept => println!("was refused: token {token} is older than {kept}"),
        }
    }
}

fn story() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let ports = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let mut config = "insecure: true\nstate_dir: state\nnodes:\n".to_owned();
    for (id, port) in (1..).zip(&ports) {
        let port = port.local_addr()?.port();
        config += &format!("  {id}: {{ addr: 127.0.0.1, port: {port} }}\n");
    }
    drop(ports);
    fs::write(folder.path().join("cfg.yaml"), config)?;

    let (said, lines) = mpsc::channel();
    let mut nodes = Vec::new();
    for at in 0..3 {
        let mut command = Command::new(env::current_exe()?);
        command.arg((at + 1).to_string()).arg(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let said = said.clone();
        thread::spawn(move || {
            // At the end of the story nobody listens any more.
            let mut lines = lines.map_while(Result::ok);
            lines.try_for_each(|line| said.send((at, line)))
        });
        nodes.push(child);
    }
    let hear = || -> Result<(usize, String), mpsc::RecvTimeoutError> {
        let (at, line) = lines.recv_timeout(Duration::from_secs(30))?;
        println!("node {} {line}", at + 1);
        Ok((at, line))
    };
    let go_on = |nodes: &mut [Child], at: usize| writeln!(nodes[at].stdin.as_mut().expect("piped"));

    let (first, _) = hear()?;
    let pid = Pid::from_child(&nodes[first]);
    kill_process(pid, Signal::STOP)?;
    println!("node {} is stopped", first + 1);
    while let (next, line) = hear()?
        && !line.starts_with("wrote")
    {
        go_on(&mut nodes, next)?;
    }
    kill_process(pid, Signal::CONT)?;
    println!("node {} goes on", first + 1);
    go_on(&mut nodes, first)?;
    loop {
        let (next, line) = hear()?;
        if next == first {
            assert!(line.starts_with("was refused"), "expected a refusal");
            return Ok(nodes.iter_mut().try_for_each(Child::kill)?);
        }
        go_on(&mut nodes, next)?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match &env::args_os().skip(1).collect::<Vec<_>>()[..] {
        [id, folder] => node(id.to_str().ok_or("expected a node id in UTF-8")?, Path::new(folder)),
        _ => story(),
    }
}
