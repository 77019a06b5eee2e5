"""Faults of the command itself: it is killed, stopped, frozen, or started twice."""

import shlex
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.faults.driver import TIMEOUT_S, Driver, UnexpectedOutcome
from bench.faults.fault import fault
from bench.faults.nodes import cluster
from bench.faults.scene import UNITS, Scene
from bench.machine import ROOT

AGAIN = "run the same command again"
_AGENT_S = 60.0


@fault("driver SIGKILL and resume", quick=True)
def killed(scene: Scene) -> None:
    """SIGKILL to the driver while actors load, in the middle, and when little is left; each time the same command."""
    for units in (0, 2, UNITS - 3):
        driver = scene.generate()
        driver.wait_until(lambda: scene.finished_units() >= units and scene.actors())  # noqa: B023
        driver.send(signal.SIGKILL)
        driver.expect_exit(-signal.SIGKILL)
    scene.generate().expect_exit(0)


@fault("driver SIGKILL before the card, and resume")
def before_card(scene: Scene) -> None:
    """SIGKILL to the driver the moment the last unit is finished, before card and report are written."""
    driver = scene.generate()
    driver.wait_until(lambda: scene.finished_units() == UNITS, pause_s=0.002)
    driver.send(signal.SIGKILL)
    driver.expect_exit(-signal.SIGKILL)
    if "README.md" in scene.place.names():
        raise UnexpectedOutcome("the card was written before the driver died")
    scene.generate().expect_exit(0)


@fault("Ctrl-C and SIGTERM", quick=True)
def stopped(scene: Scene) -> None:
    """Ctrl-C: the units in flight are finished. SIGTERM, and Ctrl-C twice: it ends at once. Then the same command."""
    first = scene.generate()
    scene.wait_until_busy(first, 1)
    first.press_ctrl_c()
    first.expect_exit(128 + signal.SIGINT, "finishing the units in flight", AGAIN)
    if left := scene.place.staged():
        raise UnexpectedOutcome(f"a unit in flight was not finished: {left[0].name}")
    second = scene.generate()
    scene.wait_until_busy(second, scene.finished_units() + 1)
    second.send(signal.SIGTERM)
    second.expect_exit(128 + signal.SIGTERM, AGAIN)
    third = scene.generate()
    scene.wait_until_busy(third, scene.finished_units() + 1)
    third.press_ctrl_c()
    third.wait_until(lambda: "finishing the units in flight" in third.output())
    third.press_ctrl_c()
    third.expect_exit(128 + signal.SIGINT, AGAIN)
    scene.generate().expect_exit(0)


@fault("ray job stop with 3 s of grace")
def job_stop_short(scene: Scene) -> None:
    """A Ray job is stopped, which kills it 3 seconds after SIGTERM; then the same job again."""
    _stopped_job(scene, 3)


@fault("ray job stop with 20 s of grace")
def job_stop_long(scene: Scene) -> None:
    """A Ray job is stopped, which kills it 20 seconds after SIGTERM; then the same job again."""
    _stopped_job(scene, 20)


@fault("two drivers on one output", quick=True)
def simultaneous(scene: Scene) -> None:
    """Two drivers run the same command at the same time, over one run."""
    _expect_no_conflict([scene.generate(), scene.generate()])


@fault("frozen driver, overtaken, that wakes up")
def frozen(scene: Scene) -> None:
    """SIGSTOP to a driver, its Ray and its actors; another command finishes the run; then SIGCONT to all of them."""
    driver = scene.generate()
    scene.wait_until_busy(driver)
    stopped = [process for process in scene.processes() if process.is_running()]
    for process in stopped:
        process.suspend()
    scene.generate().expect_exit(0)
    for process in stopped:
        if process.is_running():
            process.resume()
    driver.expect_exit(0)


@fault("S3: two drivers on one output", storage="bucket")
def simultaneous_in_a_bucket(scene: Scene) -> None:
    """Two drivers run the same command at the same time, over one run in an object store."""
    _expect_no_conflict([scene.generate(), scene.generate()])


@fault("S3: driver SIGKILL and resume", storage="bucket")
def killed_in_a_bucket(scene: Scene) -> None:
    """SIGKILL to the driver, twice; each time the same command again."""
    for _ in range(2):
        driver = scene.generate()
        scene.wait_until_busy(driver, scene.finished_units() + 2)
        driver.send(signal.SIGKILL)
        driver.expect_exit(-signal.SIGKILL)
    scene.generate().expect_exit(0)


def _expect_no_conflict(drivers: Sequence[Driver]) -> None:
    for driver in drivers:
        driver.expect_exit(0)
        if "conflict" in driver.output().lower():
            raise UnexpectedOutcome(f"one saw the other as a conflict: {driver.tail()}")


def _stopped_job(scene: Scene, grace_s: int) -> None:
    with cluster(scene, nodes=1, dashboard=True) as nodes:
        job = Job(scene, nodes.webui_url, grace_s)
        job.wait_until(lambda: scene.finished_units() >= 2 and scene.busy_actors())
        job.stop()
        if scene.finished_units() == UNITS:
            raise UnexpectedOutcome("the job was finished before it was stopped")
        job = Job(scene, nodes.webui_url, grace_s)
        job.wait_until(lambda: job.status() != "RUNNING" and job.status() != "PENDING")
        if job.status() != "SUCCEEDED":
            raise UnexpectedOutcome(f"the job ended as {job.status()}: {job.output()[-300:]}")


class Job:
    """The command as a Ray job, submitted to a cluster through its dashboard."""

    def __init__(self, scene: Scene, dashboard: str, grace_s: int) -> None:
        from ray.job_submission import JobSubmissionClient

        self._client = JobSubmissionClient(f"http://{dashboard}")
        line = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(scene.command())}"
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(grace_s)}
        self._id = self._submit(line, {"env_vars": variables})

    def _submit(self, line: str, environment: dict[str, Any]) -> str:
        # The dashboard answers before the agent that starts jobs is there.
        deadline = time.monotonic() + _AGENT_S
        while True:
            try:
                return str(self._client.submit_job(entrypoint=line, runtime_env=environment))
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def status(self) -> str:
        """Return the status that Ray reports."""
        return str(self._client.get_job_status(self._id).value)

    def output(self) -> str:
        """Return all output so far."""
        return str(self._client.get_job_logs(self._id))

    def stop(self) -> None:
        """Stop the job as `ray job stop` does, and wait until it has stopped."""
        self._client.stop_job(self._id)
        self.wait_until(lambda: self.status() == "STOPPED")

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds. Raises UnexpectedOutcome after a time-out."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise UnexpectedOutcome(f"the job is {self.status()} after {TIMEOUT_S:.0f} s: {self.output()[-300:]}")
            time.sleep(0.2)
