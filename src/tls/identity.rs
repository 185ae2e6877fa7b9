//! Certificates end, and are replaced while a node runs.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex};

use super::credentials::{Side, twice};
use super::expiry::Stage;
use super::files::Contents;
use super::{CertError, CertFile, CertFiles, Credentials};
use crate::sync::lock;

/// A node's credentials over time.
pub(crate) struct Identity {
    files: CertFiles,
    name: String,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    credentials: Arc<Credentials>,
    /// How near the ends were when they were last told of.
    told: (Stage, Stage),
}

/// Locks nothing: who formats it may wait for a terminal, and the threads of the node do not.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Identity {
    /// Loads the credentials of the node that its peers dial as `name`. Fails if a peer would refuse them, also for the
    /// name.
    pub(crate) fn load(files: CertFiles, name: &str) -> Result<Identity, CertError> {
        let credentials = twice(|| load(&files, files.read()?, name))?;
        // The warnings of the config tell of these.
        let told = credentials.stages();
        let loaded = Mutex::new(Loaded { credentials, told });
        let name = name.to_owned();
        Ok(Identity { files, name, loaded })
    }

    /// The credentials for the next connection.
    pub(crate) fn files(&self) -> &CertFiles {
        &self.files
    }

    pub(crate) fn current(&self) -> Arc<Credentials> {
        lock(&self.loaded).credentials.clone()
    }

    /// Loads the files again if one holds something else than when they were last loaded, and tells whether that was
    /// so. Fails as [`Identity::load`]. Then the old credentials stay, and the next call tries again: files are
    /// replaced one by one, and a clock may be set late.
    pub(crate) fn refresh(&self) -> Result<bool, CertError> {
        let contents = self.files.read()?;
        if contents == self.current().contents {
            return Ok(false);
        }
        let credentials = load(&self.files, contents, &self.name)?;
        *lock(&self.loaded) = Loaded { credentials, told: (Stage::Far, Stage::Far) };
        Ok(true)
    }

    /// The ends that have come near since the last call, or that are near after a renewal: a sentence each. It costs
    /// two comparisons if there is nothing to tell.
    pub(crate) fn news(&self) -> Vec<String> {
        let mut loaded = lock(&self.loaded);
        let stages = loaded.credentials.stages();
        let told = mem::replace(&mut loaded.told, stages);
        if stages.0 > told.0 || stages.1 > told.1 { loaded.credentials.expiry_warnings() } else { Vec::new() }
    }
}

