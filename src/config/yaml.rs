//! How a file spells a cluster. [`ConfigBuilder::build`] checks what the file says.
//!
//! Every value is read as the text that stands there. So an id or a port may be written as a number or in quotes, and
//! an error can quote it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::builder::{EXPECTED_ID, EXPECTED_PORT, scope_id};
use super::{Config, ConfigBuilder, ConfigError, ConfigErrorKind, NodeSpec, found, text};
use crate::tls::{self, CertFiles, may_be_key, shown};

/// The largest config: five times 64 nodes with every key set.
const MAX_YAML_BYTES: usize = 64 << 10;

/// The parser's errors quote without bound.
const MAX_YAML_ERROR: usize = 500;

const EXPECTED_BOOL: &str = "expected `true` or `false`";
const EXPECTED_TIME: &str = "expected a time such as `100ms`, `1.5s` or `1500us`";

impl Config {
    /// Reads a YAML file. Its relative paths count from the file's folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or anything in it is not as it should be.
    pub fn from_yaml_file(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut config = read(path).and_then(|text| builder(&text, folder)?.build());
        let origin = shown(path).into_owned();
        match &mut config {
            Ok(config) => config.origin = origin,
            Err(error) => error.origin = origin,
        }
        config
    }

    /// Reads YAML text. Its relative paths count from the current folder.
    ///
    /// # Errors
    ///
    /// When anything in it is not as it should be.
    pub fn from_yaml_str(text: &str) -> Result<Config, ConfigError> {
        builder(text, Path::new(""))?.build()
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error: io::Error| {
        let advice = text::unexpanded(path).filter(|_| error.kind() == io::ErrorKind::NotFound);
        let problem = advice.map_or(error.to_string(), |advice| format!("{error}: {advice}"));
        ConfigError::new(ConfigErrorKind::Unreadable, "", problem).because(error)
    };
    let bytes = tls::read_bounded(path).map_err(unreadable)?;
    text::decode(bytes).map_err(syntax)
}

fn syntax(problem: String) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Syntax, "", problem)
}

/// What `text` says. Its relative paths count from `folder`.
fn builder(text: &str, folder: &Path) -> Result<ConfigBuilder, ConfigError> {
    // Editors on Windows put it there, and the parser would take it for a part of the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_YAML_BYTES {
        let found = text.len();
        return Err(syntax(format!("found {found} bytes: expected a config of at most {MAX_YAML_BYTES}")));
    }
    let only_comments = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(only_comments) {
        return Err(syntax("found nothing: expected `nodes`, and `certs` or `insecure: true`".into()));
    }
    if let Some(line) = text.lines().position(|line| line.contains("-----BEGIN")) {
        let line = line + 1;
        return Err(syntax(format!(
            "line {line} begins a key or a certificate: expected the path of a file that holds it"
        )));
    }
    text::check(text).map_err(syntax)?;
    let yaml: FileYaml = serde_yaml::from_str(text).map_err(|error| syntax(parser_words(&error)))?;
    let timing = yaml.timing.unwrap_or_default();
    let mut builder = Config::builder();
    builder.cluster = yaml.cluster.map(|Text(name)| name);
    builder.insecure = yaml.insecure.map_or(Ok(false), |text| parse("insecure", &text, EXPECTED_BOOL))?;
    builder.certs = yaml.certs.map(|certs| CertFiles {
        ca: PathBuf::from(certs.ca.0),
        cert: PathBuf::from(certs.server.cert.0),
        key: PathBuf::from(certs.server.key.0),
    });
    builder.state_dir = yaml.state_dir.map(|Text(path)| PathBuf::from(path));
    builder.recording_dir = yaml.recording_dir.map(|Text(path)| PathBuf::from(path));
    builder.folder = folder.to_owned();
    if let Some(text) = timing.heartbeat_interval {
        builder.timing.heartbeat_interval = parse_time("timing.heartbeat_interval", &text)?;
    }
    if let Some(text) = timing.election_timeout {
        builder.timing.election_timeout = parse_time("timing.election_timeout", &text)?;
    }
    if let Some(text) = timing.rpc_timeout {
        builder.rpc_timeout = Some(parse_time("timing.rpc_timeout", &text)?);
    }
    if let Some(text) = timing.clock_drift {
        builder.timing.clock_drift_ppm = parse_drift("timing.clock_drift", &text)?;
    }
    for (Text(id), node) in yaml.nodes.0 {
        builder.nodes.push(parse_node(&id, node)?);
    }
    Ok(builder)
}

