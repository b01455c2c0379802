"""What can be known about a run before its first stage: `plan` and `run` check it here.

Reads tables and lists, builds networks, opens no film and leaves nothing behind.
"""

import shutil
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from covid_debug.audit.planning import target_index
from covid_debug.cleaning.policy import needs_reading
from covid_debug.config.schema import ComputeParams, RunConfig
from covid_debug.data.covidx import check_file_names, parse_split_file, select_class_names
from covid_debug.data.filmset import load_filmset
from covid_debug.data.ingest import CLASS_NAMES as SOURCE_CLASS_NAMES
from covid_debug.data.phantom.plan import plan_pool
from covid_debug.data.phantom.signs import CLASS_NAMES as PHANTOM_CLASS_NAMES
from covid_debug.data.sources.catalog import SOURCES
from covid_debug.data.stage import CovidxData, PhantomData, SourceData
from covid_debug.errors import ArtifactError, ConfigError, CovidDebugError, DataIntegrityError
from covid_debug.models.catalog import build_backbone
from covid_debug.models.devices import find_device
from covid_debug.optional import require
from covid_debug.places import find_obstacle, nearest_folder
from covid_debug.text.catalog import build_detector, choose_second, members_of
from covid_debug.text.recognition import find_weights
from covid_debug.tracking.mlflow_tracker import default_tracking_uri
from covid_debug.tracking.reachability import check_reachable
from covid_debug.training.checks import check_devices, find_target_class, order_class_weights

_TIMEOUT_S = 5.0
_FILM_MB = 0.4  # a cleaned film of 640 px a side as PNG


@dataclass(frozen=True)
class RunFacts:
    """What a run will work on.

    Attributes:
        class_names: Classes of the films.
        n_films: Films that the lists or tables name; for sources those that the recipe keeps.
        n_test: Films for testing, about.
        folds: Sources that can be left out without losing a class of the training films, about.
        n_test_patients: Patients of these films, about.
    """

    class_names: tuple[str, ...]
    n_films: int
    n_test: int
    folds: tuple[str, ...]
    n_test_patients: int


def check_run(config: RunConfig) -> RunFacts:
    """Check everything that would stop a run later.

    Args:
        config: The run.

    Returns:
        Classes and number of films.

    Raises:
        CovidDebugError: Naming the first thing that is wrong: the device, the runner, the data and
            their classes, the detector, the network and its weights, a place that cannot be
            written, the tracking store, or the free space.
    """
    compute = config.compute
    find_device(compute.device, where="compute.device")
    check_devices(
        compute.device, compute.devices, config.training.batch_size, where="compute.devices"
    )
    _check_runner(compute)
    facts = _read_facts(config)
    target_index(facts.class_names, config.audit.target_class)
    find_target_class(config.training, facts.class_names)
    order_class_weights(config.training.class_weights, facts.class_names)
    _check_tests(config, facts)
    _check_text(config)
    _check_network(config, len(facts.class_names))
    _check_places(config)
    _check_space(config, facts)
    return facts


def _check_runner(compute: ComputeParams) -> None:
    if compute.runner == "dask":
        require("distributed", purpose="compute.runner dask")
    if compute.address is None:
        return
    host, separator, port = compute.address.rpartition("://")[2].rpartition(":")
    if not separator or not port.isdecimal():
        raise ConfigError(
            f"compute.address is {compute.address!r}; expected the address that Dask's scheduler"
            " prints, as tcp://10.0.0.5:8786"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"compute.address {compute.address}: no Dask scheduler answers ({error}); start it with"
            " `dask scheduler`, correct the address, or leave it out to use workers of this machine"
        ) from error


# --------------------------------------------------------------------------- data


def _read_facts(config: RunConfig) -> RunFacts:
    """Count films and patients of every class without opening a film.

    Args:
        config: The run.

    Returns:
        Classes and number of films.

    Raises:
        DataIntegrityError: If a folder, list or table is missing or broken, too many listed films
            are absent, or a class has too few patients.
    """
    match config.data:
        case PhantomData() as data:
            return _read_phantom(data)
        case SourceData() as data:
            return _read_sources(data, config.compute.max_failed_share)
        case CovidxData() as data:
            return _read_covidx(data, config.compute.max_failed_share)


