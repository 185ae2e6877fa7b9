//! A status as text for Prometheus.
//!
//! Prometheus asks for everything at once, now and then. So the text is made of a snapshot when it is asked for. The
//! `metrics` facade would need a recorder for the whole process and a second copy of every number. prometheus-client
//! knows the format (OpenMetrics 1.0) and its escapes.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Counters, Measured, PeerStatus, Status};
use crate::election::Role;

impl Status {
    /// The status as text for Prometheus, in the OpenMetrics format. The program serves it over HTTP, as
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    ///
    /// Every name begins with `leadelect_`, times are in seconds, and every line has the label `node`. A value that is
    /// not known has no line, such as the token of a node without a lease. An endless lease is `inf`.
    ///
    /// Needs the feature `prometheus`.
    ///
    /// ```no_run
    /// # let config = leadelect::Config::builder().build()?.for_node("1")?;
    /// # let node = leadelect::Node::start(config)?;
    /// let text = node.status().to_prometheus();
    /// assert!(text.ends_with("# EOF\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let node = ("node".into(), self.id.to_string().into());
        let mut registry = Registry::with_prefix_and_labels("leadelect", [node].into_iter());
        registry.register_collector(Box::new(Snapshot(self.clone())));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a String takes every text");
        text
    }
}

/// What the registry collects from. A type of its own, so that a [`Status`] shows no trait of prometheus-client.
#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.state(&self.0)?;
        page.counters(&self.0.counters)?;
        page.peers(&self.0.peers)
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);

const NONE: [(&str, &str); 0] = [];

