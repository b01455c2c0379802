from pathlib import Path

import pytest

from covid_debug.errors import ArtifactError
from covid_debug.journal import Journal


def test_journal_opened_again_knows_every_record(tmp_path):
    first = Journal(tmp_path / "j.jsonl", "name")
    first.add({"name": "a", "value": 1})
    first.add({"name": "ü", "value": 2})

    again = Journal(tmp_path / "j.jsonl", "name")

    assert dict(again) == {"a": {"name": "a", "value": 1}, "ü": {"name": "ü", "value": 2}}


def test_journal_later_record_of_a_name_counts(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", "name")
    journal.add({"name": "a", "value": 1})
    journal.add({"name": "a", "value": 2})

    assert journal["a"]["value"] == Journal(tmp_path / "j.jsonl", "name")["a"]["value"] == 2


@pytest.mark.parametrize("torn", [b'{"name": "b', b'{"name": "b"}', b'{"name": "\xff'])
def test_journal_cuts_a_torn_last_line_off_and_goes_on(tmp_path, torn):
    path = tmp_path / "j.jsonl"
    Journal(path, "name").add({"name": "a"})
    with path.open("ab") as stream:
        stream.write(torn)

    journal = Journal(path, "name")
    journal.add({"name": "c"})

    assert list(journal) == ["a", "c"]
    assert path.read_bytes() == b'{"name": "a"}\n{"name": "c"}\n'


def test_journal_passes_over_lines_that_are_no_records(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('nothing\n[1]\n{"other": 1}\n{"name": "a"}\n')

    assert list(Journal(path, "name")) == ["a"]


def test_journal_forgets_until_the_record_is_added_again(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", "name")
    journal.add({"name": "a"})
    journal.forget("a")

    assert "a" not in journal
    journal.add({"name": "a", "value": 2})
    assert journal["a"] == {"name": "a", "value": 2}


def test_journal_on_a_full_disk_says_what_to_do(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = Journal(path, "name")
    path.unlink()
    path.symlink_to(Path("/dev/full"))

    with pytest.raises(ArtifactError, match=r"j.jsonl: cannot be written \(No space left.*go on"):
        journal.add({"name": "a"})
    assert len(journal) == 0


def test_journal_in_no_folder_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match=r"No such file.*choose a writable folder"):
        Journal(tmp_path / "absent" / "j.jsonl", "name")
