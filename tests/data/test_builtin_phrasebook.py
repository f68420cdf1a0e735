"""A phrasebook that contradicts its database is refused, naming file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exspin.data.builtin import SOURCES
from exspin.data.builtin.phrasebook import Kind, Phrasebook, build, load, main, problems
from exspin.errors import DataError

SQL = """
CREATE TABLE band (band_id INTEGER PRIMARY KEY, name TEXT, genre TEXT, founded DATE, fee REAL);
INSERT INTO band VALUES (1, 'Owls', 'jazz', '1999-01-05', 10), (2, 'Rust', 'rock', '2005-07-01', NULL);
CREATE TABLE gig (gig_id INTEGER PRIMARY KEY, band_id INTEGER REFERENCES band(band_id), seats INTEGER);
INSERT INTO gig VALUES (1, 1, 50), (2, 1, 80);
"""
YAML = """
db_id: music
about: Bands and gigs.
tables:
  band:
    one: [band]
    many: [bands]
    label: name
    columns:
      name: {kind: name, say: [name]}
      genre: {kind: category, say: [genre], is: ["playing {v}"]}
      founded:
        {kind: date, say: [founding date], after: ["founded after {v}"], before: ["founded before {v}"],
         latest: ["founded last"], earliest: ["founded first"]}
      fee:
        {kind: number, say: [fee], more: ["over {v}"], less: ["under {v}"], most: [dearest], least: [cheapest]}
    nulls:
      fee: {missing: ["without a fee"], present: ["with a fee"]}
  gig:
    one: [gig]
    many: [gigs]
    columns:
      seats: {kind: number, say: [seats], more: ["over {v}"], less: ["under {v}"], most: [largest], least: [smallest]}
links:
  - child: gig.band_id
    parent: band
    where: ["of bands {p}"]
    parents_where: ["with gigs {p}"]
    count: ["number of gigs"]
    child_each: [gigs]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "databases").mkdir()
    (tmp_path / "phrasebooks").mkdir()
    (tmp_path / "databases" / "music.sql").write_text(SQL)
    (tmp_path / "phrasebooks" / "music.yaml").write_text(YAML)
    return tmp_path


def complaint(folder: Path, old: str, new: str) -> str:
    """What is said when one piece of the good phrasebook is replaced."""
    assert YAML.count(old) >= 1
    path = folder / "phrasebooks" / "music.yaml"
    path.write_text(YAML.replace(old, new, 1))
    with pytest.raises(DataError) as error:
        load("music", folder)
    assert str(error.value).startswith(str(path))
    return str(error.value).removeprefix(str(path) + ": ")


def test_a_good_phrasebook_is_read(folder: Path) -> None:
    book, connection = load("music", folder)
    assert book.tables["band"].columns["genre"].kind is Kind.CATEGORY
    assert book.links[0].table == "gig" and book.links[0].column == "band_id"
    assert connection.execute("SELECT COUNT(*) FROM gig").fetchone() == (2,)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  gig:", "  gigs:", "tables.gig: missing"),
        ("genre: {", "style: {", "tables.band.columns.genre: missing"),
        ("kind: category", "kind: colour", "tables.band.columns.genre.kind"),
        (', is: ["playing {v}"]', "", "tables.band.columns.genre.is: missing, a category column"),
        ("playing {v}", "playing it", "tables.band.columns.genre.is: 'playing it' needs {v}"),
        ("label: name", "label: genres", "tables.band.label: 'genres' is not among the columns"),
        ("say: [fee]", "says: [fee]", "tables.band.columns.fee.says"),
        ("parent: band", "parent: gig", "links[0] gig.band_id.parent: the database says 'band'"),
        ("child: gig.band_id", "child: gig.seats", "links[0] gig.seats: not a foreign key"),
        ("number of gigs", "gig count", 'the first wording must start with "number of "'),
        ("db_id: music", "db_id: musics", "db_id: must be 'music'"),
        ("fee: {missing", "genre: {missing", "tables.band.nulls.genre: 2 of 2 rows have a value"),
        ("about:", "about: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, old: str, new: str, said: str) -> None:
    assert said in complaint(folder, old, new)


def test_a_label_must_name_one_row(folder: Path) -> None:
    sql = SQL.replace("'Rust'", "'Owls'")
    (folder / "databases" / "music.sql").write_text(sql)
    with pytest.raises(DataError, match=r"tables.band.label: 'name' is not unique in band"):
        load("music", folder)


def test_a_source_that_does_not_run_is_named(folder: Path) -> None:
    (folder / "databases" / "music.sql").write_text("CREATE TABLE (")
    with pytest.raises(DataError, match=r"music.sql: does not run"):
        load("music", folder)


def test_the_shipped_phrasebooks_have_no_problems() -> None:
    names = sorted(path.stem for path in SOURCES.glob("*.sql"))
    assert len(names) >= 15
    for name in names:
        load(name)


def test_problems_are_listed_together(folder: Path) -> None:
    tree = yaml.safe_load(YAML)
    del tree["tables"]["gig"]
    tree["tables"]["band"]["columns"]["fee"]["most"] = []
    book = Phrasebook.model_validate(tree)
    found = list(problems(book, build(folder / "databases" / "music.sql")))
    assert len(found) == 2


def test_the_checker_prints_questions_with_their_sql() -> None:
    lines: list[str] = []
    assert main(["clinic"], lines.append) == 0
    assert len(lines) == 30
    assert all("\n    select" in line.lower() for line in lines)


def test_the_checker_reports_a_missing_file() -> None:
    lines: list[str] = []
    assert main(["nowhere"], lines.append) == 1
    assert "nowhere.yaml: cannot be read" in lines[0]
