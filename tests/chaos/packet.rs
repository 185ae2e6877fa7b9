//! What the network has to know of a packet, and the resets that it forges.

/// The bytes of an IPv4 packet, or of anything else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'p>(pub(crate) &'p [u8]);

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Packet<'_> {
    fn is_v4(self) -> bool {
        self.0.len() >= 20 && self.0[0] >> 4 == 4
    }

    /// The last byte of its destination.
    pub(crate) fn to(self) -> Option<u8> {
        self.is_v4().then(|| self.0[19])
    }

    fn segment(&self) -> Option<&[u8]> {
        let start = usize::from(*self.0.first()? & 15) * 4;
        let segment = self.0.get(start..)?;
        (self.is_v4() && self.0[9] == TCP && segment.len() >= 20).then_some(segment)
    }

    /// Whether it asks for a connection.
    pub(crate) fn is_syn(self) -> bool {
        self.segment().is_some_and(|segment| segment[13] & (SYN | ACK) == SYN)
    }

    /// What ends the connection of this packet: one reset for its receiver, and one for its sender.
    pub(crate) fn resets(self) -> Option<(Vec<u8>, Vec<u8>)> {
        let segment = self.segment()?;
        if segment[13] & RST != 0 {
            return None;
        }
        let (from, to) = (word(&self.0[12..]), word(&self.0[16..]));
        let ports = [&segment[0..2], &segment[2..4]];
        let (sent, acknowledged) = (word(&segment[4..]), word(&segment[8..]));
        let header = usize::from(segment[12] >> 4) * 4;
        let length = segment.len().saturating_sub(header) as u32 + u32::from(segment[13] & SYN != 0);
        let forward = reset((from, ports[0]), (to, ports[1]), sent, 0, RST);
        // A connection that is not answered yet is refused. An open one ends by the number that is expected next.
        let back = match segment[13] & ACK {
            0 => reset((to, ports[1]), (from, ports[0]), 0, sent.wrapping_add(length), RST | ACK),
            _ => reset((to, ports[1]), (from, ports[0]), acknowledged, 0, RST),
        };
        Some((forward, back))
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn reset(from: (u32, &[u8]), to: (u32, &[u8]), sequence: u32, acknowledged: u32, flags: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, TCP, 0, 0];
    packet.extend(from.0.to_be_bytes());
    packet.extend(to.0.to_be_bytes());
    let checksum = sum(&packet, 0);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(from.1);
    packet.extend(to.1);
    packet.extend(sequence.to_be_bytes());
    packet.extend(acknowledged.to_be_bytes());
    packet.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    let pseudo = packet[12..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let checksum = sum(&packet[20..], pseudo + u32::from(TCP) + 20);
    packet[36..38].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The checksum of the internet protocols.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>() + start;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
