//! The life of instances, which no API action here starts: tests and the control endpoint do.

use std::net::Ipv4Addr;

use cloud_provider_simulation::mix;
use jiff::Timestamp;

use super::State;
use crate::{
    model::{Instance, InstanceState},
    seed::{private_dns_name, public_dns_name},
};

impl State {
    /// Makes instances as the template says, and returns their IDs.
    pub(crate) fn add_from_template(&mut self, count: usize, launched: Option<Timestamp>) -> Vec<String> {
        let Some(template) = self.template.clone() else { return Vec::new() };
        let name = template.tags.keys().find_map(|key| key.strip_prefix("kubernetes.io/cluster/")).map(str::to_owned);
        let mut made = Vec::with_capacity(count);
        // Each subnet is left out once it is full.
        let mut subnets = template.subnets.clone();
        while made.len() < count && !subnets.is_empty() {
            let turn = self.instances.len() % subnets.len();
            let Some(address) = self.next_address(&subnets[turn]) else {
                subnets.remove(turn);
                continue;
            };
            let dns = private_dns_name(&self.region, address);
            let id = self.next_id("i");
            let mut instance = Instance::new(&id, &subnets[turn], address, &dns, &template.groups);
            instance.instance_type.clone_from(&template.instance_type);
            instance.tags.clone_from(&template.tags);
            let label = name.as_deref().unwrap_or("node");
            instance.tags.insert("Name".into(), format!("{label}-node-{address}"));
            instance.launched = launched;
            instance.network_nodes = self.network_nodes(&subnets[turn], &id, &template.instance_type);
            if self.subnets.get(&subnets[turn]).is_some_and(|subnet| subnet.public_addresses) {
                self.give_public_address(&mut instance, address);
            }
            self.instances.insert(id.clone(), instance);
            made.push(id);
        }
        made
    }

    fn next_address(&mut self, subnet: &str) -> Option<Ipv4Addr> {
        let cidr = self.subnets.get(subnet)?.cidr;
        let given = self.given.entry(subnet.to_owned()).or_default();
        // AWS keeps the first four addresses and the last one for itself.
        let address = u32::from(cidr.network()).checked_add(4 + *given)?;
        if address >= u32::from(cidr.broadcast()) {
            return None;
        }
        *given += 1;
        let address = Ipv4Addr::from(address);
        let taken = self.all_interfaces().any(|(interface, _)| interface.private_ips.contains(&address));
        if taken { self.next_address(subnet) } else { Some(address) }
    }

    /// Public addresses come from 198.18.0.0/15, which is reserved for tests.
    fn give_public_address(&self, instance: &mut Instance, private: Ipv4Addr) {
        let public = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) | (u32::from(private) & 0x1_ffff));
        instance.public_dns_name = Some(public_dns_name(&self.region, public));
        instance.public_ip = Some(public);
    }

    /// Three layers of network nodes for the types that report them.
    fn network_nodes(&self, subnet: &str, id: &str, instance_type: &str) -> Vec<String> {
        let reports = ["hpc", "trn", "p3dn", "p4", "p5", "p6", "g5", "g6"];
        if !reports.iter().any(|family| instance_type.starts_with(family)) {
            return Vec::new();
        }
        let zone = self.zone_of_subnet(subnet).unwrap_or_default();
        let sum = |text: &str| text.bytes().fold(0_u64, |sum, byte| mix(sum ^ u64::from(byte)));
        let rack = sum(id) % 8;
        [format!("{zone}/1"), format!("{zone}/2/{}", rack / 4), format!("{zone}/3/{rack}")]
            .iter()
            .map(|place| format!("nn-0{:016x}", sum(place)))
            .collect()
    }

    /// Moves an instance to `state`, shown at once or from `settled` on. False if there is no such instance or it is
    /// terminated already.
    pub(crate) fn change_instance(&mut self, id: &str, state: InstanceState, settled: Option<Timestamp>) -> bool {
        let Some(instance) = self.instances.get_mut(id) else { return false };
        if instance.state == InstanceState::Terminated {
            return false;
        }
        instance.state = state;
        instance.settled = settled;
        match state {
            InstanceState::Stopped => {
                instance.public_ip = None;
                instance.public_dns_name = None;
            }
            InstanceState::Terminated => {
                instance.public_ip = None;
                instance.public_dns_name = None;
                instance.private_dns_name.clear();
                instance.interfaces.clear();
                self.forget_targets(id);
            }
            InstanceState::Running => {
                let private = instance.primary().and_then(|interface| interface.private_ips.first().copied());
                let mut changed = instance.clone();
                let public = self.subnets.get(&changed.subnet).is_some_and(|subnet| subnet.public_addresses);
                if let Some(private) = private.filter(|_| public && changed.public_ip.is_none()) {
                    self.give_public_address(&mut changed, private);
                    self.instances.insert(id.to_owned(), changed);
                }
            }
            _ => {}
        }
        true
    }

    /// Removes an instance, as EC2 does an hour after its end. Its ID is unknown from now on.
    pub(crate) fn delete_instance(&mut self, id: &str) -> bool {
        self.forget_targets(id);
        self.instances.remove(id).is_some()
    }

    fn forget_targets(&mut self, id: &str) {
        for balancer in self.classic_load_balancers.values_mut() {
            balancer.instances.remove(id);
        }
        for group in self.target_groups.values_mut() {
            group.targets.retain(|target| target.id != id);
            group.draining.retain(|target| target.id != id);
        }
    }
}
