"""Every example of the page `docs/python.md` runs, against a sandbox and a mock of the API."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import Inference, Sandbox

PAGE = Path(__file__).parents[2] / "docs/python.md"
README = Path(__file__).parents[1] / "README.md"


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def run(code: str, inference: Inference) -> None:
    code = code.replace("https://inference.baseten.co", inference.url)
    exec(compile(code, str(PAGE), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    ("package", "printed"),
    [
        ("from openai import OpenAI", "Hello.\n"),
        ("from openai import AsyncOpenAI", "Hello.\n"),
        ("from anthropic import Anthropic", "Hello.\n"),
        ("from langchain_openai import", "Hello.\n"),
        ("import httpx", "['a-model']\n"),
        ("import requests", "['a-model']\n"),
    ],
)
def test_the_page_has_a_working_example(
    package: str,
    printed: str,
    sandbox: Sandbox,
    inference: Inference,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sandbox.log_in()
    [code] = [code for code in examples(PAGE) if package in code]
    run(code, inference)
    assert capsys.readouterr().out == printed
    assert inference.authorizations == [f"Bearer {sandbox.token()}"]


def test_anything_else(
    sandbox: Sandbox, inference: Inference, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = [code for code in examples(PAGE) if "get_token" in code]
    with pytest.raises(SystemExit, match=r"not logged in: .*; log in with: baseten auth login"):
        run(code, inference)
    sandbox.log_in()
    run(code, inference)
    assert capsys.readouterr().out.startswith("Bearer 20")


def test_no_example_is_left_out() -> None:
    assert len(examples(PAGE)) == 7


def test_the_example_of_the_readme(sandbox: Sandbox, inference: Inference) -> None:
    sandbox.log_in()
    [code] = examples(README)
    run(code + "client.models.list()\n", inference)
    assert inference.authorizations == [f"Bearer {sandbox.token()}"]
