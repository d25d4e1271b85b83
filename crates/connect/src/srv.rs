//! Looks up SRV records, which the system's resolver does not: one question by UDP to the system's name
//! servers. As much of DNS as that takes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use runtime::Chance;
use tokio::net::UdpSocket;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
const HEAD_BYTES: usize = 12;

/// The hosts and ports that the records of a name tell.
///
/// # Errors
/// In words: no server answers, or there are none.
pub async fn resolve(name: &str) -> Result<Vec<(String, u16)>, String> {
    let conf = tokio::fs::read_to_string("/etc/resolv.conf").await.map_err(|error| error.to_string())?;
    let servers = conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers: Vec<IpAddr> = servers.filter_map(|server| server.trim().parse().ok()).collect();
    let mut last = format!("no name server to ask for {name}");
    for server in servers {
        match ask(SocketAddr::new(server, 53), name).await {
            Ok(found) => return Ok(found),
            Err(why) => last = format!("SRV records of {name} from {server}: {why}"),
        }
    }
    Err(last)
}

async fn ask(server: SocketAddr, name: &str) -> Result<Vec<(String, u16)>, String> {
    let id = (Chance::from_os().next_u64() & 0xffff) as u16;
    let question = question(id, name)?;
    let local: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let exchange = async {
        let socket = UdpSocket::bind(local).await?;
        socket.connect(server).await?;
        socket.send(&question).await?;
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer).await?;
        answer.truncate(length);
        std::io::Result::Ok(answer)
    };
    let answer = runtime::timeout(ANSWER_WITHIN, exchange).await.map_err(|runtime::Elapsed| "no answer")?;
    let answer = answer.map_err(|error| error.to_string())?;
    records(&answer, id).ok_or("the answer makes no sense")?
}

fn question(id: u16, name: &str) -> Result<Vec<u8>, String> {
    // One question, recursion wanted.
    let mut bytes = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        bytes.push(length.ok_or("the name is not legal")?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(TYPE_SRV.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Ok(bytes)
}

/// The records of an answer; none where it is cut off in the middle of something.
fn records(bytes: &[u8], id: u16) -> Option<Result<Vec<(String, u16)>, String>> {
    if word(bytes, 0)? != id || bytes.get(2)? & 0x80 == 0 {
        return None;
    }
    if bytes[2] & 0x02 != 0 {
        return Some(Err("the answer does not fit one packet; list the nodes instead".to_owned()));
    }
    match bytes.get(3)? & 0x0f {
        0 => {}
        3 => return Some(Err("there is no such name".to_owned())),
        code => return Some(Err(format!("the server refuses (code {code})"))),
    }
    let (questions, answers) = (word(bytes, 4)?, word(bytes, 6)?);
    let mut at = HEAD_BYTES;
    for _ in 0..questions {
        at = name(bytes, at)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        let (_, end) = name(bytes, at)?;
        let (kind, length) = (word(bytes, end)?, usize::from(word(bytes, end + 8)?));
        let data = end + 10;
        if kind == TYPE_SRV {
            // Priority and weight choose among equals; every node is looked after here.
            found.push((name(bytes, data + 6)?.0, word(bytes, data + 4)?));
        }
        at = data + length;
    }
    Some(if found.is_empty() { Err("it has none".to_owned()) } else { Ok(found) })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The name at a place, and where it ends there. It may go on elsewhere, a bounded number of times.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut labels, mut at, mut end) = (Vec::new(), start, None);
    for _ in 0..128 {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some((labels.join("."), end.unwrap_or(at + 1))),
            1..=63 => {
                labels.push(std::str::from_utf8(bytes.get(at + 1..at + 1 + length)?).ok()?.to_owned());
                at += 1 + length;
            }
            _ => {
                end = end.or(Some(at + 2));
                at = usize::from(word(bytes, at)? & 0x3fff);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with two records, the second of which points back into the first.
    fn answer(id: u16) -> Vec<u8> {
        let mut bytes = question(id, "_vault._tcp.example.org").unwrap();
        (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80, 2);
        for (port, target) in [(8200_u16, &b"\x02n1\x07example\x03org\x00"[..]), (8210, b"\x02n2\xc0\x18")] {
            bytes.extend([0xc0, 0x0c, 0, 33, 0, 1, 0, 0, 0, 30]);
            bytes.extend(u16::try_from(6 + target.len()).unwrap().to_be_bytes());
            bytes.extend([0, 1, 0, 1]);
            bytes.extend(port.to_be_bytes());
            bytes.extend(target);
        }
        bytes
    }

    #[tokio::test]
    async fn records_are_asked_for_and_read() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let _server = runtime::spawn(async move {
            let mut bytes = [0; 512];
            let (_, from) = server.recv_from(&mut bytes).await.unwrap();
            server.send_to(&answer(word(&bytes, 0).unwrap()), from).await.unwrap();
        });
        let found = ask(address, "_vault._tcp.example.org").await.unwrap();
        assert_eq!(found, [("n1.example.org".to_owned(), 8200), ("n2.example.org".to_owned(), 8210)]);
    }

    #[test]
    fn nonsense_is_no_answer() {
        let good = answer(7);
        assert!(records(&good, 8).is_none(), "an answer to somebody else");
        for length in 0..good.len() {
            assert!(records(&good[..length], 7).is_none_or(|found| found.is_err()), "{length} bytes");
        }
        // A name that points at itself.
        let mut round = good;
        (round[12], round[13]) = (0xc0, 0x0c);
        assert!(records(&round, 7).is_none());
    }
}
