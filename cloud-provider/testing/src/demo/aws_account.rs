//! Setting an account up through EC2's own API, for mocks that are not ours: the query protocol needs no SDK.

use anyhow::{Context as _, ensure};
use http::Method;

use super::aws::{Account, CLUSTER, REGION};
use crate::http::Endpoint;

/// Instances that one RunInstances asks for at most, which keeps a slow mock within its time limit.
const BATCH: usize = 200;

/// Makes a VPC with a way to the internet, a tagged subnet and group, and instances.
pub(super) async fn create(endpoint: &Endpoint, nodes: usize) -> anyhow::Result<Account> {
    let ec2 = Ec2(endpoint);
    let zone = format!("{REGION}a");
    let vpc = ec2.create("CreateVpc", &[("CidrBlock", "10.0.0.0/16")], "vpcId").await?;
    let subnet = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.0.0/18"), ("AvailabilityZone", &zone)];
    let subnet = ec2.create("CreateSubnet", &subnet, "subnetId").await?;
    let gateway = ec2.create("CreateInternetGateway", &[], "internetGatewayId").await?;
    ec2.call("AttachInternetGateway", &[("InternetGatewayId", &gateway), ("VpcId", &vpc)]).await?;
    let table = ec2.create("CreateRouteTable", &[("VpcId", &vpc)], "routeTableId").await?;
    let route = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "0.0.0.0/0"), ("GatewayId", &gateway)];
    ec2.call("CreateRoute", &route).await?;
    ec2.call("AssociateRouteTable", &[("RouteTableId", &table), ("SubnetId", &subnet)]).await?;
    let group = [("GroupName", "demo-nodes"), ("GroupDescription", "Nodes of the cluster"), ("VpcId", &vpc)];
    let group = ec2.create("CreateSecurityGroup", &group, "groupId").await?;
    ec2.tag(&[vpc.as_str(), &subnet, &group]).await?;
    let nodes = ec2.run_instances(nodes, &subnet, &group).await?;
    Ok(Account { zone, vpc, subnet, nodes })
}

struct Ec2<'a>(&'a Endpoint);

impl Ec2<'_> {
    /// Mocks read the service and the region from the credential scope and do not look at the signature.
    async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<String> {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0"
        );
        let headers =
            [("authorization", authorization.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (name, value) in parameters {
            body.push_str(&format!("&{name}={}", encode(value)));
        }
        self.0.send(Method::POST, "/", &headers, body).await.with_context(|| format!("EC2 {action}"))
    }

    /// Makes something and returns the first ID of a kind in the answer.
    async fn create(&self, action: &str, parameters: &[(&str, &str)], id: &str) -> anyhow::Result<String> {
        let answer = self.call(action, parameters).await?;
        let ids = elements(&answer, id);
        ids.first().map(|id| (*id).to_owned()).with_context(|| format!("EC2 {action} answers no {id}"))
    }

    async fn tag(&self, ids: &[&str]) -> anyhow::Result<()> {
        let key = format!("kubernetes.io/cluster/{CLUSTER}");
        let names: Vec<String> = (1..=ids.len()).map(|n| format!("ResourceId.{n}")).collect();
        let mut parameters: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(ids.iter().copied()).collect();
        parameters.extend([("Tag.1.Key", key.as_str()), ("Tag.1.Value", "owned")]);
        self.call("CreateTags", &parameters).await.map(|_| ())
    }

    /// Runs instances and returns their private names.
    async fn run_instances(&self, count: usize, subnet: &str, group: &str) -> anyhow::Result<Vec<String>> {
        let images = self.call("DescribeImages", &[]).await?;
        let image = *elements(&images, "imageId").first().context("the cloud has no image to run instances from")?;
        let key = format!("kubernetes.io/cluster/{CLUSTER}");
        let mut nodes: Vec<String> = Vec::new();
        while nodes.len() < count {
            let number = BATCH.min(count - nodes.len()).to_string();
            let parameters = [
                ("ImageId", image),
                ("InstanceType", "m5.large"),
                ("MinCount", &number),
                ("MaxCount", &number),
                ("SubnetId", subnet),
                ("SecurityGroupId.1", group),
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", &key),
                ("TagSpecification.1.Tag.1.Value", "owned"),
            ];
            let answer = self.call("RunInstances", &parameters).await?;
            let before = nodes.len();
            for name in elements(&answer, "privateDnsName") {
                if !name.is_empty() && !nodes.iter().any(|node| node == name) {
                    nodes.push(name.to_owned());
                }
            }
            ensure!(nodes.len() > before, "EC2 RunInstances answers no private names");
        }
        nodes.truncate(count);
        Ok(nodes)
    }
}

/// The texts of all elements of a name; they are IDs and host names, which have nothing to unescape.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(text, _)| text.trim()).collect()
}

/// Percent-encodes a value of a form.
fn encode(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_anywhere() {
        let xml = "<r><a><vpcId>vpc-1</vpcId></a><vpcId> vpc-2 </vpcId><vpcIdx>no</vpcIdx></r>";
        assert_eq!(elements(xml, "vpcId"), ["vpc-1", "vpc-2"]);
    }

    #[test]
    fn form_values_are_encoded() {
        assert_eq!(encode("kubernetes.io/cluster/a b"), "kubernetes.io%2Fcluster%2Fa%20b");
    }
}
