"""Tags of the PDF: the structure that a screen reader reads aloud (ISO 32000, 14.7 and 14.8).

reportlab writes no tags, so flowables mark their content, and the catalog gets a tree of elements
that refers to it. Other content, such as lines and footers, is an artifact.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import IO, Any, NamedTuple

from pypdf import PdfWriter
from pypdf.generic import NameObject, NumberObject
from reportlab.pdfbase.pdfdoc import PDFArray, PDFDictionary, PDFName, PDFString


class Tag(NamedTuple):
    """The structure of a piece of content.

    ``role`` is a standard type such as H2, P, TH or Figure, ``alt`` the text of a figure. A cell
    has its ``table`` and ``row``, which are numbers from 1.
    """

    role: str
    alt: str = ""
    table: int = 0
    row: int = 0


class _Element(PDFDictionary):  # type: ignore[misc]
    """An element of the structure tree, which is always an object of its own."""

    __RefOnly__ = 1


class _Mark(NamedTuple):
    tag: Tag
    page: int
    number: int


class Tags:
    """The tags of a document, in reading order."""

    def __init__(self) -> None:
        self._marks: list[_Mark] = []
        self._pages: list[Any] = []
        self._count = 0

    def begin_page(self, canvas: Any) -> None:
        """Begin a page, whose content is an artifact unless it is tagged."""
        self._pages.append(canvas.bookmarkPage(f"page-{len(self._pages)}"))
        self._count = 0
        canvas.addLiteral("/Artifact BMC")

    @contextmanager
    def mark(self, canvas: Any, tag: Tag) -> Iterator[None]:
        """Tag what is drawn in the context."""
        canvas.addLiteral(f"EMC /{tag.role} <</MCID {self._count}>> BDC")
        self._marks.append(_Mark(tag, len(self._pages) - 1, self._count))
        self._count += 1
        yield
        canvas.addLiteral("EMC /Artifact BMC")

    def finish(self, canvas: Any) -> None:
        """Write the structure tree into the document."""
        root = _Element({"Type": PDFName("StructTreeRoot")})
        document = _add(root, "Document")
        root["K"] = document
        parents: list[list[_Element]] = [[] for _ in self._pages]
        for table, marks in groupby(self._marks, lambda mark: mark.tag.table):
            parent = _add(document, "Table") if table else document
            for row, cells in groupby(marks, lambda mark: mark.tag.row):
                row_element = _add(parent, "TR") if row else parent
                for tag, page, number in cells:
                    leaf = _add(row_element, tag.role)
                    leaf["K"], leaf["Pg"] = number, self._pages[page].page
                    if tag.alt:
                        leaf["Alt"] = PDFString(tag.alt)
                    if tag.role == "TH":
                        scope = {"O": PDFName("Table"), "Scope": PDFName("Column")}
                        leaf["A"] = PDFDictionary(scope)
                    parents[page].append(leaf)
        numbers = [item for n, leaves in enumerate(parents) for item in (n, PDFArray(leaves))]
        root["ParentTree"] = _Element({"Nums": PDFArray(numbers)})
        canvas.setCatalogEntry("StructTreeRoot", root)
        canvas.setCatalogEntry("MarkInfo", {"Marked": "true"})
        # Readers show the title instead of the file name.
        canvas.setViewerPreference("DisplayDocTitle", "true")


def end_page(canvas: Any) -> None:
    """End a page that ``Tags`` began."""
    canvas.addLiteral("EMC")


def _add(parent: _Element, role: str) -> _Element:
    """Return a new element, the last of ``parent``."""
    element = _Element({"Type": PDFName("StructElem"), "S": PDFName(role), "P": parent})
    if "K" not in parent:
        parent["K"] = PDFArray([])
    if isinstance(parent["K"], PDFArray):
        parent["K"].sequence.append(element)
    return element


def number_pages(pdf: bytes, out: IO[bytes]) -> None:
    """Write a document whose pages refer to their entries in the tree to ``out``."""
    writer = PdfWriter(clone_from=io.BytesIO(pdf))
    for number, page in enumerate(writer.pages):
        page[NameObject("/StructParents")] = NumberObject(number)
    content = io.BytesIO()
    writer.write(content)
    out.write(content.getvalue())
