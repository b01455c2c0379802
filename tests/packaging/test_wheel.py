"""The wheel in an environment of its own, away from the checkout, without Prefect and MLflow."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = ("prefect", "mlflow", "fastapi", "psutil")


@dataclass(frozen=True)
class Installation:
    """An environment with the wheel, and a folder to work in."""

    prefix: Path
    folder: Path

    def call(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the folder."""
        program, *arguments = map(str, command)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment |= {"HOME": str(self.folder), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [str(self.prefix / "bin" / program), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def say(self, *command: object) -> str:
        """Run a program that must succeed; return what it wrote."""
        result = self.call(*command)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An empty environment that sees the third-party packages, and the wheel in it."""
    prefix = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (packages,) = prefix.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n"  # its own .pth files, of the checkout, are not read
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"
    )
    uv = Path(sys.executable).parent / "uv"
    install = [uv, "pip", "install", "--no-deps", "--offline", "--python", prefix, wheel]
    subprocess.run(install, check=True, capture_output=True)
    return Installation(prefix, tmp_path_factory.mktemp("elsewhere"))


def test_container_image_is_made_of_the_same_files(wheel: Path, tmp_path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for path in (ROOT / line[1:] for line in lines if line.startswith("!")):
        copy = shutil.copytree if path.is_dir() else shutil.copy
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        copy(path, tmp_path / path.relative_to(ROOT))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "made"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    (made,) = (tmp_path / "made").iterdir()
    assert set(zipfile.ZipFile(made).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_holds_what_a_user_runs_and_nothing_else(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).infolist()
    names = {file.filename for file in files}

    assert {name.split("/")[0].split("-")[0] for name in names} == {"covid_debug", "flows"}
    assert {Path(name).suffix for name in names if "dist-info" not in name} == {
        *(".py", ".typed"),
        *(".safetensors", ".onnx", ".json"),  # weights and their calibration
        *(".md", ".yaml"),  # the model card, the demo
        *(".html", ".css", ".js"),
    }
    assert names >= {
        "covid_debug/py.typed",
        "covid_debug/cli/demo.yaml",
        "covid_debug/reporting/templates/report.html",
        "covid_debug/text/marker_detector/weights.onnx",
    }
    assert not [name for name in names if "bench" in name or "recipe" in name or "test_" in name]
    assert {file.filename for file in files if file.file_size > 50_000} == {
        "covid_debug/imaging/lungs.safetensors",
        "covid_debug/text/marker_detector/weights.onnx",
    }


def test_modules_come_from_the_wheel(installed: Installation) -> None:
    code = "import covid_debug as cd, flows; print(cd.__file__, flows.__file__)"

    for file in installed.say("python", "-c", code).split():
        assert Path(file).is_relative_to(installed.prefix)
    assert installed.say("covid-debug", "--version").startswith("covid-debug 0.")


def test_text_is_found_on_films_elsewhere(installed: Installation) -> None:
    installed.say("covid-debug", "phantom", "--out", "two", "--n-train", 1, "--n-test", 1)
    detector = ("--detector", "marker", "--workers", 1)
    installed.say("covid-debug", "detect-text", "--data", "two", *detector, "--out", "two.jsonl")

    lines = (installed.folder / "two.jsonl").read_text().splitlines()
    assert [bool(json.loads(line)["regions"]) for line in lines] == [True, True]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("bench", "saliency"), "error: bench: what it measures with is not installed"),
        (("report", "--run", "absent"), "error: absent"),
        (("demo",), "pip install 'covid_debug[flow,mlflow]'"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    installed: Installation, command: tuple[str, ...], expected: str
) -> None:
    result = installed.call("covid-debug", *command)

    assert result.returncode == 1
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_every_stage_runs_without_prefect_and_mlflow(installed: Installation) -> None:
    films, model = ("--data", "films"), ("--checkpoint", "model")
    stages = {
        "films": ("phantom", "--n-train", 12, "--n-test", 2),
        "model": ("train", *films, "--epochs", 1, "--image-size", 32),
        "lines.jsonl": ("detect-text", *films),
        "maps": ("explain", *model, *films, "--grid", 8, "--limit", 2),
        "audit": ("audit", *model, *films, "--regions", "lines.jsonl"),
        "cleaned": ("clean", *films, "--regions", "lines.jsonl"),
        "proof": ("prove", *films, "--cleaned", "cleaned"),
        "comparison": ("compare", "--arm", "original=model", "--data", "original=films"),
    }
    for out, (name, *options) in stages.items():
        installed.say("covid-debug", name, *options, "--out", out)

        assert (installed.folder / out).exists()

    code = "import covid_debug as cd; print(len(cd.detect_text('films', detector='strokes')))"
    assert installed.say("python", "-c", code) == "14"
