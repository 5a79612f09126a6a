import base64
import hashlib
import json
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jftdata import judge
from jftdata.errors import BadArgument, BadInput, Damaged, MissingInput, UnknownName
from jftdata.images import encode_jpeg
from tests.browser import CHROMIUM, browser
from tests.strategies import picture

NASTY = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=2</script><!-- \' \u2028 & {{ 7 * 7 }}'
TEXT = {"title": "Cats & co", "question": "Is it a cat?", "guide": "A drawn cat is one.", "note": "all of 4"}
IDS = ["b 2", "a 1", "__proto__", "7"]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed here")


def item(name, **changed):
    shown = judge.Picture(jpeg=encode_jpeg(picture(len(name))), alt=f"picture of {name}", labels=["cat"])
    return judge.Item(**{"id": name, "heading": f"Item {name}", "pictures": [shown], **changed})


def write(folder, name="p.html", items=None, **changed):
    return judge.write([item(i) for i in IDS] if items is None else items, out=folder / name, **(TEXT | changed))


def answers(path, page, given, **changed):
    """A file as the page saves it; `given` are (item, answer), in which an item may be twice."""
    inside = ", ".join(f"{json.dumps(i)}: {json.dumps(a)}" for i, a in given)
    rest = {"format": judge.FORMAT, "page": page.fingerprint, "question": TEXT["question"]} | changed
    path.write_text(json.dumps(rest)[:-1] + f', "answers": {{{inside}}}}}')
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page"))


# ---- the page as a file ----------------------------------------------------------------------------------------------


def test_equal_inputs_give_equal_bytes_and_any_change_another_fingerprint(page, tmp_path):
    again = write(tmp_path)
    assert again.path.read_bytes() == page.path.read_bytes()
    assert (again.num_items, again.num_bytes) == (4, page.path.stat().st_size)
    lost = judge.Picture(jpeg=None, alt="gone")
    others = [
        write(tmp_path, "q.html", **change)
        for change in (
            *({key: "other"} for key in TEXT),
            {"items": [item(i) for i in IDS[::-1]]},
            {"items": [*(item(i) for i in IDS[:3]), item("7", pictures=[lost])]},
        )
    ]
    assert len({p.fingerprint for p in (page, *others)}) == 1 + len(others)


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.data = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.data.append(data)


def test_the_page_has_one_static_script_allowed_by_its_hash_and_data_stay_data(page, tmp_path):
    scripts = []
    nasty = judge.Picture(jpeg=None, alt=NASTY, lines=[NASTY], labels=[NASTY], conflicts=[NASTY])
    hostile = item(NASTY, heading=NASTY, pictures=[nasty], lines=[NASTY], group=NASTY)
    for path in (page.path, write(tmp_path, items=[hostile], **dict.fromkeys(TEXT, NASTY)).path):
        html = Elements()
        html.feed(path.read_text())
        assert [a for tag, a in html.found if tag == "script"] == [{"type": "application/json", "id": "data"}, {}]
        assert not [tag for tag, _ in html.found if tag in ("img", "link", "iframe", "object")]
        scripts.append(html.data[-1])
        (policy,) = [a["content"] for tag, a in html.found if a.get("http-equiv") == "Content-Security-Policy"]
        digest = base64.b64encode(hashlib.sha256(scripts[-1].encode()).digest()).decode()
        assert "default-src 'none'" in policy
        assert re.findall("script-src ([^;]*)", policy) == [f"'sha256-{digest}'"]
    assert scripts[0] == scripts[1]
    data = json.loads(html.data[0])
    assert (data["items"][0]["id"], data["items"][0]["pictures"][0]["conflicts"], data["note"]) == (
        NASTY,
        [NASTY],
        NASTY,
    )


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"name": "p.htm"}, BadArgument, r"must end in \.html\. Got .*p\.htm"),
        ({"items": []}, BadInput, "there are no items"),
        ({"items": [item("a"), item("b"), item("a")]}, BadInput, "an id of its own. Got 'a' twice"),
        ({"items": [item("")]}, BadInput, "an id of its own. Got ''"),
        ({"items": [item(str(i), pictures=[]) for i in range(1001)]}, BadArgument, "at most 1,000 items. Got 1,001"),
    ],
)
def test_what_no_page_can_be_made_of_is_an_error_and_leaves_no_file(tmp_path, changed, error, message):
    with pytest.raises(error, match=message):
        write(tmp_path, **changed)
    assert not list(tmp_path.iterdir())


