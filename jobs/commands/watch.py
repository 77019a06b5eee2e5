"""Leaving a spot machine in time."""

from argparse import Namespace

from jobs.arguments import AddCommand


def register(command: AddCommand) -> None:
    """The commands of this file."""
    text = "Run beside Ray on each spot machine: when its cloud says that it takes the machine, drain the Ray node."
    added = command("watch", watch, text, "watch")
    added.add_argument("--node-id", metavar="ID", help="drain this Ray node; by default, every one on this machine")


def watch(arguments: Namespace) -> None:
    """Wait for the notice, drain, and end."""
    from engine.cluster.local_nodes import LocalNodes
    from engine.cluster.spot_notices import await_interruption, find_cloud
    from engine.monitoring.log import TextLog

    log = TextLog()
    cloud = find_cloud()
    machine = LocalNodes(arguments.node_id)
    log.say("watching", f"watching {cloud.name} for notices to Ray node {', '.join(machine.await_nodes())}")
    notice = await_interruption(cloud, log)
    drained = machine.drain(notice.text, notice.deadline)
    log.say("drained", f"{notice.text}: drained Ray node {', '.join(drained)}", "warning")
