"""Scrubbing beside Microsoft Presidio: what each finds of the personal data in invented sentences, and takes for it in others.

usage: scrub.py FOLDER [SENTENCES]    (SENTENCES fixtures/scrub: a folder with personal.tsv and impersonal.tsv)

querent is its whole `ingest`, over a log in which each sentence is searched once; what its events lack was found. Presidio finds by its
patterns: no model of a language reads along, and every sentence is taken for English, which most of its recognisers know. It runs
twice: as it comes, which knows the phone numbers of eight regions, and with all regions and the recognisers of all countries.

Whole: marked as its kind, and no more than four bytes beyond it at either end (Presidio marks a whole URL where we mark its secrets: that
counts). Covered: nothing of it is left, whatever it was taken for. Of the sentences that hold nothing personal, Presidio's URLs are no
false alarms: a host is one, and nobody's.

Compares with Presidio if presidio-analyzer is there.
"""

import difflib
import json
import re
import shutil
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from tools import ROOT, installed, machine, querent

if len(sys.argv) < 2:
    sys.exit(__doc__)
there = installed(own=["polars"], peers={"presidio": ["presidio_analyzer"]})
import polars  # noqa: E402

folder = Path(sys.argv[1])
sentences = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "fixtures/scrub"
KINDS = ["url", "email", "iban", "card", "ip", "phone"]
ENTITIES = {
    "URL": "url", "EMAIL_ADDRESS": "email", "IBAN_CODE": "iban", "CREDIT_CARD": "card", "IP_ADDRESS": "ip",
    "PHONE_NUMBER": "phone", "ZA_MOBILE_NUMBER": "phone", "ZA_TELEPHONE_NUMBER": "phone",
}  # fmt: skip
COPIES = 500  # of each sentence, for the time of `ingest`
NEAR = 4
CUT_OFF = datetime(2025, 12, 1, tzinfo=timezone.utc)


class Span(NamedTuple):
    """Personal data in a text: its kind, and where it lies, in characters."""

    kind: str
    start: int
    end: int


def read(file: str) -> list[tuple[str, list[Span]]]:
    """Sentences without their marks `{kind|text}`, and what these mark."""
    rows = []
    for line in (sentences / file).read_text(encoding="utf-8").splitlines():
        plain, spans = "", []
        for i, piece in enumerate(re.split(r"\{(\w+)\|([^}]*)\}", line.split("\t")[1])):
            if i % 3 == 1:
                kind = piece
                continue
            if i % 3 == 2:
                spans.append(Span(kind, len(plain), len(plain) + len(piece)))
            plain += piece
        rows.append((plain, spans))
    return rows


def ingested(texts: list[str], copies: int) -> tuple[list[str], float]:
    """What `ingest` makes of searches, each `copies` times, and its seconds."""
    data = folder / f"data-{copies}"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    at = [CUT_OFF - timedelta(seconds=i + 1) for i in range(len(texts))]
    log = polars.DataFrame({"user": ["0"] * len(texts), "at": at, "text": texts})
    log = polars.concat([log.with_columns(user=polars.lit(str(copy))) for copy in range(copies)])
    log.write_parquet(data / "searches.parquet")
    mapping = f'name = "searches"\ndomain = "search"\nfiles = ["{data}/searches.parquet"]\nuser = "user"\ntime = "at"\ntext = "text"'
    (config := data / "bench.toml").write_text(f"[ingest]\ncut_off = {json.dumps(CUT_OFF.isoformat())}\n[[ingest.events]]\n{mapping}\n")
    run = querent(data, "ingest", "--config", str(config), "--threads", "1")
    events = polars.read_parquet(f"{data}/events/**/*.parquet", columns=["occurred_at", "text"], hive_partitioning=False)
    events = events.unique("occurred_at").sort("occurred_at", descending=True)
    assert len(events) == len(texts), f"{len(events)} of {len(texts)} sentences are events"
    return events["text"].to_list(), run.seconds