/// The parser's words, which quote what it has read, unless that may be a key.
fn parser_words(error: &serde_yaml::Error) -> String {
    let words = error.to_string();
    if !may_be_key(&words) {
        return words.chars().take(MAX_YAML_ERROR).collect();
    }
    let place = error.location().map_or(String::new(), |at| format!(" at line {} column {}", at.line(), at.column()));
    format!("found a text that may be a key and is not shown{place}: expected a config, with the paths of files")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `nodes`, and `certs` or `insecure: true`")]
struct FileYaml {
    cluster: Option<Text>,
    certs: Option<CertsYaml>,
    insecure: Option<String>,
    state_dir: Option<Text>,
    recording_dir: Option<Text>,
    timing: Option<TimingYaml>,
    nodes: NodesYaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `ca` and `server`")]
struct CertsYaml {
    ca: Text,
    server: ServerYaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `cert` and `key`")]
struct ServerYaml {
    cert: Text,
    key: Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a map of times such as `election_timeout: 500ms`")]
struct TimingYaml {
    heartbeat_interval: Option<String>,
    election_timeout: Option<String>,
    rpc_timeout: Option<String>,
    clock_drift: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `addr` and `port`")]
struct NodeYaml {
    addr: Text,
    port: String,
    listen: Option<String>,
    tls_name: Option<Text>,
    priority: Option<String>,
    witness: Option<String>,
}

/// A name or a path. The parser would take what stands for nothing or for a truth value as a text too.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Plain;
        impl Visitor<'_> for Plain {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                match text {
                    "~" | "null" | "Null" | "NULL" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => {
                        Err(E::custom(format!("found `{text}`: expected a text that is no other value in YAML")))
                    }
                    _ => Ok(Text(text.to_owned())),
                }
            }
        }
        deserializer.deserialize_str(Plain)
    }
}

/// A map would lose the first of two nodes with the same id.
struct NodesYaml(Vec<(Text, NodeYaml)>);

impl<'de> Deserialize<'de> for NodesYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nodes;
        impl<'de> Visitor<'de> for Nodes {
            type Value = NodesYaml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from each node's id to its `addr` and `port`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodesYaml, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = map.next_entry()? {
                    nodes.push(node);
                }
                Ok(NodesYaml(nodes))
            }
        }
        deserializer.deserialize_map(Nodes)
    }
}

fn parse_node(id: &str, yaml: NodeYaml) -> Result<NodeSpec, ConfigError> {
    if may_be_key(id) {
        return Err(found("nodes", id, EXPECTED_ID));
    }
    let place = |key: &str| format!("nodes.{id}.{key}");
    let port = parse(&place("port"), &yaml.port, EXPECTED_PORT)?;
    let mut node = NodeSpec::new(id, yaml.addr.0, port);
    node.member.tls_name = yaml.tls_name.map(|Text(name)| name);
    if let Some(text) = yaml.listen {
        scope_id(&place("listen"), &text)?;
        node.member.listen = Some(parse(&place("listen"), &text, "expected an IP address of this host, without port")?);
    }
    if let Some(text) = yaml.priority {
        node.member.priority = parse(&place("priority"), &text, "expected a whole number, such as -1 or 10")?;
    }
    if let Some(text) = yaml.witness {
        node.member.witness = parse(&place("witness"), &text, EXPECTED_BOOL)?;
    }
    Ok(node)
}

fn parse<T: FromStr>(place: &str, text: &str, expected: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|_| found(place, text, expected))
}

