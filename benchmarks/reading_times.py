"""How long label files take to read, and how much memory, compared with the standard library and pycocotools.

    python benchmarks/reading_times.py --images 100000 --boxes 10 --out benchmarks/reports/reading_times.json

COCO: `read_dataset` against `json.load` and pycocotools' own indexing of the same file, each in a process of its own;
memory is the process's greatest resident size less what it had before. VOC: as many XML files. Images are empty files:
a reader does not open them where the labels state a size.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPEATS = 3
CLEAR, GREATEST = Path("/proc/self/clear_refs"), "5"  # Linux: forget the greatest resident size so far
XML = (
    "<annotation><filename>{}.jpg</filename><size><width>640</width><height>480</height><depth>3</depth></size>{}"
    "</annotation>"
)
OBJECT = (
    "<object><name>class {}</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--boxes", type=int, default=10, help="per image")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reading-") as place:
        coco, voc = Path(place) / "coco", Path(place) / "voc"
        labels = write_coco(coco, options.images, options.boxes)
        write_voc(voc, options.images, options.boxes)
        size = labels.stat().st_size
        ours = measure(read_ours, coco)
        theirs = measure(read_theirs, labels)
        xml = measure(read_ours, voc)
    report = {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "images": options.images,
        "boxes": options.images * options.boxes,
        "coco_file_mb": round(size / 1e6, 1),
        "coco": ours,
        "json_load_and_pycocotools": theirs,
        "coco_time_ratio": round(ours["seconds"] / theirs["seconds"], 3),
        "coco_memory_to_file": round(ours["memory_mb"] * 1e6 / size, 3),
        "voc": xml,
    }
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def write_coco(folder: Path, images: int, boxes: int) -> Path:
    """Random boxes, written as COCO's own files are, with an outline for each."""
    rng = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").mkdir()
    listed, objects = [], []
    for image in range(images):
        name = f"{image:012d}.jpg"
        (folder / "val2017" / name).touch()
        listed.append({"license": 1, "file_name": name, "height": 480, "width": 640, "id": image})
        corners = rng.uniform(0, (500, 400), (boxes, 2)).round(2).tolist()
        sides = rng.uniform(5, 80, (boxes, 2)).round(2).tolist()
        for (x, y), (w, h) in zip(corners, sides):
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            objects.append({"segmentation": [[round(value, 2) for value in outline]], "area": w * h, "iscrowd": 0,
                            "image_id": image, "bbox": [x, y, w, h], "category_id": len(objects) % 80 + 1,
                            "id": len(objects) + 1})  # fmt: skip
    categories = [{"id": i, "name": f"class {i}", "supercategory": "thing"} for i in range(1, 81)]
    content = {"images": listed, "annotations": objects, "categories": categories}
    path = folder / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(content))
    return path


def write_voc(folder: Path, images: int, boxes: int) -> None:
    rng = np.random.default_rng(0)
    (folder / "Annotations").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for image in range(images):
        (folder / "JPEGImages" / f"{image}.jpg").touch()
        corners = rng.integers(0, 400, (boxes, 2))
        items = "".join(OBJECT.format(i % 20, x, y, x + 40, y + 40) for i, (x, y) in enumerate(corners.tolist()))
        (folder / "Annotations" / f"{image}.xml").write_text(XML.format(image, items))
    (folder / "ImageSets" / "Main" / "val.txt").write_text("".join(f"{image}\n" for image in range(images)))


def read_ours(folder: Path) -> int:
    from deploy.data import read_dataset

    return read_dataset(folder, "val").count_objects()


def read_theirs(labels: Path) -> int:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return len(COCO(str(labels)).anns)


def measure(read: Callable[[Path], int], path: Path) -> dict[str, float]:
    """Median seconds and memory of processes that read once each."""
    context = multiprocessing.get_context("spawn")
    runs = []
    for _ in range(REPEATS):
        with context.Pool(1) as pool:
            runs.append(pool.apply(_run, (read, path)))
    seconds, memory, objects = (sorted(values)[len(values) // 2] for values in zip(*runs))
    return {"seconds": round(seconds, 3), "memory_mb": round(memory, 1), "objects": objects}


def _run(read: Callable[[Path], int], path: Path) -> tuple[float, float, int]:
    import pycocotools.coco  # both processes begin with what either needs

    import deploy.data  # noqa: F401

    assert pycocotools.coco
    CLEAR.write_text(GREATEST)
    before = _greatest_mb()
    started = time.perf_counter()
    objects = read(path)
    seconds = time.perf_counter() - started
    return seconds, _greatest_mb() - before, objects


def _greatest_mb() -> float:
    """The greatest resident size since it was cleared."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
