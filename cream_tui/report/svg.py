"""Makes the SVG of a plotting library fit into a page: small, without addresses, in the page's colours.

Knows XML. Must not know what is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_FONT_FAMILY = re.compile(r"font-family:[^;]*")
_SHORT_FONT = re.compile(r"(font:[^;]*?\d(?:px)?) '[^;]*")
# What holds coordinates, where two decimals of a point are more than a printer has.
_GEOMETRY = frozenset({"d", "x", "y", "transform", "points", "width", "height"})
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def refine_svg(text: str, *, key: str, label: str, colours: Mapping[str, str], background: str | None = None) -> str:
    """The picture as one ``svg`` element.

    Args:
        key: Begins every id, so that pictures of one page do not meet.
        label: What it shows, for those who do not see it.
        colours: What takes the place of a colour, by its ``#rrggbb``.
        background: A colour below everything; None: what is behind the picture.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(text)
    used = _list_references(root)
    _drop_decoration(root)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name == "id":
                if value in used:
                    element.set("id", f"{key}-{value}")
                else:
                    del element.attrib["id"]
            elif name == _LINK:
                del element.attrib[_LINK]
                element.set("href", f"#{key}-{value.removeprefix('#')}")
            else:
                element.set(name, _refine_value(name, value, key, colours))
    _dissolve_groups(root)
    if background is not None:
        root.insert(0, ElementTree.Element(f"{{{_SVG}}}rect", width="100%", height="100%", fill=background))
    root.attrib.pop("version", None)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="unicode")


def _list_references(root: ElementTree.Element) -> set[str]:
    """The ids that something points at."""
    found: set[str] = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            found.update([value.removeprefix("#")] if name == _LINK else _REFERENCE.findall(value))
    return found


def _refine_value(name: str, value: str, key: str, colours: Mapping[str, str]) -> str:
    value = _REFERENCE.sub(lambda found: f"url(#{key}-{found[1]})", value)
    if name in _GEOMETRY:
        return " ".join(_DECIMALS.sub(lambda found: f"{float(found[0]):.2f}", value).split())
    if name == "style":
        value = _FONT_FAMILY.sub("font-family: sans-serif", value)
        value = _SHORT_FONT.sub(r"\1 sans-serif", value)
        return _COLOUR.sub(lambda found: colours.get(found[0], found[0]), value)
    return value


def _drop_decoration(root: ElementTree.Element) -> None:
    """Metadata has addresses, and a style sheet inside a picture would hold for the page."""
    unwanted = {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in unwanted or (child.tag == f"{{{_SVG}}}defs" and all(c.tag in unwanted for c in child)):
                parent.remove(child)


def _dissolve_groups(parent: ElementTree.Element) -> None:
    """Put the children of groups that say nothing in the groups' places; line breaks between elements go."""
    parent.text = (parent.text or "").strip() or None if len(parent) else parent.text
    children: list[ElementTree.Element] = []
    for child in parent:
        _dissolve_groups(child)
        child.tail = None
        children += list(child) if child.tag == f"{{{_SVG}}}g" and not child.attrib else [child]
    if len(parent):
        parent[:] = children
