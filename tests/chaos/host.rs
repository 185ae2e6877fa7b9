//! A host of one node: a network namespace and a small disk of its own, which end with the process that holds them.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tappers::{Interface, Tun};

use super::process::Process;

#[derive(Debug)]
pub(crate) struct Host {
    holder: Process,
    pub(crate) addr: String,
    disk: PathBuf,
}

/// Why no host can be made here, if so.
pub(crate) fn missing() -> Option<&'static str> {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "--mount", "ip", "tuntap", "add", "dev", "lan", "mode", "tun"]);
    let possible = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let tools = ["nsenter", "setpriv", "cc"].iter().all(|tool| {
        Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    });
    (!possible || !tools).then_some("needs root, /dev/net/tun, and the commands unshare, nsenter, setpriv, ip and cc")
}

/// The address of the node with this index.
pub(crate) fn addr(index: usize) -> String {
    format!("10.77.0.{}", index + 1)
}

impl Host {
    /// A host with a disk at `disk`, which must be a folder. Its cable is returned.
    pub(crate) fn new(index: usize, disk: &Path) -> (Host, Tun) {
        let mut holder = Command::new("unshare");
        let script = "mount -t tmpfs -o size=256k none \"$0\" && ip link set lo up && echo ready && exec cat";
        holder.args(["--net", "--mount", "sh", "-c", script]).arg(disk);
        let holder = Process::start("host", holder);
        holder.wait_until_it_mentions(&["ready"]);
        let host = Host { holder, addr: addr(index), disk: disk.to_owned() };
        let tun = host.inside(|| {
            let mut tun = Tun::new_named(Interface::new("lan").unwrap()).unwrap();
            tun.set_nonblocking(true).unwrap();
            tun
        });
        let mut ip = Command::new("sh");
        ip.args(["-c", &format!("ip addr add {}/24 dev lan && ip link set lan up", host.addr)]);
        assert!(host.wrap(&ip).status().unwrap().success(), "ip");
        (host, tun)
    }

    /// Does something on a thread inside the network namespace. The sockets that it makes stay there.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    /// `command`, as it is run inside. It is killed when the thread that starts it ends.
    pub(crate) fn wrap(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--target", &self.holder.id().to_string(), "--net", "--mount"])
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(command.get_program())
            .args(command.get_args())
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside
    }

    /// The disk, as it is seen from here.
    pub(crate) fn disk(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), self.disk.display()))
    }

    /// Takes all the space that is left on the disk, or gives it back.
    pub(crate) fn fill_disk(&self) {
        let filler = File::create(self.disk().join("filler")).unwrap();
        let mut written = 0;
        while std::os::unix::fs::FileExt::write_at(&filler, &[1; 4096], written).is_ok_and(|bytes| bytes > 0) {
            written += 4096;
        }
    }

    pub(crate) fn free_disk(&self) {
        let _ = fs::remove_file(self.disk().join("filler"));
    }

    /// `ro` or `rw`. Fails while a file is open for writing.
    pub(crate) fn remount(&self, how: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(&self.disk).stderr(Stdio::null());
        self.wrap(&mount).status().unwrap().success()
    }
}