def test_a_page_too_large_for_a_browser_is_refused(page, tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "MAX_BYTES", page.num_bytes)
    assert write(tmp_path).num_bytes == page.num_bytes
    monkeypatch.setattr(judge, "MAX_BYTES", page.num_bytes - 1)
    with pytest.raises(BadInput, match=rf"has {page.num_bytes:,} bytes, at most {page.num_bytes - 1:,}"):
        write(tmp_path, "more.html")
    assert [p.name for p in tmp_path.iterdir()] == ["p.html"]


# ---- answers read back -----------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(IDS), st.sampled_from(judge.ANSWERS)), st.data())
def test_answers_of_several_files_are_their_union_whatever_the_order(page, truth, data):
    parts = [data.draw(st.lists(st.sampled_from(sorted(truth.items())))) if truth else [] for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        files = [answers(Path(folder) / f"{i}.json", page, part) for i, part in enumerate(parts)]
        found = judge.read(data.draw(st.permutations(files)), page=page.path)
        assert found.equals(judge.read(files))
    assert found.rows() == sorted({pair for part in parts for pair in part})
    assert found.schema == judge.JUDGEMENTS


def test_only_unsure_answers_are_a_result(page, tmp_path):
    file = answers(tmp_path / "a.json", page, [(i, "unsure") for i in IDS])
    assert judge.read(file, page=page.path).rows() == [(i, "unsure") for i in sorted(IDS)]


def test_two_answers_to_one_item_are_an_error_that_names_both(page, tmp_path):
    one, other = (answers(tmp_path / f"{a}.json", page, [("a 1", "yes"), ("7", a)]) for a in ("no", "unsure"))
    with pytest.raises(BadInput, match=r"'7' is 'no' in .*no\.json and 'unsure' in .*unsure\.json. Agree on one"):
        judge.read([one, other], page=page.path)
    both = answers(tmp_path / "both.json", page, [("7", "yes"), ("7", "no")])
    with pytest.raises(BadInput, match=r"'7' is 'yes' in .*both\.json and 'no' in .*both\.json"):
        judge.read(both)


def test_answers_that_do_not_fit_the_page_are_errors(page, tmp_path):
    other = write(tmp_path, "other.html", note="another")
    mine, theirs = (answers(tmp_path / f"{i}.json", p, [("7", "yes")]) for i, p in enumerate((page, other)))
    with pytest.raises(BadInput, match=rf"1\.json answers another page \({other.fingerprint[:12]}\) than .*p\.html"):
        judge.read(theirs, page=page.path)
    with pytest.raises(BadInput, match=r"1\.json answers another page .* than the page of .*0\.json"):
        judge.read([mine, theirs])
    stray = answers(tmp_path / "stray.json", page, [("a 11", "yes")])
    with pytest.raises(UnknownName, match=r"answers 'a 11', which is not on .*p\.html. Did you mean 'a 1'\?"):
        judge.read(stray, page=page.path)
    for wrong in ("maybe", None, 1, ["yes"]):
        file = answers(tmp_path / "wrong.json", page, [("7", wrong)])
        with pytest.raises(BadInput, match=r"answers '7' with .*, expected yes, no or unsure"):
            judge.read(file, page=page.path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "7", "{}", '{"format": "jftdata.judgements/1"}', '[["format", 1]]', "\x00", None]
)
def test_a_file_that_is_none_of_answers_is_an_error(page, tmp_path, content):
    file = tmp_path / "a.json"
    file.write_bytes(b"\xff\xd8\xff" if content is None else content.encode())
    with pytest.raises(BadInput, match=r"a\.json is no (file of answers|text file)"):
        judge.read(file, page=page.path)


