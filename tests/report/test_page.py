"""No string reaches the page as markup."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from extrap_eval.report.overview import Picture, Section, Table
from extrap_eval.report.page import embedded, render

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028'\"&amp;<!--"


def a_page(text: str = HOSTILE, chunks: tuple[str, ...] = ()) -> str:
    section = Section(text, [text], [Table((text,), ((text,),))], [Picture("data:,", text, False)], [text])
    made = {
        "name": text,
        "folder": text,
        "sampled": [(text, text)],
        "scored": [],
        "versions": [],
        "variants": [(text, [])],
    }
    made |= {"commands": [{"time": text, "command": text, "version": text, "commit": text, "engine": text}]}
    made |= {"model_card": text, "benchmark_card": text}
    context = {"title": text, "compare": False, "sections": [section], "settings": [made], "notes": [text]}
    context |= {"command": text, "runs": [{"name": text, "benchmark": text}] * 2}
    return render(context, {"anything": text}, chunks)


def test_hostile_text_is_no_markup_anywhere() -> None:
    page = a_page()
    assert "<img src=x" not in page
    assert "alert(1)</script>" not in page
    # The scripts of the page itself, its data, and nothing else.
    nonce = re.search("nonce-([^']+)", page)
    assert nonce
    assert re.findall(r"<script([^>]*)>", re.sub(r"<style>.*?</style>", "", page, flags=re.S)) == [
        ' type="application/json" id="index"',
        *[f' nonce="{nonce[1]}"'] * 2,
    ]
    data = re.search(r'id="index">(.*?)</script>', page, re.S)
    assert data
    assert json.loads(data[1]) == {"anything": HOSTILE}


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = a_page("harmless", ("QQ==",))
    assert "default-src 'none'" in page
    assert not re.findall(
        r'(?:src|href)="(?!data:|#)[^"]*"', re.sub(r"<script nonce.*?</script>", "", page, flags=re.S)
    )
    assert not re.findall(r"url\((?!data:)[^)]*\)", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert '<script type="application/octet-stream" id="chunk-0">QQ==</script>' in page


def test_the_licences_of_the_vendored_library_and_its_fonts_are_in_the_page() -> None:
    page = a_page()
    assert "Khan Academy and other contributors" in page
    assert "SIL OPEN FONT LICENSE" in page


@given(st.recursive(st.text() | st.integers(-9, 9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedded_json_reads_back_and_holds_no_markup(value: object) -> None:
    text = embedded(value)
    assert json.loads(text) == value
    assert not re.search("[<>&\u2028\u2029]", text)


def test_the_same_data_makes_the_same_page() -> None:
    assert a_page("x") == a_page("x")
