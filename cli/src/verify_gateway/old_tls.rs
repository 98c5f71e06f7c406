//! A client that has no more than TLS 1.1: what it says first, and whether the gateway goes along.
//!
//! No TLS library of today says such a thing, so it is said byte by byte (RFC 4346, RFC 8996).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::http::{Fault, Target};

const HANDSHAKE: u8 = 0x16;
const SERVER_HELLO: u8 = 0x02;
/// With RSA and ECDSA certificates, and of each what every server of that time had.
const SUITES: [u16; 8] = [
    0xc00a, 0xc009, 0xc014, 0xc013, 0x0035, 0x002f, 0x000a, 0x00ff,
];

/// Whether the gateway answers with a hello of its own.
pub fn is_taken(target: &Target, timeout: Duration) -> Result<bool, Fault> {
    let addresses = target.addresses().map_err(Fault::Connect)?;
    let address = addresses.first().ok_or(Fault::Closed)?;
    let fault = |e: std::io::Error| Fault::Connect(e.to_string());
    let mut stream = TcpStream::connect_timeout(address, timeout).map_err(fault)?;
    stream.set_read_timeout(Some(timeout)).map_err(fault)?;
    stream.set_write_timeout(Some(timeout)).map_err(fault)?;
    stream.write_all(&hello(&target.host)).map_err(fault)?;
    let mut head = [0; 6];
    match stream.read_exact(&mut head) {
        Ok(()) => Ok(head.first() == Some(&HANDSHAKE) && head.last() == Some(&SERVER_HELLO)),
        Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            Err(Fault::Timeout)
        }
        // Closed instead.
        Err(_) => Ok(false),
    }
}

/// A ClientHello of TLS 1.1.
fn hello(host: &str) -> Vec<u8> {
    let mut extensions = Vec::new();
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if !is_address {
        let name = [vec![0], sized(host.as_bytes())].concat();
        extensions.extend(extension(0, &sized(&name)));
    }
    let groups: Vec<u8> = [0x001d_u16, 0x0017, 0x0018]
        .iter()
        .flat_map(|it| it.to_be_bytes())
        .collect();
    extensions.extend(extension(10, &sized(&groups)));
    extensions.extend(extension(11, &[1, 0]));
    let suites: Vec<u8> = SUITES.iter().flat_map(|it| it.to_be_bytes()).collect();
    let body = [
        vec![3, 2],
        b"portcullis asks for old TLS only".to_vec(),
        vec![0],
        sized(&suites),
        vec![1, 0],
        sized(&extensions),
    ]
    .concat();
    let handshake = [vec![1, 0], sized(&body)].concat();
    [vec![HANDSHAKE, 3, 1], sized(&handshake)].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), sized(data)].concat()
}

/// The bytes after their length in two.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}
