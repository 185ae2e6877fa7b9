use rustix::fs::Mode;

use super::*;

const HOST: Host = Host { machine: Some(1), boot: Some(1), boot_is_true: true, uptime: Some(Duration::from_secs(60)) };

fn state(term: u64, voted_for: Option<u16>) -> HardState {
    HardState {
        term: Term(term),
        voted_for: voted_for.map(NodeId::from),
        cap: Duration::from_millis(500),
        in_doubt: false,
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open_on(host: Host, folder: &tempfile::TempDir) -> (VoteFile, Recovery) {
    VoteFile::open_on(host, folder.path(), 1.into(), "east").expect("opened")
}

/// What the folder holds after these states were saved in it.
fn saved(states: &[HardState]) -> tempfile::TempDir {
    let folder = folder();
    let (mut file, _) = open_on(HOST, &folder);
    for state in states {
        file.save(state).expect("saved");
    }
    folder
}

fn refusal(state_dir: &Path, node: u16, cluster: &str) -> String {
    let opened = VoteFile::open_on(HOST, state_dir, node.into(), cluster);
    opened.expect_err("refused").to_string()
}

fn restored(state: HardState) -> Recovery {
    let down_for = Duration::ZERO;
    Recovery::Restored { state, down_for }
}

#[test]
fn a_term_that_no_election_leads_to_is_an_error_that_names_the_file() {
    let last_usable = Term::LAST.0 - Term::LARGEST_JUMP;
    let usable = saved(&[state(last_usable, None)]);
    assert_eq!(open_on(HOST, &usable).1, restored(state(last_usable, None)));
    let used_up = saved(&[state(Term::LAST.0, None)]);
    let text = refusal(used_up.path(), 1, "east");
    let path = used_up.path().join(file_stem(1.into()) + ".vote");
    assert!(text.contains(&format!("{} holds term {}", path.display(), Term::LAST)), "{text}");
    assert!(text.contains("remove the file"), "{text}");
}

#[test]
fn a_node_is_new_until_its_first_save_and_restored_ever_after() {
    let folder = folder();
    let state_dir = folder.path().join("not/yet/there");
    let open = || VoteFile::open(&state_dir, 1.into(), "east").expect("opened");
    assert_eq!(open().1, Recovery::Fresh);
    assert_eq!(open().1, Recovery::Fresh);
    for term in 1..6 {
        let now = state(term, Some(3));
        open().0.save(&now).expect("saved");
        assert_eq!(open().1, restored(now));
        assert_eq!(open().1, restored(now));
    }
}

#[test]
fn a_state_in_use_is_locked_and_free_again_afterwards() {
    let folder = folder();
    let first = open_on(HOST, &folder);
    let error = refusal(folder.path(), 1, "east");
    assert!(error.starts_with("another process uses this state: "), "{error}");
    drop(first);
    open_on(HOST, &folder);
}

#[test]
fn after_one_failed_write_nothing_is_written_any_more() {
    #[derive(Debug)]
    struct FailsOnce(bool);
    impl Disk for FailsOnce {
        fn write_durably(&mut self, _: &[u8], _: u64) -> io::Result<()> {
            assert!(!std::mem::replace(&mut self.0, true), "written after a failure");
            Err(ErrorKind::StorageFull.into())
        }
    }
    let (mut file, _) = open_on(HOST, &folder());
    file.disk = Box::new(FailsOnce(false));
    let mut error = || file.save(&state(1, None)).expect_err("failed").to_string();
    assert!(error().contains("free some space"));
    assert!(error().contains("is not written any more"));
    assert!(error().contains("is not written any more"));
}

#[test]
fn a_file_removed_under_a_running_node_is_written_no_more() {
    let folder = folder();
    let (mut file, _) = open_on(HOST, &folder);
    file.save(&state(1, None)).expect("saved");
    fs::remove_file(folder.path().join("node-1.vote")).expect("removed");
    let mut error = || file.save(&state(2, None)).expect_err("gone").to_string();
    assert!(error().contains("was removed or replaced while the node runs"));
    assert!(error().contains("a write failed (the file was removed)"));
}

#[test]
fn a_folder_may_be_renamed_under_a_running_node() {
    let folder = folder();
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    let open = |at: &Path| VoteFile::open_on(HOST, at, 1.into(), "east").expect("opened");
    let (mut file, _) = open(&before);
    fs::rename(&before, &after).expect("renamed");
    file.save(&state(1, Some(3))).expect("saved");
    drop(file);
    assert_eq!(open(&after).1, restored(state(1, Some(3))));
}

#[test]
fn an_empty_file_that_was_there_is_a_doubt_and_a_warning() {
    for content in [&[][..], &[0; 100], &[0; 2 * SLOT]] {
        let folder = folder();
        let path = folder.path().join("node-1.vote");
        fs::write(&path, content).expect("written");
        let doubt = HardState { in_doubt: true, ..HardState::default() };
        for says in ["was there and is empty", "may be lost"] {
            let (file, recovery) = open_on(HOST, &folder);
            assert_eq!(recovery, restored(doubt));
            let warning = file.warning().expect("a warning");
            assert!(warning.contains(says), "{warning}");
            assert!(warning.contains(&path.display().to_string()), "{warning}");
        }
    }
}

#[test]
fn a_damaged_record_is_warned_of_once_and_a_whole_file_never() {
    let folder = saved(&[state(1, None)]);
    assert_eq!(open_on(HOST, &folder).0.warning(), None);
    let path = folder.path().join("node-1.vote");
    let mut bytes = fs::read(&path).expect("read");
    bytes[SLOT + 20] ^= 1;
    fs::write(&path, bytes).expect("written");
    for says in ["one of the two records in ", "may be lost"] {
        let (file, _) = open_on(HOST, &folder);
        let warning = file.warning().expect("a warning");
        assert!(warning.contains(says), "{warning}");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = folder();
    let path = folder.path().join("node-1.vote");
    let pipe = rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR);
    pipe.expect("a pipe");
    let error = refusal(folder.path(), 1, "east");
    assert!(error.contains("is a pipe, a device or the like"), "{error}");
    fs::remove_file(&path).expect("removed");
}

/// Another who may write to the folder must not choose the file that is overwritten, or made.
#[test]
fn a_link_is_not_followed() {
    let (folder, other) = (folder(), saved(&[state(1, None)]));
    let path = folder.path().join("node-1.vote");
    for target in [other.path().join("node-1.vote"), other.path().join("none"), "/dev/null".into()] {
        std::os::unix::fs::symlink(&target, &path).expect("a link");
        let error = refusal(folder.path(), 1, "east");
        assert!(error.contains("is a symbolic link, expected a file"), "{error}");
        fs::remove_file(&path).expect("removed");
    }
    assert!(!other.path().join("none").exists());
}

#[test]
fn what_is_handed_out_was_written_again_first() {
    let folder = saved(&[state(1, None)]);
    let path = folder.path().join("node-1.vote");
    let before = fs::read(&path).expect("read");
    drop(open_on(HOST, &folder));
    let after = fs::read(&path).expect("read");
    assert_ne!(before[..SLOT], after[..SLOT]);
    assert_eq!(before[SLOT..], after[SLOT..]);
}

#[test]
fn a_doubt_outlives_restarts_and_ends_when_the_node_says_so() {
    // The last of them is in the second slot.
    let folder = saved(&[state(1, None), state(1, None), state(2, Some(3))]);
    let path = folder.path().join("node-1.vote");
    let whole = fs::read(&path).expect("read");
    fs::write(&path, &whole[..SLOT + 100]).expect("cut");
    let doubtful = |term| HardState { in_doubt: true, ..state(term, None) };

    assert_eq!(open_on(HOST, &folder).1, restored(doubtful(1)));
    let (mut file, recovery) = open_on(HOST, &folder);
    assert_eq!(recovery, restored(doubtful(1)));
    file.save(&doubtful(2)).expect("saved");
    drop(file);
    let (mut file, recovery) = open_on(HOST, &folder);
    assert_eq!(recovery, restored(doubtful(2)));
    file.save(&state(2, Some(1))).expect("saved");
    drop(file);
    assert_eq!(open_on(HOST, &folder).1, restored(state(2, Some(1))));
}

#[test]
fn only_the_first_start_after_a_boot_of_the_same_machine_counts_the_uptime() {
    let down_for = |host| {
        let folder = saved(&[state(1, None)]);
        [(); 2].map(|()| match open_on(host, &folder).1 {
            Recovery::Restored { down_for, .. } => down_for.as_secs(),
            other => panic!("{other:?}"),
        })
    };
    let (boot, machine, uptime) = (Some(2), Some(2), None);
    assert_eq!(down_for(Host { boot, ..HOST }), [60, 0]);
    assert_eq!(down_for(Host { boot, uptime, ..HOST }), [0, 0]);
    assert_eq!(down_for(HOST), [0, 0]);
    assert_eq!(down_for(Host { boot: None, ..HOST }), [0, 0]);
    assert_eq!(down_for(Host { boot, machine, ..HOST }), [0, 0]);
    assert_eq!(down_for(Host { boot, machine: None, ..HOST }), [0, 0]);
}

#[test]
fn a_refusal_names_what_was_found_and_what_was_expected() {
    let folder = saved(&[state(1, None)]);
    let path = |node| folder.path().join(format!("node-{node}.vote"));
    let error = refusal(folder.path(), 1, "west");
    assert!(error.contains("node 1 of cluster \"east\", expected node 1 of cluster \"west\""), "{error}");
    fs::copy(path(1), path(2)).expect("copied");
    let error = refusal(folder.path(), 2, "east");
    assert!(error.contains("node 1 of cluster \"east\", expected node 2 of cluster \"east\""), "{error}");

    fs::write(path(3), "something else").expect("written");
    assert!(refusal(folder.path(), 3, "east").contains("is damaged: neither"));
    let error = refusal(&path(3), 1, "east");
    assert!(error.contains("cannot create the folder of"), "{error}");
    assert!(refusal(folder.path(), 1, &"c".repeat(256)).contains("has 256 bytes, at most 255"));
}

#[test]
#[should_panic = "VoteOnce"]
fn a_vote_once_given_is_never_overwritten_in_its_term() {
    let (mut file, _) = open_on(HOST, &saved(&[state(1, Some(2))]));
    let _ = file.save(&state(1, Some(3)));
}

#[test]
fn an_id_makes_a_harmless_file_name() {
    for (id, name) in [("db-east_1.a", "node-db-east_1.a"), ("../x%", "node-%2E.%2Fx%25")] {
        assert_eq!(file_stem(id.parse().expect("an id")), name);
    }
}