type Label = [(&'static str, String); 1];

fn of(peer: &PeerStatus) -> Label {
    [("peer", peer.id.to_string())]
}

fn by_reason((reason, count): (&str, u64)) -> (Label, ConstCounter<u64>) {
    ([("reason", reason.to_owned())], ConstCounter::new(count))
}

fn seconds(span: Duration) -> ConstGauge<f64> {
    ConstGauge::new(span.as_secs_f64())
}

fn yes(whether: bool) -> ConstGauge<u32> {
    ConstGauge::new(u32::from(whether))
}

impl Page<'_> {
    fn state(&mut self, status: &Status) -> fmt::Result {
        let roles = [Role::Follower, Role::Candidate, Role::Leader]
            .map(|role| ([("role", role.to_string())], yes(role == status.role)));
        self.family("role", "1 for the role of the node, 0 for the others", None, roles)?;
        self.one("term", "Term of the node", ConstGauge::new(status.term.0))?;
        let known = yes(status.leader.is_some());
        self.one("leader_known", "1 if the node knows of a leader, itself included", known)?;
        let token = status.token.map(|token| (NONE, ConstGauge::new(token.0)));
        self.family("token", "Fencing token, of a node that may act as leader", None, token)?;
        let lease = status.lease.duration().map_or(ConstGauge::new(f64::INFINITY), seconds);
        let help = "How long the node may still act as leader if no peer answers any more";
        self.family("lease", help, SECONDS, [(NONE, lease)])?;
        let help = "How long the logger of the program has been stuck in one line, 0 if it is not";
        let stuck = seconds(status.logger_stuck.unwrap_or_default());
        self.family("logger_stuck", help, SECONDS, [(NONE, stuck)])
    }

    fn counters(&mut self, counters: &Counters) -> fmt::Result {
        let Counters {
            leader_changes,
            elections,
            elections_won,
            pre_votes_refused,
            leases_lost,
            overruns,
            lateness,
            writes,
            writes_failed,
            lines_lost,
            connections_refused,
            client_requests,
        } = counters;
        self.count("leader_changes", "Leaders that the node came to know, one after the other", leader_changes)?;
        self.count("elections", "Elections that the node began", elections)?;
        self.count("elections_won", "Elections that the node won", elections_won)?;
        self.count("overruns", "Leases that ended while their work still ran", overruns)?;
        self.count("writes_failed", "Failed writes of the vote file", writes_failed)?;
        self.count("lines_lost", "Lines of the log that were lost", lines_lost)?;
        let help = "Connections that the node refused or turned away";
        self.count("connections_refused", help, connections_refused)?;
        self.count("client_requests", "Requests of clients", client_requests)?;
        let refused = [
            ("leader_heard", pre_votes_refused.leader_heard),
            ("term_behind", pre_votes_refused.term_behind),
            ("term_too_far", pre_votes_refused.term_too_far),
            ("cannot_store", pre_votes_refused.cannot_store),
        ];
        self.family("pre_votes_refused", "Pre-votes that the node refused to others", None, refused.map(by_reason))?;
        let lost = leases_lost.iter().map(|(reason, count)| by_reason((reason.label(), count)));
        self.family("leases_lost", "Leases that the node held and lost", None, lost)?;
        self.count("wakes", "How often the election thread had something to do that was due", &lateness.count)?;
        self.measured("lateness", "How late the election thread was then", lateness)?;
        self.count("writes", "Writes of the vote file", &writes.count)?;
        self.measured("write", "How long such a write took, the flush to the disk included", writes)
    }

    fn peers(&mut self, peers: &[PeerStatus]) -> fmt::Result {
        let connected = peers.iter().map(|peer| (of(peer), yes(peer.connected)));
        self.family("peer_connected", "1 if the node has a connection to the peer", None, connected)?;
        let requests = peers.iter().map(|peer| (of(peer), ConstCounter::new(peer.requests)));
        self.family("peer_requests", "Requests to the peer", None, requests)?;
        let failures = peers.iter().map(|peer| (of(peer), ConstCounter::new(peer.failures)));
        self.family("peer_failures", "Dials and requests that failed", None, failures)?;
        let spans = |span: fn(&PeerStatus) -> Option<Duration>| {
            peers.iter().filter_map(move |peer| Some((of(peer), seconds(span(peer)?))))
        };
        let round_trips = spans(|peer| peer.round_trip);
        self.family("peer_round_trip", "From the last request to its answer", SECONDS, round_trips)?;
        let silences = spans(|peer| peer.last_heard);
        self.family("peer_silence", "Since the peer was last heard", SECONDS, silences)?;
        let days = peers.iter().filter_map(|peer| Some((of(peer), ConstGauge::new(peer.certificate_days?))));
        let help = "Whole days until the peer's certificate ends";
        self.family("peer_certificate_days", help, None, days)
    }

    fn measured(&mut self, name: &str, help: &str, measured: &Measured) -> fmt::Result {
        // Plain gauges: a summary would need a sum, and the worst is what is alarmed on.
        let spans = [("last", measured.last), ("worst", measured.worst)];
        let spans = spans.map(|(which, span)| ([("which", which)], seconds(span)));
        self.family(name, help, SECONDS, spans)
    }

    fn count(&mut self, name: &str, help: &str, value: &u64) -> fmt::Result {
        self.one(name, help, ConstCounter::new(*value))
    }

    fn one(&mut self, name: &str, help: &str, value: impl EncodeMetric) -> fmt::Result {
        self.family(name, help, None, [(NONE, value)])
    }

    /// A family without members is left out.
    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        members: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut members = members.into_iter().peekable();
        let Some((_, first)) = members.peek() else {
            return Ok(());
        };
        let mut family = self.0.encode_descriptor(name, help, unit, first.metric_type())?;
        members.try_for_each(|(labels, member)| member.encode(family.encode_family(&labels)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Cause, Event, Term};
    use crate::leadership::Remaining;
    use crate::status::Board;

    /// A leader and a peer whose ids need escapes, and a peer of which nothing is known.
    fn status() -> Status {
        let peer = |id: &str| (id.parse().expect("an id"), "host:1".to_owned());
        let me = "a\"b\\c".parse().expect("an id");
        let board = Board::new(me, [peer("2"), peer("\"")]);
        let (role, term, leader, token) = (Role::Leader, Term(7), Some(me), Some(Term(7)));
        let event = |cause| Event { role, term, leader, token, cause };
        let overran = Cause::WorkOverran { term: Term(6) };
        let events = [event(Cause::LeaseWon), event(overran)];
        board.show(role, term, leader, &events);
        board.late(Duration::from_micros(2500));
        board.late(Duration::from_nanos(100));
        board.wrote(Duration::from_secs(2));
        let quoted = peer("\"").0;
        board.connected(quoted, None);
        board.asks(quoted);
        board.failed(quoted, "silent".into());
        board.refused();
        let mut status = board.status(Some((term, Duration::from_millis(400).into())));
        status.peers[0].round_trip = Some(Duration::from_millis(1));
        status.peers[0].last_heard = Some(Duration::from_secs(3600));
        status.peers[0].certificate_days = Some(-1);
        status
    }

    #[test]
    fn the_text_is_exactly_this() {
        let text = status().to_prometheus();
        let expected = include_str!("prometheus.txt");
        assert!(text == expected, "expected:\n{expected}\nfound:\n{text}");
    }

    #[test]
    fn an_endless_lease_is_infinite() {
        let board = Board::new(1.into(), []);
        let text = board.status(Some((Term(1), Remaining::Endless))).to_prometheus();
        assert!(text.contains("leadelect_lease_seconds{node=\"1\"} inf\n"), "{text}");
    }
}
