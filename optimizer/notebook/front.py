"""A run's front as an object of a notebook: shown as a chart and a table, its students opened as detectors."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.reading import read_json_object
from optimizer.errors import InputError

if TYPE_CHECKING:
    import pandas

    from deploy import Detector

__all__ = ["Front", "Student", "open_front"]

FRONT_FILE = "front.json"
SIZE_LIMIT = 256 << 20  # bytes
WIDTH, HEIGHT, LEFT, BOTTOM, EDGE = 560, 280, 60, 44, 14  # of the chart, px
ACCENT, BASE = "#159a70", "#d4692a"  # seen on white and on black


class Student(dict[str, Any]):
    """An entry of `front.json`, which it still is, with the folder of its run."""

    def __init__(self, entry: dict[str, Any], folder: Path) -> None:
        super().__init__(entry)
        self.folder = folder

    def detector(self, threads: int | None = None) -> Detector:
        """Its bundle, opened: ``with student.detector() as detector: detector("street.jpg")``.

        Raises:
            InputError: no bundle was written of it; the message says why, where that is known.
        """
        if self["bundle"] is None:
            raise InputError(
                f"there is no bundle of {self['name']}: {self.get('bundle_refused') or 'none was written'}"
            )
        from deploy import open_detector

        return open_detector(self.folder / self["bundle"], threads)


class Front(dict[str, Any]):
    """What is in a run's `front.json`, which it still is, so that ``front["students"]`` works; a notebook shows it."""

    def __init__(self, content: dict[str, Any], folder: Path) -> None:
        super().__init__(content)
        self.folder = folder
        self["students"] = [Student(entry, folder) for entry in content["students"]]
        self["base"] = None if content["base"] is None else Student(content["base"], folder)

    @property
    def by_latency(self) -> bool:
        return self["base"] is not None and bool(self["base"]["latency_ms"])

    def find_cost(self, student: Student) -> float:
        """In `unit`: the base's divided by the student's ratio to it, or operations where nothing was measured."""
        if not self.by_latency:
            return float(student["macs"]) / 1e9
        base = self["base"]
        whole = base["energy_mj"] if self.unit == "mJ" else next(iter(base["latency_ms"].values()))["median"]
        return float(whole) / float(student["latency_of_base_over_own"])

    @property
    def unit(self) -> str:
        """Of a student's cost: ms, mJ or GMAC."""
        return "GMAC" if not self.by_latency else "mJ" if self.get("cost") == "energy" else "ms"

    def to_pandas(self) -> pandas.DataFrame:
        """A row for the base and for each student; needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise InputError(f"a data frame needs pandas ({error}): python3 -m pip install pandas") from error
        return pandas.DataFrame(self._list_rows())

    def plot(self) -> str:
        """AP against cost as an SVG image; the front itself shows it in a notebook, with its table."""
        shown = [self._place(student) for student in self._list_shown()]
        if not shown:
            return ""
        highest_cost, highest_ap = (max(point[axis] for point in shown) * 1.1 or 1.0 for axis in (0, 1))

        def across(cost: float) -> float:
            return LEFT + cost / highest_cost * (WIDTH - LEFT - EDGE)

        def down(ap: float) -> float:
            return EDGE + (1 - ap / highest_ap) * (HEIGHT - EDGE - BOTTOM)

        floor, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - EDGE) / 2
        unit = self.unit
        parts = [f'<path d="M{LEFT},{EDGE}V{floor}H{WIDTH - EDGE}" fill="none" stroke="currentColor" opacity="0.4"/>']
        for step in range(5):
            cost, ap = highest_cost * step / 4, highest_ap * step / 4
            parts.append(f'<text x="{across(cost):.1f}" y="{floor + 16}" text-anchor="middle">{cost:.3g}</text>')
            parts.append(f'<text x="{LEFT - 6}" y="{down(ap) + 4:.1f}" text-anchor="end">{ap:.2f}</text>')
        parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{unit}</text>')
        parts.append(
            f'<text x="14" y="{floor / 2}" transform="rotate(-90 14 {floor / 2})" text-anchor="middle">AP</text>'
        )
        for student, (cost, ap) in zip(self._list_shown(), shown):
            colour, name = BASE if student is self["base"] else ACCENT, escape(str(student["name"]))
            title = f"<title>{name}: AP {ap:.3f}, {cost:.2f} {unit}</title>"
            parts.append(f'<circle cx="{across(cost):.1f}" cy="{down(ap):.1f}" r="6" fill="{colour}">{title}</circle>')
        style = "max-width:100%;height:auto;font:12px system-ui,sans-serif"
        label = f"AP against {unit}: the base in orange, students in green"
        head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{label}" style="{style}"'
        return f'{head} fill="currentColor">{"".join(parts)}</svg>'

    def _repr_html_(self) -> str:
        rows = self._list_rows()
        if not rows:
            return "<p>no student yet</p>"
        heads = "".join(f"<th>{escape(key.replace('_', ' '))}</th>" for key in rows[0])
        lines = "".join(f"<tr>{''.join(f'<td>{_show(value)}</td>' for value in row.values())}</tr>" for row in rows)
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
        return f'{self.plot()}<div style="overflow-x:auto">{table}</div>'

    def _list_shown(self) -> list[Student]:
        return [*([self["base"]] if self["base"] is not None else []), *self["students"]]

    def _place(self, student: Student) -> tuple[float, float]:
        return self.find_cost(student), float(student["ap"])

    def _list_rows(self) -> list[dict[str, Any]]:
        cost = self.unit if self.by_latency else "gmac"
        return [
            {
                "name": student["name"],
                "ap": student["ap"],
                "ap50": student["ap50"],
                cost: self.find_cost(student),
                "times_as_fast": student["latency_of_base_over_own"],
                "parameters": student["params"],
                "precision": student["precision"],
                "bundle": student["bundle"],
            }
            for student in self._list_shown()
        ]


def open_front(folder: str | Path) -> Front:
    """The front of a run as its folder has it now, also while the run goes on.

    Raises:
        InputError: the folder holds no `front.json`, or one that cannot be read.
    """
    folder = Path(folder)
    place = folder / FRONT_FILE
    if not place.is_file():
        raise InputError(f"{folder} holds no {FRONT_FILE}; a run writes it after its first trial")
    return Front(read_json_object(place, SIZE_LIMIT), folder)


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
