"""Where everything is: folders, ports, addresses, the environment and the configuration files of the services."""

import hashlib
import os
import re
import shutil
import socket
import string
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Of every user. Whoever can connect to loopback on this machine may know it.
PASSWORD = 'loopback'
REGION = 'RegionOne'

# The services with an API: name, type in the catalog, path below the root of the server.
APIS = [
    ('keystone', 'identity', '/v3'),
    ('glance', 'image', ''),
    ('placement', 'placement', ''),
    ('nova', 'compute', '/v2.1'),
    ('neutron', 'network', ''),
    ('octavia', 'load-balancer', ''),
    ('barbican', 'key-manager', ''),
    ('cinder', 'block-storage', '/v3'),
]
# Each has a port: those with an API in the order above, then the others.
LISTENERS = [name for name, _, _ in APIS] + ['mariadb', 'rabbitmq', 'epmd', 'erlang']
# The endpoints of the catalog's interface "admin" are so much higher. Nothing listens there: it is for a proxy that
# counts or delays what a program under test asks for.
TAP = 100

# Debian keeps servers where only root's PATH leads.
SEARCH = os.pathsep.join([os.environ.get('PATH', os.defpath), '/usr/sbin', '/usr/lib/rabbitmq/bin'])


class Place:
    """The folder of one cloud, with the port of its first service."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.etc, self.data, self.log, self.run = (self.folder / name for name in ('etc', 'data', 'log', 'run'))
        self.snapshot = self.folder / 'snapshot.tar'
        self._base = self.folder / 'port'

    def version(self):
        """Changes with whatever makes kept state useless."""
        made_of = ['requirements.txt', 'services.conf', 'fill.py']
        return hashlib.sha256(b''.join((HERE / name).read_bytes() for name in made_of)).hexdigest()

    def choose_ports(self):
        """A new cloud takes the first free row of ports; they are in its database from then on."""
        for base in range(15000, 32000, 2 * TAP):
            if all(is_free(base + offset) for offset in (*range(len(LISTENERS)), *range(TAP, TAP + len(APIS)))):
                self._base.write_text(str(base))
                return
        raise SystemExit('no free ports from 15000 to 32000')

    def port(self, name):
        return int(self._base.read_text()) + LISTENERS.index(name)

    def taken_port(self, name):
        """One that a process is going to listen on, and cannot."""
        names = ['rabbitmq', 'erlang'] if name == 'rabbitmq' else [name]
        return next((self.port(one) for one in names if one in LISTENERS and not is_free(self.port(one))), None)

    def url(self, name):
        return f'http://127.0.0.1:{self.port(name)}'

    def tap(self, name):
        return f'http://127.0.0.1:{self.port(name) + TAP}'

    def config(self, service):
        # Glance reads files of fixed names.
        return self.etc / service / ('glance-api.conf' if service == 'glance' else f'{service}.conf')

    def environment(self):
        """Tells the services where their configuration is, and nothing of the user's own clouds and proxies."""
        kept = {k: v for k, v in os.environ.items() if not re.match(r'OS_|.*_proxy$', k, re.IGNORECASE)}
        folders = {f'OS_{name.upper()}_CONFIG_DIR': str(self.etc / name) for name, _, _ in APIS}
        return kept | folders | {
            'OS_NEUTRON_CONFIG_FILES': 'neutron.conf',
            'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1',
            # Barbican looks for its configuration there; nobody finds files of the user's.
            'HOME': str(self.etc),
            'PATH': SEARCH,
            # The drivers, and how the services find them.
            'PYTHONPATH': os.pathsep.join([str(self.etc / 'python'), str(HERE)]),
            'PYTHONDONTWRITEBYTECODE': '1',
            'PYTHONWARNINGS': 'ignore',
        }

    def write_configuration(self):
        values = {
            'etc': self.etc, 'data': self.data, 'venv': sys.prefix, 'password': PASSWORD,
            'mariadb_url': f'mysql+pymysql://root@127.0.0.1:{self.port("mariadb")}',
            'rabbitmq_url': f'rabbit://guest:guest@127.0.0.1:{self.port("rabbitmq")}//',
            'octavia_port': self.port('octavia'),
        } | {f'{name}_url': self.url(name) for name, _, _ in APIS}
        template = (HERE / 'services.conf').read_text()
        for service in [name for name, _, _ in APIS] + ['nova-compute']:
            user = 'nova' if service == 'nova-compute' else service
            path = self.config(service)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(string.Template(only(template, service)).substitute(
                values, service=service, credentials=credentials(self.url('keystone'), user)))
        # Two that look for files in places of their own.
        shutil.copy(Path(sys.prefix) / 'etc' / 'nova' / 'api-paste.ini', self.etc / 'nova')
        (self.etc / '.barbican').mkdir(exist_ok=True)
        shutil.copy(self.config('barbican'), self.etc / '.barbican')
        self._write_entry_points()
        self._write_certificate()

    def _write_entry_points(self):
        """The services look their drivers up among installed packages; this makes `loopback` look like one."""
        package = self.etc / 'python' / 'loopback-1.dist-info'
        package.mkdir(parents=True, exist_ok=True)
        (package / 'METADATA').write_text('Metadata-Version: 2.1\nName: loopback\nVersion: 1\n')
        (package / 'entry_points.txt').write_text(
            '[console_scripts]\nloopback-compute = loopback.virt:main\n'
            '[neutron.ml2.mechanism_drivers]\nloopback = loopback.ml2:MechanismDriver\n'
            '[octavia.compute.drivers]\nloopback = loopback.amphora:ComputeDriver\n'
            '[octavia.api.drivers]\novn = loopback.ovn:ProviderDriver\n')

    def _write_certificate(self):
        """The authority that Octavia signs certificates of amphorae with."""
        if not (self.etc / 'ca.pem').exists():
            subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '3650', '-subj', '/CN=loopback',
                            '-keyout', self.etc / 'ca.key', '-out', self.etc / 'ca.pem'], check=True, capture_output=True)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
        return True


def credentials(keystone, user):
    return (f'auth_type = password\nauth_url = {keystone}/v3\nusername = {user}\npassword = {PASSWORD}\n'
            f'project_name = service\nuser_domain_id = default\nproject_domain_id = default\nregion_name = {REGION}')


def only(template, service):
    """The sections of services.conf that are for a service, with their headers as the services know them."""
    lines, wanted = [], False
    for line in template.splitlines():
        header = re.fullmatch(r'\[(\S+) (\S+)\]', line)
        if header:
            wanted = header[1] == '*' or service in header[1].split(',')
            line = f'[{header[2]}]'
        if wanted and not line.startswith('#'):
            lines.append(line)
    return '\n'.join(lines) + '\n'
