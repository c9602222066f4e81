"""What the documentation shows runs, from top to bottom, as a reader would type it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/reacting.md", "docs/modelling.md", "docs/testing.md", "docs/frameworks.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's first lines would fail."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict[str, object] = {"__name__": "example"}
    for number, block in enumerate(blocks, 1):
        try:
            exec(compile(block, f"{page}, example {number}", "exec"), names)
        except BaseException as error:
            error.add_note(f"in example {number} of {page}")
            raise


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]))
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    """A reader would end at a page that is not there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
