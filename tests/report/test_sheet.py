"""Every figure of the project as it is seen in a paper's column: a sheet of them, to be looked at."""

from PIL import Image, ImageDraw

from icelib.report.figures import COLUMN
from tests.conftest import SOURCE

DPI = 150


def test_figures_are_as_wide_as_a_column_and_stand_on_a_sheet():
    """The sheet is ``scratch/figures.png``, three in a row; that letters can be read at this width, `save` sees to."""
    found = sorted((SOURCE / "figures").glob("*/*/*.png"))
    assert found, "no figure is committed"
    wide, columns = round(COLUMN * DPI), [[] for _ in range(3)]
    for path in found:
        with Image.open(path) as picture:
            inches = picture.width / picture.info["dpi"][0]
            assert inches < COLUMN + 0.05, f"{path} is {inches:.2f} inches wide; expected at most {COLUMN}"
            high = round(picture.height * wide / picture.width)
            seen = picture.convert("RGB").resize((wide, high), Image.Resampling.LANCZOS)
        least = min(columns, key=lambda column: sum(height for *_, height in column))
        least.append((path.relative_to(SOURCE).as_posix(), seen, high + 40))
    height = max(sum(height for *_, height in column) for column in columns)
    sheet = Image.new("RGB", (3 * (wide + 20), height), "lightgrey")
    for number, column in enumerate(columns):
        top = 0
        for name, seen, high in column:
            ImageDraw.Draw(sheet).text((number * (wide + 20), top + 5), name, fill="black")
            sheet.paste(seen, (number * (wide + 20), top + 20))
            top += high
    (SOURCE / "scratch").mkdir(exist_ok=True)
    sheet.save(SOURCE / "scratch" / "figures.png")
