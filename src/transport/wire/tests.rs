use super::protocol::tests::protocols;
use super::*;
use crate::election::{Hint, Refusal, Term};

fn id(number: u16) -> NodeId {
    NodeId::from(number)
}

fn hello() -> Hello {
    Hello {
        cluster: "c".into(),
        voters: vec![id(1), id(2)],
        clock_drift_ppm: 1000,
        from: id(1),
        to: id(2),
        instance: 7,
        obituary: None,
    }
}

fn every_frame() -> Vec<Frame> {
    let (term, candidacy) = (Term(5), 300);
    vec![
        Frame::Hello(protocols(2, 3), Hello { obituary: Some(term), ..hello() }),
        Frame::Welcome(protocols(2, 2), LATEST, hello()),
        Frame::Refused("no".into()),
        Frame::Request(Request::PreVote { term, candidacy }),
        Frame::Request(Request::Vote { term, candidacy }),
        Frame::Request(Request::Heartbeat {
            term,
            seq: 9,
            promise: Duration::from_millis(500),
            succession: vec![id(3), id(2)],
        }),
        Frame::Request(Request::Release { term, seq: 9, successor: Some(id(3)) }),
        Frame::Reply(Reply::PreVote {
            term,
            candidacy,
            verdict: Err(Refusal::LeaderHeard(id(1))),
            wait: Duration::from_millis(260),
            leader: Some(Hint { leader: id(1), term, age: Duration::from_millis(40) }),
        }),
        Frame::Reply(Reply::Vote { term, candidacy, verdict: Ok(()), wait: Duration::from_millis(500) }),
        Frame::Reply(Reply::Heartbeat { term, seq: 9, granted: Duration::from_millis(500), eligible: true }),
        Frame::Reply(Reply::Release { term }),
        Frame::Probe,
        Frame::Alive,
        call(ClientCall::Status),
        call(ClientCall::Resign { hold_off: Duration::from_secs(30) }),
        call(ClientCall::Transfer { to: id(3) }),
        Frame::ClientReply(
            LATEST,
            ClientReply::Status {
                role: Role::Leader,
                term,
                leader: Some(id(1)),
                token: Some(term),
                lease: Remaining::Left(Duration::from_millis(400)),
                version: "0.1.0".into(),
                uptime: Duration::from_secs(90),
                peers: 2,
            },
        ),
        Frame::ClientReply(
            LATEST,
            ClientReply::Peer(PeerStatus {
                last_heard: Some(Duration::from_secs(2)),
                certificate_days: Some(-1),
                last_error: Some("no".into()),
                requests: 5,
                failures: 6,
                ..PeerStatus::unknown(id(3), String::new())
            }),
        ),
        Frame::ClientReply(LATEST, ClientReply::Done),
        Frame::ClientReply(LATEST, ClientReply::Logger { stuck: Some(Duration::from_secs(4)), lines_lost: 300 }),
    ]
}

fn request(call: ClientCall) -> ClientRequest {
    ClientRequest { cluster: "c".into(), to: id(1), call }
}

fn call(call: ClientCall) -> Frame {
    Frame::ClientRequest(protocols(2, 3), request(call))
}

#[test]
fn every_frame_comes_back_as_it_went() {
    for frame in every_frame() {
        for protocol in [LATEST, NEXT] {
            assert_eq!(decode(&encode(&frame, protocol), protocol).as_ref(), Ok(&frame));
        }
    }
}

