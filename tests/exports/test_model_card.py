"""Names of classes in a model card are text."""

import pytest

from tlkit.exports import model_card


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("golden_retriever", "golden_retriever"),
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("[a](javascript:b)", r"\[a\](javascript:b)"),
        ("cat\n\n# dog\x1b[31m", r"cat \# dog\\x1b\[31m"),
        ("`a` | *b*", r"\`a\` \| \*b\*"),
    ],
)
def test_name_of_a_class_is_text_and_no_markup(name: str, shown: str) -> None:
    assert model_card._markdown(name) == shown
