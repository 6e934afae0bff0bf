//! A scripted name server on loopback, and a client for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, Question, ResourceRecord, TYPE};
use tokio::net::UdpSocket;

/// Answers the first query with the first set of addresses, the next one with the next set, and all later ones with the
/// last set.
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<usize>>,
}

impl NameServer {
    pub(super) async fn answering(answers: &[&[Ipv4Addr]], delay: Duration) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(0));
        let (counter, answers) = (Arc::clone(&asked), answers.iter().map(|set| set.to_vec()).collect::<Vec<_>>());
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                let number = {
                    let mut asked = counter.lock().unwrap();
                    *asked += 1;
                    *asked - 1
                };
                tokio::time::sleep(delay).await;
                let reply = reply(&bytes[..length], &answers[number.min(answers.len() - 1)]);
                let _ = socket.send_to(&reply, from).await;
            }
        });
        Self { address, asked }
    }

    pub(super) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// The time to live is 0, so that answers are not cached.
fn reply(query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut packet = Packet::parse(query).unwrap().into_reply();
    let name = packet.questions[0].qname.clone();
    for address in addresses {
        let data = RData::A(A { address: address.to_bits() });
        packet.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 0, data));
    }
    packet.build_bytes_vec().unwrap()
}

/// Asks a name server for the addresses of a name.
pub(crate) async fn lookup(server: SocketAddr, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut packet = Packet::new_query(1);
    let name = Name::new(name).map_err(io::Error::other)?;
    packet.questions.push(Question::new(name, TYPE::A.into(), CLASS::IN.into(), false));
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.send_to(&packet.build_bytes_vec().map_err(io::Error::other)?, server).await?;
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes).await?;
    let answers = Packet::parse(&bytes[..length]).map_err(io::Error::other)?.answers;
    let addresses = answers.iter().filter_map(|answer| {
        if let RData::A(A { address }) = answer.rdata { Some(IpAddr::V4(Ipv4Addr::from_bits(address))) } else { None }
    });
    Ok(addresses.map(|address| SocketAddr::new(address, port)).collect())
}