fn load(files: &CertFiles, contents: Contents, name: &str) -> Result<Arc<Credentials>, CertError> {
    let credentials = Credentials::new(files, contents, Side::Both)?;
    credentials.certificate().check_name(name).map_err(|found| {
        let expected = "expected this node's tls_name, or else its addr, as subjectAltName: peers check it";
        files.fault(CertFile::Cert, format!("found a certificate that {found}: {expected}"))
    })?;
    Ok(Arc::new(credentials))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::test_ca::{TestCa, assert_says, ends_in};
    use super::*;
    use crate::clock;

    fn days_left(identity: &Identity) -> Option<i64> {
        identity.current().end().map(|end| clock::days_until(end.at))
    }

    #[test]
    fn replaced_files_are_loaded_and_bad_ones_are_not() {
        let ca = TestCa::new("ca");
        let files = ca.sign_with("one", &["one.example"], ends_in(20));
        assert!(Identity::load(files.clone(), "two.example").is_err());
        let identity = Identity::load(files.clone(), "one.example").expect("loaded");
        assert_eq!(days_left(&identity), Some(20));
        assert_eq!(identity.refresh().ok(), Some(false));

        ca.sign("one", &["one.example", "a-longer-certificate.example"]);
        assert_eq!(identity.refresh().ok(), Some(true));
        assert!(days_left(&identity) > Some(700_000));
        assert_eq!(identity.refresh().ok(), Some(false));

        ca.sign("one", &["two.example"]);
        let error = identity.refresh().expect_err("another's name");
        assert_says(&error.to_string(), &["one.pem", "two.example", "not for \"one.example\""]);
        fs::write(&files.key, "half writ").expect("written");
        assert!(identity.refresh().is_err() && identity.refresh().is_err());
        assert!(identity.current().certificate().is_valid_for("one.example"));
    }

    /// Package managers and reproducible images give every file the same time.
    #[test]
    fn a_renewed_file_of_the_same_size_and_time_is_loaded() {
        let ca = TestCa::new("ca");
        let name = ["one.example"];
        let files = ca.sign_with("one", &name, ends_in(20));
        let made_at = fs::metadata(&files.cert).and_then(|meta| meta.modified()).expect("a time");
        let identity = Identity::load(files.clone(), name[0]).expect("loaded");
        let length = fs::read(&files.cert).expect("read").len();
        // The length of a signature varies by a few bytes.
        for days in (21..).take(200) {
            ca.sign_with("one", &name, ends_in(days));
            if fs::read(&files.cert).expect("read").len() == length {
                break;
            }
        }
        assert_eq!(fs::read(&files.cert).expect("read").len(), length);
        for file in [&files.cert, &files.key] {
            let file = fs::File::options().write(true).open(file).expect("opened");
            file.set_modified(made_at).expect("a time");
        }
        assert_eq!(identity.refresh().ok(), Some(true));
        assert!(days_left(&identity) > Some(20));
    }

    #[test]
    fn an_end_is_news_once_at_each_stage_and_again_after_a_renewal_that_is_short() {
        let ca = TestCa::new("ca");
        let sign = |days| ca.sign_with("one", &["one.example"], ends_in(days));
        let identity = Identity::load(sign(20), "one.example").expect("loaded");
        assert_eq!(identity.news(), [""; 0], "the start has told of it");
        for (days, expected) in [(20, "ends in 20 days"), (6, "ends in 6 days"), (0, "ends in 12 hours")] {
            sign(days);
            assert_eq!(identity.refresh().ok(), Some(true));
            let news = identity.news();
            assert_eq!(news.len(), 1, "{news:?}");
            assert_says(&news[0], &["the certificate of this node", expected, "replace the file"]);
            assert_eq!(identity.news(), [""; 0]);
        }
        sign(31);
        assert_eq!(identity.refresh().ok(), Some(true));
        assert_eq!(identity.news(), [""; 0]);
    }

    /// Time passes: the same as a renewal to a certificate that ends sooner, but without one.
    #[test]
    fn a_node_that_runs_tells_of_each_stage_as_it_comes() {
        let ca = TestCa::new("ca");
        let identity = Identity::load(ca.sign_with("one", &["one.example"], ends_in(6)), "one.example");
        let identity = identity.expect("loaded");
        for told in [Stage::Far, Stage::Month] {
            lock(&identity.loaded).told = (told, Stage::Far);
            assert_says(&identity.news().concat(), &["ends in 6 days"]);
            assert_eq!(identity.news(), [""; 0], "said once");
        }
    }

    #[test]
    fn a_pair_that_is_replaced_file_by_file_is_read_once_more() {
        let ca = TestCa::new("ca");
        let files = ca.sign("one", &["one.example"]);
        let key = fs::read(&files.key).expect("read");
        let other = ca.sign("other", &["one.example"]);
        fs::copy(&other.key, &files.key).expect("copied");
        let loaded = twice(|| {
            let loaded = load(&files, files.read()?, "one.example");
            fs::write(&files.key, &key).expect("written");
            loaded
        });
        assert!(loaded.is_ok(), "{loaded:?}");
        fs::copy(&other.key, &files.key).expect("copied");
        let error = Identity::load(files, "one.example").expect_err("not replaced");
        assert_says(&error.to_string(), &["found the key of another certificate"]);
    }
}
