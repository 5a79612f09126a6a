"""Studies from TOML and Python files."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from jftdata import subset
from jftdata.catalog import Catalog
from jftdata.errors import BadArgument, BadInput, MissingInput, UnknownOption
from jftdata.study import file
from jftdata.study.plan import Study

JUDGE = '[[judge]]\ntask = "linear-probe"\ndata = "c.catalog"\n'


@pytest.fixture(scope="session")
def folder(photo_catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog, a subset, a subset's recipe and a list of images."""
    folder = tmp_path_factory.mktemp("file")
    shutil.copytree(photo_catalog.path, folder / "c.catalog")
    ids = photo_catalog.images()
    subset.only(subset.everything(photo_catalog), images=ids[:7]).save(folder / "seven")
    (folder / "cats.toml").write_text('[[steps]]\nbuilder = "with_labels"\nlabels = ["cat"]\n')
    pl.DataFrame({"image": ids[:3]}).write_csv(folder / "drop.csv")
    return folder


def _read(folder: Path, text: str) -> Study:
    (folder / "s.toml").write_text(text)
    return file.read(folder / "s.toml", out=folder / "out")


def test_a_toml_says_arms_and_judges(folder: Path) -> None:
    study = _read(
        folder,
        'question = "Which?"\ncatalog = "c.catalog"\nwithout = ["drop.csv"]\nset = ["total_epochs=2"]\nseeds = [4]\nby = ["cap"]\n'
        '[[arm]]\nname = "all"\nsizes = [4, 12]\nuntrained = true\nfactors = { cap = 0 }\n'
        '[[arm]]\nname = "cats"\nsubset = "cats.toml"\nset = ["batch_size=4"]\nfactors = { cap = 9 }\n'
        '[[arm]]\nname = "seven"\nsubset = "seven"\ninit = "cats"\nfactors = { cap = 7 }\n'
        + JUDGE
        + 'name = "probe"\n',
    )
    assert (study.name, study.question, list(study.seeds), list(study.by)) == ("s", "Which?", [4], ["cap"])
    assert [(arm.name, arm.num_images) for arm in study.arms] == [
        ("all-0", 4), ("all-4", 4), ("all-12", 12), ("cats", study.arms[3].num_images), ("seven", 4),
    ]  # fmt: skip
    assert [arm.recipe.total_epochs for arm in study.arms] == [0, 2, 2, 2, 2]
    assert study.arms[3].recipe.batch_size == 4
    assert study.arms[4].init == "cats"
    dropped = set(pl.read_csv(folder / "drop.csv")["image"])
    for arm in study.arms:
        assert len(arm.subset(4)) == arm.num_images
        assert dropped.isdisjoint(arm.subset(4).images.tolist())
    assert set(study.arms[1].subset(4).images) < set(study.arms[2].subset(4).images)
    judge = study.judges[0]
    assert judge.key == "probe"
    assert isinstance(judge.data(), Catalog)


def test_images_seen_may_be_what_is_kept(folder: Path) -> None:
    study = _read(
        folder,
        f'catalog = "c.catalog"\nfixed = "images-seen"\n[[arm]]\nname = "a"\nsizes = [4, 8]\n{JUDGE}',
    )
    assert [arm.recipe.total_epochs * arm.num_images for arm in study.arms] == [32, 32]


def test_a_python_file_returns_a_study(folder: Path) -> None:
    path = folder / "mine.py"
    path.write_text(
        "from jftdata import recipes, study\nfrom pathlib import Path\n"
        "def study_of(out):\n"
        "    arm = study.Arm(name='a', subset=lambda seed: None, num_images=9, recipe=recipes.tiny())\n"
        "    judge = study.Judge(task='knn', data=lambda: Path('x'))\n"
        "    return study.Study(name=out.name, question='?', arms=[arm], judges=[judge])\n"
        "study, study_module = study_of, study\n".replace("study, study_module = study_of, study", "make = study_of")
    )
    with pytest.raises(BadInput, match=r"mine\.py must have a function `study\(out\)`.*Got NoneType"):
        file.read(path, out=folder / "out")
    path.write_text(path.read_text().replace("import recipes, study", "import recipes, study as s").replace("study.", "s.")
                    .replace("def study_of", "def study").replace("make = study_of\n", ""))  # fmt: skip
    assert file.read(path, out=folder / "out").name == "out"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("x = [", BadInput, "not TOML"),
        ("[[arm]]\nname = 'a'\n" + JUDGE, BadInput, "no `catalog`"),
        ("catalog = 'c.catalog'\n" + JUDGE, BadInput, r"no `arm`. Add \[\[arm\]\]"),
        ("catalog = 'c.catalog'\n[[arm]]\nname = 'a'\n", BadInput, r"no `judge`. Add \[\[judge\]\]"),
        ("catalog = 'c.catalog'\n[[arm]]\nsizes = [4]\n" + JUDGE, BadInput, "has no `name`"),
        ("catalog = 'c.catalog'\n[[arm]]\nnam = 'a'\n" + JUDGE, UnknownOption, "Did you mean 'name'"),
        ("catalog = 'c.catalog'\nseeds = 3\n[[arm]]\nname = 'a'\n" + JUDGE, BadInput, "`seeds` .* must be a list. Got 3"),
        ("catalog = 'c.catalog'\n[[arm]]\nname = 'a'\ninit = 'b'\n" + JUDGE, MissingInput, "'b', neither an arm before"),
        ("catalog = 'c.catalog'\n[[arm]]\nname = 'a'\nuntrained = true\n" + JUDGE, BadArgument, "without `sizes`"),
        ("catalog = 'c.catalog'\n[[arm]]\nname = 'a'\nsizes = [1]\n" + JUDGE, BadArgument, r"at least 2. Got \[1\]"),
        ("catalog = 'c.catalog'\n[[arm]]\nname = 'a'\n[[judge]]\ntask = 'knn'\n", BadInput, "no `data`"),
        ("catalog = 'c.catalog'\n[[arm]]\nname = 'a'\n[[judge]]\ntask = 'knn'\ndata = 'c.catalog'\nset = ['k=1']\n",
         BadArgument, "trains nothing"),
    ],
)  # fmt: skip
def test_what_a_file_must_not_say(folder: Path, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        _read(folder, text)


def test_a_file_must_be_there_and_of_a_known_kind(folder: Path) -> None:
    with pytest.raises(MissingInput, match=r"nothing\.toml does not exist"):
        file.read(folder / "nothing.toml", out=folder)
    with pytest.raises(BadArgument, match=r"\.toml or \.py"):
        file.read(folder / "drop.csv", out=folder)
