"""What can be known about a run before its first stage: `plan` and `run` check it here.

Reads tables and lists, builds networks, opens no film and leaves nothing behind.
"""

import shutil
import socket

import torch

from covid_debug.audit.planning import target_index
from covid_debug.cleaning.policy import needs_reading
from covid_debug.config.schema import ComputeParams, RunConfig
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import ArtifactError, ConfigError, CovidDebugError, DataIntegrityError
from covid_debug.models.catalog import build_backbone
from covid_debug.models.devices import find_device
from covid_debug.optional import require
from covid_debug.places import find_obstacle, nearest_folder
from covid_debug.preflight.facts import RunFacts, check_folder, count_run
from covid_debug.text.catalog import build_detector, choose_second, members_of
from covid_debug.text.recognition import find_weights
from covid_debug.tracking.mlflow_tracker import default_tracking_uri
from covid_debug.tracking.reachability import check_reachable
from covid_debug.training.checks import check_devices, find_target_class, order_class_weights

_TIMEOUT_S = 5.0
_FILM_MB = 0.4  # a cleaned film of 640 px a side as PNG


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
    facts = count_run(config)
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
        check_folder(f"external.{name}", folder)
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
