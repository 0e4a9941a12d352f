"""docs/api.html: the document as one page to read, without a script and without a request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from local.aws import ROOT

PATH = ROOT / "docs" / "api.html"

_METHODS = ("get", "put", "post", "delete")
_CODE_AND_TITLE = re.compile(r"^- `([a-z0-9-]+)`: (.*)\.$", re.MULTILINE)
# How often a schema is opened within another; none of ours goes deeper.
_DEEPEST = 8

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f5f7f9; --ink: #1c2530;
  --quiet: #4d5a68; --line: #d8dee5; --link: #0b5cad; --get: #0b5cad; --put: #7a4a00;
  --post: #14692f; --delete: #a3201d; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --card: #1d232a; --ink: #e6eaee; --quiet: #a9b4bf; --line: #353f4a;
    --link: #7db8f5; --get: #7db8f5; --put: #e8b566; --post: #7ccf94; --delete: #f29a94; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
main, nav { padding: 1.25rem; }
main { max-width: 56rem; }
nav { border-bottom: 1px solid var(--line); font-size: .9rem; }
nav ul { list-style: none; margin: 0 0 .75rem; padding: 0; }
nav li { padding: .2rem 0; }
nav strong { display: block; margin-top: .75rem; }
@media (min-width: 70rem) {
  body { display: grid; grid-template-columns: 23rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; border-bottom: 0;
    border-right: 1px solid var(--line); }
  main { padding: 1.5rem 2.5rem; } }
h1, h2, h3, h4, h5 { line-height: 1.25; margin: 1.5rem 0 .5rem; }
h1 { margin-top: 0; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: .3rem; margin-top: 3rem; }
h3 { font-size: 1.1rem; margin-top: 2.5rem; }
h4 { font-size: 1rem; }
h5 { font-size: .95rem; margin-bottom: .25rem; }
p { margin: .5rem 0; }
a { color: var(--link); }
a.here { color: inherit; text-decoration: none; }
a.here:hover { text-decoration: underline; }
code, pre { font: .88em/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  padding: .75rem; white-space: pre-wrap; }
.method { font-weight: 700; }
.get { color: var(--get); } .put { color: var(--put); }
.post { color: var(--post); } .delete { color: var(--delete); }
.quiet { color: var(--quiet); font-size: .9rem; }
ul.members { list-style: none; margin: .25rem 0 .5rem; padding: 0; }
ul.members ul.members, .either { margin-left: .2rem; padding-left: .8rem;
  border-left: 2px solid var(--line); }
ul.members > li { padding: .3rem 0; }
ul.members > li > code:first-child { font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); }
th { white-space: nowrap; }
h3 code { font-size: 1em; }
p + h3, details + h3 { margin-top: 1.5rem; }
summary { cursor: pointer; padding: .3rem 0; }
@media print { nav { display: none; } body { display: block; } }
"""


def written(document: dict[str, Any]) -> str:
    """Return the text of docs/api.html for an OpenAPI document."""
    return "\n".join(_Page(document).lines()) + "\n"


