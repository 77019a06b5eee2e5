"""The command that drains a spot machine before its cloud takes it."""

from argparse import Namespace

from jobs.arguments import AddCommand


def register(command: AddCommand) -> None:
    """Add the command of this file."""
    text = "Run beside Ray on each spot machine: when its cloud says that it takes the machine, drain the Ray node."
    parser = command("watch", watch, text, "watch")
    parser.add_argument("--node-id", metavar="ID", help="drain this Ray node; by default, every one on this machine")


def watch(arguments: Namespace) -> None:
    """Wait for an interruption notice, and drain the Ray nodes of this machine."""
    from engine.cluster.local_nodes import LocalNodes
    from engine.cluster.spot_notices import detect_cloud, wait_for_interruption
    from engine.monitoring.log import TextLog

    log = TextLog()
    cloud = detect_cloud()
    nodes = LocalNodes(arguments.node_id)
    watched = ", ".join(nodes.wait_for_nodes())
    log.message("spot_watch_started", f"watching {cloud.name} for notices to Ray node {watched}")
    notice = wait_for_interruption(cloud, log)
    drained = nodes.drain(notice.text, notice.deadline)
    log.message("node_drained", f"{notice.text}: drained Ray node {', '.join(drained)}", "warning")
