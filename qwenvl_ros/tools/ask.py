"""Find objects in photos: where they are, how they stand to each other, an annotated picture.

examples:
  qwenvl ask photo.jpg --find "red cube, mug"
  qwenvl ask photos/ more.png --find "the mug without a handle" --out found/
  qwenvl ask photos/ --json > scenes.jsonl
  qwenvl ask table.jpg --model 8b --find "mug, bowl" --ask-relations
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qwenvl_ros import backends, images, pipeline
from qwenvl_ros.backends import Backend, EngineSettings
from qwenvl_ros.drawing import annotate
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.planning import words
from qwenvl_ros.scene_json import to_json
from qwenvl_ros.tools import ToolError
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.types import Frame, Image, Occlusion, Scene, Status
from qwenvl_ros.zoo import Model, ModelSettings

_FAILED = (Status.PARSE_FAILED, Status.BACKEND_FAILED)
_PICTURES = (".png", ".jpg", ".jpeg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, and folders of them")
    parser.add_argument(
        "--find", default="", metavar="TEXT", help="what to find, parted by commas; default: everything"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a scene a line (as msg/Scene) instead of tables"
    )
    parser.add_argument(
        "--out",
        default=".",
        metavar="PATH",
        help="folder for the annotated pictures (photo.jpg gives photo.found.jpg), "
        "or a .png or .jpg file when there is one image (default: the current folder)",
    )
    add_settings(parser, ModelSettings)
    add_settings(parser, EngineSettings)
    add_settings(
        parser,
        PerceptionSettings,
        "max_pixels",
        "max_tokens",
        "max_objects",
        "constrained",
        "timeout",
        "min_score",
        "ask_relations",
        "max_asked",
    )


def run(args: argparse.Namespace) -> int:
    paths = find_images(args.images)
    pictures = picture_paths(paths, args.out)
    chosen = read_settings(args, ModelSettings)
    model = chosen.resolve()
    queries = tuple(text for part in args.find.split(",") if (text := part.strip()))
    settings = read_settings(args, PerceptionSettings, queries=queries)
    backend = backends.create(model, read_settings(args, EngineSettings))
    failed = False

    def refuse(error: ToolError) -> None:
        nonlocal failed
        failed = True
        print(error, file=sys.stderr)

    try:
        for image, path, scene in ask(paths, backend, model, settings, refuse):
            save(annotate(image, scene), pictures[path])
            if args.json:
                print(json.dumps(to_json(scene), allow_nan=False, ensure_ascii=False), flush=True)
            else:
                show(scene, pictures[path])
            if scene.status in _FAILED:
                refuse(ToolError(f"{path}: {scene.status.name}: {scene.status_message}"))
    finally:
        backend.close()
    return int(failed)


def ask(
    paths: Sequence[Path],
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
    refuse: Callable[[ToolError], None],
) -> Iterator[tuple[Image, Path, Scene]]:
    """The scene of each image file, in order; as many at once as the backend takes. Broken files go to `refuse`."""
    for start in range(0, len(paths), backend.capacity):
        batch: dict[Path, Frame] = {}
        for path in paths[start : start + backend.capacity]:
            try:
                batch[path] = Frame(camera=path.name, image=images.read(path), stamp=0)
            except (images.ImageRefused, OSError) as error:
                refuse(ToolError(f"{path}: {error}"))
        results = pipeline.perceive(list(batch.values()), backend, model, settings)
        for (path, frame), result in zip(batch.items(), results, strict=True):
            yield frame.image, path, result.scene


def find_images(names: Sequence[str]) -> list[Path]:
    """The image files among these files and folders (not below them), folders in the order of their names.

    Raises:
        ToolError: a path is missing, a file is no image, or a folder holds none.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if _is_image(p) and ".found" not in p.suffixes[:-1]]
            if not inside:
                raise ToolError(
                    f"{path} holds no image that OpenCV can read; give a folder of JPEG or PNG files"
                )
            found += inside
        elif not path.exists():
            raise ToolError(f"{path} does not exist; give image files or folders of them")
        elif not _is_image(path):
            raise ToolError(
                f"{path} is not an image that OpenCV can read; give a JPEG, PNG, BMP, TIFF or WebP file"
            )
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def picture_paths(paths: Sequence[Path], out: str) -> dict[Path, Path]:
    """Where each image's annotated picture goes; no two go to the same place and none onto an input.

    Raises:
        ToolError: one picture file for several images, or a picture would replace one of the images.
    """
    target = Path(out)
    if target.suffix.lower() in _PICTURES and not target.is_dir():
        if len(paths) > 1:
            raise ToolError(f"--out {out} is one file for {len(paths)} images; give a folder")
        places = [target]
    else:
        places = []
        for path in paths:
            suffix = path.suffix if path.suffix.lower() in _PICTURES else ".png"
            place, copy = target / f"{path.stem}.found{suffix}", 2
            while place in places:
                place, copy = target / f"{path.stem}_{copy}.found{suffix}", copy + 1
            places.append(place)
    inputs = {path.resolve() for path in paths}
    for place in places:
        if place.resolve() in inputs:
            raise ToolError(f"the annotated picture would replace {place}; give another --out")
    return dict(zip(paths, places, strict=True))


def save(image: Image, path: Path) -> None:
    """Write (H, W, 3) uint8 RGB as the format of the path's suffix; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, image[:, :, ::-1])
    if not done:
        raise ToolError(f"OpenCV cannot write {path}; give a .png or .jpg name")
    path.write_bytes(data.tobytes())


def show(scene: Scene, picture: Path) -> None:
    """The scene as a table and in plain words, on standard output."""
    console = Console(highlight=False)
    title = escape(f"{scene.camera}  {scene.width}x{scene.height}")
    table = Table(box=SIMPLE, title=title, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("id", no_wrap=True)
    table.add_column("label")
    for column in ("score", "x_min y_min x_max y_max", "visible", "border"):
        table.add_column(column, justify="right")
    for thing in scene.objects:
        visible = "?" if thing.occlusion is Occlusion.UNKNOWN else f"{100 * thing.visible_fraction:.0f} %"
        score = f"{thing.score:.2f}" if thing.score == thing.score else "?"
        corners = " ".join(f"{value:4.0f}" for value in thing.box.corners)
        border = "touches" if thing.truncated else ""
        table.add_row(escape(thing.id), escape(thing.label), score, corners, visible, border)
    if scene.objects:
        console.print(table)
    elif scene.status is Status.OK:
        console.print(f"{escape(scene.camera)}: nothing found")
    if scene.status is not Status.OK:
        console.print(f"{escape(scene.camera)}: {scene.status.name}: {escape(scene.status_message)}")
    for line in words.relations(scene):
        console.print(f"  {escape(line)}")
    console.print(f"  {scene.model}, {scene.total_seconds:.2f} s, picture: {escape(str(picture))}\n")


def _is_image(path: Path) -> bool:
    return path.is_file() and cv2.haveImageReader(str(path))
