//! `leadelect check`: finds what is wrong with a config, its certificates, and the connections to the nodes.

mod timing;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::ExitCode;

use leadelect::config::NodeConfig;
use leadelect::election::Term;
use leadelect::remote::Client;
use leadelect::{Config, Node, StartError, StateProblem};

use super::view::View;
use super::{ConfigFile, Failure, listed, print};

/// Check a config, its certificates, and whether every node answers
///
/// Prints one line per finding. Reads files and asks the nodes for their status. Changes nothing. With `--id` it also
/// tries what the node does at its start: it makes a file in the state folder and removes it, and listens on the node's
/// port for a moment. Run it as the user that the node runs as.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  no errors; there may be warnings
  1  errors
  2  the arguments cannot be used

Examples:
  leadelect check                     # on any host, while the nodes run
  leadelect check --id 2 --offline    # on the host of node 2, before it starts
  leadelect check --config new.yaml --offline    # before the config is used
  leadelect check --id 2 --timing     # which timing can this host hold?")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// This host is the one of this node: also report what would make its start fail
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Do not ask the nodes, for example because they do not run yet
    #[arg(long)]
    offline: bool,
    /// Measure for some seconds how late a thread of this host wakes, how long a write to the state folder takes (with
    /// --id), and how soon the other nodes answer; and say which timing that allows
    #[arg(long)]
    timing: bool,
}

/// A certificate that ends sooner than this is a warning, so that somebody renews it in time.
const EXPIRY_WARNING_DAYS: i64 = 30;

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut findings = Findings::default();
    if let Some(config) = check_config(args, &mut findings)? {
        check_certificates(args, &config, &mut findings)?;
        if args.timing {
            check_timing(args, config, &mut findings)?;
        }
    }
    let Findings { errors, warnings } = findings;
    print(&format!("errors: {errors}, warnings: {warnings}\n"))?;
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, Default)]
struct Findings {
    errors: u32,
    warnings: u32,
}

impl Findings {
    fn ok(&mut self, what: &str) -> Result<(), Failure> {
        print(&format!("ok       {what}\n"))
    }

    fn warning(&mut self, what: &str) -> Result<(), Failure> {
        self.warnings += 1;
        print(&format!("warning  {what}\n"))
    }

    fn error(&mut self, what: &str) -> Result<(), Failure> {
        self.errors += 1;
        print(&format!("error    {what}\n"))
    }
}

fn check_config(args: &Args, findings: &mut Findings) -> Result<Option<Config>, Failure> {
    let path = args.config.config.display();
    let config = match Config::from_yaml_file(&args.config.config) {
        Ok(config) => config,
        Err(error) => {
            findings.error(&error.to_string())?;
            return Ok(None);
        }
    };
    let timing = config.timing();
    findings.ok(&format!(
        "{path}: cluster {}, nodes {}, heartbeat interval {:?}, election timeout {:?}",
        config.cluster(),
        listed(config.nodes().map(|(id, _)| id)),
        timing.heartbeat_interval(),
        timing.election_timeout(),
    ))?;
    Ok(Some(config))
}

fn check_certificates(args: &Args, config: &Config, findings: &mut Findings) -> Result<(), Failure> {
    let client = match Client::new(config.clone()) {
        Ok(client) => client,
        // The checks below need the same files, and would fail in the same way.
        Err(error) => return findings.error(&error.to_string()),
    };
    if let Some(days) = client.certificate_days() {
        check_own_certificate(args, &client, days, findings)?;
    }
    check_member(args, config, &client, findings)?;
    if args.offline {
        return Ok(());
    }
    check_nodes(&View::of(config, client.status_of_all()), findings)
}

/// What cannot be asked for here was reported above.
fn check_timing(args: &Args, config: Config, findings: &mut Findings) -> Result<(), Failure> {
    let (timing, ids) = (config.timing(), config.nodes().map(|(id, _)| id).collect::<Vec<_>>());
    let client = (!args.offline).then(|| Client::new(config.clone()).ok()).flatten();
    let node = args.id.as_ref().and_then(|id| config.for_node(id).ok());
    let own = node.as_ref().map(NodeConfig::id);
    let others: Vec<_> = ids.into_iter().filter(|id| Some(*id) != own).collect();
    timing::check(timing, node.as_ref(), client.as_ref(), &others, findings)
}

fn check_own_certificate(args: &Args, client: &Client, days: i64, findings: &mut Findings) -> Result<(), Failure> {
    let valid_for = client.valid_for();
    let names = match valid_for.as_slice() {
        [] => "valid for no node".to_owned(),
        ids => format!("valid for {}", listed(ids.iter().copied())),
    };
    findings.ok(&format!("certificate: signed by the CA, {names}, ends in {days} days"))?;
    if valid_for.is_empty() && args.id.is_none() {
        findings.warning("this certificate may read the status, but cannot run a node or hand leadership over")?;
        client.warnings().iter().try_for_each(|warning| findings.warning(warning))?;
    }
    Ok(())
}

