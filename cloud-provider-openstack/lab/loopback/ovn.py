"""Octavia: a provider that accepts what OVN's does and refuses the rest, on amphorae that do nothing. Not OVN's driver."""

from octavia.api.drivers.amphora_driver.v2 import driver
from octavia_lib.api.drivers import data_models, exceptions
from octavia_lib.common import constants

PROTOCOLS = {constants.PROTOCOL_TCP, constants.PROTOCOL_UDP, constants.PROTOCOL_SCTP}
MONITORS = {constants.HEALTH_MONITOR_TCP, constants.HEALTH_MONITOR_UDP_CONNECT, constants.HEALTH_MONITOR_SCTP}


def refuse_unless(supported, what):
    if not supported:
        message = f'OVN provider does not support {what}'
        raise exceptions.UnsupportedOptionError(user_fault_string=message, operator_fault_string=message)


class ProviderDriver(driver.AmphoraProviderDriver):

    # What the amphora driver asks before it creates or updates one.
    def _validate_pool_algorithm(self, pool):
        algorithm = pool.lb_algorithm
        refuse_unless(algorithm == constants.LB_ALGORITHM_SOURCE_IP_PORT, f'the algorithm {algorithm}')

    def _validate_listener_protocol(self, listener):
        refuse_unless(listener.protocol in PROTOCOLS, f'listeners of protocol {listener.protocol}')
        cidrs = listener.allowed_cidrs
        refuse_unless(isinstance(cidrs, data_models.UnsetType) or not cidrs, 'allowed CIDRs')

    def pool_create(self, pool):
        refuse_unless(pool.protocol in PROTOCOLS, f'pools of protocol {pool.protocol}')
        super().pool_create(pool)

    def health_monitor_create(self, healthmonitor):
        refuse_unless(healthmonitor.type in MONITORS, f'health monitors of type {healthmonitor.type}')
        super().health_monitor_create(healthmonitor)

    def l7policy_create(self, l7policy):
        refuse_unless(False, 'L7 policies')

    def validate_flavor(self, flavor_dict):
        refuse_unless(False, 'flavors')

    def validate_availability_zone(self, availability_zone_dict):
        refuse_unless(False, 'availability zones')
