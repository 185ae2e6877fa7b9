//! What a certificate says of itself, for what the verifier does not judge and for errors that people understand.
//!
//! The verifier reads certificates for itself. Nothing here makes it accept more.

use std::fmt;

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, Tagged};

/// What the verifier (ring) can check.
pub(super) const SUPPORTED: &str = "supported are keys ECDSA P-256, ECDSA P-384, Ed25519 and RSA with 2048 to 8192 \
     bits, and signatures with SHA-256 or SHA-384, with SHA-512 under an RSA key, and Ed25519";

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// The bit keyCertSign in the first byte of a key usage.
const KEY_CERT_SIGN: u8 = 0x04;

const MOST_SHOWN: usize = 80;

/// A certificate, read.
#[derive(Debug)]
pub(super) struct Facts {
    /// As people know it: `CN=ca`.
    pub(super) subject: String,
    /// As it is written in the certificates that it signs.
    pub(super) raw_subject: Vec<u8>,
    pub(super) raw_issuer: Vec<u8>,
    pub(super) key: Key,
    /// The content of the signature's AlgorithmIdentifier.
    pub(super) signature: Vec<u8>,
    is_version_3: bool,
    is_ca: bool,
    /// The first byte of the key usage, if there is one.
    key_usage: Option<u8>,
    purposes: Option<Vec<ObjectIdentifier>>,
}

/// The kind of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Rsa(usize),
    P256,
    P384,
    Ed25519,
    Other(String),
}

impl Facts {
    pub(super) fn read(certificate: &[u8]) -> der::Result<Facts> {
        let signed = fields::<3>(AnyRef::from_der(certificate)?.value())?;
        let mut parts = children(signed[0].value())?.into_iter().peekable();
        let version = parts.next_if(|part| is_context(part.tag(), 0));
        let mut next = || parts.next().ok_or_else(incomplete);
        let _serial = next()?;
        let signature = next()?.value().to_vec();
        let (issuer, _validity, subject, key) = (next()?, next()?, next()?, next()?);
        let mut facts = Facts {
            subject: name(subject).unwrap_or_default(),
            raw_subject: subject.value().to_vec(),
            raw_issuer: issuer.value().to_vec(),
            key: Key::read(key)?,
            signature,
            is_version_3: version.is_some_and(|version| version.value().last() == Some(&2)),
            is_ca: false,
            key_usage: None,
            purposes: None,
        };
        if let Some(extensions) = parts.find(|part| is_context(part.tag(), 3)) {
            let [list] = fields::<1>(extensions.value())?;
            for extension in children(list.value())? {
                facts.take(extension)?;
            }
        }
        Ok(facts)
    }

