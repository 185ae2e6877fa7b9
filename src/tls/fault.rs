//! What went wrong in TLS, in words, and by whose fault.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError};

use super::anchors::Anchors;
use super::chain::{not_after, not_before};
use super::x509::{Facts, SUPPORTED, signature_kind};

/// A clock that shows an earlier time than this (2020) was never set.
const CLOCK_WAS_SET: u64 = 1_577_836_800;

/// The most names of a certificate that an error shows.
const MOST_NAMES: usize = 8;

/// Why there is no TLS connection, by whose fault.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// Time ran out, or the connection broke. Worth another try.
    Network(io::Error),
    /// The peer is not what the config says. An operator must act, there or here.
    BadPeer(String),
    /// The peer refused this node.
    RefusedByPeer(String),
}

impl HandshakeError {
    pub(super) fn from_io(error: io::Error, allowed: Duration) -> Self {
        if let Some(tls) = tls_error(&error) {
            return HandshakeError::from_tls(tls);
        }
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => format!("the TLS handshake did not finish within {allowed:.0?}"),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => {
                "the peer closed the connection within the TLS handshake: it shuts down, is overloaded, or has \
                 `insecure: true` in its config"
                    .into()
            }
            _ => format!("the TLS handshake broke: {error}"),
        };
        HandshakeError::Network(io::Error::new(error.kind(), reason))
    }

    pub(super) fn from_tls(error: &rustls::Error) -> Self {
        use rustls::Error as Tls;
        HandshakeError::BadPeer(match error {
            Tls::AlertReceived(alert) => return HandshakeError::RefusedByPeer(explain_alert(*alert)),
            Tls::InvalidMessage(_) => {
                "the peer does not speak TLS: another program, or `insecure: true` in its config".into()
            }
            Tls::InvalidCertificate(_) => format!("the peer has a certificate that {}", explain(error)),
            Tls::NoCertificatesPresented => "the peer shows no certificate".into(),
            Tls::NoApplicationProtocol => "the peer speaks TLS, but not the protocol leadelect/1 inside".into(),
            Tls::PeerIncompatible(reason) => format!("the peer cannot do the TLS 1.3 that is expected: {reason:?}"),
            other => format!("the peer broke TLS: {other}"),
        })
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Network(error) => error.fmt(f),
            HandshakeError::BadPeer(reason) | HandshakeError::RefusedByPeer(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for HandshakeError {}

pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn explain_alert(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::UnknownCA => "its CA did not sign this node's certificate",
        AlertDescription::DecryptError => "its CA has the name of ours and another key: was the CA made anew?",
        AlertDescription::CertificateExpired => {
            "by its clock this node's certificate has expired or is not valid yet: compare the clocks and the dates"
        }
        AlertDescription::BadCertificate => {
            "this node's certificate is not valid for the name in the peer's config (tls_name, or else addr)"
        }
        AlertDescription::UnsupportedCertificate => "this node's certificate lacks serverAuth or clientAuth",
        AlertDescription::CertificateRequired => "it got no certificate from this node",
        AlertDescription::NoApplicationProtocol => "it does not speak the protocol leadelect/1",
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3",
        _ => "see its log",
    };
    format!("the peer refuses this node: {why} (TLS alert {alert:?})")
}

/// What is wrong with a certificate: a sentence without its subject, "found a certificate that ...".
pub(super) fn explain(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(error) = error else {
        return format!("cannot be used: {error}");
    };
    match error {
        CertificateError::UnknownIssuer => "is not signed by a CA in `certs.ca`".into(),
        CertificateError::BadSignature => {
            "names a CA in `certs.ca` and is not signed by its key: was the CA made anew?".into()
        }
        // Moments and not spans: a text that differs every second is logged every second.
        CertificateError::ExpiredContext { not_after, .. } => format!("expired on {}", moment(not_after.as_secs())),
        CertificateError::Expired => "ends before it begins".into(),
        CertificateError::NotValidYetContext { time, not_before } if time.as_secs() < CLOCK_WAS_SET => {
            format!(
                "is not valid before {}, and the clock of this host says {}: set the clock first",
                moment(not_before.as_secs()),
                date(time.as_secs())
            )
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}: compare the clocks", moment(not_before.as_secs()))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            explain_names(&expected.to_str(), presented)
        }
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "does not have both serverAuth and clientAuth as extendedKeyUsage, or comes with an intermediate \
             certificate that has not: a node needs both"
                .into()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            let kind = signature_kind(signature_algorithm_id);
            format!("has a signature {kind}, which cannot be checked: {SUPPORTED}")
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id, .. } => {
            let kind = signature_kind(signature_algorithm_id);
            format!("has a signature {kind} by a CA key of a kind or curve that does not go with it: {SUPPORTED}")
        }
        CertificateError::BadEncoding => "is damaged: expected X.509 version 3 in DER".into(),
        CertificateError::UnhandledCriticalExtension => "has a critical extension that is not known here".into(),
        other => explain_rest(&other.to_string()),
    }
}

