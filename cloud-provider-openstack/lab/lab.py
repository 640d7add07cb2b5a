"""OpenStack's own services on loopback, started and ended by `cargo xtask cloud up openstack` and `cloud down openstack`.

`up` runs with the Python of a virtual environment that has requirements.txt; `down` needs nothing but Python.
"""

import argparse
import concurrent.futures
import fcntl
import getpass
import json
import os
import shutil
import subprocess
import sys
import time

from place import APIS, HERE, PASSWORD, REGION, SEARCH, Place
from processes import Processes

DATABASES = ['keystone', 'glance', 'placement', 'nova_api', 'nova', 'nova_cell0', 'neutron', 'octavia', 'barbican', 'cinder']


class Lab:

    def __init__(self, place):
        self.place = place
        self.processes = Processes(place)
        self.begun = time.monotonic()

    def say(self, text):
        print(f'[{time.monotonic() - self.begun:4.0f} s] {text}', file=sys.stderr, flush=True)

    # Up

    def up(self, reset, fresh, check):
        place = self.place
        self.prepare(reset, fresh)
        place.write_configuration()
        self.start_stores()
        if not (place.data / 'migrated').exists():
            self.migrate()
            (place.data / 'migrated').touch()
            self.say('databases are ready')
        ids = self.start_services()
        if not place.snapshot.exists():
            self.take_snapshot()
        seconds = round(time.monotonic() - self.begun, 1)
        self.say('up')
        answer = {'folder': str(place.folder), 'clouds_yaml': str(place.folder / 'clouds.yaml'),
                  'cloud_conf': str(place.folder / 'cloud.conf'), 'lab_json': str(place.folder / 'lab.json'), 'seconds': seconds}
        if check:
            import check as checks
            answer['checks'] = checks.run(place, ids, self.say)
        return answer

    def prepare(self, reset, fresh):
        """Decides what of earlier state is kept: all, the snapshot of the first start, or nothing."""
        place = self.place
        version = place.folder / 'version'
        if not version.exists() or version.read_text() != place.version():
            fresh = True
        half_made = place.data.exists() and not (place.data / 'migrated').exists()
        if fresh or reset or half_made:
            self.processes.stop()
            shutil.rmtree(place.data, ignore_errors=True)
        if fresh:
            shutil.rmtree(place.etc, ignore_errors=True)
            place.snapshot.unlink(missing_ok=True)
            place.choose_ports()
        for folder in (place.etc, place.log, place.run):
            folder.mkdir(exist_ok=True)
        if not place.data.exists() and place.snapshot.exists():
            self.run('snapshot', ['tar', '-C', place.folder, '-xf', place.snapshot])
            self.say('restored the snapshot')
        for name in ('fernet', 'credential', 'lock', 'rabbitmq', 'glance/images', 'glance/staging', 'glance/tasks',
                     'nova', 'nova-compute', 'cinder', 'neutron', 'octavia'):
            (place.data / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        version.write_text(place.version())

    def start_stores(self):
        place, processes = self.place, self.processes
        rabbit = place.data / 'rabbitmq'
        (rabbit / 'plugins').write_text('[].')
        epmd = {'ERL_EPMD_PORT': str(place.port('epmd')), 'ERL_EPMD_ADDRESS': '127.0.0.1'}
        # One of our own, instead of the one that Erlang would leave behind.
        processes.start('epmd', ['epmd'], epmd)
        self.start_mariadb()
        processes.wait_for_port('epmd')
        processes.start('rabbitmq', ['/usr/lib/rabbitmq/bin/rabbitmq-server'], epmd | {
            'HOME': str(rabbit),
            'RABBITMQ_NODENAME': f'loopback{place.port("rabbitmq")}@localhost',
            'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODE_PORT': str(place.port('rabbitmq')),
            'RABBITMQ_DIST_PORT': str(place.port('erlang')),
            'RABBITMQ_MNESIA_BASE': str(rabbit / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(place.log),
            'RABBITMQ_PID_FILE': str(rabbit / 'pid'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(rabbit / 'plugins'),
            'RABBITMQ_CONFIG_FILE': str(rabbit / 'none'),
            # One scheduler that does not spin while it waits.
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}',
        })

    def start_mariadb(self):
        """Safe against a crash of the server, not of the machine: it shall be quick."""
        folder = self.place.data / 'mariadb'
        if not (folder / 'mysql').exists():
            self.run('mariadb-install', ['mariadb-install-db', '--no-defaults', f'--datadir={folder}', *as_root(),
                                         '--auth-root-authentication-method=normal', '--skip-test-db', '--skip-name-resolve'])
        self.processes.start('mariadb', [
            shutil.which('mariadbd', path=SEARCH), '--no-defaults', f'--datadir={folder}', *as_root(),
            '--bind-address=127.0.0.1', f'--port={self.place.port("mariadb")}', '--socket=socket', '--pid-file=pid',
            '--skip-name-resolve', '--max-connections=400', '--performance-schema=0', '--innodb-buffer-pool-size=128M',
            '--innodb-log-file-size=48M', '--innodb-flush-log-at-trx-commit=0', '--innodb-doublewrite=0', '--sync-binlog=0'])
        self.processes.wait_for_port('mariadb')

    def migrate(self):
        """Makes the tables. Two at a time: it is all computing."""
        place = self.place
        nova, mariadb_url = self.manage('nova'), f'mysql+pymysql://root@127.0.0.1:{place.port("mariadb")}'
        keystone = self.manage('keystone')
        url = place.url('keystone') + '/v3'
        jobs = {
            'neutron': [self.manage('neutron', 'neutron-db-manage') + ['upgrade', 'heads']],
            'nova': [nova + ['api_db', 'sync'],
                     nova + ['cell_v2', 'map_cell0', '--database_connection', f'{mariadb_url}/nova_cell0'],
                     nova + ['db', 'sync'], nova + ['cell_v2', 'create_cell', '--name', 'cell1']],
            'keystone': [keystone + ['fernet_setup', *keystone_user()], keystone + ['credential_setup', *keystone_user()],
                         keystone + ['db_sync'],
                         keystone + ['bootstrap', '--bootstrap-password', PASSWORD, '--bootstrap-region-id', REGION,
                                     '--bootstrap-public-url', url, '--bootstrap-internal-url', url,
                                     '--bootstrap-admin-url', place.tap('keystone') + '/v3']],
            'octavia': [self.manage('octavia', 'octavia-db-manage') + ['upgrade', 'head']],
            'cinder': [self.manage('cinder') + ['db', 'sync']],
            'glance': [self.manage('glance') + ['db_sync']],
            'placement': [self.manage('placement') + ['db', 'sync']],
            'barbican': [self.script('barbican-manage', 'db', 'upgrade', '-d', f'{mariadb_url}/barbican', '-v', 'head')],
        }
        import pymysql
        with pymysql.connect(host='127.0.0.1', port=place.port('mariadb'), user='root') as root, root.cursor() as cursor:
            for name in DATABASES:
                cursor.execute(f'CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3')
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            running = [pool.submit(lambda name=name, commands=commands: [self.run(f'migrate-{name}', c) for c in commands])
                       for name, commands in jobs.items()]
            for one in concurrent.futures.as_completed(running):
                one.result()

    def start_services(self):
        """Starts the services, fills the cloud, and returns the ids of what is in it."""
        place, processes = self.place, self.processes
        self.serve('keystone')
        processes.wait_for_port('keystone')
        import fill
        known = place.data / 'ids.json'
        if not known.exists():
            fill.identity(place)
        self.say('keystone is ready')
        processes.wait_for_port('rabbitmq')
        for name in ('placement', 'glance', 'neutron', 'cinder', 'octavia'):
            self.serve(name)
        processes.start('barbican', self.python('paste', sys.prefix + '/etc/barbican/barbican-api-paste.ini',
                                                place.port('barbican')))
        for name in ('nova-conductor', 'nova-scheduler'):
            processes.start(name, self.script(name, '--config-file', place.config('nova')))
        for name in ('cinder-scheduler', 'cinder-volume'):
            processes.start(name, self.script(name, '--config-file', place.config('cinder')))
        processes.start('octavia-worker', self.script('octavia-worker', '--config-file', place.config('octavia')))
        processes.wait_for_port('placement')
        self.serve('nova')
        processes.start('nova-compute', self.script('loopback-compute', '--config-file', place.config('nova-compute')))
        for name, _, _ in APIS:
            processes.wait_for_port(name)
        self.say('all APIs are up')
        if not known.exists():
            known.write_text(json.dumps(fill.resources(place)))
        ids = json.loads(known.read_text())
        fill.settle(place)
        fill.write_files(place, ids)
        return ids

    def take_snapshot(self):
        """Of the data of the first start. The services live through the short absence of their database."""
        self.processes.stop(['mariadb'])
        unfinished = self.place.snapshot.with_suffix('.unfinished')
        self.run('snapshot', ['tar', '-C', self.place.folder, '--exclude=data/rabbitmq', '--exclude=data/lock', '-cf', unfinished,
                              'data'])
        unfinished.rename(self.place.snapshot)
        self.start_mariadb()
        self.say('took the snapshot that --reset goes back to')

    # Commands

    def python(self, *arguments):
        return [sys.executable, HERE / 'run.py', *arguments]

    def script(self, name, *arguments):
        return self.python('script', name, *arguments)

    def manage(self, service, script=None):
        return self.script(script or f'{service}-manage', '--config-file', self.place.config(service))

    def serve(self, name):
        """The API of a service."""
        modules = {'keystone': 'keystone.wsgi.api', 'nova': 'nova.wsgi.osapi_compute'}
        # These take the file as an argument, the others find it in the folder that their environment names.
        told = ['--config-file', self.place.config(name)] if name in ('octavia', 'cinder') else []
        self.processes.start(name, self.python('wsgi', modules.get(name, f'{name}.wsgi.api'), self.place.port(name), *told))

    def run(self, name, command):
        """Runs a command to its end; fails with the end of its log."""
        path = self.place.log / f'{name}.log'
        with open(path, 'ab') as log:
            done = subprocess.run([str(word) for word in command], env=self.place.environment(), cwd=self.place.folder,
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if done.returncode != 0:
            tail = path.read_text(errors='replace').splitlines()[-15:]
            raise SystemExit('\n'.join([f'{name} failed; the end of its log:', *tail]))


def as_root():
    """MariaDB refuses to run as root unless it is told to."""
    return ['--user=root'] if os.geteuid() == 0 else []


def keystone_user():
    return ['--keystone-user', getpass.getuser(), '--keystone-group', getpass.getuser()]


def main():
    parser = argparse.ArgumentParser(prog='cargo xtask cloud', description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest='command', required=True)
    up = commands.add_parser('up', help='start what does not run')
    down = commands.add_parser('down', help='end what runs; state stays')
    for command in (up, down):
        command.add_argument('--dir', required=True, metavar='FOLDER', help='where state is; below target/ when not given')
        command.add_argument('--json', action='store_true', help='the answer as JSON on standard output')
    up.add_argument('--reset', action='store_true', help='go back to the state after the first start')
    up.add_argument('--fresh', action='store_true', help='forget all state')
    up.add_argument('--check', action='store_true', help='use each service once, as a controller would')
    options = parser.parse_args()
    # What is asked for here is on this machine.
    os.environ.update(no_proxy='127.0.0.1', NO_PROXY='127.0.0.1')

    place = Place(options.dir)
    if options.command == 'down' and not place.run.exists():
        return
    place.folder.mkdir(parents=True, exist_ok=True)
    with open(place.folder / 'lock', 'w') as lock:
        # Until the program ends; another one waits.
        fcntl.flock(lock, fcntl.LOCK_EX)
        lab = Lab(place)
        if options.command == 'down':
            lab.processes.stop()
            answer = {'folder': str(place.folder), 'seconds': round(time.monotonic() - lab.begun, 1)}
        else:
            answer = lab.up(options.reset, options.fresh, options.check)
    if options.json:
        print(json.dumps(answer))
    else:
        for key, value in answer.items():
            print(f'{key.replace("_", " ")}: {value}')


if __name__ == '__main__':
    main()
