//! From a node's configured address to a TCP connection.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::{LinkError, spawn};
use crate::clock;
use crate::members::Member;

/// A thread that waits for a name server looks this often whether it still should.
const LOOK_UP_CHECK: Duration = Duration::from_millis(50);

/// Looks the name up and tries every address it has, for `limit` in all. `thread` is the name of the thread that waits
/// for the name server. `given_up` says why this node no longer waits, once it does not.
pub(super) fn connect(
    member: &Member,
    limit: Duration,
    thread: &str,
    given_up: impl Fn() -> Option<LinkError>,
) -> Result<TcpStream, LinkError> {
    let (host, port) = (member.addr.clone(), member.port);
    let addrs = match host.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => {
            let resolve = move || Ok((host, port).to_socket_addrs()?.collect());
            look_up(&member.addr, thread, given_up, resolve)?
        }
    };
    // From here on: a name server that is slow must not leave no time to connect.
    let deadline = clock::now() + limit;
    let mut problem = format!("{} has no address", member.addr);
    for addr in addrs {
        let left = deadline.since(clock::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&addr, left) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                problem = format!("{addr} did not answer within {limit:?}");
            }
            Err(error) => problem = format!("{addr}: {error}"),
        }
    }
    Err(LinkError::Gone(problem))
}

/// Looks a name up until the wait is given up. The system's look-up takes half a minute where no name server answers,
/// and nothing can end it. So it runs on a thread of its own, which is left behind. A caller leaves at most one behind.
/// That thread holds nothing and ends with the look-up.
fn look_up(
    host: &str,
    thread: &str,
    given_up: impl Fn() -> Option<LinkError>,
    resolve: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<Vec<SocketAddr>, LinkError> {
    let failed = |error| LinkError::Gone(format!("cannot look up {host}: {error}"));
    let (found, result) = crossbeam_channel::bounded(1);
    // The send fails once the wait is given up.
    spawn(thread, move || drop(found.send(resolve()))).map_err(failed)?;
    loop {
        match result.recv_timeout(LOOK_UP_CHECK) {
            Ok(found) => return found.map_err(failed),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(failed(io::Error::other("the look-up panicked")));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(why) = given_up() {
                    return Err(why);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_name_server_that_hangs_keeps_nobody_who_has_given_up() {
        let (answer, hangs) = crossbeam_channel::bounded::<()>(0);
        let resolve = move || {
            let _ = hangs.recv();
            Ok(Vec::new())
        };
        let asked = AtomicBool::new(false);
        let given_up = || {
            let again = asked.swap(true, Ordering::SeqCst);
            again.then(|| LinkError::Gone("this node stops".into()))
        };
        let error = look_up("db.example", "dns", given_up, resolve).expect_err("given up");
        assert_eq!(error.to_string(), "this node stops");
        drop(answer);
    }

    #[test]
    fn a_look_up_finds_addresses_or_names_what_it_looked_for() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let find = |resolve: fn() -> io::Result<Vec<SocketAddr>>| look_up("db.example", "dns", || None, resolve);
        let found = find(|| Ok(vec![SocketAddr::from(([127, 0, 0, 1], 1))]));
        assert_eq!(found.expect("found"), [addr]);
        let error = find(|| Err(io::Error::other("not known")));
        let error = error.expect_err("unknown").to_string();
        assert_eq!(error, "cannot look up db.example: not known");
        let error = find(|| panic!("as a test of the panic"));
        let error = error.expect_err("no answer").to_string();
        assert!(error.contains("the look-up panicked"), "{error}");
    }
}
