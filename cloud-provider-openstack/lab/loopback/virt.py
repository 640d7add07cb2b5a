"""nova-compute on Nova's own pretended hypervisor, which forgets its servers when it ends: here they are remembered."""

import sys

from nova import monkey_patch

# Before anything else of Nova, as its own programs do.
monkey_patch.patch(backend='threading')

from nova.cmd import compute  # noqa: E402
from nova.compute import power_state, vm_states  # noqa: E402
from nova.virt import fake  # noqa: E402

NOT_THERE = (None, vm_states.BUILDING, vm_states.ERROR, vm_states.DELETED, vm_states.SOFT_DELETED)


class Driver(fake.FakeDriverWithoutFakeNodes):

    def _remember(self, instance):
        """A server that Nova's database has, and this process has not, is from before a restart."""
        if instance.uuid in self.instances or instance.vm_state in NOT_THERE:
            return
        stopped = instance.power_state == power_state.SHUTDOWN
        state = power_state.SHUTDOWN if stopped else power_state.RUNNING
        self.instances[instance.uuid] = fake.FakeInstance(instance.name, state, instance.uuid)

    def get_info(self, instance, use_cache=True):
        self._remember(instance)
        return super().get_info(instance, use_cache)

    def power_on(self, context, instance, *args, **kwargs):
        self._remember(instance)
        return super().power_on(context, instance, *args, **kwargs)

    def power_off(self, instance, *args, **kwargs):
        self._remember(instance)
        return super().power_off(instance, *args, **kwargs)


def main():
    # Nova looks for the driver `loopback.Driver` of its configuration below nova.virt.
    sys.modules['nova.virt.loopback'] = sys.modules[__name__]
    compute.main()
