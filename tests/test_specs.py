from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from backendai_kernel import profiles, specs
from backendai_kernel.errors import ConfigError
from backendai_kernel.profiles import BUILTIN, Profile, resolve_profile
from backendai_kernel.variables import kept_values, read_variables

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give Jupyter a place of its own, with nothing in it; return the user's kernels folder."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "path"))
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    return tmp_path / "user" / "kernels"


def write_foreign(kernels: Path, name: str, metadata: object = None) -> Path:
    folder = kernels / name
    folder.mkdir(parents=True)
    content = {"argv": ["python"], "display_name": "Other", "metadata": metadata or {}}
    (folder / "kernel.json").write_text(json.dumps(content))
    return folder


# -- profiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILTIN)
def test_the_kernelspecs_in_the_source_tree_are_those_of_the_builtin_profiles(name):
    shipped = json.loads((ROOT / "kernelspecs" / f"backendai-{name}" / "kernel.json").read_text())

    assert shipped == specs.kernel_json(BUILTIN[name])


def test_there_is_a_kernelspec_for_each_profile_and_no_other():
    folders = {path.parent.name for path in ROOT.glob("kernelspecs/*/kernel.json")}

    assert folders == {f"backendai-{name}" for name in BUILTIN}


def test_a_profile_is_taken_as_it_is():
    assert resolve_profile("python-gpu") == Profile(
        "python-gpu", "Backend.AI Python (GPU 0.5)", "python", ("gpu=0.5",)
    )


def test_options_change_a_profile():
    profile = resolve_profile("python-gpu", image="r:4", resources=["gpu=1", "memory=4g"])

    assert profile == Profile(
        "python-gpu", "Backend.AI Python (r:4, gpu=1, mem=4g)", "r:4", ("gpu=1", "mem=4g")
    )


def test_an_unknown_profile_is_named_with_the_closest():
    with pytest.raises(ConfigError) as caught:
        resolve_profile("pyton-gpu")

    assert str(caught.value) == (
        "There is no profile 'pyton-gpu'.\n"
        "Did you mean 'python-gpu'? The profiles are python and python-gpu."
    )


def test_a_malformed_resource_is_refused():
    with pytest.raises(ConfigError, match="'gpu' is not a resource"):
        resolve_profile("python", resources=["gpu"])


def test_the_command_names_what_differs_from_the_profile_and_nothing_else():
    profile = resolve_profile("python-gpu", image="r:4", resources=["mem=4g"])

    assert specs.kernel_json(profile, python="/opt/py/bin/python")["argv"] == [
        *("/opt/py/bin/python", "-m", "backendai_kernel", "-f", "{connection_file}"),
        *("--profile", "python-gpu", "--image", "r:4", "-r", "mem=4g"),
    ]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "backendai-python"),
        ({"name": "python-gpu"}, "backendai-python-gpu"),
        ({"resources": ["gpu=0.5", "mem=4g"]}, "backendai-python-gpu0.5-mem4g"),
        ({"image": "cr.example.com/stable/r-base:4.1"}, "backendai-r-base-4.1"),
    ],
)
def test_the_name_tells_what_is_in_it(options, name):
    assert profiles.default_name(resolve_profile(**options)) == name


# -- install ----------------------------------------------------------------------------------


def test_what_was_installed_is_found_by_jupyter(jupyter):
    from jupyter_client.kernelspec import KernelSpecManager

    spec = specs.install(resolve_profile("python", resources=["mem=4g"]))
    seen = KernelSpecManager().get_kernel_spec("backendai-python-mem4g")

    assert spec.folder == jupyter / "backendai-python-mem4g"
    assert seen.argv[0] == sys.executable
    assert seen.argv[-2:] == ["-r", "mem=4g"]
    assert seen.interrupt_mode == "message"
    assert seen.metadata["backendai"] == {
        "profile": "python",
        "image": "python",
        "resources": {"mem": "4g"},
    }


