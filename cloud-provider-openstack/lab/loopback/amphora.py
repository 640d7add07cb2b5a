"""Octavia: no amphora is booted, but each has real ports in Neutron, so that the real network driver has what it plugs."""

import types

from octavia.common import clients, constants, data_models
from octavia.compute import compute_base
from oslo_utils import uuidutils


class ComputeDriver(compute_base.ComputeBase):

    @property
    def _network(self):
        return clients.NeutronAuth.get_neutron_client().network

    def build(self, *args, **kwargs):
        return uuidutils.generate_uuid()

    def delete(self, compute_id):
        for port in self._network.ports(device_id=compute_id):
            self._network.delete_port(port)

    def status(self, compute_id):
        return constants.UP

    def get_amphora(self, compute_id, management_network_id=None):
        # The address is of a block for documentation.
        amphora = data_models.Amphora(compute_id=compute_id, status=constants.ACTIVE, lb_network_ip='192.0.2.1')
        return amphora, None

    def create_server_group(self, name, policy):
        return types.SimpleNamespace(id=uuidutils.generate_uuid())

    def delete_server_group(self, server_group_id):
        pass

    def attach_network_or_port(self, compute_id, network_id=None, ip_address=None, port_id=None):
        if port_id:
            port = self._network.update_port(port_id, device_id=compute_id)
        else:
            port = self._network.create_port(name=f'loopback-{compute_id}', network_id=network_id, device_id=compute_id)
        # As Nova's client answers.
        return types.SimpleNamespace(net_id=port.network_id, port_id=port.id, fixed_ips=port.fixed_ips)

    def detach_port(self, compute_id, port_id):
        port = self._network.find_port(port_id)
        if port:
            self._network.update_port(port, device_id='')

    def validate_flavor(self, flavor_id):
        pass

    def validate_availability_zone(self, availability_zone):
        pass
