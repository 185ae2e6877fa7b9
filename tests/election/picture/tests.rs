//! Is what is drawn what is in the record, and is what is in the record what was?

use std::collections::BTreeMap;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Role, Setup, Term, Timing, Voter};
use roxmltree::{Document, Node};

use super::bands::{self, Looks};
use super::{Window, draw};
use crate::harness::clock::Real;
use crate::harness::disk::Mood;
use crate::harness::record::{Kind, Mark, Process, Record, Said, Stage};
use crate::harness::world::World;

/// What a careless writer of XML stumbles over.
const NASTY: &str = "<script>&\"' ]]> \u{1}ü</script>";

fn id(number: u16) -> NodeId {
    NodeId::from(number)
}

fn at(millis: u64) -> Real {
    Real(millis * 1_000_000)
}

fn lease(node: u16, token: u64, until: u64, ending: bool) -> Mark {
    Mark::Lease { node: id(node), token: Term(token), until: at(until), ending }
}

fn message(from: u16, to: u16, kind: Kind, text: &str, arrives: &[u64]) -> Mark {
    Mark::Message {
        from: id(from),
        to: id(to),
        said: Said { kind, stage: Stage::Asks, text: text.to_owned() },
        arrives: arrives.iter().map(|millis| at(*millis)).collect(),
    }
}

/// Node 1 leads and is told to stop; node 2 leads before node 1 has ended.
fn two_at_once() -> Record {
    let mut record = Record::default();
    record.timeout = Duration::from_millis(100);
    for node in [1, 2] {
        record.nodes.insert(id(node), format!("{NASTY}, two"));
    }
    let process = Process::Runs;
    let role = |node, role, term| Mark::Role {
        node: id(node),
        role,
        term: Term(term),
        leader: None,
        text: "became it".to_owned(),
    };
    let marks = [
        (0, Mark::Process { node: id(1), process }),
        (0, Mark::Process { node: id(2), process }),
        (200, message(1, 2, Kind::Heartbeat, "long before", &[250])),
        (900, role(1, Role::Leader, 7)),
        (1000, lease(1, 7, 1400, false)),
        (1200, lease(1, 7, 1600, false)),
        (1250, Mark::Fault { node: id(2), text: NASTY.to_owned() }),
        (1300, message(2, 1, Kind::Vote, "a vote", &[1350])),
        (1310, message(2, 1, Kind::Vote, "a lost vote", &[])),
        (1450, role(2, Role::Leader, 8)),
        (1500, lease(1, 7, 1550, true)),
        (1510, lease(2, 8, 1900, false)),
        (1510, Mark::Violation(format!("LeaseExclusion: {NASTY}"))),
    ];
    for (millis, mark) in marks {
        record.note(at(millis), mark);
    }
    record
}

/// One second on 1400 pixels: 1.4 pixels for a millisecond.
fn second() -> Window {
    Window { from: at(1000), to: at(2000) }
}

fn x(millis: f64) -> f64 {
    176.0 + (millis - 1000.0) * 1.4
}

fn class<'a>(drawn: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    let whole = drawn.descendants();
    // The legend shows every class, too, and tells nothing.
    let has = |node: &Node<'_, '_>| node.attribute("class") == Some(class) && !title(*node).is_empty();
    whole.filter(has).collect()
}

fn title(node: Node<'_, '_>) -> String {
    let title = node.children().find(|child| child.has_tag_name("title"));
    title.and_then(|title| title.text()).unwrap_or_default().to_owned()
}

/// Left and right edges of the bars of a class, and their lower ends, from left to right.
fn bars(drawn: &Document<'_>, name: &str) -> Vec<(f64, f64)> {
    let rects = class(drawn, name).into_iter();
    let rects = rects.flat_map(|group| group.children().filter(|child| child.has_tag_name("rect")));
    let number = |node: Node<'_, '_>, name| node.attribute(name).unwrap().parse::<f64>().unwrap();
    rects.map(|rect| (number(rect, "x"), number(rect, "x") + number(rect, "width"))).collect()
}

