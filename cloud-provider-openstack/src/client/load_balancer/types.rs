//! Load balancers and what they are made of, in our own words.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Where Octavia stands with a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provisioning {
    /// Nothing is going on.
    Active,
    /// The last change failed; it can only be deleted, or failed over by an administrator.
    Error,
    /// A change is going on; every other change is refused meanwhile.
    Pending,
    /// It is on its way out.
    Deleting,
    /// It is gone, and still shown.
    Deleted,
}

/// A load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// Where Octavia stands with it, in its own words; see [`LoadBalancer::provisioning`].
    pub provisioning_status: String,
    /// Its own address.
    #[serde(deserialize_with = "null_as_default")]
    pub vip_address: String,
    /// The port of that address.
    pub vip_port_id: Option<String>,
    /// The subnet of that address.
    pub vip_subnet_id: Option<String>,
    /// The network of that address.
    pub vip_network_id: Option<String>,
    /// Its further addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub additional_vips: Vec<AdditionalVip>,
    /// Its tags.
    #[serde(deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
}

/// What [`LoadBalancer`] is read from.
pub(super) const ATTRIBUTES: [&str; 9] = [
    "id",
    "name",
    "provisioning_status",
    "vip_address",
    "vip_port_id",
    "vip_subnet_id",
    "vip_network_id",
    "additional_vips",
    "tags",
];

impl LoadBalancer {
    /// Where Octavia stands with it.
    pub fn provisioning(&self) -> Provisioning {
        match self.provisioning_status.as_str() {
            "ACTIVE" => Provisioning::Active,
            "ERROR" => Provisioning::Error,
            "DELETED" => Provisioning::Deleted,
            "PENDING_DELETE" => Provisioning::Deleting,
            _ => Provisioning::Pending,
        }
    }

    /// The port of its own address, where it has one.
    pub fn port(&self) -> Option<&str> {
        self.vip_port_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// A further address of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionalVip {
    /// Its subnet.
    pub subnet_id: String,
    /// The address; Octavia chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

/// A load balancer to be made, with everything in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewLoadBalancer {
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
    /// The provider driver.
    pub provider: String,
    /// Tags, where there are such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The flavor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavor_id: Option<String>,
    /// The zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// A port that is there already; without subnet and network then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_port_id: Option<String>,
    /// The subnet of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_subnet_id: Option<String>,
    /// The network of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_network_id: Option<String>,
    /// The address that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip_address: Option<String>,
    /// Further addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_vips: Vec<AdditionalVip>,
    /// Its listeners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<NewListener>,
}

/// Changes of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LoadBalancerChanges {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All of its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// The timeouts of a listener, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// How long a client may be silent.
    #[serde(rename = "timeout_client_data", skip_serializing_if = "Option::is_none")]
    pub client_data: Option<i64>,
    /// How long connecting to a member may take.
    #[serde(rename = "timeout_member_connect", skip_serializing_if = "Option::is_none")]
    pub member_connect: Option<i64>,
    /// How long a member may be silent.
    #[serde(rename = "timeout_member_data", skip_serializing_if = "Option::is_none")]
    pub member_data: Option<i64>,
    /// How long to wait for more of a stream that is looked into.
    #[serde(rename = "timeout_tcp_inspect", skip_serializing_if = "Option::is_none")]
    pub tcp_inspect: Option<i64>,
}

/// A listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// `TCP`, `UDP`, `SCTP`, `HTTP`, `TERMINATED_HTTPS` and more.
    pub protocol: String,
    /// The port.
    pub protocol_port: i32,
    /// Connections that it takes.
    #[serde(deserialize_with = "null_as_default")]
    pub connection_limit: i64,
    /// Its certificate.
    #[serde(deserialize_with = "null_as_default")]
    pub default_tls_container_ref: String,
    /// Headers that it adds.
    #[serde(deserialize_with = "null_as_default")]
    pub insert_headers: BTreeMap<String, String>,
    /// Its timeouts.
    #[serde(flatten)]
    pub timeouts: Timeouts,
    /// Its source ranges; none is all.
    #[serde(deserialize_with = "null_as_default")]
    pub allowed_cidrs: Vec<String>,
    /// Its tags.
    #[serde(deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
}

/// A listener to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewListener {
    /// The load balancer; absent inside one that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loadbalancer_id: Option<String>,
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: String,
    /// The port.
    pub protocol_port: i32,
    /// Connections that it takes; -1 is no limit.
    pub connection_limit: i64,
    /// Its certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_tls_container_ref: String,
    /// Headers that it adds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub insert_headers: BTreeMap<String, String>,
    /// Its timeouts, where the version has such.
    #[serde(flatten)]
    pub timeouts: Timeouts,
    /// Its source ranges, where the version has such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_cidrs: Vec<String>,
    /// Tags, where there are such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its pool, inside a load balancer that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pool: Option<Box<NewPool>>,
}

/// Changes of a listener; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ListenerChanges {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All of its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Connections that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i64>,
    /// Its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_tls_container_ref: Option<String>,
    /// All headers that it adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_headers: Option<BTreeMap<String, String>>,
    /// Its timeouts.
    #[serde(flatten)]
    pub timeouts: Timeouts,
    /// All of its source ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<Vec<String>>,
}

/// Only the ID of something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Reference {
    /// The ID.
    pub id: String,
}