/// The format of protocol 2. A difference here means that nodes of two versions misunderstand each other.
#[test]
fn golden_bytes() {
    let golden = include_str!("../golden.txt");
    let found: String = every_frame().iter().map(|frame| hex(&encode(frame, LATEST)) + "\n").collect();
    assert_eq!(found, golden, "the bytes of protocol {LATEST} have changed");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_longest_messages_fit_a_frame() {
    let longest: NodeId = "x".repeat(NodeId::MAX_LEN).parse().expect("an id");
    let mut hello = hello();
    hello.voters = vec![longest; 64];
    (hello.instance, hello.obituary) = (u64::MAX, Some(Term(u64::MAX)));
    hello.cluster = "x".repeat(64);
    assert!(encode(&Frame::Hello(protocols(u16::MAX, u16::MAX), hello), NEXT).len() <= MAX_FRAME);
    let heartbeat = Request::Heartbeat {
        term: Term(u64::MAX),
        seq: u64::MAX,
        promise: Duration::MAX,
        succession: vec![longest; 64],
    };
    assert!(encode(&Frame::Request(heartbeat), NEXT).len() <= MAX_FRAME);
    let peer = PeerStatus {
        id: longest,
        addr: String::new(),
        connected: true,
        last_heard: Some(Duration::MAX),
        round_trip: Some(Duration::MAX),
        certificate_days: Some(i64::MIN),
        last_error: Some("\u{10ffff}".repeat(LONGEST_PEER_ERROR)),
        requests: u64::MAX,
        failures: u64::MAX,
    };
    assert!(encode(&Frame::ClientReply(LATEST, ClientReply::Peer(peer)), NEXT).len() <= MAX_FRAME);
}

#[test]
fn an_endless_lease_comes_back_endless_and_another_with_its_time() {
    let comes_back = |lease| {
        let status = ClientReply::Status {
            role: Role::Leader,
            term: Term(5),
            leader: None,
            token: Some(Term(5)),
            lease,
            version: String::new(),
            uptime: Duration::ZERO,
            peers: 0,
        };
        let frame = Frame::ClientReply(LATEST, status);
        assert_eq!(decode(&encode(&frame, LATEST), LATEST), Ok(frame), "{lease}");
    };
    comes_back(Remaining::Over);
    comes_back(Remaining::Left(Duration::from_secs(3600)));
    comes_back(Remaining::Endless);
}

#[test]
fn a_length_that_lies_allocates_nothing_and_is_an_error() {
    // A refusal whose text claims to be 2^60 bytes long.
    let lie = [2, 253, 0, 0, 0, 0, 0, 0, 0, 16];
    let error = decode(&lie, LATEST).expect_err("a lie");
    assert!(error.contains("expected a frame of protocol 2"), "{error}");
}

/// The two protocols that tests know.
const LATEST: Protocol = Protocols::WITH_NEXT.lowest;
const NEXT: Protocol = Protocols::WITH_NEXT.highest;

/// What is read of the first frame of a program that speaks `theirs`, by one that speaks `ours`.
fn first(frame: &Frame, theirs: Protocols, ours: Protocols) -> Result<(Frame, Protocol), String> {
    decode_first(&encode(frame, theirs.highest), ours)
}

#[test]
fn a_frame_of_another_protocol_is_no_frame() {
    for frame in every_frame().into_iter().filter(|frame| !matches!(frame, Frame::Refused(_))) {
        for (written, read) in [(LATEST, NEXT), (NEXT, LATEST)] {
            assert!(decode(&encode(&frame, written), read).is_err(), "{frame:?}");
        }
    }
}

#[test]
fn a_first_frame_is_read_as_the_highest_common_protocol_has_it() {
    let later = protocols(2, 9).highest;
    for (theirs, ours, common) in [
        (LATEST, LATEST, LATEST),
        (NEXT, LATEST, LATEST),
        (LATEST, NEXT, LATEST),
        (NEXT, NEXT, NEXT),
        (later, LATEST, LATEST),
        (later, NEXT, NEXT),
    ] {
        let [theirs, ours] = [theirs, ours].map(|highest| Protocols { highest, ..Protocols::WITH_NEXT });
        let frames = [Frame::Hello(theirs, hello()), Frame::ClientRequest(theirs, request(ClientCall::Status))];
        for frame in frames {
            assert_eq!(first(&frame, theirs, ours), Ok((frame, common)));
        }
        // By now both ranges are known.
        let frame = Frame::Welcome(theirs, common, hello());
        assert_eq!(decode_first(&encode(&frame, common), ours), Ok((frame, common)));
    }
}

#[test]
fn only_a_first_frame_of_a_later_protocol_may_have_more_fields() {
    let more = |frame| [encode(&frame, LATEST), vec![0; 9]].concat();
    let (today, later) = (Protocols { highest: LATEST, ..Protocols::WITH_NEXT }, protocols(2, 300));
    assert_eq!(decode_first(&more(Frame::Hello(later, hello())), today), Ok((Frame::Hello(later, hello()), LATEST)));
    for frame in [Frame::Hello(today, hello()), Frame::Welcome(later, LATEST, hello()), Frame::Refused("no".into())] {
        let error = decode_first(&more(frame), today).expect_err("too long");
        assert!(error.contains("expected a frame of"), "{error}");
    }
}

#[test]
fn without_a_common_protocol_both_ranges_are_named_whatever_follows() {
    let later = protocols(300, 301);
    for frame in [
        Frame::Hello(later, hello()),
        Frame::Welcome(later, later.highest, hello()),
        Frame::ClientRequest(later, request(ClientCall::Status)),
    ] {
        // The variant is one byte, and each number is three.
        let mut bytes = encode(&frame, LATEST)[..7].to_vec();
        bytes.extend([0xff; 9]);
        let error = decode_first(&bytes, Protocols::WITH_NEXT).expect_err("other fields");
        assert_eq!(
            error,
            "no common protocol: here 2 to 3, there 300 to 301; run versions of leadelect that share one"
        );
    }
    // A part of a reply to a client names one number.
    let error = decode_first(&[8, 251, 44, 1, 0xff], Protocols::WITH_NEXT).expect_err("other fields");
    assert!(error.contains("here 2 to 3, there 300;"), "{error}");
    let error = decode_first(&[2, 251, 44, 1, 255], Protocols::WITH_NEXT).expect_err("no first frame");
    assert!(error.contains("found other bytes"), "{error}");
}

/// It reads the variant and one number, and shows both numbers if that is not its own.
#[test]
fn a_node_of_protocol_1_finds_one_number_of_ours_and_we_find_its_number() {
    let today = Protocols { highest: LATEST, ..Protocols::WITH_NEXT };
    for (frame, variant) in [
        (Frame::Hello(today, hello()), 0),
        (Frame::Welcome(today, LATEST, hello()), 1),
        (Frame::ClientRequest(today, request(ClientCall::Status)), 7),
    ] {
        assert_eq!(encode(&frame, LATEST)[..2], [variant, 2]);
        // As it says hello: after the number comes a name of 9 bytes.
        let theirs = [&[variant, 1, 9], &b"leadelect"[..]].concat();
        let error = decode_first(&theirs, today).expect_err("too old");
        assert!(error.contains("here 2, there 1;"), "{error}");
    }
}

#[test]
fn no_truncated_extended_or_changed_frame_panics() {
    for frame in every_frame() {
        let bytes = encode(&frame, LATEST);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], LATEST).is_err(), "{frame:?} cut at {len}");
            assert!(decode_first(&bytes[..len], Protocols::WITH_NEXT).is_err(), "{frame:?} cut at {len}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode(&longer, LATEST).is_err());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let _ = decode(&changed, LATEST);
                let _ = decode_first(&changed, Protocols::WITH_NEXT);
            }
        }
    }
}

#[test]
fn a_difference_is_named_with_both_values() {
    let (ours, mut theirs) = (hello(), hello());
    theirs.voters = vec![id(1), id(3)];
    let error = ours.agree(&theirs).expect_err("different nodes");
    assert_eq!(error, "different nodes: here [1, 2], there [1, 3]; make the configs agree");
}