#[track_caller]
fn assert_spans(drawn: &[(f64, f64)], millis: &[(f64, f64)]) {
    let wanted: Vec<_> = millis.iter().map(|(from, to)| (x(*from), x(*to))).collect();
    let near = |one: f64, other: f64| (one - other).abs() < 0.02;
    let same = drawn.iter().zip(&wanted).all(|(is, should)| near(is.0, should.0) && near(is.1, should.1));
    assert!(same && drawn.len() == wanted.len(), "{drawn:?} should be {wanted:?}");
}

#[test]
fn a_bar_spans_exactly_the_time_of_its_lease() {
    let svg = draw(&two_at_once(), "two at once", second());
    let drawn = Document::parse(&svg).unwrap();
    assert_spans(&bars(&drawn, "lease"), &[(1000.0, 1500.0), (1510.0, 1900.0)]);
    assert_spans(&bars(&drawn, "ending"), &[(1500.0, 1550.0)]);
    assert_spans(&bars(&drawn, "both"), &[(1510.0, 1550.0); 2]);
    assert_spans(&bars(&drawn, "leader"), &[(1000.0, 1510.0), (1450.0, 1510.0)]);
}

#[test]
fn every_node_has_its_row_and_the_violation_is_told_with_its_moment() {
    let svg = draw(&two_at_once(), NASTY, second());
    let drawn = Document::parse(&svg).unwrap();
    let texts = drawn.descendants().filter(Node::is_text);
    let texts: Vec<&str> = texts.filter_map(|node| node.text()).collect();
    for node in ["node 1", "node 2"] {
        assert_eq!(texts.iter().filter(|text| **text == node).count(), 1, "{node}");
    }
    let wrong = class(&drawn, "wrong");
    assert!(wrong.iter().all(|mark| title(*mark).contains("LeaseExclusion")));
    let line = wrong.iter().flat_map(|mark| mark.children()).find(|child| child.has_tag_name("path"));
    let path = line.unwrap().attribute("d").unwrap();
    assert!(path.starts_with(&format!("M{:.2} ", x(1510.0))), "{path}");
    let told = |part: &str| texts.iter().any(|text| text.contains(part));
    assert!(told("1510.000 ms: LeaseExclusion: "));
    assert!(told("1 and 2 may both act for 40.000000 ms"));
}

#[test]
fn no_text_becomes_markup_and_nothing_is_fetched_from_elsewhere() {
    let svg = draw(&two_at_once(), NASTY, second());
    let drawn = Document::parse(&svg).unwrap();
    assert!(!drawn.descendants().any(|node| node.has_tag_name("script")));
    let harmless = NASTY.replace('\u{1}', "\u{fffd}");
    let done = class(&drawn, "done");
    assert!(done.iter().any(|mark| title(*mark).contains(&harmless)));
    assert_eq!(svg.matches("http").count(), 1, "the name of the language, which nobody fetches");
    for reference in svg.split("url(").skip(1) {
        assert!(reference.starts_with('#'), "{}", &reference[..20]);
    }
}

#[test]
fn a_lost_message_ends_in_a_cross_before_it_reaches_anybody() {
    let svg = draw(&two_at_once(), "two at once", second());
    let drawn = Document::parse(&svg).unwrap();
    let votes = class(&drawn, "Vote");
    let path = |what: &str| {
        let found = votes.iter().find(|vote| title(**vote).contains(what));
        found.unwrap().attribute("d").unwrap().to_owned()
    };
    let (came, lost) = (path("a vote"), path("a lost vote"));
    assert!(came.starts_with(&format!("M{:.1} ", x(1300.0))), "{came}");
    assert!(came.contains(&format!("L{:.1} ", x(1350.0))), "{came}");
    assert!(lost.starts_with(&format!("M{:.1} ", x(1310.0))), "{lost}");
    // A stroke without slope, and two strokes across its end.
    assert_eq!((lost.matches('V').count(), lost.matches('M').count()), (1, 3), "{lost}");
    assert!(title(votes[1]).ends_with("sent 1310.000 ms, lost"), "{}", title(votes[1]));
}