def _read_phantom(data: PhantomData) -> RunFacts:
    plans = plan_pool(
        "train",
        data.n_train,
        seed=data.seed,
        text_correlation=data.text_correlation,
        val_share=data.val_share,
    )
    for split in ("train", "val"):
        found = {PHANTOM_CLASS_NAMES[plan.label_index] for plan in plans if plan.split == split}
        for name in PHANTOM_CLASS_NAMES:
            if name not in found:
                raise DataIntegrityError(
                    f"data.n_train is {data.n_train}: no {split} film of class {name!r} among them;"
                    " raise data.n_train"
                )
    groups = {(plan.site, PHANTOM_CLASS_NAMES[plan.label_index]) for plan in plans}
    tests = plan_pool("test", data.n_test, seed=data.seed, text_correlation=0, val_share=0)
    n_patients = len({(plan.label_index, plan.patient) for plan in tests})
    n_films = data.n_train + data.n_test
    return RunFacts(PHANTOM_CLASS_NAMES, n_films, data.n_test, _find_folds(groups), n_patients)


def _read_sources(data: SourceData, max_failed_share: float) -> RunFacts:
    if not data.sources:
        raise DataIntegrityError("data.sources is empty; expected at least one NAME: FOLDER")
    paths: set[Path] = set()
    groups: set[tuple[str, str]] = set()
    patients: dict[str, set[str]] = {name: set() for name in SOURCE_CLASS_NAMES}
    for name, folder in data.sources.items():
        read = SOURCES[name]
        _check_folder(f"data.sources.{name}", folder)
        for record in read(folder.absolute()):
            if not record.dropped:
                paths.add(record.path)
                groups.add((name, record.label))
                patients[record.label].add(f"{name}:{record.patient_id}")
    where = f"data.sources ({', '.join(data.sources)})"
    _check_patients(where, patients, 3, "training, validation and test")
    _check_presence(where, paths, max_failed_share)
    n_patients = len(set().union(*patients.values()))
    return RunFacts(
        SOURCE_CLASS_NAMES,
        len(paths),
        round(len(paths) * data.test_share),
        _find_folds(groups),
        round(n_patients * data.test_share),
    )


def _read_covidx(data: CovidxData, max_failed_share: float) -> RunFacts:
    _check_folder("data.folder", data.folder)
    if data.train_list is None:
        raise DataIntegrityError("data.train_list is null; a run needs films to train on")
    rows = {
        "train": parse_split_file(data.train_list),
        "test": parse_split_file(data.test_list),
    }
    labels = {row.label for listed in rows.values() for row in listed}
    class_names = select_class_names(labels, where=f"{data.train_list} and {data.test_list}")
    patients: dict[str, set[str]] = {name: set() for name in class_names}
    for row in rows["train"]:
        patients[row.label].add(f"{row.source}:{row.patient_id}")
    _check_patients(str(data.train_list), patients, 2, "training and validation")
    for split, place in (("train", data.train_list), ("test", data.test_list)):
        paths = {data.folder / split / row.filename for row in rows[split]}
        if not all(path.exists() for path in paths):
            check_file_names(place, data.folder / split)
        _check_presence(str(place), paths, max_failed_share)
    groups = {(row.source, row.label) for row in rows["train"]}
    n_films = sum(map(len, rows.values()))
    n_patients = len({(row.source, row.patient_id) for row in rows["test"]})
    return RunFacts(class_names, n_films, len(rows["test"]), _find_folds(groups), n_patients)


