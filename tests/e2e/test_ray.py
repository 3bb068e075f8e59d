"""The whole service on a Ray cluster of this machine, with the demo model: a lost head, a kill, and a stop in mid-batch."""

from __future__ import annotations

import contextlib
import threading

import psutil
import pytest

from tests.e2e.conftest import StartService
from tests.e2e.service import Service, until
from tests.fakes import ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(600)]

ENV = {
    "EASEL_ENGINE": "ray",
    "EASEL_RAY_GPUS": "2",
    "EASEL_DEVICE": "cpu",
    "EASEL_MODEL": "demo",
    "EASEL_QUOTA": "unlimited",
    # Ray waits a minute for its head.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "2",
}


@pytest.fixture
def service(start_service: StartService) -> Service:
    ray_cluster.require()
    return start_service(env=ENV)


def processes_of(service: Service, name: str) -> list[psutil.Process]:
    """Return the processes of the service's cluster with this name."""
    found = []
    for process in psutil.Process(service.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.name().startswith(name):
                found.append(process)
    return found


def drivers_of(service: Service) -> list[psutil.Process]:
    """Return the drivers of the service's cluster."""
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if "engine.ray.driver" in child.cmdline()]


def ask(service: Service, count: int = 4) -> int:
    return service.draw("a red apple", count=str(count), steps="8", size="256x256")


def test_no_job_is_lost_with_the_head_and_the_service_answers_meanwhile(service: Service) -> None:
    jobs = [ask(service) for _ in range(2)]
    (driver,) = drivers_of(service)
    sick: list[int] = []
    red = threading.Event()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if (status := service.status("/healthz")) != 200:
                sick.append(status)
            if service.status("/readyz") == 503:
                red.set()
            ended.wait(0.2)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        (head,) = processes_of(service, "gcs_server")
        head.kill()
        assert red.wait(120), service.log
        until(lambda: service.status("/readyz") == 200, 180, "another driver")
        cards = [service.finished(job, 180) for job in jobs]
    finally:
        ended.set()
        watching.join()
    assert not sick
    assert [len(card["pictures"]) for card in cards] == [4, 4]
    (another,) = drivers_of(service)
    assert another.pid != driver.pid
    assert not driver.is_running()


def test_a_killed_actor_costs_nobody_a_picture(service: Service) -> None:
    job = ask(service)
    for painter in processes_of(service, "ray::Painter"):
        painter.kill()
    assert len(service.finished(job, 180)["pictures"]) == 4
    assert processes_of(service, "ray::Painter")


def test_stopped_in_mid_batch_it_ends_well_and_goes_on_at_the_next_start(service: Service) -> None:
    job = ask(service, 8)
    family = psutil.Process(service.process.pid).children(recursive=True)
    assert service.stop() == 0
    psutil.wait_procs(family, timeout=5)
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    service.start()
    assert len(service.finished(job, 180)["pictures"]) == 8


def test_nothing_is_left_of_a_service_that_is_killed(service: Service) -> None:
    job = ask(service)
    family = psutil.Process(service.process.pid).children(recursive=True)
    service.kill()
    psutil.wait_procs(family, timeout=5)
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    service.start()
    assert len(service.finished(job, 180)["pictures"]) == 4
