//! The calls of the first load balancer API. What an answer leaves out is empty.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancing::{
    error::BuildError,
    types::{self as sdk, builders},
};
use cloud_provider::{Kind, cloud::Access};

use super::{AccessLog, Attributes, Draining, HealthCheck, Listener, LoadBalancer, NewLoadBalancer, Policy};
use crate::client::{Client, Error, Result, Service, all_pages, network::Tags};

/// How many entries one page has, the most that AWS gives.
const PAGE: i32 = 400;

impl Client {
    /// The classic load balancer with this name; `None` where AWS says that there is none.
    pub async fn classic_load_balancer(&self, name: &str) -> Result<Option<LoadBalancer>> {
        match self.describe_classic(Some(name)).await {
            Ok(found) => Ok(found.into_iter().find(|balancer| balancer.name == name)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All classic load balancers.
    pub async fn classic_load_balancers(&self) -> Result<Vec<LoadBalancer>> {
        self.describe_classic(None).await
    }

    /// The security groups of all classic load balancers but this one.
    pub async fn classic_groups_of_others(&self, name: &str) -> Result<BTreeSet<String>> {
        let all = self.describe_classic(None).await?.into_iter().filter(|other| other.name != name);
        Ok(all.flat_map(|other| other.security_groups).collect())
    }

    async fn describe_classic(&self, name: Option<&str>) -> Result<Vec<LoadBalancer>> {
        const OPERATION: &str = "DescribeLoadBalancers";
        let names = name.map(|name| vec![name.to_owned()]);
        let size = names.is_none().then_some(PAGE);
        let request = self.elb().describe_load_balancers().set_load_balancer_names(names).set_page_size(size);
        all_pages(Service::Elb, OPERATION, |marker| {
            let request = request.clone().set_marker(marker);
            async move {
                let answer = self.call(Service::Elb, OPERATION, Access::Read, request.send()).await?;
                let found = answer.load_balancer_descriptions.unwrap_or_default().into_iter().map(load_balancer);
                Ok((found.collect(), answer.next_marker))
            }
        })
        .await
    }

    /// The tags of load balancers, at most 20, by name. Upstream's documented policy does not permit to read them, so this
    /// is only for configurations that ask for it.
    pub async fn classic_tags(&self, names: &[String]) -> Result<BTreeMap<String, Tags>> {
        let request = self.elb().describe_tags().set_load_balancer_names(Some(names.to_vec())).send();
        let answer = self.call(Service::Elb, "DescribeTags", Access::Read, request).await?;
        let found = answer.tag_descriptions.unwrap_or_default().into_iter().filter_map(|found| {
            let tags = found.tags.unwrap_or_default().into_iter();
            Some((found.load_balancer_name?, tags.map(|tag| (tag.key, tag.value.unwrap_or_default())).collect()))
        });
        Ok(found.collect())
    }

    /// Makes a load balancer and gives its DNS name. Making the same one again succeeds.
    pub async fn create_classic_load_balancer(&self, new: &NewLoadBalancer, groups: &[String]) -> Result<String> {
        const OPERATION: &str = "CreateLoadBalancer";
        let request = self
            .elb()
            .create_load_balancer()
            .load_balancer_name(&new.name)
            .set_scheme(new.internal.then(|| "internal".to_owned()))
            .set_listeners(Some(sdk_listeners(OPERATION, &new.listeners)?))
            .set_subnets(Some(new.subnets.clone()))
            .set_security_groups(Some(groups.to_vec()))
            .set_tags(Some(sdk_tags(OPERATION, &new.tags)?));
        let answer = self.call(Service::Elb, OPERATION, Access::Write, request.send()).await?;
        Ok(answer.dns_name.unwrap_or_default())
    }

    /// Deletes a load balancer. Deleting what is not there succeeds.
    pub async fn delete_classic_load_balancer(&self, name: &str) -> Result<()> {
        let request = self.elb().delete_load_balancer().load_balancer_name(name).send();
        self.call(Service::Elb, "DeleteLoadBalancer", Access::Write, request).await.map(drop)
    }

    /// Sets tags; others stay.
    pub async fn add_classic_tags(&self, name: &str, tags: &Tags) -> Result<()> {
        const OPERATION: &str = "AddTags";
        let tags = sdk_tags(OPERATION, tags)?;
        let request = self.elb().add_tags().load_balancer_names(name).set_tags(Some(tags)).send();
        self.call(Service::Elb, OPERATION, Access::Write, request).await.map(drop)
    }

    /// Attaches subnets, at most one in each zone.
    pub async fn attach_classic_subnets(&self, name: &str, subnets: &[String]) -> Result<()> {
        let subnets = Some(subnets.to_vec());
        let request = self.elb().attach_load_balancer_to_subnets().load_balancer_name(name).set_subnets(subnets).send();
        self.call(Service::Elb, "AttachLoadBalancerToSubnets", Access::Write, request).await.map(drop)
    }

    /// Detaches subnets; one has to stay.
    pub async fn detach_classic_subnets(&self, name: &str, subnets: &[String]) -> Result<()> {
        let subnets = Some(subnets.to_vec());
        let request =
            self.elb().detach_load_balancer_from_subnets().load_balancer_name(name).set_subnets(subnets).send();
        self.call(Service::Elb, "DetachLoadBalancerFromSubnets", Access::Write, request).await.map(drop)
    }

    /// Replaces the security groups.
    pub async fn apply_classic_groups(&self, name: &str, groups: &[String]) -> Result<()> {
        let groups = Some(groups.to_vec());
        let request = self
            .elb()
            .apply_security_groups_to_load_balancer()
            .load_balancer_name(name)
            .set_security_groups(groups)
            .send();
        self.call(Service::Elb, "ApplySecurityGroupsToLoadBalancer", Access::Write, request).await.map(drop)
    }

    /// Adds listeners. One that is there already in the same form is no error.
    pub async fn create_classic_listeners(&self, name: &str, listeners: &[Listener]) -> Result<()> {
        const OPERATION: &str = "CreateLoadBalancerListeners";
        let listeners = Some(sdk_listeners(OPERATION, listeners)?);
        let request =
            self.elb().create_load_balancer_listeners().load_balancer_name(name).set_listeners(listeners).send();
        self.call(Service::Elb, OPERATION, Access::Write, request).await.map(drop)
    }

    /// Removes the listeners of these ports.
    pub async fn delete_classic_listeners(&self, name: &str, ports: &[i32]) -> Result<()> {
        let ports = Some(ports.to_vec());
        let request =
            self.elb().delete_load_balancer_listeners().load_balancer_name(name).set_load_balancer_ports(ports).send();
        self.call(Service::Elb, "DeleteLoadBalancerListeners", Access::Write, request).await.map(drop)
    }

    /// Makes a policy. One that is there already is no error: the names say what is in them.
    pub async fn create_classic_policy(&self, name: &str, policy: &Policy) -> Result<()> {
        let attribute = sdk::PolicyAttribute::builder().attribute_name(policy.attribute).attribute_value(&policy.value);
        let request = self
            .elb()
            .create_load_balancer_policy()
            .load_balancer_name(name)
            .policy_name(&policy.name)
            .policy_type_name(policy.kind)
            .policy_attributes(attribute.build())
            .send();
        match self.call(Service::Elb, "CreateLoadBalancerPolicy", Access::Write, request).await {
            Err(error) if error.code() == Some("DuplicatePolicyName") => Ok(()),
            result => result.map(drop),
        }
    }

    /// Replaces the policies of the back ends on a port of the instances.
    pub async fn set_classic_backend_policies(&self, name: &str, port: i32, policies: &[String]) -> Result<()> {
        let policies = Some(policies.to_vec());
        let request = self
            .elb()
            .set_load_balancer_policies_for_backend_server()
            .load_balancer_name(name)
            .instance_port(port)
            .set_policy_names(policies)
            .send();
        self.call(Service::Elb, "SetLoadBalancerPoliciesForBackendServer", Access::Write, request).await.map(drop)
    }

    /// Replaces the policies of a listener.
    pub async fn set_classic_listener_policies(&self, name: &str, port: i32, policies: &[String]) -> Result<()> {
        let policies = Some(policies.to_vec());
        let request = self
            .elb()
            .set_load_balancer_policies_of_listener()
            .load_balancer_name(name)
            .load_balancer_port(port)
            .set_policy_names(policies)
            .send();
        self.call(Service::Elb, "SetLoadBalancerPoliciesOfListener", Access::Write, request).await.map(drop)
    }

    /// Sets the health check.
    pub async fn configure_classic_health_check(&self, name: &str, check: &HealthCheck) -> Result<()> {
        const OPERATION: &str = "ConfigureHealthCheck";
        let check = sdk::HealthCheck::builder()
            .target(&check.target)
            .interval(check.interval)
            .timeout(check.timeout)
            .healthy_threshold(check.healthy)
            .unhealthy_threshold(check.unhealthy)
            .build()
            .map_err(|error| incomplete(OPERATION, &error))?;
        let request = self.elb().configure_health_check().load_balancer_name(name).health_check(check).send();
        self.call(Service::Elb, OPERATION, Access::Write, request).await.map(drop)
    }

    /// The attributes of a load balancer.
    pub async fn classic_attributes(&self, name: &str) -> Result<Attributes> {
        let request = self.elb().describe_load_balancer_attributes().load_balancer_name(name).send();
        let answer = self.call(Service::Elb, "DescribeLoadBalancerAttributes", Access::Read, request).await?;
        Ok(answer.load_balancer_attributes.map(attributes).unwrap_or_default())
    }

    /// Sets the attributes that are there; the others stay.
    pub async fn modify_classic_attributes(&self, name: &str, attributes: &Attributes) -> Result<()> {
        const OPERATION: &str = "ModifyLoadBalancerAttributes";
        let attributes = sdk_attributes(attributes).map_err(|error| incomplete(OPERATION, &error))?;
        let request = self
            .elb()
            .modify_load_balancer_attributes()
            .load_balancer_name(name)
            .load_balancer_attributes(attributes)
            .send();
        self.call(Service::Elb, OPERATION, Access::Write, request).await.map(drop)
    }

    /// Registers instances; those that are registered already stay so.
    pub async fn register_classic_instances(&self, name: &str, instances: &[String]) -> Result<()> {
        let request = self
            .elb()
            .register_instances_with_load_balancer()
            .load_balancer_name(name)
            .set_instances(Some(sdk_instances(instances)))
            .send();
        self.call(Service::Elb, "RegisterInstancesWithLoadBalancer", Access::Write, request).await.map(drop)
    }

    /// Takes instances away; those that are not registered are no error.
    pub async fn deregister_classic_instances(&self, name: &str, instances: &[String]) -> Result<()> {
        let request = self
            .elb()
            .deregister_instances_from_load_balancer()
            .load_balancer_name(name)
            .set_instances(Some(sdk_instances(instances)))
            .send();
        self.call(Service::Elb, "DeregisterInstancesFromLoadBalancer", Access::Write, request).await.map(drop)
    }
}

fn load_balancer(description: sdk::LoadBalancerDescription) -> LoadBalancer {
    let policies = description.policies.map(policy_names).unwrap_or_default();
    let backends = description.backend_server_descriptions.unwrap_or_default().into_iter().filter_map(|backend| {
        let policies = backend.policy_names.unwrap_or_default();
        Some((backend.instance_port?, policies))
    });
    let listeners = description.listener_descriptions.unwrap_or_default().into_iter().filter_map(|description| {
        let policies = description.policy_names.unwrap_or_default();
        Some((listener(description.listener?), policies))
    });
    let instances = description.instances.unwrap_or_default().into_iter();
    LoadBalancer {
        name: description.load_balancer_name.unwrap_or_default(),
        dns_name: description.dns_name.unwrap_or_default(),
        subnets: description.subnets.unwrap_or_default().into_iter().collect(),
        security_groups: description.security_groups.unwrap_or_default(),
        listeners: listeners.collect(),
        backends: backends.collect::<BTreeMap<_, _>>(),
        policies,
        instances: instances.filter_map(|instance| instance.instance_id).collect(),
        health_check: description.health_check.map(health_check),
    }
}

fn policy_names(policies: sdk::Policies) -> BTreeSet<String> {
    let app_cookies = policies.app_cookie_stickiness_policies.unwrap_or_default();
    let cookies = policies.lb_cookie_stickiness_policies.unwrap_or_default();
    let app_cookies = app_cookies.into_iter().filter_map(|policy| policy.policy_name);
    let cookies = cookies.into_iter().filter_map(|policy| policy.policy_name);
    app_cookies.chain(cookies).chain(policies.other_policies.unwrap_or_default()).collect()
}

fn listener(listener: sdk::Listener) -> Listener {
    Listener {
        port: listener.load_balancer_port,
        protocol: listener.protocol,
        instance_port: listener.instance_port,
        instance_protocol: listener.instance_protocol.unwrap_or_default(),
        certificate: listener.ssl_certificate_id.filter(|certificate| !certificate.is_empty()),
    }
}

fn health_check(check: sdk::HealthCheck) -> HealthCheck {
    HealthCheck {
        target: check.target,
        interval: check.interval,
        timeout: check.timeout,
        healthy: check.healthy_threshold,
        unhealthy: check.unhealthy_threshold,
    }
}

fn attributes(attributes: sdk::LoadBalancerAttributes) -> Attributes {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    Attributes {
        access_log: attributes.access_log.map(|log| AccessLog {
            enabled: log.enabled,
            emit_interval: log.emit_interval,
            bucket: filled(log.s3_bucket_name),
            prefix: filled(log.s3_bucket_prefix),
        }),
        draining: attributes
            .connection_draining
            .map(|draining| Draining { enabled: draining.enabled, timeout: draining.timeout }),
        idle_timeout: attributes.connection_settings.map(|settings| settings.idle_timeout),
        cross_zone: attributes.cross_zone_load_balancing.map(|cross_zone| cross_zone.enabled),
    }
}

fn sdk_attributes(attributes: &Attributes) -> Result<sdk::LoadBalancerAttributes, BuildError> {
    let log = attributes.access_log.as_ref().map(|log| {
        sdk::AccessLog::builder()
            .enabled(log.enabled)
            .set_emit_interval(log.emit_interval)
            .set_s3_bucket_name(log.bucket.clone())
            .set_s3_bucket_prefix(log.prefix.clone())
            .build()
    });
    let draining = attributes.draining.as_ref().map(|draining| {
        sdk::ConnectionDraining::builder().enabled(draining.enabled).set_timeout(draining.timeout).build()
    });
    let settings = attributes.idle_timeout.map(|seconds| sdk::ConnectionSettings::builder().idle_timeout(seconds));
    let cross_zone =
        attributes.cross_zone.map(|enabled| sdk::CrossZoneLoadBalancing::builder().enabled(enabled).build());
    Ok(sdk::LoadBalancerAttributes::builder()
        .set_access_log(log)
        .set_connection_draining(draining)
        .set_connection_settings(settings.map(builders::ConnectionSettingsBuilder::build).transpose()?)
        .set_cross_zone_load_balancing(cross_zone)
        .build())
}

fn sdk_listeners(operation: &'static str, listeners: &[Listener]) -> Result<Vec<sdk::Listener>> {
    let listener = |listener: &Listener| {
        sdk::Listener::builder()
            .load_balancer_port(listener.port)
            .protocol(&listener.protocol)
            .instance_port(listener.instance_port)
            .instance_protocol(&listener.instance_protocol)
            .set_ssl_certificate_id(listener.certificate.clone())
            .build()
            .map_err(|error| incomplete(operation, &error))
    };
    listeners.iter().map(listener).collect()
}

fn sdk_tags(operation: &'static str, tags: &Tags) -> Result<Vec<sdk::Tag>> {
    let tag = |(key, value): (&String, &String)| {
        sdk::Tag::builder().key(key).value(value).build().map_err(|error| incomplete(operation, &error))
    };
    tags.iter().map(tag).collect()
}

fn sdk_instances(ids: &[String]) -> Vec<sdk::Instance> {
    ids.iter().map(|id| sdk::Instance::builder().instance_id(id).build()).collect()
}

/// A request that lacks a field which the SDK requires.
fn incomplete(operation: &'static str, error: &BuildError) -> Error {
    Error::of_kind(Service::Elb, operation, Kind::Invalid { field: operation.to_owned() }, error.to_string())
}
