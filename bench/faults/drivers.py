"""What happens to the command itself: it is killed, stopped, frozen, started twice."""

import shlex
import signal
import time
from collections.abc import Callable, Sequence

from bench.faults.driver import PATIENCE_S, Driver, Unexpected
from bench.faults.fault import fault
from bench.faults.nodes import cluster
from bench.faults.scene import UNITS, Scene
from bench.machine import ROOT

AGAIN = "run the same command again"


@fault("driver SIGKILL and resume", quick=True)
def killed(scene: Scene) -> None:
    """SIGKILL to the driver while actors load, in the middle, and when little is left; each time the same command."""
    for units in (0, 2, UNITS - 3):
        driver = scene.generate()
        driver.until(lambda: scene.done() >= units and scene.actors())  # noqa: B023
        driver.send(signal.SIGKILL)
        driver.ends(-signal.SIGKILL)
    scene.generate().ends(0)


@fault("driver SIGKILL before the card, and resume")
def before_card(scene: Scene) -> None:
    """SIGKILL to the driver the moment the last unit is finished, before card and report are written."""
    driver = scene.generate()
    driver.until(lambda: scene.done() == UNITS, pause_s=0.002)
    driver.send(signal.SIGKILL)
    driver.ends(-signal.SIGKILL)
    if "README.md" in scene.place.names():
        raise Unexpected("the card was written before the driver died")
    scene.generate().ends(0)


@fault("Ctrl-C and SIGTERM", quick=True)
def stopped(scene: Scene) -> None:
    """Ctrl-C: the units in flight are finished. SIGTERM, and Ctrl-C twice: it ends at once. Then the same command."""
    first = scene.generate()
    scene.at_work(first, 1)
    first.press_ctrl_c()
    first.ends(128 + signal.SIGINT, "finishing the units in flight", AGAIN)
    if left := scene.place.staged():
        raise Unexpected(f"a unit in flight was not finished: {left[0].name}")
    second = scene.generate()
    scene.at_work(second, scene.done() + 1)
    second.send(signal.SIGTERM)
    second.ends(128 + signal.SIGTERM, AGAIN)
    third = scene.generate()
    scene.at_work(third, scene.done() + 1)
    third.press_ctrl_c()
    third.until(lambda: "finishing the units in flight" in third.text())
    third.press_ctrl_c()
    third.ends(128 + signal.SIGINT, AGAIN)
    scene.generate().ends(0)


@fault("ray job stop with 3 s of grace")
def job_stop_short(scene: Scene) -> None:
    """A Ray job is stopped, which kills it 3 seconds after SIGTERM; then the same job again."""
    _stopped_job(scene, 3)


@fault("ray job stop with 20 s of grace")
def job_stop_long(scene: Scene) -> None:
    """The same with 20 seconds."""
    _stopped_job(scene, 20)


@fault("two drivers on one output", quick=True)
def two(scene: Scene) -> None:
    """The same command twice at the same time, over one run."""
    _ends_all([scene.generate(), scene.generate()])


@fault("frozen driver, overtaken, that wakes up")
def frozen(scene: Scene) -> None:
    """SIGSTOP to a driver, its Ray and its actors; another command finishes the run; then SIGCONT to all of them."""
    driver = scene.generate()
    scene.at_work(driver)
    stopped = [one for one in scene.family() if one.is_running()]
    for one in stopped:
        one.suspend()
    scene.generate().ends(0)
    for one in stopped:
        if one.is_running():
            one.resume()
    driver.ends(0)


@fault("S3: two drivers on one output", where="bucket")
def two_in_a_bucket(scene: Scene) -> None:
    """The same command twice at the same time, over one run in an object store."""
    _ends_all([scene.generate(), scene.generate()])


@fault("S3: driver SIGKILL and resume", where="bucket")
def killed_in_a_bucket(scene: Scene) -> None:
    """SIGKILL to the driver, twice; each time the same command again."""
    for _ in range(2):
        driver = scene.generate()
        scene.at_work(driver, scene.done() + 2)
        driver.send(signal.SIGKILL)
        driver.ends(-signal.SIGKILL)
    scene.generate().ends(0)


def _ends_all(drivers: Sequence[Driver]) -> None:
    for driver in drivers:
        driver.ends(0)
        if "conflict" in driver.text().lower():
            raise Unexpected(f"one saw the other as a conflict: {driver.last_words()}")


def _stopped_job(scene: Scene, grace_s: int) -> None:
    with cluster(scene, nodes=1, dashboard=True) as nodes:
        job = Job(scene, nodes.webui_url, grace_s)
        job.until(lambda: scene.done() >= 2 and scene.makers())
        job.stop()
        if scene.done() == UNITS:
            raise Unexpected("the job was finished before it was stopped")
        job = Job(scene, nodes.webui_url, grace_s)
        job.until(lambda: job.status() != "RUNNING" and job.status() != "PENDING")
        if job.status() != "SUCCEEDED":
            raise Unexpected(f"the job ended as {job.status()}: {job.text()[-300:]}")


class Job:
    """The command as a Ray job, submitted to a cluster by its dashboard."""

    def __init__(self, scene: Scene, dashboard: str, grace_s: int) -> None:
        from ray.job_submission import JobSubmissionClient

        self._client = JobSubmissionClient(f"http://{dashboard}")
        line = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(scene.command())}"
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(grace_s)}
        self._id = self._client.submit_job(entrypoint=line, runtime_env={"env_vars": variables})

    def status(self) -> str:
        """In Ray's words."""
        return str(self._client.get_job_status(self._id).value)

    def text(self) -> str:
        """All that it wrote so far."""
        return str(self._client.get_job_logs(self._id))

    def stop(self) -> None:
        """As `ray job stop` does, and wait until it is."""
        self._client.stop_job(self._id)
        self.until(lambda: self.status() == "STOPPED")

    def until(self, what: Callable[[], object]) -> None:
        """Wait until something is so. Raises Unexpected where it is not for minutes."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            if time.monotonic() > deadline:
                raise Unexpected(f"waited {PATIENCE_S:.0f} s for a job that is {self.status()}: {self.text()[-300:]}")
            time.sleep(0.2)
