"""Typed records cross the borders between packages, not dictionaries of anything."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NAMED = "parameters by name, as a configuration file or a command line gives them"
_MANIFEST = "what a manifest says about parameters and facts differs with the kind of artifact"
_INSIDE = "lines of one file, written and read inside the package"
_FILM = "what a stage keeps of a film differs with the stage"
_MLFLOW = "any nested parameters become MLflow's flat ones"
ALLOWED = {  # module -> public names that may carry a dict[str, Any], and why
    "artifacts": ({"ArtifactDraft.facts", "read_manifest"}, _MANIFEST),
    "audit/planning": ({"AuditParams.igos"}, _NAMED),
    "audit/resume": (
        {
            "Parts.work",
            "keep_answers",
            "keep_maps",
            "keep_prediction",
            "restore_answers",
            "restore_maps",
            "restore_prediction",
        },
        _FILM,
    ),
    "cleaning/build": ({"clean_filmset"}, _MANIFEST),
    "cleaning/card": ({"write_card", "write_contact_sheet"}, _MANIFEST),
    "cleaning/film_files": ({"is_intact", "publish", "refuse"}, _FILM),
    "cleaning/provenance": ({"compute_facts", "write_provenance"}, _INSIDE),
    "cleaning/workers": ({"clean_to_file"}, _INSIDE),
    "config/loader": ({"build_config"}, _NAMED),
    "config/schema": ({"RunConfig.without_places"}, _NAMED),
    "data/facts": ({"examine"}, _FILM),
    "imaging/regions": ({"from_line", "to_line"}, _INSIDE),
    "journal": ({"Journal.add"}, "lines of any kind"),
    "models/heads": ({"find_outputs", "wrap_network"}, _MANIFEST),
    "models/checkpoint": (
        {"LoadedModel.manifest", "save_checkpoint", "write_checkpoint", "build_network"},
        _MANIFEST,
    ),
    "saliency/base": ({"Explanation.params"}, _NAMED),
    "saliency/catalog": ({"Entry.preset"}, _NAMED),
    "shards": ({"Records.add"}, _FILM),
    "stages": ({"has_its_files", "lose_film", "work_on_films"}, _FILM),
    "text/scan": ({"scan_and_keep", "scan_films", "scan_to_file", "scan_to_records"}, _NAMED),
    "text/stage": ({"TextParams.params", "describe_detection"}, _NAMED),
    "tracking/mlflow_tracker": ({"MlflowTracker.run", "MlflowTracker.child"}, _MLFLOW),
    "tracking/names": ({"flatten_params"}, _MLFLOW),
    "training/loop": ({"TrainingResult.history"}, "lines of history.json"),
    "training/params": ({"TrainingParams.arch_params"}, _NAMED),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_loose(annotation: ast.expr, aliases: set[str]) -> bool:
    """Tell whether an annotation is, holds or stands for a mapping to anything."""
    named = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return "[str, Any]" in ast.unparse(annotation) or bool(named & aliases)


def find_aliases(tree: ast.Module) -> set[str]:
    """Return names that a module gives to such types."""
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and "[str, Any]" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def find_loose(body: list[ast.stmt], aliases: set[str], prefix: str = "") -> set[str]:
    """Return public functions and fields with such a type in their signature."""
    found = set()
    for node in body:
        if isinstance(node, Function) and (
            not node.name.startswith("_") or node.name == "__init__"
        ):
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            parts = [arg.annotation for arg in given] + [node.returns]
            if any(part is not None and is_loose(part, aliases) for part in parts):
                found.add(prefix + node.name)
        elif isinstance(node, ast.AnnAssign) and prefix and is_loose(node.annotation, aliases):
            found.add(prefix + ast.unparse(node.target))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found |= find_loose(node.body, aliases, f"{node.name}.")
    return found


def test_no_public_signature_holds_a_dictionary_of_anything() -> None:
    package = ROOT / "covid_debug"
    trees = {
        path.relative_to(package).with_suffix("").as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(package.rglob("*.py"))
    }
    aliases = set().union(*map(find_aliases, trees.values()))
    found = {name: find_loose(tree.body, aliases) for name, tree in trees.items()}

    assert len(trees) > 100
    assert {name: loose for name, loose in found.items() if loose} == {
        name: names for name, (names, _reason) in ALLOWED.items()
    }


def test_the_gate_can_fail() -> None:
    source = (
        "Record = Mapping[str, Any]\n"
        "def f(x: int) -> list[dict[str, Any]]: ...\n"
        "def g(*, x: Record): ...\n"
        "def _h(x: Record): ...\n"
        "class A:\n    b: Record\n    def c(self, d: dict[str, int]): ...\n"
    )
    tree = ast.parse(source)

    assert find_loose(tree.body, find_aliases(tree)) == {"f", "g", "A.b"}
