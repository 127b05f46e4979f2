"""Camera, model and planner in three processes over DDS, recorded: what `make demo` runs.

A simulated camera (RGB, depth, CameraInfo, 10 Hz), `scene_node` with the tiny model, and the example planner, whose
words are the output. This process starts them, listens as any other node would, and leaves in --out:

    annotated.png   the scene with most in it, by score, drawn on its image
    scenes.jsonl    one Scene a line, fields named as in msg/Scene, unknown numbers null
    scenes.mcap     rosbag2 MCAP of images, camera models, poses, scenes and markers, for Foxglove or `ros2 bag play`
    *.log           what the camera and the model's node had to say

It ends after --scenes scenes or with Ctrl-C, and fails when no object was ever found or a process died.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from visualization_msgs.msg import MarkerArray

from qwenvl_ros.drawing import annotate
from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.processes import Child, child, stop_on_signals
from qwenvl_ros.ros.bags import BagWriter
from qwenvl_ros.ros.conversions.camera import image_of, pose_of, stamp_of, to_transform
from qwenvl_ros.ros.conversions.scene import scene_of
from qwenvl_ros.ros.tabletop import CAMERA, camera_and_model
from qwenvl_ros.scene_json import to_json
from qwenvl_ros.sim.show import ShowSettings, optical_frame

PATIENCE_S = 300.0  # without a scene for so long, something is wrong
IMAGES_KEPT = 50  # waiting for their scenes
BACKLOG = 50  # messages that may be waiting at the end


class DemoFailed(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


class Recorder(Node):
    """Listens to the camera and the node, and writes all of it down."""

    def __init__(self, out: Path, bag: BagWriter) -> None:
        super().__init__("recorder")
        self.scenes = self.objects = 0
        self.trouble = ""
        self._out, self._bag, self._richest = out, bag, 0.0
        self._lines = (out / "scenes.jsonl").open("w", encoding="utf-8")
        self._images: dict[int, Image] = {}
        self._record(f"/{CAMERA}/image_raw", Image, self._image)
        self._record(f"/{CAMERA}/camera_info", CameraInfo)
        self._record(f"/{CAMERA}/pose", PoseStamped, self._pose)
        self._record("/qwenvl/scene", SceneMessage, self._scene)
        self._record("/qwenvl/markers", MarkerArray)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)

    def close(self) -> None:
        self._lines.close()
        self.destroy_node()

    def _record(self, topic: str, kind: type[Any], then: Any = None) -> None:
        def hear(message: Any) -> None:
            self._bag.write(topic, message, self.get_clock().now().nanoseconds)
            if then is not None:
                then(message)

        self.create_subscription(kind, topic, hear, 10)

    def _image(self, message: Image) -> None:
        self._images[stamp_of(message.header.stamp)] = message
        if len(self._images) > IMAGES_KEPT:
            del self._images[next(iter(self._images))]

    def _pose(self, message: PoseStamped) -> None:
        """Foxglove and RViz place images and markers by /tf."""
        stamp = stamp_of(message.header.stamp)
        moved = to_transform(pose_of(message), stamp, message.header.frame_id, optical_frame(CAMERA))
        self._bag.write_transforms("/tf", [moved], self.get_clock().now().nanoseconds)

    def _scene(self, message: SceneMessage) -> None:
        scene = scene_of(message)
        self.scenes += 1
        self.objects += len(scene.objects)
        self._lines.write(json.dumps(to_json(scene), allow_nan=False, ensure_ascii=False) + "\n")
        self._lines.flush()
        image = self._images.get(scene.stamp)
        found = sum(1.0 if isnan(thing.score) else thing.score for thing in scene.objects)
        if image is not None and found > self._richest:
            self._richest = found
            picture = annotate(image_of(image), scene)
            cv2.imwrite(str(self._out / "annotated.png"), picture[:, :, ::-1])

    def _diagnose(self, message: DiagnosticArray) -> None:
        """Keep what the model's node complains of; "" when it is well."""
        self.trouble = "; ".join(s.message for s in message.status if s.level != DiagnosticStatus.OK)


def run(scenes: int, out: Path, show: ShowSettings, model: str, stop: threading.Event) -> int:
    """The demo, until so many scenes came or `stop` is set; returns how many objects were found.

    Raises:
        DemoFailed: no object was found, no scene came, or a process died.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in ("annotated.png", "scenes.jsonl", "scenes.mcap"):
        (out / name).unlink(missing_ok=True)
    planner = [sys.executable, str(Path(__file__).with_name("planner.py"))]
    failure: DemoFailed | None = None
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        # The recording is kept whatever happens: it shows what went wrong.
        with BagWriter(out / "scenes.mcap") as bag:
            recorder = Recorder(out, bag)
            try:
                with (
                    child("planner", planner, None) as listener,
                    camera_and_model(show, model, out) as (camera, finder),
                ):
                    _watch(recorder, scenes, (camera, listener, finder), stop)
            except DemoFailed as error:
                failure = error
            finally:
                recorder.close()
    finally:
        rclpy.try_shutdown()
    if failure is None and recorder.objects == 0:
        failure = DemoFailed(f"no object was found in {recorder.scenes} scenes; see {out / 'scenes.jsonl'}")
    if failure is not None:
        raise failure
    return recorder.objects


def _watch(recorder: Recorder, scenes: int, children: Sequence[Child], stop: threading.Event) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    heard, since = 0, time.monotonic()
    while recorder.scenes < scenes:
        executor.spin_once(timeout_sec=0.1)
        if stop.is_set():
            for _ in range(BACKLOG):  # what has arrived is recorded
                executor.spin_once(timeout_sec=0.0)
            return
        for each in children:
            if (status := each.process.poll()) is not None:
                raise DemoFailed(
                    f"the {each.name} ended with status {status}; its last words:\n{each.last_words()}"
                )
        if recorder.scenes > heard:
            heard, since = recorder.scenes, time.monotonic()
        if "cannot configure" in recorder.trouble:
            raise DemoFailed(f"scene_node {recorder.trouble}")
        if time.monotonic() - since > PATIENCE_S:
            raise DemoFailed(
                f"no scene came for {PATIENCE_S:.0f} s; {recorder.trouble or 'scene_node does not complain'}; "
                f"its last words:\n{children[-1].last_words()}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=20, help="end after so many (default: 20)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="folder of what is left (default: demo)"
    )
    parser.add_argument(
        "--seed", type=int, default=8, help="which table the camera looks at first (default: 8)"
    )
    parser.add_argument("--model", default="tiny", help="zoo name, hub id or folder (default: tiny)")
    args = parser.parse_args(arguments)
    show = ShowSettings(seed=args.seed, fewest=3, scene_seconds=1.5)
    stop = stop_on_signals()  # an exception in the middle of a write would spoil the recording
    started = time.monotonic()
    print(f"starting the camera, the model ({args.model}) and the planner; Ctrl-C ends the demo", flush=True)
    try:
        objects = run(args.scenes, args.out, show, args.model, stop)
    except (DemoFailed, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"{objects} objects found in {time.monotonic() - started:.0f} s; look at {args.out}/annotated.png,")
    print(f"{args.out}/scenes.jsonl and, in Foxglove, {args.out}/scenes.mcap")
    return 0


if __name__ == "__main__":
    sys.exit(main())