/// A time as the config has it, for the command line.
///
/// # Errors
///
/// When it is not such a time.
#[doc(hidden)]
pub fn time_from_str(text: &str) -> Result<Duration, ConfigError> {
    parse_time("", text)
}

fn parse_time(place: &str, text: &str) -> Result<Duration, ConfigError> {
    let nanos = match split_unit(text) {
        (number, "s") => scaled(number, 1_000_000_000),
        (number, "ms") => scaled(number, 1_000_000),
        (number, "us") => scaled(number, 1_000),
        _ => None,
    };
    nanos.map(Duration::from_nanos).ok_or_else(|| found(place, text, EXPECTED_TIME))
}

fn parse_drift(place: &str, text: &str) -> Result<u32, ConfigError> {
    let ppm = match split_unit(text) {
        (number, "ppm") => scaled(number, 1),
        (number, "%") => scaled(number, 10_000),
        _ => None,
    };
    let ppm = ppm.and_then(|ppm| u32::try_from(ppm).ok());
    ppm.ok_or_else(|| found(place, text, "expected a rate such as `1000ppm` or `0.1%`"))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A decimal number times `scale`, if that is a whole number: `1.5` times 1000 is 1500. Without floating point, so
/// that what is written is what is meant.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut total = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let mut digit_scale = scale;
    for digit in fraction.chars() {
        let digit = u64::from(digit.to_digit(10)?);
        if digit_scale < 10 && digit != 0 {
            return None;
        }
        digit_scale /= 10;
        total = total.checked_add(digit * digit_scale)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_read_exactly() {
        let good = [
            ("1s", 1_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.000000001s", 1),
            ("2.50 ms", 2_500_000),
            ("1500us", 1_500_000),
        ];
        for (text, nanos) in good {
            assert_eq!(parse_time("t", text).ok(), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "s",
            ".5s",
            "1.s2",
            "1.2.3s",
            "1e3s",
            "+1s",
            "1.00005us",
            "0.0001us",
            "1S",
            "1sec",
            "1 000ms",
            "18446744074s",
        ] {
            assert!(parse_time("t", text).is_err(), "{text}");
        }
        for (text, ppm) in [("1000ppm", 1000), ("0.1%", 1000), ("0.0001 %", 1), ("0ppm", 0)] {
            assert_eq!(parse_drift("t", text).ok(), Some(ppm), "{text}");
        }
        for text in ["0.5ppm", "0.00001%", "4294967296ppm", "1", "%"] {
            assert!(parse_drift("t", text).is_err(), "{text}");
        }
    }

    #[test]
    fn hostile_yaml_costs_little() {
        let mut laughs = String::from("a0: &a0 [x]\n");
        for n in 1..30 {
            let last = n - 1;
            laughs += &format!("a{n}: &a{n} [*a{last}, *a{last}, *a{last}, *a{last}]\n");
        }
        let node = "insecure: true\nnodes: { 1: &n { addr: a, port: 1 }";
        let hostile = [
            laughs,
            "{".repeat(MAX_YAML_BYTES),
            "[".repeat(MAX_YAML_BYTES),
            "- ".repeat(MAX_YAML_BYTES / 2),
            (0..MAX_YAML_BYTES / 16).map(|n| format!("%TAG !a{n:04}! !b\n")).collect(),
            "{a: ".repeat(MAX_YAML_BYTES / 4),
            "x".repeat(MAX_YAML_BYTES),
            format!("{node}{} }}", ", 2: *n".repeat(9_000)),
            "nodes: &n { 1: *n }".into(),
        ];
        let start = crate::clock::now();
        for text in hostile {
            let error = Config::from_yaml_str(&text).expect_err("hostile").to_string();
            assert!(error.len() < 600, "{error}");
        }
        // Well below a second together, also on a slow machine: some of them alone took several.
        let took = crate::clock::now().since(start);
        assert!(took < Duration::from_secs(3), "{took:?}");
        let error = Config::from_yaml_str(&" ".repeat(MAX_YAML_BYTES + 1));
        let error = error.expect_err("too large").to_string();
        assert!(error.contains("expected a config of at most 65536"), "{error}");
    }
}