#[test]
fn a_window_cuts_what_is_outside() {
    let window = Window { from: at(1320), to: at(1480) };
    let svg = draw(&two_at_once(), "two at once", window);
    let drawn = Document::parse(&svg).unwrap();
    assert_eq!(class(&drawn, "Heartbeat").len(), 0);
    let votes = class(&drawn, "Vote");
    assert_eq!(votes.len(), 1, "only that which is on its way");
    assert!(title(votes[0]).contains("a vote"));
    for name in ["done", "ending", "both"] {
        assert_eq!(class(&drawn, name).len(), 0, "{name}");
    }
    assert_eq!(bars(&drawn, "lease"), [(176.0, 1576.0)]);
    let lines = class(&drawn, "wrong").len();
    assert_eq!(lines, 1, "the violation is told above, and has no line");
}

#[test]
fn the_usual_window_is_the_end_of_a_run_that_failed_and_the_whole_of_another() {
    let failed = two_at_once();
    let window = Window::of(&failed, None, None);
    assert_eq!((window.from, window.to), (at(510), at(1610)));
    let window = Window::of(&failed, Some(5), Some(70));
    assert_eq!((window.from, window.to), (at(5), at(70)));
    let mut good = Record::default();
    good.see_time(at(3000), None);
    let window = Window::of(&good, None, None);
    assert_eq!((window.from, window.to), (at(0), at(3000)));
    // Asked for after the end, and for ever: still something that can be drawn.
    let window = Window::of(&good, Some(u64::MAX), Some(0));
    assert_eq!((window.from, window.to), (at(3000), at(3001)));
}

#[test]
fn a_long_window_leaves_out_the_most_common_messages_and_says_so() {
    let mut record = two_at_once();
    record.marks.pop();
    let plain = |count: u64| {
        let text = format!("heartbeat {count}");
        (at(1000 + count % 900), message(1, 2, Kind::Heartbeat, &text, &[1999]))
    };
    let lost = |count: u64| (at(1000 + count % 900), message(1, 2, Kind::Heartbeat, "lost", &[]));
    let drawn_of = |record: &Record| {
        let svg = draw(record, "long", second());
        let drawn = Document::parse(&svg).unwrap();
        let count = |name| class(&drawn, name).len();
        let told = svg.lines().find_map(|line| line.split_once("so long a window: "));
        let told = told.map(|(_, rest)| rest.trim_end_matches("</text>").to_owned());
        (count("Heartbeat"), count("Heartbeat news"), count("Vote"), told)
    };
    // With two votes: as many as are drawn at most.
    record.marks.extend((0..5998).map(plain));
    assert_eq!(drawn_of(&record), (5998, 0, 2, None));
    record.marks.push(lost(0));
    let told = Some("plain heartbeats".to_owned());
    assert_eq!(drawn_of(&record), (0, 1, 2, told));
    record.marks.extend((0..6000).map(lost));
    let told = Some("plain heartbeats, other heartbeats".to_owned());
    assert_eq!(drawn_of(&record), (0, 0, 2, told));
}

fn three_nodes() -> World {
    let voter = Voter { priority: 0, witness: false };
    let voters: BTreeMap<NodeId, Voter> = (1..=3).map(|node| (id(node), voter)).collect();
    let timing = Timing::default();
    let setups = voters.keys().map(|me| Setup { me: *me, voters: voters.clone(), timing });
    let mut world = World::new(setups.collect(), 1);
    world.record = Some(Record::default());
    world
}

/// Runs for a second, and notes each millisecond who acts.
fn second_of(world: &mut World, acted: &mut Vec<(Real, Option<(NodeId, Term)>)>) {
    for _ in 0..1000 {
        acted.push((world.now, world.acting()));
        world.run_until(world.now.after(Duration::from_millis(1)));
    }
}

