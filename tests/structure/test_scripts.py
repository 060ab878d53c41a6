"""The scripts that check and rewrite the documentation do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.smoke

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PAGE = """
```python
a = 2
print(a + 1)
```

```text
3
```

Prose.

```sh
not python
```

```python
print(a)
```

Prose between.

```text
not compared
```
"""


def test_blocks_are_found_with_line_and_expected_output() -> None:
    examples = runpy.run_path(str(SCRIPTS / "docs_check.py"))["examples"]
    found = [example[:3] for example in examples(PAGE)]
    assert found == [(3, "a = 2\nprint(a + 1)\n", "3\n"), (18, "print(a)\n", None)]


@pytest.mark.parametrize(
    ("source", "message"),
    [("print(4)\n", "expected output\n3\n\ngot\n4"), ("1 / 0\n", "ZeroDivisionError"), ("print(3)\n", "")],
)
def test_a_wrong_example_is_reported(tmp_path: Path, source: str, message: str) -> None:
    script = checker(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"```python\n{source}```\n\n```text\n3\n```\n", encoding="utf-8")
    failures = script["run_page"](page)
    assert len(failures) == (1 if message else 0)
    assert message in "".join(failures)


def checker(root: Path) -> dict[str, Any]:
    """The functions of docs_check, for pages in another folder."""
    script = runpy.run_path(str(SCRIPTS / "docs_check.py"))
    script["run_page"].__globals__["ROOT"] = root
    return script


@pytest.mark.parametrize(
    ("printed", "fine"), [("3 kernels, 1.25 ms", True), ("4 kernels,   17,250 µs", True), ("3 nodes, 1.25 ms", False)]
)
def test_figures_may_differ_where_the_page_says_so(tmp_path: Path, printed: str, fine: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"```python\nprint({printed!r})\n```\n\n```text varies\n3 kernels, 1.25 ms\n```\n", encoding="utf-8"
    )
    assert (checker(tmp_path)["run_page"](page) == []) is fine


def test_what_depends_on_the_machine_may_differ_but_must_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint('this machine')\n```\n\n```text example\nanother\n```\n", encoding="utf-8")
    assert checker(tmp_path)["run_page"](page) == []
    page.write_text("```python\n1 / 0\n```\n\n```text example\nanother\n```\n", encoding="utf-8")
    assert "ZeroDivisionError" in checker(tmp_path)["run_page"](page)[0]


def test_outdated_outputs_are_rewritten_when_asked(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("a + 1", "a + 5"), encoding="utf-8")
    assert checker(tmp_path)["run_page"](page, write=True) == []
    assert page.read_text(encoding="utf-8") == PAGE.replace("a + 1", "a + 5").replace("\n3\n", "\n7\n")


def test_messages_name_the_lines_of_a_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n# step.py\nprint((lambda: 0).__code__.co_filename)\n```\n\n```text\nstep.py\n```\n")
    assert checker(tmp_path)["run_page"](page) == []


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("other.md", ""),
        ("other.md#the-first-part", ""),
        ("#here", ""),
        ("https://example.org/x.md", ""),
        ("missing.md", "the link to missing.md leads nowhere"),
        ("other.md#the-second-part", "there is no heading 'the-second-part' in other.md"),
    ],
)
def test_links_must_lead_somewhere(tmp_path: Path, link: str, message: str) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## The *first* part\n", encoding="utf-8")
    text = f"# Here\n\nSee [this]({link}).\n\n```sh\n[not](a.link)\n```\n"
    failures = checker(tmp_path)["broken_links"](tmp_path / "page.md", text)
    assert len(failures) == (1 if message else 0)
    assert message in "".join(failures)


def test_names_in_running_text_must_exist(tmp_path: Path) -> None:
    text = "`rv.layers.Dense(3)` and `rv.no_such_thing`\n\n```python\n`rv.not_looked_at`\n```\n"
    failures = checker(tmp_path)["unknown_names"](tmp_path / "page.md", text)
    assert failures == ["page.md: there is no rv.no_such_thing"]


def test_generated_pages_are_up_to_date() -> None:
    updated = runpy.run_path(str(SCRIPTS / "update_docs.py"))["updated"]()
    outdated = [path.name for path, text in updated.items() if path.read_text(encoding="utf-8") != text]
    assert not outdated, f"{', '.join(outdated)}: run `make docs`"


def test_measurements_show_the_fastest_variant_of_each_peer() -> None:
    performance = runpy.run_path(str(SCRIPTS / "update_docs.py"))["performance"]
    rows = [
        ["Ranvier (fit)", "10 µs", "3 %", "1.00 ×"],
        ["Ranvier (compiled step alone)", "8 µs", "1 %", "0.80 ×"],
        ["JAX jit (one call a step)", "59 µs", "2 %", "5.90 ×"],
        ["JAX jit (lax.scan over an epoch)", "30 µs", "2 %", "3.00 ×"],
        ["torch.compile", "not installed", "", ""],
    ]
    columns = ["who", "time per step", "± spread", "against Ranvier"]
    facts = {"processor": "Some CPU (family 1)", "cores": "2", "date": "2026-01-02 03:04 UTC"}
    text = performance({"mlp_small": {"tables": [{"columns": columns, "rows": rows}], "environment": facts}}, 0)
    assert text.splitlines()[0] == "| what | Ranvier | JAX jit |"
    assert text.splitlines()[2].endswith("| **10 µs** | 30 µs (3 ×) |")
    assert "(Some CPU, 2 cores, 2026-01-02)" in text
    assert performance({}, 0) == "Not measured yet: `make bench` fills this table."


def test_long_demo_output_keeps_the_first_and_last_epochs() -> None:
    shorten = runpy.run_path(str(SCRIPTS / "update_readme.py"))["shorten"]
    printed = "digits\n" + "".join(f"epoch {n}/9  \n" for n in range(1, 10)) + "accuracy\n"
    assert shorten(printed) == "digits\nepoch 1/9\n...\nepoch 8/9\nepoch 9/9\naccuracy"
    assert shorten("a\nepoch 1/1\nb\n") == "a\nepoch 1/1\nb"


def test_a_file_is_described_by_its_first_sentence(tmp_path: Path) -> None:
    purpose = runpy.run_path(str(SCRIPTS / "update_map.py"))["purpose"]
    file = tmp_path / "file.py"
    file.write_text('"""The tensor: an array\nthat knows | how. More here.\n\nEven more.\n"""\n', encoding="utf-8")
    assert purpose(file) == "The tensor: an array that knows \\| how"
