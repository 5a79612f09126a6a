import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from jftdata.export import names

HOSTILE = ["a/b", "a\\b", "..", ".", ".hidden", "__init", "CON", "con.txt", "Cat", "cat", "é", "é", "x" * 300, "猫" * 90, "a ",
           "a.", " a", "a:b", "\x07", "?", "", "_", "a_b", "straße", "strasse", "‮txt", "NUL", "com1", "ﬁ", "fi"]  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8)), unique=True, max_size=12)


@given(TEXTS)
def test_folder_names_are_safe_and_stay_apart(labels):
    made = names.folders(labels)
    assert list(made) == labels
    keys = [unicodedata.normalize("NFKC", name).casefold() for name in made.values()]
    assert len(set(keys)) == len(labels)
    for name in made.values():
        assert name
        assert len(name.encode()) <= 131
        assert not set('<>:"/\\|?*') & set(name)
        assert name == unicodedata.normalize("NFC", name)
        assert name[0] not in "._ "
        assert name[-1] not in ". "
        assert min(map(ord, name)) >= 32
        assert name.split(".")[0].upper() not in {"CON", "NUL", "COM1"}


@given(TEXTS)
def test_names_do_not_depend_on_order(labels):
    assert names.folders(labels[::-1]) == dict(reversed(names.folders(labels).items()))


@given(TEXTS)
def test_split_names_are_words_and_stay_apart(labels):
    made = names.splits(labels).values()
    assert all(name.replace("_", "a").isalnum() for name in made)
    assert len({name.casefold() for name in made}) == len(labels)


def test_plain_names_stay_as_they_are():
    plain = ["n01440764", "tabby cat", "São Paulo", "train", "c++", "猫", "a.b"]
    assert names.folders(plain) == dict(zip(plain, plain, strict=True))
