//! A config as a file would spell it, for another process.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::{Member, NodeConfig, NodeId};
use crate::tls::CertFiles;

impl NodeConfig {
    /// The config of the cluster as a file would spell it. Its paths count from the root, so that any process can read
    /// it.
    ///
    /// # Errors
    ///
    /// When this process has no current folder, or a path is no text.
    pub(crate) fn to_yaml(&self) -> io::Result<String> {
        let time = |span: Duration| format!("{}.{:09}s", span.as_secs(), span.subsec_nanos());
        let path = |path: &Path| {
            let no_text = || io::Error::new(io::ErrorKind::InvalidData, "expected paths that are texts");
            std::path::absolute(path)?.to_str().map(Value::from).ok_or_else(no_text)
        };
        let map = |entries: Vec<(&str, Value)>| {
            Value::from(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<Mapping>())
        };
        let mut config = vec![("cluster", Value::from(self.cluster.as_str()))];
        match self.identity.as_ref().map(|identity| identity.files()) {
            Some(CertFiles { ca, cert, key }) => {
                let server = map(vec![("cert", path(cert)?), ("key", path(key)?)]);
                config.push(("certs", map(vec![("ca", path(ca)?), ("server", server)])));
            }
            None => config.push(("insecure", Value::from("true"))),
        }
        for (key, folder) in [("state_dir", &self.state_dir), ("recording_dir", &self.recording_dir)] {
            config.extend(folder.as_ref().map(|folder| Ok::<_, io::Error>((key, path(folder)?))).transpose()?);
        }
        let timing = self.timing();
        config.push((
            "timing",
            map(vec![
                ("heartbeat_interval", Value::from(time(timing.heartbeat_interval()))),
                ("election_timeout", Value::from(time(timing.election_timeout()))),
                ("rpc_timeout", Value::from(time(self.rpc_timeout))),
                ("clock_drift", Value::from(format!("{}ppm", timing.clock_drift_ppm()))),
            ]),
        ));
        let node = |(id, member): (NodeId, &Member)| {
            let mut node = vec![
                ("addr", Value::from(member.addr.as_str())),
                ("port", Value::from(member.port.to_string())),
                ("priority", Value::from(member.priority.to_string())),
                ("witness", Value::from(member.witness.to_string())),
            ];
            node.extend(member.listen.map(|ip| ("listen", Value::from(ip.to_string()))));
            node.extend(member.tls_name.as_deref().map(|name| ("tls_name", Value::from(name))));
            (Value::from(id.as_str()), map(node))
        };
        config.push(("nodes", Value::from(self.members.iter().map(node).collect::<Mapping>())));
        serde_yaml::to_string(&map(config)).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Config;
    use crate::tls::test_ca::TestCa;

    const PLAIN: &str = "\
insecure: true
nodes:
  1: { addr: 10.0.0.1, port: 5000 }
  2: { addr: 10.0.0.2, port: 5000 }
";

    #[test]
    fn a_config_that_is_handed_to_another_process_arrives_as_it_was() {
        let ca = TestCa::new("ca");
        let certs = ca.sign("own", &["own.example"]);
        let (cert, key) = (certs.cert.display(), certs.key.display());
        let full = format!(
            r#"
cluster: orders
certs: {{ ca: {}, server: {{ cert: {cert}, key: {key} }} }}
state_dir: a folder/with a blank
recording_dir: "recordings: here"
timing: {{ heartbeat_interval: 30ms, election_timeout: 0.1200005s, rpc_timeout: 40500us, clock_drift: 0.02% }}
nodes:
  "10": {{ addr: own.example, port: "7000", listen: 0.0.0.0, priority: -3 }}
  "007": {{ addr: "2001:db8::2", port: 7000, tls_name: two.example, witness: true }}
  "1e3": {{ addr: 10.0.0.3, port: 7000 }}
"#,
            certs.ca.display()
        );
        for (text, me) in [(full.as_str(), "10"), (PLAIN, "2")] {
            let given = Config::from_yaml_str(text).and_then(|config| config.for_node(me)).expect("a config");
            let yaml = given.to_yaml().expect("texts");
            let found = Config::from_yaml_str(&yaml).and_then(|config| config.for_node(me)).expect(&yaml);
            let folder = |folder: &Option<PathBuf>| {
                folder.as_ref().map(|folder| std::path::absolute(folder).expect("a current folder"))
            };
            assert_eq!(found.cluster, given.cluster);
            assert_eq!((found.timing(), found.rpc_timeout), (given.timing(), given.rpc_timeout));
            assert_eq!(found.state_dir, folder(&given.state_dir));
            assert_eq!(found.recording_dir, folder(&given.recording_dir));
            assert!(found.members.iter().eq(given.members.iter()), "{yaml}");
            let files = |config: &NodeConfig| config.identity.as_ref().map(|identity| identity.files().clone());
            assert_eq!(files(&found), files(&given));
        }
    }
}
