//! Whether the judge of lease logs finds what it should, and nothing else.

use super::lease_log::{Check, Claims, judge};

fn check(before: u64, valid: bool, token: u64, left: u64) -> Check {
    let after = before + 1;
    Check { before, after, valid, token, left }
}

fn logs(one: &[Check], two: &[Check]) -> [(String, Vec<Check>); 2] {
    [("1".into(), one.to_vec()), ("2".into(), two.to_vec())]
}

#[test]
fn one_leader_after_the_other_is_fine() {
    let one = [check(10, true, 1, 5), check(20, true, 1, 5), check(30, false, 0, 0)];
    let two = [check(5, false, 0, 0), check(26, true, 2, 5), check(40, true, 2, 5)];
    let runs = judge(&logs(&one, &two), Claims::Stand).expect("in order");
    assert_eq!(runs.iter().map(|run| run.token).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn two_leaders_at_once_are_found() {
    let one = [check(10, true, 1, 0), check(20, true, 1, 0)];
    let two = [check(15, true, 2, 0), check(40, true, 2, 0)];
    for logs in [logs(&one, &two), logs(&two, &one)] {
        let fault = judge(&logs, Claims::Stand).expect_err("an overlap");
        assert!(fault.starts_with("LeaseExclusion: two leaders at once"), "{fault}");
    }
}

#[test]
fn a_single_check_inside_the_time_of_another_leader_is_found() {
    let one = [check(10, true, 1, 0), check(30, true, 1, 0)];
    let two = [check(19, false, 0, 0), check(20, true, 2, 0), check(21, false, 0, 0)];
    assert!(judge(&logs(&one, &two), Claims::Stand).is_err());
}

#[test]
fn a_check_during_which_the_process_was_stopped_proves_nothing_about_the_stop() {
    let stretched = Check { after: 900, ..check(20, true, 1, 5) };
    let one = [check(10, true, 1, 5), stretched, check(901, false, 0, 0)];
    let two = [check(100, true, 2, 5), check(800, true, 2, 5)];
    judge(&logs(&one, &two), Claims::Stand).expect("valid before the stop");
}

#[test]
fn a_claim_that_reaches_into_the_next_leadership_is_found_unless_it_was_released() {
    let one = [check(10, true, 1, 50)];
    let two = [check(40, true, 2, 50)];
    let fault = judge(&logs(&one, &two), Claims::Stand).expect_err("claims until 60");
    assert!(fault.contains("a claim"), "{fault}");
    judge(&logs(&one, &two), Claims::MayBeReleased).expect("released");
}

#[test]
fn a_node_that_stepped_down_and_leads_again_takes_nothing_from_itself() {
    let one = [check(10, true, 1, 50), check(20, false, 0, 0), check(40, true, 2, 50)];
    let nobody = [check(10, false, 0, 0)];
    judge(&logs(&one, &nobody), Claims::Stand).expect("the same node");
}

#[test]
fn a_token_that_falls_or_is_used_twice_is_found() {
    let one = [check(10, true, 7, 0)];
    let fault = judge(&logs(&one, &[check(40, true, 6, 0)]), Claims::Stand).expect_err("falls");
    assert!(fault.starts_with("TokenMonotone"), "{fault}");
    let fault = judge(&logs(&one, &[check(40, true, 7, 0)]), Claims::Stand).expect_err("twice");
    assert!(fault.starts_with("TermUnique"), "{fault}");
}

#[test]
fn the_time_without_a_leader_is_measured_from_the_last_sight_of_one_to_the_first_of_the_next() {
    let runs = judge(&logs(&[check(10, true, 1, 5)], &[check(40, true, 2, 5)]), Claims::Stand).expect("in order");
    assert_eq!(runs[0].gap_to(&runs[1]), 31);
    assert_eq!(runs[1].gap_to(&runs[0]), 0);
    assert!(runs[1].is_won_after(39) && !runs[1].is_won_after(40));
}

#[test]
fn a_check_is_read_from_a_line_and_half_a_line_is_none() {
    let read = Check { before: 1, after: 2, valid: true, token: 7, left: 300 };
    assert_eq!(Check::parse("1 2 1 7 300"), Some(read));
    assert_eq!(Check::parse("1 2 1 7"), None);
    assert_eq!(Check::parse("1 2 1 7 x"), None);
}
