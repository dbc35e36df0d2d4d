//! The frames that travel over every connection: a header of sixteen bytes, then JSON.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

const HEADER_BYTES: usize = 16;

/// A length above this can only be a broken peer, and believing it would take all memory.
const BODY_BYTES_MAX: u32 = 16 << 20;

/// What a frame says about itself before its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Names the document that a request is about; an answer repeats it.
    pub(crate) key: u64,
    /// How long the downstream service shall take over its answer.
    pub(crate) wait_micros: u32,
}

/// Connects to a port on loopback, without the delay that batches small frames.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one frame, with a single system call unless the socket is full.
pub(crate) fn write_frame(stream: &mut TcpStream, header: Header, body: &[u8]) -> io::Result<()> {
    let body_bytes = u32::try_from(body.len())
        .ok()
        .filter(|bytes| *bytes <= BODY_BYTES_MAX)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a body is too long to send"))?;
    let prefix = pack(header, body_bytes).to_le_bytes();
    let sent_bytes = stream.write_vectored(&[IoSlice::new(&prefix), IoSlice::new(body)])?;
    let (prefix_rest, body_rest) = match sent_bytes.checked_sub(HEADER_BYTES) {
        Some(sent_of_body) => (&prefix[HEADER_BYTES..], &body[sent_of_body..]),
        None => (&prefix[sent_bytes..], body),
    };
    stream.write_all(prefix_rest)?;
    stream.write_all(body_rest)
}

/// Reads one frame into a buffer of its own, or `None` if the peer has closed the connection
/// between frames.
pub(crate) fn read_frame(stream: &mut TcpStream) -> io::Result<Option<(Header, Vec<u8>)>> {
    let mut body = Vec::new();
    let header = read_frame_into(stream, &mut body)?;
    Ok(header.map(|header| (header, body)))
}

/// As [`read_frame`], but into a buffer which the caller keeps.
pub(crate) fn read_frame_into(
    stream: &mut TcpStream,
    body: &mut Vec<u8>,
) -> io::Result<Option<Header>> {
    let mut prefix = [0; HEADER_BYTES];
    if !read_first_byte(stream, &mut prefix[..1])? {
        return Ok(None);
    }
    stream.read_exact(&mut prefix[1..])?;
    let (header, body_bytes) = unpack(u128::from_le_bytes(prefix));
    if body_bytes > BODY_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a peer announced a body that is too long",
        ));
    }
    body.clear();
    body.resize(body_bytes as usize, 0);
    stream.read_exact(body)?;
    Ok(Some(header))
}

/// Lays a header out as one integer: the key in its low half, then the wait, then the length.
fn pack(header: Header, body_bytes: u32) -> u128 {
    u128::from(header.key) | u128::from(header.wait_micros) << 64 | u128::from(body_bytes) << 96
}

/// Undoes [`pack`]; each cast keeps just the bits of its field.
fn unpack(packed: u128) -> (Header, u32) {
    let header = Header { key: packed as u64, wait_micros: (packed >> 64) as u32 };
    (header, (packed >> 96) as u32)
}

/// Says whether there was a byte, so that a connection closed between frames is no error.
fn read_first_byte(stream: &mut TcpStream, byte: &mut [u8]) -> io::Result<bool> {
    loop {
        match stream.read(byte) {
            Ok(read_bytes) => return Ok(read_bytes > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
