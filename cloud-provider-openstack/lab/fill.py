"""What is in a new cloud: users, roles and the catalog, then flavors, an image and networks; all through the services' APIs.

Each step leaves alone what is there.
"""

import json
import time

import openstack

from place import APIS, PASSWORD, REGION

# Octavia's policy asks for a role of its own, barbican's for `creator`.
ROLES = ['admin', 'member', 'service', 'load-balancer_member', 'creator']


def connect(place, name):
    """As a user, in the project of the same name."""
    return openstack.connect(auth=authentication(place, name), region_name=REGION, load_yaml_config=False,
                             load_envvars=False, app_name='lab')


def authentication(place, name):
    return {'auth_url': place.url('keystone') + '/v3', 'username': name, 'password': PASSWORD, 'project_name': name,
            'user_domain_name': 'Default', 'project_domain_name': 'Default'}


def identity(place):
    """Users and catalog; needs keystone alone, where `keystone-manage bootstrap` has made admin."""
    keystone = connect(place, 'admin').identity
    projects = {name: keystone.find_project(name) or keystone.create_project(name=name, domain_id='default')
                for name in ('service', 'demo')}
    roles = {name: keystone.find_role(name) or keystone.create_role(name=name) for name in ROLES}

    def user(name, project, *granted):
        who = keystone.find_user(name) or keystone.create_user(name=name, password=PASSWORD, domain_id='default')
        for role in granted:
            keystone.assign_project_role_to_user(projects[project], who, roles[role])

    for name, _, _ in APIS[1:]:
        user(name, 'service', 'admin', 'service')
    user('demo', 'demo', 'member', 'load-balancer_member', 'creator')
    user('admin', 'demo', 'admin')

    present = {(endpoint.service_id, endpoint.interface) for endpoint in keystone.endpoints()}
    for name, kind, path in APIS:
        service = next(keystone.services(type=kind), None) or keystone.create_service(name=name, type=kind)
        for interface, url in (('public', place.url(name)), ('internal', place.url(name)), ('admin', place.tap(name))):
            if (service.id, interface) not in present:
                keystone.create_endpoint(service_id=service.id, interface=interface, region_id=REGION, url=url + path)


def resources(place):
    """What a test needs before it can begin; returns the ids."""
    cloud = connect(place, 'admin')
    for name, vcpus, ram, disk in (('m1.tiny', 1, 512, 1), ('m1.small', 1, 2048, 20), ('m1.large', 4, 8192, 80)):
        cloud.compute.find_flavor(name) or cloud.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
    image = cloud.image.find_image('tiny') or cloud.image.create_image(
        'tiny', data=bytes(512), disk_format='raw', container_format='bare', visibility='public', wait=True)
    storage = cloud.block_storage
    storage.find_type('loopback') or storage.create_type(name='loopback', extra_specs={'volume_backend_name': 'loopback'})
    return networks(cloud) | {'image': image.id, 'flavor': cloud.compute.find_flavor('m1.small').id}


def settle(place):
    """Until the services that have no port take work."""
    cloud = connect(place, 'admin')
    until('host for servers', lambda: any(cloud.compute.hypervisors()))
    until('pool for volumes', lambda: any(cloud.block_storage.backend_pools()))


def networks(cloud):
    """One outside with two subnets, one inside, and a router between them."""
    neutron, project = cloud.network, cloud.identity.find_project('demo').id
    public = neutron.find_network('public') or neutron.create_network(
        name='public', is_router_external=True, provider_network_type='flat', provider_physical_network='public')
    # Blocks for documentation.
    for name, prefix in (('public-subnet', '203.0.113'), ('public-subnet-2', '198.51.100')):
        neutron.find_subnet(name) or neutron.create_subnet(
            name=name, network_id=public.id, ip_version=4, cidr=f'{prefix}.0/24', is_dhcp_enabled=False,
            allocation_pools=[{'start': f'{prefix}.10', 'end': f'{prefix}.250'}])
    private = neutron.find_network('private') or neutron.create_network(name='private', project_id=project)
    subnet = neutron.find_subnet('private-subnet') or neutron.create_subnet(
        name='private-subnet', project_id=project, network_id=private.id, ip_version=4, cidr='10.20.0.0/16')
    router = neutron.find_router('router')
    if not router:
        router = neutron.create_router(name='router', project_id=project, external_gateway_info={'network_id': public.id})
        neutron.add_interface_to_router(router, subnet_id=subnet.id)
    return {'project': project, 'public_network': public.id, 'private_network': private.id, 'private_subnet': subnet.id,
            'router': router.id}


def write_files(place, ids):
    """For clients: clouds.yaml (JSON is YAML), the configuration of a controller, and what tests need to know."""
    clouds = {name: {'auth': authentication(place, name), 'region_name': REGION} for name in ('admin', 'demo')}
    ports = {name: place.port(name) for name, _, _ in APIS}
    lab = ids | {'auth_url': place.url('keystone') + '/v3', 'region': REGION, 'ports': ports}
    (place.folder / 'clouds.yaml').write_text(json.dumps({'clouds': clouds}, indent=2) + '\n')
    (place.folder / 'lab.json').write_text(json.dumps(lab, indent=2) + '\n')
    (place.folder / 'cloud.conf').write_text(f'''[Global]
auth-url={lab['auth_url']}
username=demo
password={PASSWORD}
tenant-name=demo
domain-id=default
region={REGION}

[LoadBalancer]
floating-network-id={ids['public_network']}
subnet-id={ids['private_subnet']}
create-monitor=true
manage-security-groups=true

[Route]
router-id={ids['router']}
''')


def until(what, there, seconds=120):
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise SystemExit(f'no {what} after {seconds} s')
        time.sleep(0.5)
