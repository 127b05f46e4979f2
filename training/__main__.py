"""`python -m training`: make models/tiny, from rendering to the model card. Stages that are done are not done again."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from training import card, dataset, processes, train_language, train_vision
from training.architecture import make_model, make_tokenizer, save
from training.train_language import PICTURES, Stage

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "training/data", help="folder of rendered scenes")
    parser.add_argument("--run", type=Path, default=ROOT / "training/runs/tiny", help="folder of checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT / "models/tiny", help="folder of the finished model")
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="FOLDER",
        help="begin with the weights of this model, not with fresh ones",
    )
    parser.add_argument("--scenes", type=int, default=36_000, help="scenes to render")
    parser.add_argument(
        "--vision-images", type=int, default=200_000, help="pictures shown to the vision tower"
    )
    parser.add_argument(
        "--match-images",
        type=int,
        default=12_000,
        help="pictures of the match stage; 0 leaves it out",
    )
    parser.add_argument("--joint-images", type=int, default=120_000, help="pictures of the joint stage")
    parser.add_argument(
        "--again-images",
        type=int,
        default=32_000,
        help="pictures of a second joint stage, whose weights are averaged with those of the first; 0 leaves it out",
    )
    parser.add_argument(
        "--polish-images",
        type=int,
        default=6_400,
        help="pictures of the polish stage, with more queries for what is not there; 0 leaves it out",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and sampling")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="processes on a CPU")
    parser.add_argument("--evaluation-scenes", type=int, default=300, help="unseen scenes for the card")
    args = parser.parse_args()

    precision = torch.bfloat16 if torch.backends.mkldnn.is_available() and _fast_bf16() else torch.float32
    args.run.mkdir(parents=True, exist_ok=True)
    dataset.render(args.data, args.scenes, args.processes)
    common = (args.seed, precision, args.start_from)
    processes.run(train_vision.train, args.processes, args.data, args.run, args.vision_images, *common)
    stages = [
        Stage("match", args.match_images // PICTURES),
        Stage("joint", args.joint_images // PICTURES),
        Stage("again", args.again_images // PICTURES),
        Stage("polish", args.polish_images // PICTURES),
    ]
    for stage in stages:
        if stage.steps:
            processes.run(train_language.train, args.processes, args.data, args.run, stage, *common)
    last = next(stage.name for stage in reversed(stages) if stage.steps)
    model = make_model(make_tokenizer(), args.seed)
    model.load_state_dict(torch.load(args.run / f"{last}.pt", map_location="cpu", weights_only=True)["model"])
    save(model, args.out)
    card.write(args.out, vars(args), args.evaluation_scenes)


def _fast_bf16() -> bool:
    """bfloat16 pays on a GPU and on a CPU with bfloat16 instructions; elsewhere it is slower than float32."""
    if torch.cuda.is_available():
        return True
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


if __name__ == "__main__":
    main()
