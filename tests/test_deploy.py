"""What Easel is deployed with: the systemd unit, the container, and Grafana's board, which names what Easel exports."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.specifiers import SpecifierSet
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from adapters.cli.main import BAD_INPUT
from bot.core.ports import SlotReport
from bot.observability.metrics import EtaOutcome, EtaResult, Metrics
from bot.settings import Settings
from tests.fakes.engine import FakeEngine

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "deploy" / "systemd" / "easel.service"

MOST_EXPOSED = 25
"""Highest exposure level by `systemd-analyze security`, in tenths: 0 is best, 100 is worst; it says OK below 50."""


def settings() -> dict[str, list[str]]:
    """The unit's settings with their values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_fits_the_service() -> None:
    unit = settings()
    assert unit["Type"] == ["notify"]
    assert unit["ExecStart"] == ["/opt/easel/bin/easel serve"]
    # Settings that can't work end with this code.
    assert unit["RestartPreventExitStatus"] == [str(BAD_INPUT)]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "ProtectKernelModules", "RestrictSUIDSGID"):
        assert unit[name] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["CapabilityBoundingSet"] == [""]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_accepts_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    # It looks for the program.
    text = UNIT.read_text(encoding="utf-8").replace("/opt/easel/bin/easel", shutil.which("env") or "")
    copy = tmp_path / UNIT.name
    copy.write_text(text, encoding="utf-8")
    for command in (["verify"], ["security", "--offline=true", f"--threshold={MOST_EXPOSED}"]):
        done = subprocess.run(
            ["systemd-analyze", *command, str(copy)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr, done.stderr


DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
"""The Dockerfile with its continued lines joined."""


def instructions(name: str) -> list[str]:
    """What follows each instruction of this name."""
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)


def test_the_image_holds_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = {name for line in instructions("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert set(packages) <= copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    # What .dockerignore leaves out can't be copied.
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [name for name in copied if f"!{name}" not in kept] == []
    arguments = dict(line.split("=", 1) for line in instructions("ARG"))
    assert arguments["PYTHON"] in SpecifierSet(project["project"]["requires-python"])
    assert set(arguments["EXTRAS"].split(",")) <= set(project["project"]["optional-dependencies"])


def test_the_images_health_check_is_a_program() -> None:
    (check,) = instructions("HEALTHCHECK")
    python, option, program = json.loads(check.partition(" CMD ")[2])
    assert (python, option) == ("python", "-c")
    assert "/healthz" in program
    ast.parse(program)
    for name in set(re.findall(r"EASEL_[A-Z_]+", program)):
        assert name in (ROOT / ".env.example").read_text(encoding="utf-8")


def test_compose_publishes_to_this_machine_alone_and_keeps_the_data() -> None:
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert set(composed["services"]) == {"easel", "easel-cuda"}
    for service in composed["services"].values():
        port = service["environment"]["EASEL_WEB_PORT"]
        assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert service["volumes"] == [f"data:{service['environment']['EASEL_DATA_DIR']}"]
        assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
    assert composed["services"]["easel-cuda"]["profiles"] == ["cuda"]


BOARD = ROOT / "deploy" / "grafana" / "easel.json"
OPERATORS = ROOT / "docs" / "operators.md"

_METRIC = re.compile(r"\b(?:easel|process)_[a-z0-9_]+")
_PICKED = re.compile(r"\b(?P<metric>(?:easel|process)_[a-z0-9_]+)\{(?P<labels>[^}]*)\}")
_GROUPED = re.compile(r"\bby \((?P<labels>[^)]*)\)")

OF_PROMETHEUS = frozenset({"instance", "job", "le"})
"""Labels that Prometheus adds."""


@dataclass(frozen=True)
class Exported:
    """What a service exports: the samples of each family, and the labels of each sample."""

    families: Mapping[str, frozenset[str]]

    @property
    def samples(self) -> dict[str, frozenset[str]]:
        """Labels by the sample's name."""
        suffixes = ("", "_total", "_bucket", "_sum", "_count")
        return {family + suffix: labels for family, labels in self.families.items() for suffix in suffixes}


@pytest.fixture(scope="module")
def exported() -> Exported:
    """The metrics of a service where everything has happened once, as Prometheus reads them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = Metrics(registry)
    engine = FakeEngine()
    metrics.watch([], [], engine, ROOT, slots=lambda: [SlotReport("0", engine.state(), 1.0, [], 0)])
    metrics.painted("demo", 0.1)
    metrics.begun(1)
    metrics.jobs.labels("painted").inc()
    metrics.delivery_failures.labels("chat", "gone").inc()
    metrics.web_refused.labels("host").inc()
    metrics.webhooks.labels("sent").inc()
    metrics.signatures.labels("signed").inc()
    metrics.outbound_refused.labels("webhook").inc()
    metrics.web_answered("/healthz", 200, 0.1)
    metrics.predicted(EtaResult(EtaOutcome.WITHIN, 1.0))
    with metrics.command("chat", "draw"):
        pass
    text = generate_latest(registry).decode()
    # Families of samples by which clients tell when a counter began are Prometheus's own.
    found = {
        family.name: frozenset(name for sample in family.samples for name in sample.labels)
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")
    }
    empty = [family.name for family in text_string_to_metric_families(text) if not family.samples]
    assert not empty, "touch these in this fixture"
    return Exported(found)


def expressions() -> list[str]:
    """Every query of the board."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return [*queries, *(one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query")]


def test_the_board_names_only_metrics_and_labels_that_exist(exported: Exported) -> None:
    assert len(expressions()) > 20
    for expression in expressions():
        named = set(_METRIC.findall(expression))
        assert named, expression
        assert named <= exported.samples.keys(), expression
        known = OF_PROMETHEUS.union(*(exported.samples[name] for name in named))
        for found in _PICKED.finditer(expression):
            labels = {part.split("=")[0].strip(" !~") for part in found["labels"].split(",")}
            assert labels <= OF_PROMETHEUS | exported.samples[found["metric"]], expression
        for found in _GROUPED.finditer(expression):
            assert {label.strip() for label in found["labels"].split(",")} <= known, expression


def test_the_board_shows_each_of_our_metrics(exported: Exported) -> None:
    shown = {name for expression in expressions() for name in _METRIC.findall(expression)}
    old = {"easel_picture_seconds", "easel_promises", "easel_promise_error_ratio"}
    own = {name for name in exported.families if name.startswith("easel_")} - old
    assert own
    assert [name for name in sorted(own) if not any(one.startswith(name) for one in shown)] == []


def test_the_boards_panels_have_places_and_numbers_of_their_own() -> None:
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_of_our_metrics_is_documented_once(exported: Exported) -> None:
    rows = re.findall(r"^\| `(easel_[a-z_]+)` \|.*\|([^|]*)\|$", OPERATORS.read_text(encoding="utf-8"), re.MULTILINE)
    old = {"easel_picture_seconds", "easel_promises_total", "easel_promise_error_ratio"}
    documented = [(name, labels) for name, labels in rows if name not in old]
    names = [name for name, _ in documented]
    assert len(set(names)) == len(names)
    own = {name for name in exported.families if name.startswith("easel_")}
    own -= {name.removesuffix("_total") for name in old}
    assert {name.removesuffix("_total") for name in names} == own
    for name, labels in documented:
        assert set(re.findall(r"`([a-z]+)`", labels)) == exported.samples[name] - OF_PROMETHEUS, name


RAY = ROOT / "deploy" / "ray"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_FLAG = re.compile(r"(?<= )(--[a-z-]+)")


def ray_environment() -> dict[str, str]:
    """The variables that every machine of a cluster has."""
    lines = (RAY / "ray.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def ray_start(name: str) -> str:
    """The command of a unit, in one line."""
    text = (RAY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return next(line for line in text.splitlines() if line.startswith("ExecStart="))


RAY_UNITS = ("easel-ray-head.service", "easel-ray-node.service")


def test_every_port_of_a_ray_cluster_is_known_and_used_once() -> None:
    environment = ray_environment()
    first, last = int(environment["RAY_MIN_WORKER_PORT"]), int(environment["RAY_MAX_WORKER_PORT"])
    ports = {name: int(value) for name, value in environment.items() if name.endswith("_PORT")}
    assert len(set(ports.values())) == len(ports)
    assert not [name for name, port in ports.items() if first < port < last]
    for unit in RAY_UNITS:
        used = set(_VARIABLE.findall(ray_start(unit)))
        assert used <= environment.keys()
        assert used | {"RAY_HEAD", "RAY_HEAD_PORT"} == {*ports, "RAY_HEAD"}, "no port is left to chance"


def test_a_ray_cluster_has_a_token() -> None:
    environment = ray_environment()
    assert environment["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_TOKEN" not in environment, "the token itself belongs to a file"
    for unit in RAY_UNITS:
        text = (RAY / unit).read_text(encoding="utf-8")
        assert "EnvironmentFile=/etc/easel/ray.env" in text
        assert '"$RAY_AUTH_MODE" = token' in text
        assert "KillMode=control-group" in text
    drop_in = (RAY / "easel.conf").read_text(encoding="utf-8")
    given = dict(re.findall(r"(EASEL_\w+)=(\S+)", drop_in))
    assert given["EASEL_RAY_TOKEN_FILE"] == environment["RAY_AUTH_TOKEN_PATH"]
    assert given["EASEL_RAY_ADDRESS"] == f"{environment['RAY_HEAD']}:{environment['RAY_HEAD_PORT']}"


def test_kubernetes_has_the_same_image_and_a_token_everywhere() -> None:
    cluster, claim = yaml.safe_load_all((RAY / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (cluster["kind"], claim["kind"]) == ("RayCluster", "PersistentVolumeClaim")
    spec = cluster["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "easel-ray"}
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    containers = [one for pod in pods for one in (*pod["containers"], *pod.get("initContainers", ()))]
    assert {one["image"] for one in containers} == {"easel:ray"}
    for pod in pods:
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for one in pod["containers"] for mount in one.get("volumeMounts", ())} <= volumes
    head = {one["name"]: one for one in pods[0]["containers"]}
    given = {one["name"]: one["value"] for one in head["easel"]["env"]}
    assert given["EASEL_RAY_ADDRESS"].endswith(":" + spec["headGroupSpec"]["rayStartParams"]["port"])
    shared = {"/tmp/ray", "/dev/shm"}
    for one in head.values():
        assert shared <= {mount["mountPath"] for mount in one["volumeMounts"]}, "the driver needs the node's sockets"
    assert all("nvidia.com/gpu" in group["containers"][0]["resources"]["limits"] for group in pods[1:])
    known = {f"EASEL_{name.upper()}" for name in Settings.model_fields}
    drop_in = re.findall(r"(EASEL_\w+)=", (RAY / "easel.conf").read_text(encoding="utf-8"))
    assert {*given, *drop_in} <= known


@pytest.mark.skipif(shutil.which("ray", path=Path(sys.executable).parent) is None, reason="Ray is not installed")
def test_ray_knows_the_flags_of_the_units() -> None:
    ray = Path(sys.executable).parent / "ray"
    done = subprocess.run([ray, "start", "--help"], capture_output=True, text=True, timeout=60, check=True)
    known = set(re.findall(r"^ +(--[a-z-]+)", done.stdout, re.MULTILINE))
    for unit in RAY_UNITS:
        assert set(_FLAG.findall(ray_start(unit))) <= known