def taken(text: str, left: str) -> list[Span]:
    """What is lacking in a scrubbed text, and which kinds its marks name."""
    signs = {chr(0xE000 + i): kind for i, kind in enumerate(KINDS)}
    for sign, kind in signs.items():
        left = left.replace(f"<{kind}>", sign)
    changes = difflib.SequenceMatcher(None, text, left, autojunk=False).get_opcodes()
    return [Span(signs.get(left[c : c + 1], "url") if d > c else "url", a, b) for what, a, b, c, d in changes if what != "equal"]


def presidio(texts: list[str], everywhere: bool) -> tuple[list[list[Span]], float]:
    """What Presidio finds, and its seconds once it is loaded."""
    import phonenumbers
    import tldextract
    from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry, predefined_recognizers
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    # The list of top-level domains that it comes with, not the newest.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("SpacyRecognizer")
    if everywhere:
        registry.remove_recognizer("PhoneRecognizer")
        regions = tuple(sorted(phonenumbers.SUPPORTED_REGIONS))
        registry.add_recognizer(predefined_recognizers.PhoneRecognizer(supported_regions=regions))
        known = {type(recognizer) for recognizer in registry.recognizers}
        for of in vars(predefined_recognizers).values():
            if isinstance(of, type) and issubclass(of, PatternRecognizer) and of not in known:
                registry.add_recognizer(of(supported_language="en"))
    engine = NoOpNlpEngine([{"lang_code": "en", "model_name": ""}])
    engine.load()
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    analyzer.analyze(texts[0], language="en")
    start = time.perf_counter()
    found = [analyzer.analyze(text, language="en") for text in texts]
    seconds = time.perf_counter() - start
    return [[Span(ENTITIES[f.entity_type], f.start, f.end) for f in of if f.entity_type in ENTITIES] for of in found], seconds


def is_whole(text: str, marked: Span, found: Span, hosts: bool) -> bool:
    """Whether what was found is what is marked, and next to nothing more; `hosts`: whole URLs are found."""
    if found.kind != marked.kind or found.start > marked.start or found.end < marked.end:
        return False
    beyond = (text[found.start : marked.start], text[marked.end : found.end])
    return (hosts and marked.kind == "url") or all(len(more.encode()) <= NEAR for more in beyond)


def is_covered(marked: Span, found: list[Span]) -> bool:
    """Whether nothing is left of what is marked."""
    return all(any(f.start <= at < f.end for f in found) for at in range(marked.start, marked.end))


def show(name: str, found: list[list[Span]], hosts: bool) -> None:
    """Prints recall per kind, and false alarms; `hosts`: whole URLs are found, and are nobody's."""
    print(f"\n{name}\n{'':<8} {'whole':>16} {'covered':>16}")
    for kind in KINDS:
        marks = [(text, m, f) for (text, marked), f in zip(personal, found) for m in marked if m.kind == kind]
        whole = sum(any(is_whole(text, m, one, hosts) for one in f) for text, m, f in marks)
        covered = sum(is_covered(m, f) for _, m, f in marks)
        print(f"{kind:<8} " + " ".join(f"{hits:>4} of {len(marks):>3}, {hits / len(marks):.3f}" for hits in (whole, covered)))
    alarms = sum(any(not hosts or f.kind != "url" for f in of) for of in found[len(personal) :])
    print(f"false alarms: {alarms} of {len(impersonal)} sentences, {alarms / len(impersonal):.1%}", flush=True)


personal, impersonal = read("personal.tsv"), read("impersonal.tsv")
texts = [text for text, _ in personal + impersonal]
machine()
print(f"{len(personal)} sentences with personal data, {len(impersonal)} without")
left, once = ingested(texts, 1)
show("querent", [taken(text, of) for text, of in zip(texts, left)], hosts=False)
seconds = ingested(texts, COPIES)[1] - once
print(f"{len(texts) * (COPIES - 1) / seconds:,.0f} sentences/s, one thread, all of ingest: read, scrubbed, hashed, sorted, written")
if "presidio" in there:
    from importlib.metadata import version

    for name, everywhere in [("as it comes", False), ("all regions and countries", True)]:
        found, seconds = presidio(texts, everywhere)
        show(f"Presidio {version('presidio-analyzer')}, {name}", found, hosts=True)
        print(f"{len(texts) / seconds:,.0f} sentences/s, one thread")
