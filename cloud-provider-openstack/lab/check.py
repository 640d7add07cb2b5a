"""Uses each service once as a controller would, as the user `demo`; what it makes it takes away again."""

import contextlib
import os
import time

import fill


def run(place, ids, say):
    """Seconds of each check by name. Fails with the first that does not succeed."""
    seconds = {}
    name = f'check-{os.getpid()}'
    with contextlib.ExitStack() as cleanup:
        cloud = fill.connect(place, 'demo')
        for check in (token, secret, volume, routes, server, load_balancer, floating_ip):
            begun = time.monotonic()
            try:
                check(cloud, ids, name, cleanup)
            except Exception as error:
                raise SystemExit(f'{check.__name__}: {error!r}') from error
            seconds[check.__name__] = round(time.monotonic() - begun, 1)
            say(f'checked: {check.__name__.replace("_", " ")}')
    return seconds


def token(cloud, ids, name, cleanup):
    assert cloud.current_project_id == ids['project']


def secret(cloud, ids, name, cleanup):
    vault = cloud.key_manager
    made = vault.create_secret(name=name, payload='opaque', payload_content_type='text/plain')
    cleanup.callback(vault.delete_secret, made.secret_id)
    assert vault.get_secret(made.secret_id).payload == 'opaque'


def volume(cloud, ids, name, cleanup):
    made = cloud.block_storage.create_volume(name=name, size=1)
    cleanup.callback(delete_volume, cloud, made)
    made = cloud.block_storage.wait_for_status(made, 'available', interval=0.5, wait=60)
    assert made.availability_zone == 'nova'


def delete_volume(cloud, made):
    cloud.block_storage.delete_volume(made)
    cloud.block_storage.wait_for_delete(made, interval=0.5, wait=60)


def routes(cloud, ids, name, cleanup):
    """Both requests that add and remove single routes, which are not those that replace all of them."""
    route = {'destination': '10.244.7.0/24', 'nexthop': '10.20.255.254'}
    body = {'router': {'routes': [route]}}
    cloud.network.add_extra_routes_to_router(ids['router'], body)
    try:
        assert route in cloud.network.get_router(ids['router']).routes
    finally:
        cloud.network.remove_extra_routes_from_router(ids['router'], body)


def server(cloud, ids, name, cleanup):
    made = cloud.compute.create_server(name=name, image_id=ids['image'], flavor_id=ids['flavor'],
                                       networks=[{'uuid': ids['private_network']}])
    cleanup.callback(delete_server, cloud, made)
    made = cloud.compute.wait_for_server(made, interval=0.5, wait=120)
    assert made.addresses['private'][0]['addr'].startswith('10.20.')


def delete_server(cloud, made):
    cloud.compute.delete_server(made)
    cloud.compute.wait_for_delete(made, interval=0.5, wait=60)


def load_balancer(cloud, ids, name, cleanup):
    octavia = cloud.load_balancer
    made = octavia.create_load_balancer(name=name, vip_subnet_id=ids['private_subnet'])
    cleanup.callback(delete_load_balancer, cloud, made)
    settled = lambda: octavia.wait_for_load_balancer(made.id, interval=0.5, wait=120)  # noqa: E731
    settled()
    listener = octavia.create_listener(name=name, load_balancer_id=made.id, protocol='TCP', protocol_port=80)
    settled()
    pool = octavia.create_pool(name=name, listener_id=listener.id, protocol='TCP', lb_algorithm='ROUND_ROBIN')
    settled()
    octavia.create_member(pool, address='10.20.255.254', protocol_port=30080)
    assert settled().provisioning_status == 'ACTIVE'


def delete_load_balancer(cloud, made):
    cloud.load_balancer.delete_load_balancer(made, cascade=True)
    gone = lambda: cloud.load_balancer.find_load_balancer(made.id) is None  # noqa: E731
    fill.until('end of the load balancer', gone)


def floating_ip(cloud, ids, name, cleanup):
    balancer = cloud.load_balancer.find_load_balancer(name)
    made = cloud.network.create_ip(floating_network_id=ids['public_network'], port_id=balancer.vip_port_id)
    cleanup.callback(cloud.network.delete_ip, made)
    assert made.fixed_ip_address == balancer.vip_address
