"""What the site shows that is not written below docs/: pages from the code and from the checkout.

Pages link to each other as they lie in the checkout, so that they read well there, too; the links
are turned here. ``<!-- generated: NAME -->`` in a page is replaced by text made from the code.
"""

import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import os
import re
import types
import typing
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from unittest import mock

import annotated_types
import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
BORROWED = {  # page of the site -> file of the checkout
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "measurements/saliency.md": "benchmarks/saliency.md",
    "measurements/localisation.md": "benchmarks/localisation.md",
    "measurements/text.md": "benchmarks/text.md",
    "measurements/clean.md": "benchmarks/clean.md",
    "measurements/audit.md": "benchmarks/audit.md",
    "measurements/plants.md": "benchmarks/plants.md",
    "measurements/transfer.md": "benchmarks/transfer.md",
    "measurements/lungs.md": "benchmarks/lungs.md",
    "measurements/shortcuts.md": "benchmarks/shortcuts.md",
    "measurements/comparison.md": "benchmarks/comparison.md",
    "measurements/mitigations.md": "benchmarks/mitigations.md",
    "measurements/marker-detector.md": "covid_debug/text/marker_detector/MODEL_CARD.md",
}
LITERATURE = "references.md"

_MARK = re.compile(r"<!-- generated: ([a-z-]+) -->")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_NOTEBOOK_LINK = re.compile(r'href="([^":#]+\.(?:md|ipynb))(?=["#])')
_KEY = r"[a-z]+\d{4}[a-z]*"
_CITATION = re.compile(rf"\[({_KEY}(?:, {_KEY})*)\](?!\()")
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>[~.]?")
_ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose source is not below docs/."""
    for page, source in BORROWED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, LITERATURE, content=describe_literature()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put generated text in its place, and turn links and citations to where things are here."""
    del config, files
    uri = page.file.src_uri
    markdown = _MARK.sub(lambda match: GENERATORS[match[1]](), markdown)
    markdown = _LINK.sub(lambda match: _turn(match, uri), markdown)
    return markdown if uri == LITERATURE else _CITATION.sub(lambda m: _cite(m[0], uri), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Drop the roles that docstrings put before names; turn the links of notebooks."""
    del config
    if page.file.src_uri.endswith(".ipynb"):
        html = _NOTEBOOK_LINK.sub(lambda match: _turn_in_notebook(match, page.file, files), html)
    return _ROLE.sub("<code>", html)


# --------------------------------------------------------------------------- links


def _turn(match: re.Match[str], uri: str) -> str:
    picture, words, target, anchor = match[1], match[2], match[3], match[4] or ""
    source = PurePosixPath(BORROWED.get(uri, f"docs/{uri}"))
    place = os.path.normpath(source.parent / target)
    if not target or ":" in target or not (ROOT / place).exists():
        return match[0]  # mkdocs says what is wrong with it
    pages = {source: page for page, source in BORROWED.items()}
    if place in pages:
        return f"{picture}[{words}]({_relative(pages[place], uri)}{anchor})"
    if place.startswith("docs/"):
        return f"{picture}[{words}]({_relative(place.removeprefix('docs/'), uri)}{anchor})"
    return f"{words} (`{place}`)"  # a file that the site does not hold


def _turn_in_notebook(match: re.Match[str], notebook: File, files: Files) -> str:
    place = os.path.normpath(PurePosixPath(notebook.src_uri).parent / match[1])
    file = files.get_file_from_path(place)
    if file is None:
        raise PluginError(f"{notebook.src_uri}: links to {match[1]}, which is no page")
    return f'href="{file.url_relative_to(notebook)}'


def _relative(page: str, uri: str) -> str:
    return PurePosixPath(os.path.relpath(page, PurePosixPath(uri).parent)).as_posix()


def _cite(brackets: str, uri: str) -> str:
    known, keys = _read_literature(), brackets[1:-1].split(", ")
    if not known.keys() >= set(keys):
        return brackets
    place = _relative(LITERATURE, uri)
    names = [f"{known[key]['author'].split(',')[0]} {known[key]['year']}" for key in keys]
    return (
        f"({', '.join(f'[{name}]({place}#{key})' for name, key in zip(names, keys, strict=True))})"
    )


# --------------------------------------------------------------------------- literature


def _read_literature() -> dict[str, dict[str, str]]:
    text = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{(\w+),\n(.*?)^\}", text, flags=re.DOTALL | re.MULTILINE)
    field = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", flags=re.MULTILINE)
    return {
        key: {name: _plain(value) for name, value in field.findall(body)} for key, body in entries
    }


def _plain(tex: str) -> str:
    text = re.sub(r"\\([\"'`])\{?(\w)\}?", lambda m: m[2] + _ACCENTS[m[1]], tex)
    text = unicodedata.normalize("NFC", text).replace("``", "“").replace("''", "”")
    return re.sub(r"[{}]", "", text).replace("--", "–")


def describe_literature() -> str:
    """Return the papers that code and pages cite by key."""
    lines = [
        "# Literature",
        "",
        "Keys as the code and the pages cite them (`docs/references.bib`).",
    ]
    for key, entry in sorted(_read_literature().items()):
        place = entry.get("journal") or entry.get("booktitle") or ""
        facts = ", ".join(part for part in (place, entry["year"], entry.get("note")) if part)
        doi = f" doi:{entry['doi']}." if "doi" in entry else ""
        authors = entry["author"].replace(" and ", "; ")
        lines += ["", f"## {key} {{ #{key} }}", "", f"{authors}. *{entry['title']}*. {facts}.{doi}"]
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------- command line


def describe_commands() -> str:
    """Return the help of every command of ``covid-debug``, as a terminal shows it."""
    from covid_debug.cli.main import app

    blocks = []
    for words in _walk(typer.main.get_command(app)):
        title = " ".join(["covid-debug", *words])
        blocks.append(f"## {title}\n\n```text\n{_help(app, words)}\n```\n")
    return "\n".join(blocks)


def _walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for word, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, (*words, word))


def _help(app: typer.Typer, words: tuple[str, ...]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), mock.patch.dict(os.environ, {"COLUMNS": "96"}):
        app([*words, "--help"], prog_name="covid-debug", standalone_mode=False)
    return text.getvalue().strip()


# --------------------------------------------------------------------------- configuration


def describe_configuration() -> str:
    """Return every key of a configuration file with its kind, default and meaning."""
    from covid_debug.config.schema import RunConfig

    return "\n\n".join(_sections("", RunConfig))


def _sections(place: str, kind: type) -> Iterator[str]:
    hints, meanings = typing.get_type_hints(kind, include_extras=True), _meanings(kind)
    rows, inner = ["| key | value | default | meaning |", "|---|---|---|---|"], []
    for field in dataclasses.fields(kind):
        parts = [
            part for part in _alternatives(hints[field.name]) if dataclasses.is_dataclass(part)
        ]
        inner += [(f"{place}.{field.name}".lstrip("."), part) for part in parts]
        if not parts:
            meaning = " ".join(meanings[field.name].split()).replace("|", "\\|")
            cells = (f"`{field.name}`", _kind(hints[field.name]), _default(field), meaning)
            rows.append(f"| {' | '.join(cells)} |")
    tag = typing.get_type_hints(kind).get("kind")
    head = f"{place or 'Top level'}{'' if tag is None else f', kind {_kind(tag)}'}"
    yield "\n".join([f"## {head}", "", _summary(kind), "", *rows])
    for deeper in inner:
        yield from _sections(*deeper)


def _summary(kind: type) -> str:
    text = (inspect.getdoc(kind) or "").split("\n\n")[0]
    return _words(" ".join(text.split()))


def _meanings(kind: type) -> dict[str, str]:
    docstring = griffe.Docstring(inspect.getdoc(kind) or "", lineno=1)
    return {
        item.name: _words(item.description)
        for section in docstring.parse("google", warnings=False)
        if section.kind is griffe.DocstringSectionKind.attributes
        for item in section.value
    }


def _words(docstring: str) -> str:
    return re.sub(r":\w+:`[~.]?([^`]*)`", r"`\1`", docstring).replace("``", "`")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Annotated:
        return _alternatives(typing.get_args(hint)[0])
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return typing.get_args(hint)
    return (hint,)


def _kind(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        bounds = [bound for item in inner[1:] for bound in getattr(item, "metadata", ())]
        return " ".join([_kind(inner[0]), ", ".join(map(_bound, bounds))]).strip()
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(_kind(part) for part in inner)
    if origin is tuple:
        return f"list of {_kind(inner[0])}" if inner[-1] is ... else f"{len(inner)} values"
    if origin is not None:
        return f"keys with {_kind(inner[1])}"
    names = {bool: "yes or no", int: "whole number", float: "number", str: "text", Path: "path"}
    return names.get(hint, "nothing" if hint is types.NoneType else "any value")


def _bound(bound: Any) -> str:
    signs = {
        annotated_types.Ge: ("≥", "ge"), annotated_types.Gt: (">", "gt"),
        annotated_types.Le: ("≤", "le"), annotated_types.Lt: ("<", "lt"),
    }  # fmt: skip
    sign, name = signs[type(bound)]
    return f"{sign} {getattr(bound, name):g}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    elif field.default is dataclasses.MISSING:
        return "required"
    else:
        value = field.default
    if isinstance(value, Path):
        value = str(value)
    return "`null`" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


# --------------------------------------------------------------------------- Python


def describe_face() -> str:
    """Return a directive of mkdocstrings for every public name of ``covid_debug``."""
    face = importlib.import_module("covid_debug")
    places = {}
    for name in face.__all__:
        thing = inspect.unwrap(getattr(face, name))
        home = () if inspect.ismodule(thing) else (thing.__module__,)
        places[name] = ".".join((*home, thing.__name__))
    return "\n".join(
        f"::: {place}\n    options:\n      heading: cd.{name}\n      heading_level: 2\n"
        for name, place in places.items()
    )


GENERATORS = {
    "commands": describe_commands,
    "configuration": describe_configuration,
    "face": describe_face,
}