class _Page:
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._components = document["components"]
        self._operations = [
            (method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in sorted(methods.items(), key=lambda one: _METHODS.index(one[0]))
        ]

    def lines(self) -> Iterator[str]:
        info = self._document["info"]
        title = f"{info['title']} API {info['version']}"
        yield "<!doctype html>"
        yield '<html lang="en">'
        yield "<head>"
        yield '<meta charset="utf-8">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield (
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        )
        yield f"<title>{escape(title)}</title>"
        yield f"<style>{_STYLE}</style>"
        yield "</head>"
        yield "<body>"
        yield from self._contents()
        yield "<main>"
        yield f"<h1>{escape(title)}</h1>"
        yield f"<p>{_inline(info['summary'])} {_inline(info['description'])}</p>"
        for server in self._document["servers"]:
            yield f"<p><code>{escape(server['url'])}</code>: {_inline(server['description'])}</p>"
        yield (
            '<p>How to sign, to buy exactly once and to go on after an error: <a href="api.md">'
            'api.md</a>. For tools: <a href="openapi.json">openapi.json</a>.</p>'
        )
        for tag in self._document["tags"]:
            yield f'<h2 id="{tag["name"]}">{escape(tag["name"].capitalize())}</h2>'
            yield f"<p>{_inline(tag['description'])}</p>"
            for method, path, operation in self._of(tag["name"]):
                yield from self._operation(method, path, operation)
        yield from self._errors()
        yield "</main>"
        yield "</body>"
        yield "</html>"

    def _of(self, tag: str) -> list[tuple[str, str, dict[str, Any]]]:
        return [one for one in self._operations if tag in one[2]["tags"]]

    def _contents(self) -> Iterator[str]:
        yield '<nav aria-label="Contents">'
        for tag in self._document["tags"]:
            name = escape(tag["name"])
            yield f'<strong><a href="#{name}">{name.capitalize()}</a></strong>'
            yield "<ul>"
            for method, path, operation in self._of(tag["name"]):
                yield (
                    f'<li><a href="#{operation["operationId"]}">{_inline(operation["summary"])}</a>'
                    f'<br><code class="quiet">{_route(method, path)}</code></li>'
                )
            yield "</ul>"
        yield '<strong><a href="#errors">Errors</a></strong>'
        yield "</nav>"

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        name = operation["operationId"]
        yield f'<section id="{name}">'
        yield f'<h3><a class="here" href="#{name}"><code>{_route(method, path)}</code></a></h3>'
        yield f"<p><strong>{_inline(operation['summary'])}.</strong></p>"
        yield f"<p>{_inline(operation['description'])}</p>"
        if operation["parameters"]:
            yield "<h4>Parameters</h4>"
            yield '<ul class="members">'
            for one in operation["parameters"]:
                more = f"in the {one['in']}, {'required' if one['required'] else 'optional'}"
                yield from self._member(one["name"], one["schema"], more, one["description"])
            yield "</ul>"
        body = operation.get("requestBody", {}).get("content", {})
        for media_type, content in body.items():
            yield f"<h4>Body: <code>{escape(media_type)}</code></h4>"
            yield from self._schema(content["schema"])
        yield "<h4>For example</h4>"
        for media_type, content in body.items() or [("", {})]:
            yield f"<pre>{escape(_request(method, path, operation, media_type, content))}</pre>"
        yield "<h4>Answers</h4>"
        for status, answer in operation["responses"].items():
            yield from self._success(status, answer)
        problems = list(_problems(operation))
        if problems:
            yield "<h4>Errors</h4>"
            yield "<table><thead><tr><th>Status</th><th>Codes</th></tr></thead><tbody>"
            for status, codes in problems:
                links = ", ".join(f'<a href="#{code}"><code>{code}</code></a>' for code in codes)
                yield f"<tr><td>{status}</td><td>{links}</td></tr>"
            yield "</tbody></table>"
        yield "</section>"

    def _success(self, status: str, answer: dict[str, Any]) -> Iterator[str]:
        for media_type, content in answer["content"].items():
            if media_type == "application/problem+json":
                continue
            yield f"<h5>{status} <code>{escape(media_type)}</code></h5>"
            yield f"<p>{_inline(answer['description'])}</p>"
            headers = [
                f"<code>{escape(name)}</code> ({_inline(words.rstrip('.'))})"
                for name, one in answer.get("headers", {}).items()
                if (words := self._of_ref(one)["description"])
            ]
            if headers:
                yield f'<p class="quiet">Headers: {", ".join(headers)}</p>'
            if media_type == "application/json":
                yield from self._schema(content["schema"])
                yield f"<pre>{escape(_json(content['example']))}</pre>"

    def _errors(self) -> Iterator[str]:
        titles: dict[str, str] = {}
        statuses: dict[str, set[str]] = {}
        for _, _, operation in self._operations:
            for status, codes in _problems(operation):
                titles = codes | titles
                for code in codes:
                    statuses.setdefault(code, set()).add(status)
        yield '<h2 id="errors">Errors</h2>'
        yield "<p>Each is an <code>application/problem+json</code>:</p>"
        yield from self._schema({"$ref": "#/components/schemas/Problem"})
        for code in sorted(titles):
            told = ", ".join(sorted(statuses[code]))
            yield f'<h3 id="{code}"><a class="here" href="#{code}"><code>{code}</code></a></h3>'
            yield f"<p>{told}: {_inline(titles[code])}.</p>"
            example = self._components["examples"].get(code)
            if example:
                yield "<details><summary>For example</summary>"
                yield f"<pre>{escape(_json(example['value']))}</pre></details>"

    def _of_ref(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return what `value` refers to, or itself."""
        if "$ref" not in value:
            return value
        found: Any = self._document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return dict(found)

    def _schema(self, schema: dict[str, Any], depth: int = 0) -> Iterator[str]:
        """Yield the members of a schema that has some, each alternative's where there are more."""
        schema = self._of_ref(schema)
        if depth > _DEEPEST:
            raise ValueError("a schema refers to itself")
        alternatives = self._alternatives(schema)
        if len(alternatives) > 1:
            opened = [list(self._schema(one, depth + 1)) for one in alternatives]
            if any(opened):
                for word, one, lines in zip(
                    ["Either", *["Or"] * len(opened)], alternatives, opened, strict=False
                ):
                    words = "" if lines else _inline(one.get("description", ""))
                    yield f'<p class="quiet">{word} {self._kind(one)}: {words}</p>'
                    yield f'<div class="either">{"".join(lines)}</div>' if lines else ""
            return
        for one in alternatives:
            if not depth and "description" in one:
                yield f"<p>{_inline(one['description'])}</p>"
            if "items" in one:
                if not depth:
                    yield f'<p class="quiet">{self._kind(one)}{_bounds(one)}</p>'
                yield from self._schema(one["items"], depth + 1)
            if "properties" in one:
                yield '<ul class="members">'
                for name, member in one["properties"].items():
                    more = "" if name in one.get("required", ()) else "optional"
                    yield from self._member(name, member, more, depth=depth)
                yield "</ul>"

    def _member(
        self, name: str, schema: dict[str, Any], more: str, words: str = "", depth: int = 0
    ) -> Iterator[str]:
        opened = self._of_ref(schema)
        kind = ", ".join(filter(None, (self._kind(schema), more)))
        words = words or opened.get("description", "")
        yield f'<li><code>{escape(name)}</code> <span class="quiet">{kind}</span>'
        if words:
            yield f"<br>{_inline(words)}"
        told = self._values(opened)
        if told:
            yield f'<br><span class="quiet">{told}</span>'
        yield from self._schema(schema, depth + 1)
        yield "</li>"

    def _alternatives(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a schema may be, without null."""
        either = schema.get("anyOf") or schema.get("oneOf") or [schema]
        return [one for one in map(self._of_ref, either) if one.get("type") != "null"]

    def _kind(self, schema: dict[str, Any]) -> str:
        """Return of what type a schema is, in words."""
        schema = self._of_ref(schema)
        either = schema.get("anyOf") or schema.get("oneOf")
        if either:
            return " or ".join(dict.fromkeys(map(self._kind, either)))
        kinds = schema.get("type", "text" if "const" in schema else "any")
        words = [
            f"list of {self._kind(schema['items'])}" if kind == "array" else kind
            for kind in ([kinds] if isinstance(kinds, str) else kinds)
        ]
        if "format" in schema:
            words[0] = f"{words[0]} ({schema['format']})"
        return escape(" or ".join(words))

    def _values(self, schema: dict[str, Any]) -> str:
        """Return which values a schema takes, where it does not take every one of its type."""
        told = [_bounds(one).removeprefix(", ") for one in self._alternatives(schema)]
        return "; ".join(filter(None, told))


def _bounds(schema: dict[str, Any]) -> str:
    told = []
    if "enum" in schema:
        told.append("one of " + ", ".join(f"<code>{escape(str(v))}</code>" for v in schema["enum"]))
    if "const" in schema:
        told.append(f"always <code>{escape(str(schema['const']))}</code>")
    if "default" in schema:
        told.append(f"<code>{escape(str(schema['default']))}</code> when absent")
    for low, high, what in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        # 0 and more is what a count is anyway.
        if high in schema:
            told.append(f"{schema.get(low, 0):,} to {schema[high]:,}{what}")
        elif schema.get(low):
            told.append(f"{schema[low]:,}{what} or more")
    if "pattern" in schema:
        told.append(f"<code>{escape(schema['pattern'])}</code>")
    return "".join(f", {one}" for one in told)


def _problems(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the statuses of an operation's errors, each with its codes and their titles."""
    for status, answer in operation["responses"].items():
        if "application/problem+json" in answer["content"]:
            yield status, dict(_CODE_AND_TITLE.findall(answer["description"]))


def _request(
    method: str,
    path: str,
    operation: dict[str, Any],
    media_type: str,
    content: dict[str, Any],
) -> str:
    """Return a request with the parameters' examples, as it goes over the wire."""
    query, headers = {}, []
    for one in operation["parameters"]:
        if "example" not in one:
            continue
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", one["example"])
        elif one["in"] == "header":
            headers.append(f"{one['name']}: {one['example']}")
        else:
            query[one["name"]] = one["example"]
    if query:
        path += "?" + urlencode(sorted(query.items()), quote_via=quote)
    if media_type:
        headers.append(f"Content-Type: {media_type}")
    lines = [f"{method.upper()} {path}", *headers]
    if media_type:
        example = content["example"]
        lines += ["", example.rstrip() if isinstance(example, str) else _json(example)]
    return "\n".join(lines)


def _route(method: str, path: str) -> str:
    # A long path may break before a slash only.
    steps = escape(path).replace("/", "<wbr>/").removeprefix("<wbr>")
    return f'<span class="method {method}">{method.upper()}</span> {steps}'


def _inline(text: str) -> str:
    """Return a sentence with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