/// What keeps a client with one member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPersistence {
    /// `SOURCE_IP`, `HTTP_COOKIE` or `APP_COOKIE`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// The protocol.
    pub protocol: String,
    /// How a member is chosen.
    pub lb_algorithm: String,
    /// What keeps a client with one member.
    pub session_persistence: Option<SessionPersistence>,
    /// Its monitor.
    pub healthmonitor_id: Option<String>,
    /// The listeners that it serves.
    #[serde(deserialize_with = "null_as_default")]
    pub listeners: Vec<Reference>,
}

impl Pool {
    /// Whether it serves the listener of that ID.
    pub fn serves(&self, listener: &str) -> bool {
        self.listeners.iter().any(|reference| reference.id == listener)
    }

    /// The ID of its monitor.
    pub fn monitor(&self) -> Option<&str> {
        self.healthmonitor_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// A pool to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewPool {
    /// The listener; absent inside one that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_id: Option<String>,
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: String,
    /// How a member is chosen.
    pub lb_algorithm: String,
    /// What keeps a client with one member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
    /// Its members, inside a load balancer that is made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<NewMember>,
    /// Its monitor, inside a load balancer that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthmonitor: Option<NewMonitor>,
}

/// Changes of a pool; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PoolChanges {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How a member is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lb_algorithm: Option<String>,
    /// What keeps a client with one member; `Some(None)` is nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Option<SessionPersistence>>,
}

/// A member of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Member {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub protocol_port: i32,
    /// The port that monitors ask, where it is another one.
    pub monitor_port: Option<i32>,
}

/// A member to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewMember {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub protocol_port: i32,
    /// The subnet in which it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// The port that monitors ask, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_port: Option<i32>,
}

/// A monitor of a pool's members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Monitor {
    /// The ID.
    pub id: String,
    /// The name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// `TCP`, `UDP-CONNECT`, `SCTP`, `HTTP` and more.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds between two checks.
    pub delay: i64,
    /// Seconds that a check may take.
    pub timeout: i64,
    /// Passed checks that bring a member back.
    pub max_retries: i64,
    /// Failed checks that take a member out.
    pub max_retries_down: i64,
}

/// A monitor to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewMonitor {
    /// The pool; absent inside one that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// The name.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds between two checks.
    pub delay: i64,
    /// Seconds that a check may take.
    pub timeout: i64,
    /// Passed checks that bring a member back.
    pub max_retries: i64,
    /// Failed checks that take a member out; 0 is Octavia's default.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_retries_down: i64,
    /// The path that is asked for over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_path: Option<String>,
    /// The method of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<String>,
    /// The answers of HTTP that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_codes: Option<String>,
}

/// Changes of a monitor; zeros are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MonitorChanges {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seconds between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub delay: i64,
    /// Seconds that a check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Passed checks that bring a member back.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_retries: i64,
    /// Failed checks that take a member out.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_retries_down: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature of serde's predicates")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_load_balancer_is_sent_as_upstream_sends_it() {
        let pool = NewPool {
            name: "pool_0".into(),
            protocol: "TCP".into(),
            lb_algorithm: "ROUND_ROBIN".into(),
            members: vec![NewMember {
                name: "a".into(),
                address: "10.0.0.1".into(),
                protocol_port: 30080,
                ..NewMember::default()
            }],
            ..NewPool::default()
        };
        let listener = NewListener {
            name: "listener_0".into(),
            protocol: "TCP".into(),
            protocol_port: 80,
            connection_limit: -1,
            default_pool: Some(Box::new(pool)),
            ..NewListener::default()
        };
        let new = NewLoadBalancer {
            name: "lb".into(),
            provider: "amphora".into(),
            listeners: vec![listener],
            ..NewLoadBalancer::default()
        };
        let expected = json!({"name": "lb", "description": "", "provider": "amphora", "listeners": [{
            "name": "listener_0", "protocol": "TCP", "protocol_port": 80, "connection_limit": -1,
            "default_pool": {"name": "pool_0", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN",
                "members": [{"name": "a", "address": "10.0.0.1", "protocol_port": 30080}]},
        }]});
        assert_eq!(serde_json::to_value(&new).unwrap(), expected);
    }

    #[test]
    fn nulls_and_unknown_fields_do_no_harm() {
        let listener: Listener = serde_json::from_value(json!({
            "id": "1", "protocol": "TCP", "protocol_port": 80, "connection_limit": -1, "allowed_cidrs": null,
            "default_tls_container_ref": null, "insert_headers": {}, "timeout_client_data": 50000, "tags": [],
            "operating_status": "ONLINE", "name": null,
        }))
        .unwrap();
        assert_eq!(listener.timeouts.client_data, Some(50000));
        assert!(listener.allowed_cidrs.is_empty() && listener.default_tls_container_ref.is_empty());
        let pool: Pool =
            serde_json::from_value(json!({"id": "1", "session_persistence": null, "healthmonitor_id": ""})).unwrap();
        assert_eq!(pool.monitor(), None);
    }

    #[test]
    fn ended_persistence_is_an_explicit_null() {
        let changes = PoolChanges { session_persistence: Some(None), ..PoolChanges::default() };
        assert_eq!(serde_json::to_value(&changes).unwrap(), json!({ "session_persistence": null }));
    }
}