def _find_folds(groups: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Return the sources without which every class still has training films."""
    n_classes = len({label for _, label in groups})
    sources = sorted({source for source, _ in groups})
    return tuple(
        source
        for source in sources
        if len({label for other, label in groups if other != source}) == n_classes
    )


def _check_folder(key: str, folder: Path) -> None:
    if not folder.is_dir():
        raise DataIntegrityError(
            f"{key}: no such folder {folder} (from {Path.cwd()}); set it with --set {key}=DIR"
        )


def _check_patients(
    where: str, patients: Mapping[str, set[str]], n_needed: int, splits: str
) -> None:
    for name, found in patients.items():
        if len(found) < n_needed:
            raise DataIntegrityError(
                f"{where}: class {name!r} has {len(found)} patients; {splits} need at least"
                f" {n_needed}; add films of that class"
            )


def _check_presence(where: str, paths: Collection[Path], max_failed_share: float) -> None:
    absent = sorted(path for path in paths if not path.is_file())
    if len(absent) > max_failed_share * len(paths):
        raise DataIntegrityError(
            f"{where}: {len(absent)} of {len(paths)} listed films are absent (first: {absent[0]});"
            f" expected at most {max_failed_share:.0%}; complete the folder or correct its path"
        )


def _check_tests(config: RunConfig, facts: RunFacts) -> None:
    wanted, possible = config.leave_out_sources, ", ".join(facts.folds) or "none"
    if wanted is True and not facts.folds:
        raise ConfigError(
            "leave_out_sources is true and no source can be left out: without any of them a class"
            " has no training films; use --set leave_out_sources=false, or data of more sources"
        )
    if not isinstance(wanted, bool) and not set(wanted) <= set(facts.folds):
        raise ConfigError(
            f"leave_out_sources = {list(wanted)}: expected true, false or some of {possible}, the"
            " sources without which every class still has training films"
        )
    for name, folder in config.external.items():
        _check_folder(f"external.{name}", folder)
        films = load_filmset(folder)
        foreign = [label for label in films.class_names if label not in facts.class_names]
        if foreign or not films.select("test"):
            raise DataIntegrityError(
                f"external.{name}: {folder} has {len(films.select('test'))} test films of"
                f" {', '.join(films.class_names)}; expected some, of {', '.join(facts.class_names)}"
            )


# --------------------------------------------------------------------------- text and network


def _check_text(config: RunConfig) -> None:
    text = config.text
    try:
        detector = build_detector(text.detector, **text.params)
    except TypeError as error:
        raise ConfigError(
            f"text.params = {text.params}: wrong type of a value ({error})"
        ) from error
    if config.proof.max_films:
        build_detector(choose_second(members_of(detector)))
    text.build_reader()
    if text.read_content:
        find_weights()
    elif needs_reading(config.cleaning.policy):
        told = ", ".join(f"{kind}: {action}" for kind, action in config.cleaning.policy.items())
        raise ConfigError(
            f"cleaning.policy is {{{told}}} and text.read_content is false, so that no kind of"
            " text would be known; use --set text.read_content=true, or leave cleaning.policy out"
        )


def _check_network(config: RunConfig, n_classes: int) -> None:
    training, size = config.training, config.view.image_size
    with torch.random.fork_rng(devices=[]):
        network = build_backbone(
            training.arch,
            n_classes,
            training.channels,
            weights_path=training.weights_path,
            **training.arch_params,
        )
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, training.channels, size, size))
    except RuntimeError as error:
        raise ConfigError(
            f"view.image_size is {size}: too small for training.arch {training.arch!r} ({error})"
        ) from error
    grid = config.audit.grid_size
    if grid > size:
        raise ConfigError(
            f"audit.grid_size is {grid} and the model sees {size} pixels a side (view.image_size);"
            f" expected at most {size}"
        )
    try:
        config.audit.build_explainers()
    except TypeError as error:
        raise ConfigError(
            f"audit.igos = {dict(config.audit.igos)}: wrong type of a value ({error})"
        ) from error


# --------------------------------------------------------------------------- places


def _check_places(config: RunConfig) -> None:
    for key, folder in (("data_dir", config.data_dir), ("reports_dir", config.reports_dir)):
        obstacle = find_obstacle(folder)
        if obstacle is not None:
            raise ArtifactError(
                f"{key} {folder}: cannot be written ({obstacle}); choose another folder with --set"
                f" {key}=DIR (demo: --out DIR)"
            )
    check_reachable(config.tracking.uri or default_tracking_uri())


def estimate_disk_gb(config: RunConfig, facts: RunFacts) -> tuple[float, float]:
    """Return the gigabytes of decoded views and of made films, at 640 px a side."""
    n_made = len(config.made_versions)
    n_folds = len(config.choose_folds(facts.folds))
    n_tested = len(set(config.tests) - set(config.made_versions)) * facts.n_test
    n_views = (1 + n_made) * (1 + n_folds) * facts.n_films + n_tested
    n_films = n_made * facts.n_films + n_tested
    return n_views * config.view.image_size**2 / 1e9, n_films * _FILM_MB / 1e3


def _check_space(config: RunConfig, facts: RunFacts) -> None:
    needed_gb = sum(estimate_disk_gb(config, facts))
    free_gb = shutil.disk_usage(nearest_folder(config.data_dir)).free / 1e9
    if free_gb >= needed_gb:
        return
    # What an earlier start made is there already.
    files = (path for path in config.data_dir.rglob("*") if path.is_file())
    needed_gb -= sum(path.stat().st_size for path in files) / 1e9
    if free_gb < needed_gb:
        raise CovidDebugError(
            f"data_dir {config.data_dir}: {free_gb * 1e3:,.0f} MB are free and the run needs about"
            f" {needed_gb * 1e3:,.0f} MB; free some, or choose another folder with"
            " --set data_dir=DIR"
        )