#[test]
fn the_record_of_a_run_tells_what_was_done_and_who_could_act() {
    let mut world = three_nodes();
    let mut acted = Vec::new();
    second_of(&mut world, &mut acted);
    for node in world.ids() {
        world.start(node);
    }
    second_of(&mut world, &mut acted);
    let (first, _) = world.acting().unwrap();
    world.crash(first);
    second_of(&mut world, &mut acted);
    world.start(first);
    let (second, _) = world.acting().unwrap();
    let third = *world.ids().iter().find(|node| ![first, second].contains(node)).unwrap();
    world.pause(second);
    second_of(&mut world, &mut acted);
    world.resume(second);
    world.node_mut(second).disk.mood = Mood::Slow(Duration::from_millis(20));
    for (from, to) in [(second, first), (first, second), (third, second)] {
        world.network.link(from, to).cut = true;
    }
    second_of(&mut world, &mut acted);
    world.reboot(third);
    world.lose_disk(third);
    world.network.links().for_each(|link| link.cut = false);
    world.network.link(first, third).lost_per_mille = 100;
    second_of(&mut world, &mut acted);
    world.observe();
    assert_eq!(world.checker.violation, None);
    let record = world.record.take().unwrap();

    let faults = |node: NodeId| -> Vec<&str> {
        let texts = record.marks.iter().filter_map(|(_, mark)| match mark {
            Mark::Fault { node: to, text } if *to == node => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    };
    assert_eq!(faults(first), ["start", "crash", "start"]);
    assert_eq!(faults(second), ["start", "pause", "disk slow 20ms, goes on"]);
    assert_eq!(faults(third), ["start", "disk lost, reboot"]);
    let links = record.marks.iter().filter_map(|(at, mark)| match mark {
        Mark::Network { change, state } => Some((*at, change.clone(), state.clone())),
        _ => None,
    });
    let (low, high) = (first.min(second), first.max(second));
    let cut = format!("cut {low} – {high}, {third} → {second}");
    let bad = format!("{first} → {third}");
    let wanted = [
        (at(4000), cut.clone(), cut.clone()),
        (
            at(5000),
            format!("bad {bad}; {}", cut.replace("cut", "mended")),
            format!("{bad}: 1.0 to 1.0 ms, 10.0 % lost"),
        ),
    ];
    assert_eq!(links.collect::<Vec<_>>(), wanted);

    let mut tokens = 0;
    for (now, who) in &acted {
        let may: Vec<(NodeId, String)> = record
            .nodes
            .keys()
            .flat_map(|node| bands::leases(&record, *node).into_iter().map(|bar| (*node, bar)))
            .filter(|(_, bar)| bar.looks == Looks::Lease && bar.from <= *now && *now < bar.to)
            .map(|(node, bar)| (node, bar.labels[1].clone()))
            .collect();
        let acting = who.map(|(node, token)| (node, format!("token {token}")));
        tokens += usize::from(acting.is_some());
        assert_eq!(may, acting.into_iter().collect::<Vec<_>>(), "at {now:?}");
    }
    assert!(tokens > 1000, "they led for {tokens} ms of 6000");

    let svg = draw(&record, "a run", Window::of(&record, None, None));
    let drawn = Document::parse(&svg).unwrap();
    for name in ["follower", "candidate", "leader", "paused", "down", "lease", "Vote", "Heartbeat"] {
        assert!(!class(&drawn, name).is_empty(), "{name}");
    }
}

#[test]
fn a_record_ends_at_the_moment_of_the_violation() {
    let mut world = three_nodes();
    for node in world.ids() {
        world.start(node);
    }
    world.run_until(at(1000));
    world.checker.fail("Tried", "on purpose".to_owned());
    world.run_until(at(3000));
    world.crash(id(1));
    world.observe();
    let record = world.record.take().unwrap();
    assert_eq!(record.end, at(1000));
    let (when, what) = super::violation(&record).unwrap();
    assert_eq!((when, what), (at(1000), "Tried: on purpose"));
    assert!(matches!(record.marks.last(), Some((_, Mark::Violation(_)))));
}
