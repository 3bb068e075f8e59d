"""XMP packets: IPTC's marks of generated pictures, written for each picture and read from any file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from bot.core.inspection import TRAINED
from bot.provenance import aigc
from bot.provenance.a1111 import easel_version
from bot.provenance.facts import Facts

MAX_BYTES = 256 * 1024
"""Largest packet that is read."""

SOURCE_TYPE = "Iptc4xmpExt:DigitalSourceType"
"""The property that says that a model drew a picture."""

AIGC = "TC260:AIGC"
"""The property of China's AIGC label."""

_NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "TC260": aigc.NAMESPACE,
}
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_PREFIXES = {uri: prefix for prefix, uri in _NAMESPACES.items()}
# What XML 1.0 forbids (section 2.2), in addition to lone surrogates.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""{namespaces}>{properties}</rdf:Description>'
    "</rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
)


def packet(facts: Facts) -> bytes:
    """Return the packet of a picture, in UTF-8: about 1 kB and the prompt."""
    name = f"urn:uuid:{facts.document}"
    properties = {
        SOURCE_TYPE: facts.source_type,
        "Iptc4xmpExt:AISystemUsed": facts.system,
        "Iptc4xmpExt:AISystemVersionUsed": facts.system_version,
        "Iptc4xmpExt:AIPromptInformation": facts.prompt,
        "xmp:CreatorTool": f"Easel {easel_version()}",
        "xmp:CreateDate": facts.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "xmpMM:DocumentID": name,
        "xmpMM:InstanceID": name,
        "photoshop:Credit": facts.credit,
        AIGC: aigc.label(facts.aigc_producer, facts.document) if facts.aigc_producer else facts.kept_label,
    }
    return _packet(properties)


def label_packet(label: str) -> bytes:
    """Return a packet that has this AIGC label alone."""
    return _packet({AIGC: label})


def sheet_packet() -> bytes:
    """Return the packet of a contact sheet, whose parts are pictures that models made: it has the mark alone."""
    return _packet({SOURCE_TYPE: TRAINED, "xmp:CreatorTool": f"Easel {easel_version()}"})


def _packet(properties: Mapping[str, str]) -> bytes:
    said = {key: value for key, value in properties.items() if value}
    used = dict.fromkeys(key.partition(":")[0] for key in said)
    text = _PACKET.format(
        namespaces="".join(f' xmlns:{prefix}="{_NAMESPACES[prefix]}"' for prefix in used),
        properties="".join(f"<{key}>{escape(_FORBIDDEN.sub('', value))}</{key}>" for key, value in said.items()),
    )
    return text.encode()


def read(data: bytes) -> Mapping[str, tuple[str, ...]]:
    """Return the values of the properties that Easel knows, by prefixed name; nothing where the packet is damaged.

    A property stands more than once where the packet has it more than once. Values of lists are joined by commas.
    Entities and document types are refused, so a small packet can't become a large text.
    """
    if len(data) > MAX_BYTES:
        return {}
    try:
        root = fromstring(data.decode("utf-8", "replace").strip("\0\ufeff \r\n"))
    except (ParseError, DefusedXmlException, ValueError, RecursionError):
        return {}
    found: dict[str, list[str]] = {}
    # Descriptions inside of others are parts of values; searching each for its values would take quadratic time.
    for rdf in islice(root.iter(f"{_RDF}RDF"), 1):
        for description in rdf.iterfind(f"{_RDF}Description"):
            pairs = [*description.attrib.items(), *((one.tag, _value(one)) for one in description)]
            for tag, value in pairs:
                if (key := _key(tag)) and value:
                    found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def _key(tag: str) -> str:
    uri, _, name = tag.removeprefix("{").partition("}")
    return f"{_PREFIXES[uri]}:{name}" if uri in _PREFIXES else ""


def _value(element: Element) -> str:
    resource = element.attrib.get(f"{_RDF}resource", "")
    items = [item.text or "" for item in element.iter(f"{_RDF}li")]
    return (resource or ", ".join(items) or element.text or "").strip()
