//! The part of an address that names a server.

use std::{fmt, net::Ipv6Addr};

/// Checks `host` or `host:port`: the host is a name, an IPv4 address, or an IPv6 address in brackets.
///
/// # Errors
///
/// Says which part is wrong.
pub fn check_authority(authority: &str) -> Result<(), InvalidAuthority> {
    let (is_host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(InvalidAuthority::Host)?;
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            (!host.is_empty() && host.bytes().all(is_part), port)
        }
    };
    if !is_host {
        return Err(InvalidAuthority::Host);
    }
    // The standard library would take a sign.
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if port.is_empty() || port.strip_prefix(':').is_some_and(is_port) { Ok(()) } else { Err(InvalidAuthority::Port) }
}

/// What is wrong with the name of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidAuthority {
    /// The host is empty, or has characters that no host has.
    Host,
    /// What is behind the colon is not a port.
    Port,
}

impl fmt::Display for InvalidAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => {
                "a host has only the letters a to z, digits, `-`, `_` and `.`, or is an IPv6 address in brackets"
            }
            Self::Port => "a port is a number from 1 to 65535",
        })
    }
}

impl std::error::Error for InvalidAuthority {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_perhaps_a_port() {
        for good in
            ["localhost", "a.b-c_d.svc:1", "127.0.0.1:65535", "[::1]", "[fd00::1]:8080", "xn--bcher-kva.example"]
        {
            assert_eq!(check_authority(good), Ok(()), "{good}");
        }
        let (host, port) = (InvalidAuthority::Host, InvalidAuthority::Port);
        for (bad, why) in [
            ("", host),
            (":80", host),
            ("$FN:1108", host),
            ("bücher.example", host),
            ("a b", host),
            ("[::1", host),
            ("[x]:1", host),
            ("::1", host),
            ("h:", port),
            ("h:0", port),
            ("h:65536", port),
            ("h:99999", port),
            ("h:+80", port),
            ("h:x", port),
            ("h:1:2", port),
            ("[::1]8080", port),
        ] {
            assert_eq!(check_authority(bad), Err(why), "{bad}");
        }
    }
}
