"""Without the package c2pa: pictures are marked and not signed, files are read, and the doctor says how to get it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from adapters.cli import doctor, main
from bot.core.errors import BadInput
from bot.core.inspection import TRAINED, SealState
from bot.provenance import signing_keys as signing_keys_module
from bot.provenance.inspection import inspect
from bot.provenance.seal import Seal, SealUnavailable, check_seal
from bot.provenance.sealing import CHAIN, FOLDER, KEY, load_seal
from bot.settings import SealMode, Settings
from tests.fakes.sent_files import sent, stored
from tests.unit.bot.provenance.marked_files import MIMES, facts, marked, signing_keys

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")


class Blocker(MetaPathFinder):
    """Finds no c2pa, as where it is not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.split(".", maxsplit=1)[0] == "c2pa":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@pytest.fixture
def signed() -> bytes:
    """A file that somebody with the package signed."""
    keys = signing_keys()
    return Seal(keys.chain, keys.key).sign(marked(facts()), "image/png", facts())


@pytest.fixture
def without(signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the package away, after the signed file is made."""
    for name in [name for name in sys.modules if name.split(".")[0] == "c2pa"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Blocker(), *sys.meta_path])
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "c2pa" else found(name))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("c2pa")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an Easel whose keys are there."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / CHAIN).write_bytes(signing_keys().chain)
    (folder / KEY).write_bytes(signing_keys().key)
    return Settings(data_dir=tmp_path)


def test_no_module_needs_it_when_it_is_imported() -> None:
    """Nor what comes with it; the one module that does is imported where keys are made."""
    needed = {"c2pa", "cryptography", signing_keys_module.__name__}
    files = [path for folder in ("bot", "adapters", "engine") for path in Path(folder).rglob("*.py")]
    assert len(files) > 300
    for path in files:
        found: list[str] = []
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                found += [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [str(node.module), *(f"{node.module}.{name.name}" for name in node.names)]
        wrong = [name for name in found if name in needed or name.split(".")[0] in needed]
        assert wrong == [] or path == Path("bot/provenance/signing_keys.py"), path


@pytest.mark.usefixtures("without")
def test_nothing_is_signed_and_a_setting_that_asks_for_it_refuses_the_start(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_seal(settings) is None
    assert "pip install 'easel[c2pa]'" in caplog.text
    with pytest.raises(BadInput, match=r"refusal\.seal\.unusable"):
        load_seal(settings.model_copy(update={"provenance_c2pa": SealMode.ON}))
    with pytest.raises(SealUnavailable):
        Seal(signing_keys().chain, signing_keys().key)


@pytest.mark.usefixtures("without")
async def test_every_file_is_marked_all_the_same(tmp_path: Path) -> None:
    for file in await sent(stored(tmp_path, "a red apple")):
        found = inspect(file.data)
        assert (found.source_type, found.seal.state, found.is_faulty) == (TRAINED, SealState.NONE, False)
        assert found.parameters is not None
        assert found.parameters.prompt == "a red apple"


@pytest.mark.usefixtures("without")
def test_a_signed_file_is_read_and_its_signature_not_checked(signed: bytes) -> None:
    assert check_seal(signed, MIMES["PNG"]).state is SealState.UNCHECKED
    found = inspect(signed, [signing_keys().root])
    assert (found.is_marked, found.is_faulty, found.seal.state) == (True, False, SealState.UNCHECKED)


@pytest.mark.usefixtures("without")
def test_the_doctor_and_init_say_how_to_get_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = doctor.check_provenance(settings)
    assert found.ok
    assert "pip install 'easel[c2pa]'" in found.found
    assert not doctor.check_provenance(settings.model_copy(update={"provenance_c2pa": SealMode.ON})).ok
    monkeypatch.setenv("EASEL_DATA_DIR", str(settings.data_dir))
    assert main.run(["provenance", "init", "--force"]) == 2
    assert "easel[c2pa]" in capsys.readouterr().err
