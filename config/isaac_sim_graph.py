"""Isaac Sim's end: an action graph that publishes a camera, its depth, its CameraInfo, boxes and the clock.

For Isaac Sim 4.5 and 5: enable isaacsim.ros2.bridge, set CAMERA, run this in its script editor, press Play. Not run
here: written from NVIDIA's documentation of the nodes.
"""

import omni.graph.core as og
import usdrt

CAMERA = "/World/Camera"
FRAME = "camera_optical_frame"
WIDTH, HEIGHT = 640, 480

# Each of these nodes publishes one kind of image of the camera: (name, type, topic).
HELPERS = (
    ("Colour", "rgb", "camera/image_raw"),
    ("Depth", "depth", "camera/depth/image_raw"),
    ("Truth", "bbox_2d_tight", "camera/truth"),
)

keys = og.Controller.Keys
og.Controller.edit(
    {"graph_path": "/World/QwenvlCamera", "evaluator_name": "execution"},
    {
        keys.CREATE_NODES: [
            ("Tick", "omni.graph.action.OnPlaybackTick"),
            ("Render", "isaacsim.core.nodes.IsaacCreateRenderProduct"),
            ("Time", "isaacsim.core.nodes.IsaacReadSimulationTime"),
            ("Clock", "isaacsim.ros2.bridge.ROS2PublishClock"),
            ("Info", "isaacsim.ros2.bridge.ROS2CameraInfoHelper"),
            *((name, "isaacsim.ros2.bridge.ROS2CameraHelper") for name, _, _ in HELPERS),
        ],
        keys.SET_VALUES: [
            ("Render.inputs:cameraPrim", [usdrt.Sdf.Path(CAMERA)]),
            ("Render.inputs:width", WIDTH),
            ("Render.inputs:height", HEIGHT),
            ("Info.inputs:topicName", "camera/camera_info"),
            ("Info.inputs:frameId", FRAME),
            *((f"{name}.inputs:type", kind) for name, kind, _ in HELPERS),
            *((f"{name}.inputs:topicName", topic) for name, _, topic in HELPERS),
            *((f"{name}.inputs:frameId", FRAME) for name, _, _ in HELPERS),
            # Which name a box's number stands for, as JSON.
            ("Truth.inputs:enableSemanticLabels", True),
            ("Truth.inputs:semanticLabelsTopicName", "camera/semantic_labels"),
        ],
        keys.CONNECT: [
            ("Tick.outputs:tick", "Render.inputs:execIn"),
            ("Tick.outputs:tick", "Clock.inputs:execIn"),
            ("Time.outputs:simulationTime", "Clock.inputs:timeStamp"),
            *(("Render.outputs:execOut", f"{name}.inputs:execIn") for name, _, _ in HELPERS),
            *(
                ("Render.outputs:renderProductPath", f"{name}.inputs:renderProductPath")
                for name, _, _ in HELPERS
            ),
            ("Render.outputs:execOut", "Info.inputs:execIn"),
            ("Render.outputs:renderProductPath", "Info.inputs:renderProductPath"),
        ],
    },
)
