"""What a run was begun with is what it goes on with, but for what it may have more of."""

import json

import pytest

from cnnjax import InputError
from cnnjax.runs import open_run, read_config
from cnnjax.runs.begun import is_more

GROWS = ("seeds", "kinds")


def opened(path, grows=GROWS, **settings):
    config = {"seeds": 2, "kinds": ["a", "b"], "rate": 0.1} | settings
    with open_run("demo", config, out=path, grows=grows) as run:
        return run.identity


@pytest.mark.parametrize(
    ("before", "now", "more"),
    [
        ("2", "3", True),
        ("3", "3", False),
        ("3", "2", False),
        ("true", "2", False),
        ("1.5", "2", False),
        ('["a"]', '["b", "a"]', True),
        ('["a", "b"]', '["b", "c", "d"]', False),
        ('["a", "b"]', '["b", "a"]', False),
        ("[]", '["a"]', False),
        ('"a"', '"ab"', False),
        (None, "3", False),
    ],
)
def test_more_is_a_larger_number_or_a_choice_with_others_beside(before, now, more):
    assert is_more(before, now) == more


def test_a_run_that_grows_is_the_same_run_and_notes_its_new_settings_and_command(tmp_path, monkeypatch):
    first = opened(tmp_path)
    for name in ("tables.json", "table.md"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr("sys.orig_argv", ["python", "demo.py", "--seeds", "5"])
    assert opened(tmp_path, seeds=5, kinds=["c", "a", "b"]) == first
    document = read_config(tmp_path)
    assert document["config"] == {"seeds": 5, "kinds": ["c", "a", "b"], "rate": 0.1}
    assert [stage["command"].endswith("--seeds 5") for stage in (document, *document["resumed"])] == [False, True]
    assert not {"tables.json", "table.md"} & {path.name for path in tmp_path.iterdir()}  # it is not finished any more
    opened(tmp_path, seeds=5, kinds=["c", "a", "b"])
    assert len(read_config(tmp_path)["resumed"]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(seeds=1), r"has more: seeds was 2, is 1\. It grows but does not shrink"),
        (dict(kinds=["a"]), r'has more: kinds was \["a", "b"\], is \["a"\]\. It grows'),
        (dict(kinds=["b", "c"]), r'has other settings: kinds was \["a", "b"\], is \["b", "c"\]\.'),
        (dict(seeds=3, rate=0.2), r"has other settings: rate was 0\.1, is 0\.2\."),
        (dict(seeds=1, rate=0.2), r"has other settings: seeds was 2, is 1; rate was 0\.1, is 0\.2\."),
        (dict(seeds=3, grows=()), r"has other settings: seeds was 2, is 3\."),
    ],
)
def test_what_is_not_more_is_refused_and_named(tmp_path, settings, message):
    opened(tmp_path, grows=settings.get("grows", GROWS))
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(InputError, match=message):
        opened(tmp_path, **settings)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_run_that_was_begun_when_none_could_grow_goes_on_and_does_not(tmp_path):
    opened(tmp_path, grows=())
    opened(tmp_path)
    with pytest.raises(InputError, match="has other settings: seeds was 2, is 3"):
        opened(tmp_path, seeds=3)


def test_an_identity_that_is_not_that_of_the_settings_is_corrupt(tmp_path):
    opened(tmp_path)
    document = read_config(tmp_path)
    document["config"]["rate"] = 0.2
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="its identity is not that of its settings"):
        opened(tmp_path, rate=0.2)