def test_an_installed_kernelspec_declares_the_encryption_that_ipykernel_declares():
    from ipykernel.kernelspec import get_kernel_dict

    spec = specs.install(BUILTIN["python"])
    written = json.loads((spec.folder / "kernel.json").read_text())["metadata"]

    own = get_kernel_dict().get("metadata", {}).get("supported_encryption")
    assert written.get("supported_encryption") == own


def test_an_installed_kernelspec_has_the_logos():
    folder = specs.install(BUILTIN["python"]).folder

    shipped = ROOT / "kernelspecs" / "backendai-python"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in shipped.iterdir()
    )
    assert (folder / "logo-64x64.png").read_bytes()[:4] == b"\x89PNG"


def test_a_kernelspec_goes_below_the_prefix_that_was_named(tmp_path):
    spec = specs.install(BUILTIN["python"], prefix=tmp_path / "env")

    assert spec.folder == tmp_path / "env" / "share" / "jupyter" / "kernels" / "backendai-python"
    assert spec not in specs.installed()
    assert spec in specs.installed(prefix=tmp_path / "env")


def test_one_of_ours_is_replaced_only_on_demand(jupyter):
    specs.install(BUILTIN["python"], name="mine")
    with pytest.raises(ConfigError, match="There is a kernelspec 'mine' already"):
        specs.install(BUILTIN["python-gpu"], name="mine")
    specs.install(BUILTIN["python-gpu"], name="mine", is_replaced=True)

    assert [spec.resources for spec in specs.installed()] == [{"gpu": "0.5"}]
    assert [path.name for path in jupyter.iterdir()] == ["mine"]


def test_a_kernelspec_of_somebody_else_is_never_replaced(jupyter):
    foreign = write_foreign(jupyter, "python3")
    before = (foreign / "kernel.json").read_text()
    with pytest.raises(ConfigError, match="not ours"):
        specs.install(BUILTIN["python"], name="python3", is_replaced=True)

    assert (foreign / "kernel.json").read_text() == before


@pytest.mark.parametrize("name", ["my kernel", "../up", "kern/el", "ü", ".", ".."])
def test_a_name_that_is_none_is_refused(name, jupyter):
    with pytest.raises(ConfigError, match="cannot be the name"):
        specs.install(BUILTIN["python"], name=name)

    assert not jupyter.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written to .*file"):
        specs.install(BUILTIN["python"], prefix=tmp_path / "file")


# -- list and uninstall -----------------------------------------------------------------------


def test_only_ours_are_listed_and_a_shadowed_one_says_so(tmp_path, jupyter):
    write_foreign(jupyter, "backendai-lookalike")
    write_foreign(jupyter, "other", {"backendai": "a word"})
    (jupyter / "broken").mkdir()
    (jupyter / "broken" / "kernel.json").write_text("{")
    first = specs.install(BUILTIN["python"])
    (tmp_path / "path" / "kernels").mkdir(parents=True)
    second = tmp_path / "path" / "kernels" / "backendai-python"
    second.mkdir()
    (second / "kernel.json").write_text(json.dumps(specs.kernel_json(BUILTIN["python"])))

    found = {spec.folder: spec for spec in specs.installed()}
    assert set(found) == {first.folder, second}
    assert [found[first.folder].is_shadowed, found[second].is_shadowed].count(True) == 1
    assert found[second].interpreter == "python"


def test_an_interpreter_that_is_gone_is_noticed(jupyter):
    spec = specs.install(BUILTIN["python"])
    path = spec.folder / "kernel.json"
    path.write_text(path.read_text().replace(sys.executable, sys.executable + "-gone"))

    assert spec.starts
    assert [found.starts for found in specs.installed()] == [False]


