from __future__ import annotations

import os
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbir
from cbir.errors import UsageError
from cbir.present.html import PageOptions, page, write_page
from cbir.present.names import file_url, visible
from cbir.present.templating import environment, render
from cbir.types import Hit, Ranking
from tests.present.conftest import Gallery, make_ranking

any_text = st.text(st.characters(exclude_categories=()))
VOID = {"meta", "link", "img", "wbr", "br"}


class Reader(HTMLParser):
    """Elements with their attributes, all text, and whether every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute is there twice"
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (not kind or kind in attributes.get("class", "").split())
        ]


def check_closed_world(read: Reader) -> None:
    """No script, no handler, and nothing that is fetched from anywhere."""
    for tag, attributes in read.elements:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base", "svg", "audio"}
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "srcset", "action", "poster", "background"):
            if key in attributes:
                expected = ("data:image/jpeg;base64,",) if tag == "img" else ("#", "file:///")
                assert attributes[key].startswith(expected) or attributes[key] == "data:,"


def test_one_query(gallery: Gallery) -> None:
    query = gallery.pictures[0]
    ranking = make_ranking(query, gallery.pictures, (query,), metadata={"label": "cat"})
    html = page([ranking], PageOptions(title="My photos", date="2026-03-01"))
    assert html.startswith("<!doctype html>")
    read = Reader(html)
    check_closed_world(read)
    text = " ".join(" ".join(read.text).split())
    assert len(read.all("li", "hit")) == 12
    assert len(read.all("img")) == 13
    assert read.all("nav") == []
    assert len(read.all("span", "identical")) == 1
    for expected in ("My photos", "1 query", "12 hits", "index_data/default", "2026-03-01"):
        assert expected in text
    for expected in ("1.000", "0.938", "95% match", "12.3 ms", "JPEG", "label", "cat"):
        assert expected in text
    assert f"cbir {cbir.__version__}" in text
    alts = [image["alt"] for image in read.all("img")]
    assert alts[:2] == ["Query: picture-00.jpg", "Hit 1: picture-00.jpg"]
    links = [a["href"] for a in read.all("a", "picture")]
    assert links == [file_url(path) for path in (query, *gallery.pictures)]


def test_match_is_there_only_where_a_hit_has_one(gallery: Gallery) -> None:
    ranking = make_ranking("q", gallery.pictures[:3], match=False)
    text = " ".join(Reader(page([ranking])).text)
    assert "match" not in text


@pytest.mark.parametrize(
    ("score", "share"), [(1.0, "100.0%"), (0.25, "25.0%"), (-0.5, "0%"), (1.0000001, "100.0%")]
)
def test_bar(score: float, share: str) -> None:
    html = page([Ranking("q", (Hit(1, 1, "/gone.jpg", score),), "i", 1.0)])
    assert [i["style"] for i in Reader(html).all("i")] == [f"--share: {share}"]


def test_several_queries_have_a_table_of_contents(gallery: Gallery) -> None:
    rankings = [
        make_ranking("a.jpg", gallery.pictures[:2], gallery.pictures[:1]),
        make_ranking("a + b", gallery.pictures[:2], gallery.pictures[:2]),
        make_ranking("-", ()),
    ]
    read = Reader(page(rankings))
    check_closed_world(read)
    assert len(read.all("nav")) == 1
    sections = [section["id"] for section in read.all("section")]
    targets = [a["href"] for a in read.all("a") if a.get("href", "").startswith("#query")]
    assert targets == [f"#{name}" for name in sections]
    assert len(set(sections)) == 3
    text = " ".join(read.text)
    for expected in ("2 pictures combined", "standard input", "No hits", "no picture file"):
        assert expected in text


def test_no_hits_and_no_queries() -> None:
    assert "No hits" in page([make_ranking("q.jpg", ())])
    assert "No queries" in page([])


def test_missing_and_broken_files_are_said(gallery: Gallery) -> None:
    ranking = make_ranking(gallery.gone, (gallery.broken,), (gallery.gone,))
    alts = [image["alt"] for image in Reader(page([ranking])).all("img")]
    assert alts == ["Query: gone.jpg (missing)", "Hit 1: broken.jpg (cannot be read)"]


def test_many_metadata_unfold() -> None:
    for number, unfolded in ((5, 0), (6, 1)):
        metadata = {f"key{i}": "v" for i in range(number)}
        read = Reader(page([make_ranking("q", ("/gone.jpg",), metadata=metadata)]))
        assert len(read.all("dt")) == number
        assert len(read.all("details")) == unfolded


def test_odd_names_are_only_text(gallery: Gallery) -> None:
    ranking = make_ranking(gallery.odd[0], gallery.odd, gallery.odd[:1], metadata={"<b>": "</dl>"})
    read = Reader(page([ranking], PageOptions(title="</title><script>alert(1)</script>")))
    check_closed_world(read)
    for path in gallery.odd:
        assert visible(os.path.basename(path)) in read.text
    titles = [a["title"] for a in read.all("a", "picture")]
    assert titles == [visible(path) for path in (gallery.odd[0], *gallery.odd)]


def shape(html: str) -> Counter[str]:
    return Counter(tag for tag, _ in Reader(html).elements)


@settings(max_examples=25, deadline=None)
@given(any_text, any_text, any_text, st.text(min_size=1))
def test_no_text_can_add_an_element(path: str, query: str, key: str, value: str) -> None:
    def built(path: str, query: str, key: str, value: str) -> str:
        hit = Hit(1, 1, f"/f/{path}x", 0.5, None, False, {key: value})
        options = PageOptions(title=value, date=f"d{value}")
        return page([Ranking(f"q/{query}x", (hit,), f"i{key}", 1.0)], options)

    html = built(path, query, key, value)
    html.encode("utf-8")
    check_closed_world(Reader(html))
    plain, found = shape(built("a", "q", "k", "v")), shape(html)
    for tags in (plain, found):  # a name that no file can have has no link, but a span
        tags["a or span"] = tags.pop("a") + tags.pop("span")
    assert found == plain


def test_the_page_forbids_scripts_and_requests() -> None:
    read = Reader(page([]))
    policy = next(m["content"] for m in read.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert "script" not in policy


def test_an_unknown_name_in_a_template_is_an_error() -> None:
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        render("base.html.j2")


def test_other_reports_can_extend_the_base() -> None:
    child = "{% extends 'base.html.j2' %}{% block main %}<p>{{ text }}</p>{% endblock %}"
    html = environment().from_string(child).render(title="T", version="1", date="", text="<i>")
    assert "<p>&lt;i&gt;</p>" in html
    check_closed_world(Reader(html))


def test_side_out_of_range() -> None:
    with pytest.raises(UsageError, match="side"):
        page([make_ranking("q", ("/gone.jpg",))], PageOptions(hit_side=5))


def test_write_page_is_utf8(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "<p>日本</p>\n")
    assert (tmp_path / "page.html").read_bytes() == "<p>日本</p>\n".encode()


def test_write_page_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="existing folder"):
        write_page(tmp_path / "none" / "page.html", "")


def test_a_page_says_that_nothing_matches(gallery: Gallery) -> None:
    near = Hit(1, 7, str(gallery.pictures[0]), 0.6123, 0.312)
    text = page([Ranking("q", (), "/i", 1.0, (), 0.95, near)])
    assert "No match in this gallery at 95% or above" in text
    name = os.path.basename(gallery.pictures[0])
    assert f"The nearest is {name}, with a match of 31% and a score of 0.612." in text
    for ranking in (Ranking("q", (), "/i", 1.0), Ranking("q", (), "/i", 1.0, (), 0.95, None)):
        other = page([ranking])
        assert "No hits" in other and "No match" not in other
    odd = Hit(1, 7, "/photos/<script>alert(1)</script>.jpg", 0.6, 0.3)
    assert "<script>" not in page([Ranking("q", (), "/i", 1.0, (), 0.95, odd)])