/// Reports what the node with this certificate would log at its start.
fn check_member(args: &Args, config: &Config, client: &Client, findings: &mut Findings) -> Result<(), Failure> {
    let id = match &args.id {
        Some(id) => Some(id.clone()),
        None if client.certificate_days().is_some() => client.valid_for().first().map(ToString::to_string),
        // Without certificates, the warnings are the same for all nodes.
        None => config.nodes().next().map(|(id, _)| id.to_string()),
    };
    let Some(id) = id else {
        return Ok(());
    };
    match config.clone().for_node(&id) {
        Ok(node) if args.id.is_some() => check_start(&node, client, findings),
        Ok(node) => node.warnings().iter().try_for_each(|warning| findings.warning(warning)),
        Err(error) => findings.error(&error.to_string()),
    }
}

/// Reports the errors and warnings with which the node would start on this host.
fn check_start(node: &NodeConfig, client: &Client, findings: &mut Findings) -> Result<(), Failure> {
    let (errors, warnings) = Node::rehearse(node);
    warnings.iter().try_for_each(|warning| findings.warning(warning))?;
    let id = node.id();
    // Then it is this node that has the port. Without a state it is asked: that is the one question of `--offline`.
    let runs = errors.iter().any(is_locked) || (errors.iter().any(is_in_use) && client.status(id).is_ok());
    let problems: Vec<_> = errors.iter().filter(|error| !runs || !(is_locked(error) || is_in_use(error))).collect();
    problems.iter().try_for_each(|problem| findings.error(&problem.to_string()))?;
    match (problems.as_slice(), runs) {
        ([], true) => findings.ok(&format!("node {id} runs on this host")),
        ([], false) => findings.ok(&format!("node {id} can start on this host")),
        ([_, ..], _) => Ok(()),
    }
}

fn is_locked(error: &StartError) -> bool {
    matches!(error, StartError::State { problem: StateProblem::Locked, .. })
}

fn is_in_use(error: &StartError) -> bool {
    matches!(error, StartError::Listen { error, .. } if error.kind() == ErrorKind::AddrInUse)
}

fn check_nodes(view: &View, findings: &mut Findings) -> Result<(), Failure> {
    for node in &view.nodes {
        let (id, addr) = (node.id, &node.addr);
        match &node.answer {
            Ok(answer) => {
                let (role, term, round_trip) = (answer.role, answer.term, answer.round_trip);
                findings.ok(&format!(
                    "node {id} at {addr}: {role} in term {term}, version {}, answers in {round_trip:.1?}",
                    answer.version
                ))?;
                if let Some(days) = answer.certificate_days.filter(|days| *days < EXPIRY_WARNING_DAYS) {
                    let what = answer.ends_first.as_ref();
                    let what = what.map_or("certificate".into(), |name| format!("intermediate certificate {name}"));
                    findings.warning(&format!("node {id}: its {what} ends in {days} days"))?;
                }
                for peer in answer.peers.iter().filter(|peer| !peer.connected) {
                    let why = peer.last_error.as_deref().unwrap_or("not connected yet");
                    findings.warning(&format!("node {id} does not reach node {}: {why}", peer.id))?;
                }
            }
            Err(error) => findings.error(&format!("node {id} at {addr}: {error}"))?,
        }
    }
    let versions: BTreeSet<&str> = view.reachable().map(|node| node.version.as_str()).collect();
    if versions.len() > 1 {
        findings.warning(&format!("the nodes run different versions: {versions:?}"))?;
    }
    if let Some((lowest, highest)) = far_apart(&view.reachable().map(|node| node.term).collect::<Vec<_>>()) {
        findings.warning(&format!(
            "the terms of the nodes are far apart, from {lowest} to {highest}: a node that is far ahead takes no part \
             until they meet; look for a damaged vote file, or a node that does not follow the protocol"
        ))?;
    }
    match view.verdict() {
        Ok(text) => findings.ok(&text),
        Err(text) => findings.error(&text),
    }
}

/// The lowest and the highest term, if no single message takes a node from one to the other.
fn far_apart(terms: &[Term]) -> Option<(Term, Term)> {
    let (lowest, highest) = (*terms.iter().min()?, *terms.iter().max()?);
    (highest.0 - lowest.0 > Term::LARGEST_JUMP).then_some((lowest, highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_far_apart_if_no_message_bridges_them() {
        let far = |terms: &[u64]| far_apart(&terms.iter().copied().map(Term).collect::<Vec<_>>());
        assert_eq!(far(&[]), None);
        assert_eq!(far(&[7, 3, 3 + Term::LARGEST_JUMP]), None);
        assert_eq!(far(&[7, 3, 4 + Term::LARGEST_JUMP]), Some((Term(3), Term(4 + Term::LARGEST_JUMP))));
    }
}
