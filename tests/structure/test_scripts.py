"""The scripts that check and rewrite the documentation do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

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
    assert list(examples(PAGE)) == [(3, "a = 2\nprint(a + 1)\n", "3\n"), (18, "print(a)\n", None)]


@pytest.mark.parametrize(
    ("source", "message"),
    [("print(4)\n", "expected output\n3\n\ngot\n4"), ("1 / 0\n", "ZeroDivisionError"), ("print(3)\n", "")],
)
def test_a_wrong_example_is_reported(tmp_path: Path, source: str, message: str) -> None:
    script = runpy.run_path(str(SCRIPTS / "docs_check.py"))
    script["run_page"].__globals__["ROOT"] = tmp_path
    page = tmp_path / "page.md"
    page.write_text(f"```python\n{source}```\n\n```text\n3\n```\n", encoding="utf-8")
    failures = script["run_page"](page)
    assert len(failures) == (1 if message else 0)
    assert message in "".join(failures)


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
