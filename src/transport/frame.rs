//! Where one message ends and the next begins: a frame is a length (`u32`, big-endian) and that many bytes.
//!
//! The length is checked before anything is allocated, so a peer cannot make this node reserve memory by claiming a
//! huge one. After any error the start of the next frame is unknown, also after a read that timed out in the middle:
//! the connection is of no further use.

use std::io::{self, ErrorKind, Read, Write};

/// The longest body. The two longest messages, a heartbeat and a hello, list at most 64 ids of 33 bytes each (2112)
/// beside a few numbers and a cluster name of at most 255 bytes; this is the next power of two above them.
pub(crate) const MAX_FRAME: usize = 4096;

const HEADER: usize = size_of::<u32>();

/// The first two bytes of a TLS handshake, and of the alert that refuses one.
const TLS: [&[u8]; 2] = [&[0x16, 0x03], &[0x15, 0x03]];

/// Writes one frame in one piece: with `TCP_NODELAY`, a header written alone would travel alone.
pub(crate) fn write_frame(writer: &mut impl Write, body: &[u8]) -> io::Result<()> {
    check_length(body.len())?;
    let length = body.len() as u32;
    writer.write_all(&[&length.to_be_bytes(), body].concat())
}

/// Reads one frame into `body`, in place of what was there. After an error `body` has no meaning. The error is
/// [`ErrorKind::InvalidData`] if this is no frame, and [`ErrorKind::UnexpectedEof`] if the connection has ended.
pub(crate) fn read_frame(reader: &mut impl Read, body: &mut Vec<u8>) -> io::Result<()> {
    let mut header = [0; HEADER];
    let found = fill(reader, &mut header)?;
    if found == 0 {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the peer closed the connection"));
    }
    check_end(found, HEADER)?;
    if TLS.iter().any(|start| header.starts_with(start)) {
        let problem = "the peer speaks TLS, and this node's config says `insecure: true`";
        return Err(io::Error::new(ErrorKind::InvalidData, problem));
    }
    let length = u32::from_be_bytes(header) as usize;
    check_length(length)?;
    body.resize(length, 0);
    check_end(fill(reader, body)?, length)
}

fn check_length(found: usize) -> io::Result<()> {
    if (1..=MAX_FRAME).contains(&found) {
        return Ok(());
    }
    let problem = format!("expected a frame of at least 1 and at most {MAX_FRAME} bytes, found {found}");
    Err(io::Error::new(ErrorKind::InvalidData, problem))
}

fn check_end(found: usize, expected: usize) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    let problem = format!("the connection ended after {found} of {expected} bytes");
    Err(io::Error::new(ErrorKind::UnexpectedEof, problem))
}

/// Reads until `buffer` is full or the stream ends, and says how many bytes there were. rustls reports a peer that
/// ended without a goodbye as [`ErrorKind::UnexpectedEof`]. Here that is an end like any other.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that takes and gives these answers, one per call.
    struct Script(Vec<Result<Vec<u8>, ErrorKind>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.remove(0)?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(Ok(bytes.to_vec()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, body).expect("a vector takes everything");
        bytes
    }

    fn read(reader: &mut impl Read) -> io::Result<Vec<u8>> {
        let mut body = b"left over".to_vec();
        read_frame(reader, &mut body).map(|()| body)
    }

    #[test]
    fn a_frame_is_a_big_endian_length_and_its_bytes_written_in_one_piece() {
        let mut pieces = Script(Vec::new());
        write_frame(&mut pieces, b"abc").expect("written");
        assert_eq!(pieces.0, [Ok(b"\0\0\0\x03abc".to_vec())]);
    }

    #[test]
    fn frames_come_out_as_they_went_in_even_byte_by_byte() {
        let bodies = [vec![1], vec![7; MAX_FRAME], vec![0; 300]];
        let bytes = bodies.each_ref().map(|body| framed(body)).concat();
        let interrupted_bytes = bytes.iter().flat_map(|&byte| [Err(ErrorKind::Interrupted), Ok(vec![byte])]);
        let mut trickle = Script(interrupted_bytes.chain([Err(ErrorKind::UnexpectedEof)]).collect());
        let mut whole = &bytes[..];
        for body in &bodies {
            assert_eq!(&read(&mut whole).expect("a frame"), body);
            assert_eq!(&read(&mut trickle).expect("a frame"), body);
        }
        for end in [read(&mut whole), read(&mut trickle)] {
            assert_eq!(end.expect_err("no more").to_string(), "the peer closed the connection");
        }
    }

    #[test]
    fn an_end_at_any_byte_is_told_from_a_close() {
        let bytes = framed(b"twelve bytes");
        for end in 1..bytes.len() {
            let (had, of) = if end < HEADER { (end, HEADER) } else { (end - HEADER, 12) };
            let error = read(&mut &bytes[..end]).expect_err("cut short").to_string();
            assert_eq!(error, format!("the connection ended after {had} of {of} bytes"));
        }
    }

    #[test]
    fn a_length_that_no_message_has_is_refused_and_reserves_nothing() {
        for length in [MAX_FRAME as u32 + 1, u32::MAX] {
            let mut body = Vec::new();
            let error = read_frame(&mut &length.to_be_bytes()[..], &mut body).expect_err("too long");
            assert_eq!(
                error.to_string(),
                format!("expected a frame of at least 1 and at most 4096 bytes, found {length}")
            );
            assert_eq!(body.capacity(), 0);
        }
        let error = read(&mut &[0; 8][..]).expect_err("empty");
        assert_eq!(error.to_string(), "expected a frame of at least 1 and at most 4096 bytes, found 0");
        assert!(write_frame(&mut Vec::new(), &[]).is_err());
        assert!(write_frame(&mut Vec::new(), &[0; MAX_FRAME + 1]).is_err());
    }

    #[test]
    fn a_failing_read_is_passed_on() {
        let error = read(&mut Script(vec![Err(ErrorKind::TimedOut)])).expect_err("late");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