def test_uninstall_removes_ours_and_tells_what_it_left(jupyter):
    specs.install(BUILTIN["python"])
    foreign = write_foreign(jupyter, "python3")
    removal = specs.uninstall(["backendai-python", "python3", "backendai-pithon"])

    assert [spec.name for spec in removal.removed] == ["backendai-python"]
    assert removal.left == {
        "python3": "not ours",
        "backendai-pithon": "not installed; did you mean backendai-python?",
    }
    assert [path.name for path in jupyter.iterdir()] == [foreign.name]


def test_uninstall_of_all_leaves_the_others(jupyter):
    specs.install(BUILTIN["python"])
    specs.install(BUILTIN["python-gpu"])
    write_foreign(jupyter, "backendai-lookalike")
    removal = specs.uninstall(None)

    assert len(removal.removed) == 2
    assert [path.name for path in jupyter.iterdir()] == ["backendai-lookalike"]


# -- an installed kernel starts ---------------------------------------------------------------


def test_an_installed_kernelspec_starts_our_kernel(tmp_path, monkeypatch):
    from jupyter_client.manager import start_new_kernel

    spec = specs.install(resolve_profile("python", resources=["mem=1g"]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "magics")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("BACKENDAI_KERNEL_STATE", str(tmp_path / "state"))
    manager, client = start_new_kernel(kernel_name=spec.name, startup_timeout=60)
    try:
        info = client.kernel_info(reply=True, timeout=60)["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()

    assert info["status"] == "ok"
    assert "Backend.AI" in info["banner"]


# -- folders and variables ----------------------------------------------------------------------


def test_a_kernelspec_carries_folders_and_the_names_of_variables_but_no_value(
    jupyter, tmp_path, monkeypatch
):
    monkeypatch.setenv("BACKENDAI_KERNEL_CONFIG", str(tmp_path / "config"))
    profile = resolve_profile(
        mounts=["data", "weights=/mnt"], environ=["HF_TOKEN"], scaling_group="gpu"
    )
    spec = specs.install(profile, values={"HF_TOKEN": "hf_very_secret"})
    written = (spec.folder / "kernel.json").read_text()
    [kept] = (tmp_path / "config" / "kernels").iterdir()

    assert spec.name == "backendai-python-data-weights-mnt-HF_TOKEN-gpu".lower()
    assert (spec.mounts, spec.environ) == (("data", "weights:/mnt"), ("HF_TOKEN",))
    assert json.loads(written)["argv"][-8:] == [
        *("-m", "weights:/mnt", "-e", "HF_TOKEN", "--scaling-group", "gpu"),
        *("--values", spec.values),
    ]
    assert "hf_very_secret" not in written + repr(spec)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept_values(os.environ, spec.values, ["HF_TOKEN"]) == {"HF_TOKEN": "hf_very_secret"}

    specs.install(profile, values={"HF_TOKEN": "another"}, is_replaced=True)
    [fresh] = (tmp_path / "config" / "kernels").iterdir()
    assert fresh != kept
    specs.uninstall([spec.name])
    assert not fresh.exists()


def test_a_value_that_nobody_kept_is_taken_from_the_environment_or_asked_for(tmp_path):
    environ = {"BACKENDAI_KERNEL_CONFIG": str(tmp_path), "HERE": "1"}

    assert kept_values(environ, "gone-1", ["HERE"]) == {"HERE": "1"}
    with pytest.raises(ConfigError, match="the variable AWAY") as caught:
        kept_values(environ, "gone-1", ["HERE", "AWAY"])
    assert "Set AWAY in the environment" in caught.value.hint


def test_a_variable_is_named_with_its_value_or_alone():
    assert read_variables(["A=1=2", "B="], {}) == {"A": "1=2", "B": ""}
    assert read_variables(["HOME"], {"HOME": "/h"}) == {"HOME": "/h"}
    for bad in ("NOWHERE", "=1", ""):
        with pytest.raises(ConfigError, match="no KEY=VALUE"):
            read_variables([bad], {})
