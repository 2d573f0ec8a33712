"""A page stands alone, shows what it was given as text, and refuses what it cannot show."""

import base64
import html.parser
import io
import re

import pandas as pd
import pytest
from PIL import Image

from cnnjax import InputError
from cnnjax.runs import Code, Picture, Section, Table, write_page
from cnnjax.stats import Interval

HOSTILE = "<script>alert('x')</script> & \"quoted\" 5 < 6"


class Reader(html.parser.HTMLParser):
    """What a browser would see: the tags, the attributes that may fetch, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.images, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("src", "href", "action", "poster", "srcset") if name in attributes]
        if tag == "img":
            self.images.append(attributes)

    def handle_data(self, data):
        self.text += data


def png(colour=(200, 30, 30)):
    content = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(content, "PNG")
    return content.getvalue()


def written(tmp_path, *sections, **rest):
    path = tmp_path / "folder" / "page.html"
    write_page(path, rest.pop("title", "A page"), sections, **rest)
    return path.read_text(encoding="utf-8")


def test_everything_is_text(tmp_path):
    rows = [{HOSTILE: HOSTILE, "score": Interval(0.5, 0.4, 0.6, 3)}]
    blocks = [HOSTILE, Code(HOSTILE), Table(rows, title=HOSTILE, caption=HOSTILE), Picture(png(), caption=HOSTILE)]
    text = written(tmp_path, Section(HOSTILE, blocks), title=HOSTILE, about=HOSTILE)
    seen = Reader(text)
    assert "script" not in seen.tags
    # Title (twice), about, heading, paragraph, code, the table's title, header, cell, and two captions.
    assert seen.text.count(HOSTILE) == 11
    assert seen.images[0]["alt"] == HOSTILE


def test_it_refers_to_nothing_outside_itself(tmp_path):
    sections = [Section(f"Part {i}", [f"text {i}", Picture(png())]) for i in range(3)]
    text = written(tmp_path, *sections)
    seen = Reader(text)
    assert seen.links
    assert all(link.startswith(("data:image/png;base64,", "#section-")) for link in seen.links)
    for target in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{target}"' in text
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "default-src 'none'" in text


def test_pictures_come_whole_from_bytes_and_from_files(tmp_path):
    (tmp_path / "figure.png").write_bytes(png((0, 90, 0)))
    text = written(tmp_path, Section("Figures", [Picture(png()), Picture(tmp_path / "figure.png", alt="green")]))
    contents = [base64.b64decode(image["src"].partition(",")[2]) for image in Reader(text).images]
    assert contents == [png(), png((0, 90, 0))]


def test_a_table_reads_as_it_is_printed(tmp_path):
    frame = pd.DataFrame({"cell": ["none", "crop"], "accuracy": [Interval(0.973, 0.968, 0.976, 5), None], "n": [1, 2]})
    text = written(tmp_path, Section("Scores", [Table(frame, caption="In percent.", percent=True)]))
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", text)
    assert cells == ["cell", "accuracy", "n", "none", "97.3 ± 0.4", "1", "crop", "–", "2"]
    assert "In percent. ±: half the width of the 95 % bootstrap interval over n = 5 seeds." in text


def test_a_folded_section_is_there(tmp_path):
    text = written(tmp_path, Section("open", ["first"]), Section("shut", ["second"], folded=True))
    assert text.count("<details>") == text.count("</details>") == 1
    assert text.index("first") < text.index("<details>") < text.index("second") < text.index("</details>")


def test_what_cannot_be_shown_is_refused_and_the_old_page_stays(tmp_path):
    before = written(tmp_path, Section("a", ["b"]))
    for blocks, message in [
        ([Picture(tmp_path / "absent.png")], r"absent\.png cannot be read"),
        ([Picture(b"GIF89a..")], "is no PNG"),
        ([Table([])], "has no rows"),
    ]:
        with pytest.raises(InputError, match=message):
            written(tmp_path, Section("a", blocks))
    with pytest.raises(InputError, match="no sections"):
        written(tmp_path)
    assert (tmp_path / "folder" / "page.html").read_text(encoding="utf-8") == before
