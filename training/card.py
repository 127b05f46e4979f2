"""models/tiny/README.md: how the model was made, how good it is, what it does not know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES
from training.questions import QUERIES

FIRST_EVALUATION_SEED = 90_000

CARD = """\
# models/tiny

A genuine Qwen3-VL (the same classes, chat template, special tokens and answer format) of {parameters:.1f} million
parameters, trained from scratch on the simulator of this package. It exists so that every line of the real
code runs without a GPU and without a download: in the demo, in the tests, in CI.

It knows {colours} and {shapes} on the simulator's tables, and **nothing else**: no photographs, no other
objects, no conversation, no video. For a robot take a real checkpoint (`model:=4b`).

## How to ask

The query comes BEFORE the image, in the words of `qwenvl_ros.grounding.prompt`, in lower case:
"<colour> <shape>", a bare shape, up to three of them in a list, or none for every object. The image is 512x384
(`qwenvl_ros.grounding.place` scales and pads). With the image first it does not obey the query. It answers
from left to right, without a code fence:

    [{{"bbox_2d": [x1, y1, x2, y2], "label": "red cube"}}]

and `[]` when nothing matches.

## How good it is

`qwenvl evaluate --scenes {scenes} --seed {seed}`: scenes never trained on, queries for present objects, for
absent ones (most of which share a colour or a shape with one that is there) and for mixtures of both; objects
less than 20 % visible or under 300 pixels of 640x480 do not count.

| | |
|---|---|
{figures}

## How it was made

`make train-tiny` (`python -m training`): {scenes_rendered} rendered scenes with seeds from 1,000,000; the vision
tower alone on {vision_images} pictures, with throwaway heads for the shape and colour of every 4x4 pixel cell and
the box of the objects in every token; then the text model, first the question "is this token's object asked
for?" on {match_images} pictures, then whole answers on {joint_images}, {queries} queries about each, on
{again_images} again (the weights are the mean of both ends), and a polish on {polish_images} with more queries for
what is not there. Weights are stored in 16 bit. Seed {random_seed}.{start}

## Known limits

- Boxes come on a 512x384 picture: small or far objects are coarse.
- Objects mostly hidden are often missed, and heavily overlapping ones of one colour confused.
- More than eight objects, more than three labels in one query, other words, capitals: not trained.
"""


def write(folder: Path, options: dict[str, Any], scenes: int) -> None:
    """Evaluate the exported model in a process of its own, through the product's path, and write its card."""
    report = folder / "evaluation.json"
    seed = FIRST_EVALUATION_SEED
    command = [sys.executable, "-m", "qwenvl_ros", "evaluate", "--model", str(folder), "--json", str(report)]
    subprocess.run([*command, "--scenes", str(scenes), "--seed", str(seed)], check=True)
    result = json.loads(report.read_text())
    report.unlink()
    keys = ("f1", "precision", "recall", "mean_iou", "label_accuracy", "absent_rate", "calibration_error")
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    (folder / "README.md").write_text(
        CARD.format(
            parameters=weights / 2e6,
            colours=", ".join(COLOURS),
            shapes=", ".join(f"{shape}s" for shape in SHAPES),
            scenes=scenes,
            seed=seed,
            figures="\n".join(f"| {key} | {result[key]:.3f} |" for key in keys),
            scenes_rendered=options["scenes"],
            vision_images=options["vision_images"],
            match_images=options["match_images"],
            joint_images=options["joint_images"],
            again_images=options["again_images"],
            polish_images=options["polish_images"],
            queries=QUERIES,
            random_seed=options["seed"],
            start=f" The run began with the weights in {options['start_from'].name}."
            if options["start_from"]
            else "",
        )
    )
