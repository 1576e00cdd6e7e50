"""The page: a template, scripts, a style and KaTeX, put into one file of HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SCRIPTS = ("data.js", "text.js", "beside.js", "trace.js", "grid.js", "compare.js", "app.js")
# In JSON these can only stand within strings; none of them is left as such in a page.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(context: Mapping[str, Any], data: Mapping[str, Any], chunks: Sequence[str]) -> str:
    """The whole page. ``context``: for the template, which escapes it; ``data``: the index; ``chunks``: packed traces
    that lie in the page.

    Scripts run only with the page's nonce, so that not even text that became markup by a mistake could run.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(_HERE / "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    index = embedded(data)
    nonce = base64.b64encode(hashlib.sha256(index.encode()).digest()[:12]).decode()
    katex = _HERE / "katex"
    return environment.get_template("page.html").render(
        **context,
        nonce=nonce,
        index=Markup(index),
        chunks=chunks,
        style=Markup((_HERE / "page" / "style.css").read_text()),
        scripts=Markup("\n".join((_HERE / "page" / name).read_text() for name in _SCRIPTS)),
        katex_style=Markup(_katex_style(katex)),
        katex_script=Markup((katex / "katex.min.js").read_text()),
        katex_licence="\n".join((katex / name).read_text() for name in ("LICENSE", "fonts/OFL.txt")),
    )


def embedded(value: Any) -> str:
    """JSON that may stand in a script element: no markup, whatever the strings in it hold."""
    import orjson

    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return re.sub("[<>&\u2028\u2029]", lambda found: _ESCAPES[found[0]], text)


def _katex_style(folder: Path) -> str:
    """KaTeX's style sheet with its fonts in it; of the three formats the one that all browsers read."""

    def font(found: re.Match[str]) -> str:
        data = base64.b64encode((folder / "fonts" / found[1]).read_bytes()).decode()
        return f'src:url(data:font/woff2;base64,{data}) format("woff2")'

    return re.sub(
        r'src:url\(fonts/([\w-]+\.woff2)\) format\("woff2"\)[^}]*', font, (folder / "katex.min.css").read_text()
    )
