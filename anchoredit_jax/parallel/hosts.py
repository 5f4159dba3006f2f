"""Several processes as one run: how they start, agree and end.

Each process runs the same program on its own devices. What one of them does that the
others do not (writing a log, say) must not be waited for by a program on the devices,
and whatever decides which program comes next must be the same on all.
"""

import contextlib
import os
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax.command_line.hosts import HostFlags
from anchoredit_jax.errors import Exit, UserError
from anchoredit_jax.in_use import FolderInUse, in_use

# How long a process that is done waits for the others to be done as well.
LEAVE_SECONDS = 20


class Hosts:
    """The processes of a run, from `start` to the end of a `with` block.

    Where the block ends as `exit_codes` ends programs, this waits for the others to end
    too, for a while. Any other exception happened to this process only, as far as it
    knows: it says so and ends at once, so that the others notice.
    """

    def __init__(self) -> None:
        self._started = False
        self._number = contextlib.ExitStack()

    def start(self, flags: HostFlags) -> None:
        """Start `jax.distributed`; before anything asks for devices.

        Raises:
          UserError: nothing was found that tells which processes there are, the
            coordinator's port is taken, or this host has a process of this number.
        """
        if not flags.several:
            return
        if flags.coordinator:
            self._number.enter_context(_only_one(flags))
        if flags.coordinator and flags.process == 0:
            _check_port(flags.coordinator)
        # What CPUs talk to each other by; other devices have their own ways.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        # It would take SIGTERM from `stopping`, which covers Ctrl-C as well.
        jax.config.update("jax_enable_preemption_service", False)
        alarm = threading.Timer(flags.connect_timeout, _give_up, [flags])
        alarm.daemon = True
        alarm.start()
        try:
            jax.distributed.initialize(
                flags.coordinator,
                flags.processes,
                flags.process,
                cluster_detection_method=None if flags.auto else "deactivate",
                # The alarm rings first: JAX aborts the process with a stack trace.
                initialization_timeout=flags.connect_timeout + 60,
                heartbeat_timeout_seconds=flags.heartbeat,
            )
        except ValueError as error:  # what JAX needed and was not told
            raise UserError(
                "--hosts auto: neither a TPU pod, GKE, SLURM nor Open MPI tells which "
                f"processes there are ({error}): name them with --coordinator "
                "HOST:PORT --processes N --process I"
            ) from error
        except RuntimeError as error:  # JAX's own errors are some of these
            raise UserError(
                f"the processes cannot be joined: {str(error).splitlines()[0]}"
            ) from error
        finally:
            alarm.cancel()
        self._started = True

    def __enter__(self) -> "Hosts":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._number.close()
        if not self._started:
            return
        if kind is not None and not issubclass(kind, SystemExit):
            traceback.print_exception(kind, error, trace)
            print(
                f"error: process {jax.process_index()} of {jax.process_count()} ends "
                "without the others; the same command on all of them goes on from the "
                "last checkpoint",
                file=sys.stderr,
            )
            end_now(Exit.HOST_FAULT)
        # JAX would wait for minutes, then abort, where the others are not about to end.
        leaving = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        leaving.start()
        leaving.join(LEAVE_SECONDS)
        if leaving.is_alive():
            code = getattr(error, "code", 0)
            end_now(code if isinstance(code, int) else Exit.HOST_FAULT)


def is_lead() -> bool:
    """Whether this process writes logs and speaks; the others are silent."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def gathered(value: int) -> list[int]:
    """A number from 0 to 2^32 - 1 of each process, in their order."""
    if jax.process_count() == 1:
        return [value]
    return multihost_utils.process_allgather(np.uint32(value)).tolist()


def from_lead(value: int) -> int:
    """The number that the lead gave; the others' do not count."""
    return gathered(value)[0]


def check_same(what: str, value: int, advice: str) -> None:
    """Refuse to go on where processes disagree: they would wait for each other.

    Args:
      value: 0 or more.

    Raises:
      UserError: names what differs, and what to do.
    """
    values = gathered(value)
    if len(set(values)) > 1:
        told = ", ".join(str(other) for other in values[:8])
        raise UserError(f"{what} differs between processes ({told}): {advice}")


def check_mesh(mesh: Mesh) -> None:
    """Refuse a mesh that leaves a process without devices, or some of its devices.

    Raises:
      UserError: says which sizes take all.
    """
    if jax.process_count() > 1 and mesh.size != jax.device_count():
        raise UserError(
            f"the mesh has {mesh.size} devices, {jax.process_count()} processes have "
            f"{jax.device_count()}: every device must be in it; mesh.data=none takes "
            "all that the other axes leave"
        )


class Agreement:
    """What processes decide alike: the largest number that any of them gave.

    All of them call it in the same places, once per step. The numbers go over the
    devices' own network in a program of four bytes behind the step's, and are read one
    call later, when that step is done: nobody waits for them, and all stop at the same
    step. (JAX's preemption service would do for SIGTERM, but counts with the steps of
    Orbax, which start anew in every stage, and does not know Ctrl-C.)
    """

    def __init__(self) -> None:
        mesh = Mesh(np.array(jax.devices()), ("device",))
        self._places = NamedSharding(mesh, PartitionSpec("device"))
        whole = NamedSharding(mesh, PartitionSpec())
        self._largest = jax.jit(jnp.max, out_shardings=whole)
        self._before: jax.Array | None = None

    def __call__(self, number: int) -> int:
        """The largest number of the call before; 0 at the first."""
        mine = np.full(jax.local_device_count(), number, np.int32)
        given = jax.make_array_from_process_local_data(self._places, mine)
        before, self._before = self._before, self._largest(given)
        return 0 if before is None else int(jax.device_get(before))


@contextlib.contextmanager
def _only_one(flags: HostFlags) -> Iterator[None]:
    """Have a process's number on this host; JAX would abort all of them at the second
    one. One that runs on another host, or is another user's, cannot be seen."""
    user = os.getuid() if hasattr(os, "getuid") else ""
    place = f".{user}.{flags.coordinator}.{flags.process}".replace(os.sep, "_")
    try:
        with in_use(tempfile.gettempdir(), place):
            yield
    except FolderInUse as error:
        raise UserError(
            f"--process {flags.process} of {flags.coordinator} was started twice: "
            f"{error.holder} has it already; give each process a number of its own"
        ) from error


def _check_port(coordinator: str) -> None:
    port = int(coordinator.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except OSError as error:  # JAX would end by a segmentation fault
        raise UserError(
            f"--coordinator: process 0 cannot listen on port {port} "
            f"({error.strerror}): another run may have it, choose another port"
        ) from error


def _give_up(flags: HostFlags) -> None:
    if flags.coordinator and flags.process:
        who = f"process 0 at {flags.coordinator} was not reached, or others were not"
    else:
        who = "not all processes were there"
    print(
        f"error: {who} within {flags.connect_timeout} seconds: start the same command "
        "on every host, check address and firewall, or raise --connect-timeout",
        file=sys.stderr,
    )
    end_now(Exit.WRONG_INPUT)


def end_now(code: int) -> None:
    """End without JAX's own ending, which waits for the other processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
