"""Drives the simulator with openstacksdk, which we did not write: check.py PATH-OF-openstack-simulator

Installs nothing: run it with a Python that has requirements.txt. Ends with status 1 at the first difference.
"""
import json
import subprocess
import sys
import time
import urllib.request

import openstack
from openstack import exceptions as exc


def start(*arguments):
    process = subprocess.Popen([sys.argv[1], '--exit-with-parent', *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return process, json.loads(process.stdout.readline())


def connect(ready, **auth):
    auth = auth or dict(username='demo', password=ready['password'], project_name='demo', user_domain_id='default',
                        project_domain_id='default')
    kind = auth.pop('auth_type', 'password')
    return openstack.connect(auth_type=kind, auth=dict(auth, auth_url=ready['auth_url']), region_name='RegionOne',
                             load_yaml_config=False, load_envvars=False)


def control(ready, method, path, body=None):
    request = urllib.request.Request(ready['control'] + '/' + path, method=method,
                                     data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def refused(kind, call, *arguments, **named):
    try:
        found = call(*arguments, **named)
        found = list(found) if hasattr(found, '__next__') else found
    except kind as error:
        return error
    raise SystemExit('%s was not refused: %r' % (call, found))


def until(check, seconds=10):
    end = time.time() + seconds
    while not check():
        if time.time() > end:
            raise SystemExit('not in time: %r' % check)
        time.sleep(0.05)


def identity(ready):
    ids = ready['ids']
    c = connect(ready)
    token = c.session.get_token()
    assert c.current_project_id == ids['project'] and token
    by_credential = connect(ready, auth_type='v3applicationcredential',
                            application_credential_id=ids['application_credential'],
                            application_credential_secret=ready['password'])
    assert by_credential.current_project_id == ids['project']
    by_token = connect(ready, auth_type='v3token', token=token, project_id=ids['project'])
    assert by_token.session.get_token() != token
    by_trust = connect(ready, username='trustee', user_domain_id='default', password=ready['password'], trust_id=ids['trust'])
    assert by_trust.current_project_id == ids['project']
    assert len(list(by_trust.compute.servers())) == 7
    wrong = connect(ready, username='demo', password='wrong', project_name='demo', user_domain_id='default',
                    project_domain_id='default')
    from keystoneauth1.exceptions import Unauthorized
    refused(Unauthorized, wrong.session.get_token)
    control(ready, 'DELETE', 'tokens')
    assert len(list(c.compute.servers())) == 7, 'a new token after the old one was refused'
    made = c.identity.create_application_credential(c.current_user_id, 'mine')
    assert made.secret and c.identity.find_application_credential(c.current_user_id, 'mine').id == made.id
    c.identity.delete_application_credential(c.current_user_id, made)


def compute(c, ids):
    servers = list(c.compute.servers(limit=3))
    assert [s.name for s in servers] == ['demo-node-%d' % n for n in range(7, 0, -1)], servers
    assert c.compute.find_server('demo-node-2').name == 'demo-node-2'
    server = c.compute.get_server(servers[0].id)
    address = server.addresses['private'][0]
    assert address['OS-EXT-IPS:type'] == 'fixed' and address['version'] == 4
    assert server.availability_zone == 'nova' and server.flavor.name == 'm1.small', server.flavor
    assert c.compute.get_flavor(ids['flavor']).name == 'm1.small'
    assert len(list(c.compute.server_interfaces(server))) == 1
    c.compute.set_server_metadata(server, hostname='a.example')
    assert c.compute.get_server(server.id).metadata == {'hostname': 'a.example'}
    c.compute.stop_server(server)
    assert c.compute.get_server(server.id).status == 'SHUTOFF'
    refused(exc.ConflictException, c.compute.stop_server, server)
    c.compute.start_server(server)
    refused(exc.NotFoundException, c.compute.get_server, ids['network'])
    return server


def network(c, ids, server):
    n = c.network
    assert {e.alias for e in n.extensions()} >= {'extraroute-atomic', 'allowed-address-pairs', 'port-security'}
    assert n.find_network('public').is_router_external and n.get_subnet(ids['subnet']).cidr == '10.20.0.0/16'
    assert len(list(n.subnets(network_id=ids['public_network']))) == 2
    port = next(n.ports(device_id=server.id))
    assert port.status == 'ACTIVE' and port.is_port_security_enabled
    assert [p.id for p in n.ports(fixed_ips='ip_address=' + port.fixed_ips[0]['ip_address'])] == [port.id]
    assert len(list(n.ports(limit=3))) == len(list(n.ports())) == 8
    assert n.get('/ports?colour=blue').status_code == 400
    group = n.create_security_group(name='lb-sg', description='for a test')
    assert len(group.security_group_rules) == 2
    rule = dict(security_group_id=group.id, direction='ingress', ethertype='IPv4', protocol='tcp', port_range_min=80,
                port_range_max=80, remote_ip_prefix='10.20.0.0/16')
    made = n.create_security_group_rule(**rule)
    refused(exc.ConflictException, n.create_security_group_rule, **rule)
    n.update_port(port, security_groups=port.security_group_ids + [group.id])
    assert [p.id for p in n.ports(security_groups=group.id)] == [port.id]
    refused(exc.ConflictException, n.delete_security_group, group, ignore_missing=False)
    n.update_port(port, security_groups=port.security_group_ids[:1],
                  allowed_address_pairs=[dict(ip_address='10.244.1.0/24')])
    port = n.get_port(port.id)
    assert port.allowed_address_pairs == [dict(ip_address='10.244.1.0/24', mac_address=port.mac_address)]
    n.delete_security_group_rule(made)
    n.delete_security_group(group)
    n.set_tags(port, ['b', 'a'])
    assert n.get_port(port.id).tags == ['a', 'b'] and len(list(n.ports(tags='a,b'))) == 1
    routes = [dict(destination='10.244.1.0/24', nexthop=port.fixed_ips[0]['ip_address'])]
    router = n.get_router(ids['router'])
    n.add_extra_routes_to_router(router, dict(router=dict(routes=routes)))
    assert n.get_router(router.id).routes == routes
    n.remove_extra_routes_from_router(router, dict(router=dict(routes=routes)))
    assert n.get_router(router.id).routes == []
    n.update_router(router, routes=routes)
    assert n.get_router(router.id).routes == routes
    refused(exc.BadRequestException, n.update_router, router, routes=[dict(destination='1.0.0.0/8', nexthop='9.9.9.9')])
    n.update_router(router, routes=[])
    refused(exc.ForbiddenException, n.create_ip, floating_network_id=ids['public_network'], floating_ip_address='203.0.113.77')
    floating = n.create_ip(floating_network_id=ids['public_network'], port_id=port.id)
    assert floating.status == 'ACTIVE' and floating.router_id == router.id
    found = c.compute.get_server(server.id).addresses['private'][-1]
    assert found['addr'] == floating.floating_ip_address and found['OS-EXT-IPS:type'] == 'floating'
    refused(exc.ConflictException, n.create_ip, floating_network_id=ids['public_network'], port_id=port.id)
    assert n.update_ip(floating, port_id=None).port_id is None
    n.delete_ip(floating)


def balancing(c, ready, ids):
    l = c.load_balancer
    assert l.get_endpoint_data().api_version[0] == 2
    assert {p.name for p in l.providers()} >= {'amphora', 'ovn'}
    servers = list(c.network.ports(device_owner='compute:nova'))
    members = [dict(address=p.fixed_ips[0]['ip_address'], protocol_port=30080, name=p.id) for p in servers[:3]]
    balancer = l.create_load_balancer(
        name='lb', vip_subnet_id=ids['subnet'], tags=['lb'], listeners=[dict(
            name='web', protocol='TCP', protocol_port=80, allowed_cidrs=['0.0.0.0/0'], default_pool=dict(
                name='web', protocol='TCP', lb_algorithm='ROUND_ROBIN', members=members,
                healthmonitor=dict(type='TCP', delay=5, timeout=3, max_retries=1)))])
    assert balancer.provisioning_status == 'PENDING_CREATE' and balancer.vip_address and balancer.vip_port_id
    refused(exc.ConflictException, l.update_load_balancer, balancer, description='x')
    refused(exc.ConflictException, l.create_listener, load_balancer_id=balancer.id, protocol='UDP', protocol_port=53)
    l.wait_for_load_balancer(balancer.id, interval=0.05, wait=10)
    listener = next(l.listeners(load_balancer_id=balancer.id))
    pool = next(l.pools(loadbalancer_id=balancer.id))
    assert pool.listeners == [dict(id=listener.id)] and len(pool.members) == 3 and pool.health_monitor_id
    assert [m.protocol_port for m in l.members(pool)] == [30080] * 3
    refused(exc.ConflictException, l.create_listener, load_balancer_id=balancer.id, protocol='HTTP', protocol_port=80)
    settled = lambda: l.get_load_balancer(balancer.id).provisioning_status == 'ACTIVE'
    until(settled)
    l.update_pool(pool, lb_algorithm='LEAST_CONNECTIONS')
    assert l.get_load_balancer(balancer.id).provisioning_status == 'PENDING_UPDATE'
    until(settled)
    url = '/lbaas/pools/%s/members' % pool.id
    more = [dict(m, protocol_port=30081) for m in members[:1]]
    assert l.put(url + '?additive_only=true', json=dict(members=more)).status_code == 202
    until(settled)
    assert len(list(l.members(pool))) == 4
    assert l.put(url, json=dict(members=more)).status_code == 202
    assert {m.provisioning_status for m in l.members(pool)} == {'PENDING_DELETE', 'PENDING_UPDATE'}
    until(settled)
    assert [m.protocol_port for m in l.members(pool)] == [30081]
    monitor = l.get_health_monitor(pool.health_monitor_id)
    l.update_health_monitor(monitor, delay=7)
    until(settled)
    assert l.get_health_monitor(monitor.id).delay == 7
    assert l.put('/lbaas/loadbalancers/%s/failover' % balancer.id).status_code == 403
    l.update_load_balancer(balancer, tags=['a', 'b'])
    until(settled)
    assert [b.id for b in l.load_balancers(tags='a,b')] == [balancer.id] and not list(l.load_balancers(tags='c'))
    refused(exc.BadRequestException, l.delete_load_balancer, balancer)
    l.delete_load_balancer(balancer, cascade=True)
    until(lambda: not list(l.load_balancers()))
    assert not list(l.pools()) and not list(l.listeners()) and len(list(c.network.ports())) == 8
    refused(exc.NotFoundException, l.get_load_balancer, balancer.id)


def secrets(c, ids):
    k = c.key_manager
    container = k.get_container(ids['container'])
    assert container.name == 'tls' and len(container.secret_refs) == 2
    assert len(list(k.secrets())) == 2
    assert k.get_secret(container.secret_refs[0]['secret_ref'].rsplit('/', 1)[1]).status == 'ACTIVE'
    reference = container.container_ref
    balancer = c.load_balancer.create_load_balancer(name='tls', vip_subnet_id=ids['subnet'])
    c.load_balancer.wait_for_load_balancer(balancer.id, interval=0.05, wait=10)
    named = dict(load_balancer_id=balancer.id, protocol='TERMINATED_HTTPS', protocol_port=443)
    refused(exc.BadRequestException, c.load_balancer.create_listener, **named)
    refused(exc.BadRequestException, c.load_balancer.create_listener, default_tls_container_ref=reference[:-1], **named)
    assert c.load_balancer.create_listener(default_tls_container_ref=reference, **named).protocol == 'TERMINATED_HTTPS'


def volumes(c, ready):
    volume = dict(id='7d3f8a52-30a4-4b4c-9c47-7b2a5a3e3c11', name='pv', status='available', size=1, availability_zone='nova',
                  attachments=[], **{'os-vol-tenant-attr:tenant_id': c.current_project_id})
    control(ready, 'POST', 'resources/volumes', volume)
    assert c.block_storage.get_volume(volume['id']).availability_zone == 'nova'
    assert [v.name for v in c.block_storage.volumes()] == ['pv']
    refused(exc.NotFoundException, c.block_storage.get_volume, '7d3f8a52-30a4-4b4c-9c47-7b2a5a3e3c12')


def limits(c, ready):
    control(ready, 'POST', 'faults', dict(action='ListNetworks', times=1, effect=dict(error=dict(code='429'))))
    answer = c.network.get('/networks')
    assert answer.status_code == 429 and answer.headers['Retry-After'] == '1', answer.headers
    counts = control(ready, 'GET', 'calls/counts')
    assert counts['neutron.ListNetworks']['failures'] == {'429': 1}


process, ready = start('--nodes', '7', '--pending', '300ms')
try:
    identity(ready)
    conn = connect(ready)
    server = compute(conn, ready['ids'])
    network(conn, ready['ids'], server)
    balancing(conn, ready, ready['ids'])
    secrets(conn, ready['ids'])
    volumes(conn, ready)
    limits(conn, ready)
    calls = control(ready, 'GET', 'calls/counts')
    print('openstacksdk agrees: %d calls of %d actions' % (sum(c['calls'] for c in calls.values()), len(calls)))
finally:
    process.stdin.close()
    process.wait(10)