/// For the verifier's errors that have no variant.
fn explain_rest(error: &str) -> String {
    let known = [
        (
            "CaUsedAsEndEntity",
            "is a CA's, such as `openssl req -x509` makes: expected the node's own certificate, signed by the CA in \
             `certs.ca`, such as gen_cert.sh makes",
        ),
        (
            "EndEntityUsedAsCa",
            "is signed by a certificate that is no CA's: put the CA's intermediate certificate there",
        ),
        ("PathLenConstraintViolated", "has more intermediate certificates than the pathlen of one of them allows"),
        ("NameConstraintViolation", "has a name that its CA may not sign (nameConstraints)"),
        ("UnsupportedCertVersion", "has not version 3: expected X.509 version 3 with a subjectAltName"),
        ("MaximumSignatureChecksExceeded", "comes with too many certificates: expected its own chain only"),
        ("MaximumPathBuildCallsExceeded", "comes with too many certificates: expected its own chain only"),
        ("MaximumPathDepthExceeded", "comes with too many certificates: expected its own chain only"),
    ];
    let known = known.into_iter().find(|(name, _)| error.contains(name));
    let unknown = || "cannot be used: expected X.509 version 3, not a CA's, with a subjectAltName".to_owned();
    known.map_or_else(unknown, |(_, text)| text.to_owned())
}

fn explain_names(expected: &str, presented: &[String]) -> String {
    let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
    let is_ip = |name: &str| name.parse::<IpAddr>().is_ok();
    let as_text = presented.iter().any(|name| name.starts_with("DnsName") && bare(name) == expected);
    if is_ip(expected) && as_text {
        return format!(
            "has {expected} as a DNS name, and an IP address has to be there as one: subjectAltName = IP:{expected}"
        );
    }
    let shown = match names.as_slice() {
        [] => "no name".to_owned(),
        few if few.len() <= MOST_NAMES => few.join(", "),
        many => format!("{} and {} more", many[..MOST_NAMES].join(", "), many.len() - MOST_NAMES),
    };
    format!("is valid for {shown}, not for {expected:?}")
}

/// The same for the node's own chain, of which more is known: with a subject, and with the certificate at fault.
pub(super) fn explain_own(error: &rustls::Error, chain: &[CertificateDer<'_>], anchors: &Anchors) -> String {
    let facts: Vec<Facts> = chain.iter().filter_map(|shown| Facts::read(shown).ok()).collect();
    let rustls::Error::InvalidCertificate(fault) = error else {
        return format!("a certificate that {}", explain(error));
    };
    let is_of_signature = matches!(
        fault,
        CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    );
    let unsupported_ca = facts.iter().find_map(|facts| anchors.unsupported(&facts.raw_issuer));
    if let Some(ca) = unsupported_ca.filter(|_| is_of_signature) {
        let (name, key) = (&ca.name, &ca.key);
        return format!(
            "a certificate that is signed by the CA {name} with a key {key}, which cannot be checked: {SUPPORTED}"
        );
    }
    let at_fault = match fault {
        CertificateError::ExpiredContext { not_after: end, .. } => {
            chain.iter().position(|shown| not_after(shown) == Some(end.as_secs()))
        }
        CertificateError::NotValidYetContext { not_before: begin, .. } => {
            chain.iter().position(|shown| not_before(shown) == Some(begin.as_secs()))
        }
        CertificateError::InvalidPurposeContext { .. } => facts.iter().position(|facts| !facts.is_for_both_sides()),
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id: id, .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id: id, .. } => {
            facts.iter().position(|facts| facts.signature == *id)
        }
        _ => None,
    };
    let number = at_fault.filter(|at| *at > 0 && facts.len() == chain.len());
    match number.and_then(|at| Some((at, facts.get(at)?))) {
        None => format!("a certificate that {}", explain(error)),
        Some((at, facts)) => {
            let (subject, number) = (&facts.subject, at + 1);
            format!("an intermediate certificate, {subject}, number {number} in the file, that {}", explain(error))
        }
    }
}

/// `host` of `DnsName("host")`, which is how the verifier writes names down.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

pub(super) const DAY: u64 = 86_400;

pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..7_200 => format!("{seconds} s"),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / DAY),
    }
}

/// A moment given in seconds since 1970, to the second.
fn moment(seconds: u64) -> String {
    let time = seconds % DAY;
    format!("{} at {:02}:{:02}:{:02} UTC", date(seconds), time / 3_600, time / 60 % 60, time % 60)
}

/// The day of a moment given in seconds since 1970, after Howard Hinnant, "chrono-compatible low-level date
/// algorithms": years begin in March, so that the leap day comes last.
pub(super) fn date(seconds: u64) -> String {
    let days = seconds / DAY + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year_of_era + year)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::UnixTime;

    use super::super::test_ca::assert_says;
    use super::*;

    #[test]
    fn a_host_whose_clock_was_never_set_is_told_so() {
        let context = CertificateError::NotValidYetContext {
            time: UnixTime::since_unix_epoch(Duration::from_secs(90)),
            not_before: UnixTime::since_unix_epoch(Duration::from_secs(1_772_409_600)),
        };
        assert_says(&explain(&context.into()), &["before 2026-03-02", "clock of this host says 1970-01-01"]);
    }

    #[test]
    fn dates_are_calendar_dates() {
        let expected = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
            (253_402_300_799, "9999-12-31"),
        ];
        for (seconds, day) in expected {
            assert_eq!(date(seconds), day);
        }
    }
}