def test_files_that_are_not_there_and_pages_that_are_none_are_errors(page, tmp_path):
    file = answers(tmp_path / "a.json", page, [("7", "yes")])
    with pytest.raises(BadArgument, match="names no file"):
        judge.read([])
    with pytest.raises(MissingInput, match=r"b\.json cannot be read"):
        judge.read(tmp_path / "b.json")
    with pytest.raises(MissingInput, match=r"b\.html cannot be read"):
        judge.read(file, page=tmp_path / "b.html")
    with pytest.raises(BadInput, match="is no page to judge items on"):
        judge.read(file, page=file)
    text = page.path.read_text()
    for damage in (
        text.replace("Item a 1", "Item a 2"),
        text.replace('"items":[', '"items":[,'),
        text.replace('"fingerprint"', '"f"'),
    ):
        (tmp_path / "p.html").write_text(damage)
        with pytest.raises(Damaged, match=r"p\.html is damaged"):
            judge.read(file, page=tmp_path / "p.html")


# ---- the page in a browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def fresh(request, tmp_path):
    """A page whose answers no other test stores: a browser may clear what is stored long after it was told to."""
    return write(tmp_path, "fresh.html", note=request.node.name)


@pytest.fixture
def opened(tab, fresh):
    """A page in a tab that has never seen it."""
    tab.problems.clear()
    tab.requests.clear()
    tab.open(fresh.path.as_uri())
    yield tab
    assert tab.problems == []
    assert {url.split(":")[0] for url in tab.requests} <= {"file", "data", "blob"}


def now(tab):
    """Heading of the one item that is shown, its answer, and the progress line."""
    shown = tab.value("[...document.querySelectorAll('article')].filter(a => a.offsetHeight).map(a => a.innerText)")
    assert len(shown) == 1
    heading, place = re.split(r"\s*\n\s*", shown[0])[:2]
    progress = tab.value("document.getElementById('progress').textContent")
    return heading.removeprefix("Item "), place.removeprefix(f"{tab.value('now + 1')} of 4").strip(), progress


@needs_chromium
def test_keys_answer_move_and_undo(opened):
    assert now(opened) == ("b 2", "", "0 of 4 answered: 0 yes, 0 no, 0 unsure")
    opened.press("y", "N", "u")
    assert now(opened) == ("7", "", "3 of 4 answered: 1 yes, 1 no, 1 unsure")
    opened.press("ArrowLeft", "ArrowLeft")
    assert now(opened)[:2] == ("a 1", "no")
    opened.press("y")  # another answer; goes to the next item without one
    assert now(opened) == ("7", "", "3 of 4 answered: 2 yes, 0 no, 1 unsure")
    opened.press("z")
    assert now(opened)[:2] == ("a 1", "no")
    opened.press("Backspace", "z", "z", "z")  # three answers, and nothing left to undo
    assert now(opened) == ("b 2", "", "0 of 4 answered: 0 yes, 0 no, 0 unsure")
    opened.press("End", "ArrowRight")
    assert now(opened)[0] == "7"
    opened.press("Home", "1", "2", "3")
    assert now(opened)[2] == "3 of 4 answered: 1 yes, 1 no, 1 unsure"


@needs_chromium
def test_answers_survive_a_reload_and_belong_to_one_page(opened, fresh, tmp_path, request):
    opened.press("y", "n")
    opened.open(fresh.path.as_uri(), until=lambda: now(opened)[0] == "__proto__")
    assert now(opened) == ("__proto__", "", "2 of 4 answered: 1 yes, 1 no, 0 unsure")
    kept = "localStorage.setItem(store, JSON.stringify({answers: {7: 'no', gone: 'yes', 'a 1': 'x'}, unsaved: 1}))"
    opened.value(f"{kept}, window.dispatchEvent(new StorageEvent('storage', {{key: store}}))")  # as another tab does
    assert now(opened)[2] == "1 of 4 answered: 0 yes, 1 no, 0 unsure"
    opened.press("y")
    opened.open(write(tmp_path, note="another").path.as_uri())
    assert now(opened)[2].startswith("0 of 4")
    moved = write(tmp_path, "moved.html", note=request.node.name)  # the same page elsewhere
    opened.open(moved.path.as_uri(), until=lambda: now(opened)[2].startswith("2 of 4"))
    assert now(opened)[2].startswith("2 of 4")


