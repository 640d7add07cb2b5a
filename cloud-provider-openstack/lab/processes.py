"""Starting processes that stay, and ending them by their recorded ids.

Each leads a process group of its own. Its file in the folder `run` holds its id and when it was born in ticks of the
kernel, so that an id that was given to another process is never taken for ours.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path


class Processes:

    def __init__(self, place):
        self.place = place
        # Those that this program started: their ends are its to collect.
        self.children = {}

    def start(self, name, command, env=None):
        """Starts a process unless it runs."""
        if self.leader(name):
            return
        if port := self.place.taken_port(name):
            raise SystemExit(f'{name} needs port {port}, where another program listens: end that, or use --fresh, which forgets all '
                             'state and takes other ports')
        with open(self.place.log / f'{name}.log', 'ab') as log:
            child = subprocess.Popen([str(word) for word in command], env=self.place.environment() | (env or {}), stdout=log,
                                     stderr=log, stdin=subprocess.DEVNULL, cwd=self.place.data, start_new_session=True)
        self.children[name] = child
        born = stat(child.pid)[2]
        self._file(name).write_text(f'{child.pid} {born}')

    def leader(self, name):
        """The id of a process if it runs."""
        if name in self.children and self.children[name].poll() is not None:
            return None
        try:
            pid, born = map(int, self._file(name).read_text().split())
            state, _, now = stat(pid)
        except (OSError, ValueError):
            return None
        return pid if now == born and state != 'Z' else None

    def wait_for_port(self, name, listener=None, seconds=180):
        """Until a process listens; fails with the end of its log when it does not."""
        port = self.place.port(listener or name)
        end = time.monotonic() + seconds
        while True:
            runs = self.leader(name)
            with socket.socket() as probe:
                if runs and probe.connect_ex(('127.0.0.1', port)) == 0:
                    return
            if not runs or time.monotonic() > end:
                tail = (self.place.log / f'{name}.log').read_text(errors='replace').splitlines()[-15:]
                what = f'does not listen on port {port}' if runs else 'has ended'
                raise SystemExit('\n'.join([f'{name} {what}; the end of its log:', *tail]))
            time.sleep(0.1)

    def stop(self, names=None):
        """Ends processes, with all in their groups: asked first, killed after a while. The stores end last."""
        recorded = names or sorted(path.stem for path in self.place.run.glob('*.pid'))
        stores = [name for name in recorded if name in ('mariadb', 'rabbitmq', 'epmd')]
        for some, seconds in (([name for name in recorded if name not in stores], 5), (stores, 20)):
            groups = [pid for pid in map(self.leader, some) if pid]
            signal_groups(groups, signal.SIGTERM)
            end = time.monotonic() + seconds
            while self._alive(groups) and time.monotonic() < end:
                time.sleep(0.1)
            signal_groups(self._alive(groups), signal.SIGKILL)
            for name in some:
                self._file(name).unlink(missing_ok=True)
                self.children.pop(name, None)

    def _alive(self, groups):
        for child in self.children.values():
            child.poll()
        living = living_groups()
        return [group for group in groups if group in living]

    def _file(self, name):
        return self.place.run / f'{name}.pid'


def stat(pid):
    """The state of a process, its group and when it was born."""
    # The name of the program, in parentheses, may hold anything.
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return fields[0], int(fields[2]), int(fields[19])


def living_groups():
    groups = set()
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                state, group, _ = stat(entry)
            except OSError:
                continue
            if state != 'Z':
                groups.add(group)
    return groups


def signal_groups(groups, which):
    for group in groups:
        try:
            os.killpg(group, which)
        except ProcessLookupError:
            pass
