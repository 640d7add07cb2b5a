//! Fargate nodes, which have no instance but a network interface.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use cloud_provider::{Kind, snapshot::Snapshot};
use tokio::time::Instant;

use super::failure::Failure;
use crate::client::{Client, ec2::FILTER_VALUES, ec2_types::NetworkInterface};

/// Addresses that one look-up asks for alone, to confirm that no interface has them.
const CONFIRMED: usize = 10;
/// After this time an answer is forgotten.
const FORGET: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// The network interfaces of Fargate nodes, by their private address.
pub(super) struct Fargate {
    client: Client,
    vpc: String,
    known: Snapshot<IpAddr, Option<NetworkInterface>>,
}

impl Fargate {
    pub(super) fn new(client: Client, vpc: String) -> Self {
        Self { client, vpc, known: Snapshot::new(FORGET) }
    }

    /// The interface with each of these addresses, from reads that began at `oldest` or later; `None` where the VPC has
    /// none, which a question for that address alone has confirmed.
    pub(super) async fn look_up(
        &self,
        addresses: &HashSet<IpAddr>,
        oldest: Instant,
    ) -> HashMap<IpAddr, Result<Option<NetworkInterface>, Failure>> {
        let mut answers = HashMap::new();
        if addresses.is_empty() {
            return answers;
        }
        let _turn = self.known.turn().await;
        let mut missing = Vec::new();
        for address in addresses {
            match self.known.get(address, oldest) {
                Some(interface) => drop(answers.insert(*address, Ok(interface))),
                None => missing.push(*address),
            }
        }
        let mut chunks: Vec<Vec<IpAddr>> = missing.chunks(FILTER_VALUES).map(<[_]>::to_vec).collect();
        let mut confirmations = CONFIRMED;
        while let Some(chunk) = chunks.pop() {
            let began = Instant::now();
            let alone = chunk.len() == 1;
            let mut found = self.read(&chunk).await;
            for address in chunk {
                let answer = match found.as_mut().map(|found| found.remove(&address)) {
                    Err(failure) => Err(failure.clone()),
                    Ok(Some(answer)) => answer.map(Some),
                    Ok(None) if alone => Ok(None),
                    Ok(None) if confirmations > 0 => {
                        confirmations -= 1;
                        chunks.push(vec![address]);
                        continue;
                    }
                    Ok(None) => Err(Failure::new(
                        Kind::Transient,
                        "no network interface in one answer, asked for again next time",
                    )),
                };
                if let Ok(interface) = &answer {
                    self.known.insert(began, [(address, interface.clone())]);
                }
                answers.insert(address, answer);
            }
        }
        answers
    }

    async fn read(&self, chunk: &[IpAddr]) -> Result<HashMap<IpAddr, Result<NetworkInterface, Failure>>, Failure> {
        let texts: Vec<String> = chunk.iter().map(ToString::to_string).collect();
        let values: Vec<&str> = texts.iter().map(String::as_str).collect();
        let interfaces =
            self.client.network_interfaces(&self.vpc, &values).await.map_err(|error| Failure::from(&error))?;
        let mut found = HashMap::new();
        for interface in interfaces {
            let Ok(address) = interface.private_ip.parse() else { continue };
            if found.insert(address, Ok(interface)).is_some() {
                let text = format!("multiple network interfaces found for private IP {address}");
                found.insert(address, Err(Failure::new(Kind::Transient, text)));
            }
        }
        Ok(found)
    }
}