@needs_chromium
def test_what_the_page_saves_is_read_back(opened, fresh):
    opened.press("u", "ArrowRight", "n", "y", "s")
    file = opened.saved()
    assert file.name == "Cats _ co.judgements.json"
    assert judge.read(file, page=fresh.path).rows() == [("7", "yes"), ("__proto__", "no"), ("b 2", "unsure")]
    saved = json.loads(file.read_text())
    assert (saved["page"], saved["question"]) == (fresh.fingerprint, TEXT["question"])
    assert opened.value("document.getElementById('saved').textContent") == "all saved to a file"
    opened.press("y")
    assert opened.value("document.getElementById('saved').textContent") == "1 change not saved to a file yet"
    opened.click("#save")
    assert len(judge.read([file, opened.saved()], page=fresh.path)) == 4


@needs_chromium
def test_a_mouse_is_enough(opened):
    opened.click("#no")
    opened.click("#yes")
    opened.click("#undo")
    assert now(opened) == ("a 1", "", "1 of 4 answered: 0 yes, 1 no, 0 unsure")
    opened.click("#back")
    assert now(opened)[:2] == ("b 2", "no")
    opened.click("#strip i:last-child")
    assert now(opened)[0] == "7"


@needs_chromium
def test_a_screen_reader_hears_what_is_there(opened):
    opened.press("y")
    nodes = [n for n in opened("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
    named = {(n["role"]["value"], n["name"]["value"]) for n in nodes if "name" in n}
    buttons = {name for role, name in named if role == "button"}
    assert buttons == {"Yes", "No", "Unsure", "Back", "Next", "Undo", "Save"}
    assert named >= {("image", "picture of a 1"), ("article", "Item a 1"), ("heading", TEXT["question"])}
    assert opened.value("document.getElementById('said').textContent") == "yes. 2 of 4: Item a 1, not answered"


@needs_chromium
def test_the_page_fits_a_phone_and_prints_every_item(opened):
    opened("Emulation.setDeviceMetricsOverride", width=360, height=640, deviceScaleFactor=1, mobile=True)
    assert opened.value("document.documentElement.scrollWidth") <= 360
    opened("Emulation.clearDeviceMetricsOverride")
    height = "[...document.querySelectorAll('article')].map(a => a.offsetHeight > 100)"
    assert opened.value(height) == [True, False, False, False]
    opened("Emulation.setEmulatedMedia", media="print")
    assert opened.value(height) == [True] * 4
    assert opened.value("document.getElementById('bar').offsetHeight") == 0
    opened("Emulation.setEmulatedMedia", media="screen")


@needs_chromium
def test_hostile_text_is_shown_and_does_nothing(opened, tmp_path):
    nasty = judge.Picture(jpeg=None, alt=NASTY, lines=[NASTY], labels=[NASTY], conflicts=[NASTY])
    hostile = item(NASTY, heading=NASTY, pictures=[nasty], lines=[NASTY], group=NASTY)
    page = write(tmp_path, items=[hostile], **dict.fromkeys(TEXT, NASTY))
    opened.open(page.path.as_uri())
    opened.press("y", "s")
    assert opened.value("typeof window.hacked") == "undefined"
    assert opened.value("document.querySelectorAll('img, script').length") == 2  # the data and the script
    assert opened.value("document.querySelector('h2').textContent") == NASTY
    assert opened.value("document.title") == NASTY
    assert judge.read(opened.saved(), page=page.path).rows() == [(NASTY, "yes")]


@needs_chromium
def test_a_browser_that_keeps_nothing_says_so_and_still_saves(opened, fresh):
    blocked = opened(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'localStorage', {get() { throw new Error('blocked'); }})",
    )
    opened.open(fresh.path.as_uri())
    assert "does not keep answers" in opened.value("document.getElementById('warning').textContent")
    opened.press("n", "s")
    assert judge.read(opened.saved(), page=fresh.path).rows() == [("b 2", "no")]
    opened("Page.removeScriptToEvaluateOnNewDocument", identifier=blocked["identifier"])