    fn take(&mut self, extension: AnyRef<'_>) -> der::Result<()> {
        let parts = children(extension.value())?;
        let (Some(id), Some(value)) = (parts.first(), parts.last()) else {
            return Err(incomplete());
        };
        match id.decode_as::<ObjectIdentifier>()? {
            BASIC_CONSTRAINTS => {
                let constraints = children(AnyRef::from_der(value.value())?.value())?;
                self.is_ca = constraints.first().is_some_and(|ca| ca.decode_as::<bool>() == Ok(true));
            }
            KEY_USAGE => {
                let bits = BitStringRef::from_der(value.value())?;
                self.key_usage = Some(bits.raw_bytes().first().copied().unwrap_or(0));
            }
            EXTENDED_KEY_USAGE => {
                let purposes = children(AnyRef::from_der(value.value())?.value())?;
                self.purposes = Some(purposes.into_iter().map(AnyRef::decode_as).collect::<der::Result<_>>()?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Why this certificate must not sign others: a sentence without its subject.
    pub(super) fn no_ca(&self) -> Option<&'static str> {
        if !self.is_version_3 {
            Some("has version 1 and so cannot say that it is a CA's")
        } else if !self.is_ca {
            Some("is not a CA's (no basicConstraints with CA:TRUE)")
        } else if self.key_usage.is_some_and(|bits| bits & KEY_CERT_SIGN == 0) {
            Some("must not sign certificates (its keyUsage has no keyCertSign)")
        } else {
            None
        }
    }

    /// Whether its extended key usage lets it be, or sign, certificates for both sides of a connection.
    pub(super) fn is_for_both_sides(&self) -> bool {
        let has = |wanted| self.purposes.as_ref().is_none_or(|purposes| purposes.contains(&wanted));
        has(SERVER_AUTH) && has(CLIENT_AUTH)
    }
}

impl Key {
    fn read(info: AnyRef<'_>) -> der::Result<Key> {
        let [algorithm, bits] = fields::<2>(info.value())?;
        let algorithm = children(algorithm.value())?;
        let bits = bits.decode_as::<BitStringRef<'_>>()?;
        let id = algorithm.first().ok_or_else(incomplete)?.decode_as::<ObjectIdentifier>()?;
        Ok(match id.to_string().as_str() {
            "1.2.840.113549.1.1.1" => {
                let [modulus, _exponent] = fields::<2>(AnyRef::from_der(bits.raw_bytes())?.value())?;
                let significant = modulus.value().iter().skip_while(|byte| **byte == 0);
                let (bytes, first) = (significant.clone().count(), significant.clone().next());
                Key::Rsa((8 * bytes).saturating_sub(first.map_or(0, |byte| byte.leading_zeros() as usize)))
            }
            "1.2.840.10045.2.1" => {
                let curve = algorithm.get(1).and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
                match curve.map(|curve| curve.to_string()).as_deref() {
                    Some("1.2.840.10045.3.1.7") => Key::P256,
                    Some("1.3.132.0.34") => Key::P384,
                    Some("1.3.132.0.35") => Key::Other("ECDSA P-521".into()),
                    Some("1.3.132.0.10") => Key::Other("ECDSA secp256k1".into()),
                    Some(curve) => Key::Other(format!("ECDSA on the curve {curve}")),
                    None => Key::Other("ECDSA with a curve of its own".into()),
                }
            }
            "1.3.101.112" => Key::Ed25519,
            "1.3.101.113" => Key::Other("Ed448".into()),
            "1.2.840.113549.1.1.10" => {
                Key::Other("RSA-PSS (rsaEncryption is expected, also for PSS signatures)".into())
            }
            "1.2.840.10040.4.1" => Key::Other("DSA".into()),
            other => Key::Other(format!("of the kind {other}")),
        })
    }

    /// Whether a node can check a signature of it.
    pub(super) fn is_supported(&self) -> bool {
        match self {
            Key::P256 | Key::P384 | Key::Ed25519 => true,
            Key::Rsa(bits) => (2048..=8192).contains(bits),
            Key::Other(_) => false,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Rsa(bits) => write!(f, "RSA with {bits} bits"),
            Key::P256 => f.write_str("ECDSA P-256"),
            Key::P384 => f.write_str("ECDSA P-384"),
            Key::Ed25519 => f.write_str("Ed25519"),
            Key::Other(kind) => f.write_str(kind),
        }
    }
}

/// The kind of a signature, from the content of its AlgorithmIdentifier.
pub(super) fn signature_kind(algorithm: &[u8]) -> String {
    let parts = children(algorithm).unwrap_or_default();
    let id = parts.first().and_then(|id| id.decode_as::<ObjectIdentifier>().ok());
    let id = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    match id.as_str() {
        "1.2.840.113549.1.1.4" => "RSA with MD5",
        "1.2.840.113549.1.1.5" => "RSA with SHA-1",
        "1.2.840.113549.1.1.10" => "RSA-PSS with unusual parameters",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.113549.1.1.14" => "RSA with SHA-224",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA with SHA-224",
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        other => other,
    }
    .to_owned()
}

/// The common name, or all of the name if it has none.
fn name(name: AnyRef<'_>) -> der::Result<String> {
    let mut parts = Vec::new();
    for set in children(name.value())? {
        for attribute in children(set.value())? {
            let [id, value] = fields::<2>(attribute.value())?;
            let id = id.decode_as::<ObjectIdentifier>()?.to_string();
            let key = match id.as_str() {
                "2.5.4.3" => "CN",
                "2.5.4.6" => "C",
                "2.5.4.10" => "O",
                "2.5.4.11" => "OU",
                other => other,
            };
            let text = String::from_utf8_lossy(value.value());
            let plain = text.chars().map(|c| if c.is_control() { '?' } else { c });
            parts.push(format!("{key}={}", plain.take(MOST_SHOWN).collect::<String>()));
        }
    }
    let common = parts.iter().find(|part| part.starts_with("CN=")).cloned();
    Ok(common.unwrap_or_else(|| parts.join(", ").chars().take(MOST_SHOWN).collect()))
}

/// What a constructed value holds.
pub(super) fn children(content: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(content)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader)?);
    }
    Ok(found)
}

fn fields<const N: usize>(content: &[u8]) -> der::Result<[AnyRef<'_>; N]> {
    children(content)?.try_into().map_err(|_| incomplete())
}

fn is_context(tag: Tag, number: u32) -> bool {
    matches!(tag, Tag::ContextSpecific { constructed: true, number: found } if found.value() == number)
}

fn incomplete() -> der::Error {
    der::ErrorKind::Failed.into()
}

#[cfg(test)]
mod tests;
