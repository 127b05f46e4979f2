"""A node whose model is on a server: the server dies, and comes back, and the node goes on."""

from __future__ import annotations

import pytest
from by_hand import scene_for
from sensor_msgs.msg import Image
from vllm_server import KEY, VllmServer, installed

from qwenvl_ros import zoo
from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.conversions.camera import to_image
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample

if not installed():
    pytest.skip("vLLM is not installed: make test-vllm", allow_module_level=True)


@pytest.fixture
def server(tmp_path):
    server = VllmServer(zoo.resolve("tiny").checkpoint, tmp_path)
    try:
        yield server.start().ready()
    finally:
        server.kill()


def test_a_killed_server_fails_scenes_and_its_return_heals_them_without_a_restart(
    near, start, server, monkeypatch
):
    with Renderer(640, 480) as renderer:
        table = renderer.rgb(sample(90_000))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    node = start(
        "model:=tiny",
        "backend:=openai",
        f"endpoint:={server.url}",
        "openai.attempts:=2",
        "openai.health_interval:=0.5",
        "max_age:=0.0",
        options=("--real",),
    )
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()

    def look(status):
        scene, _ = scene_for(node, publisher, lambda stamp: to_image(table, stamp, "optical"), status=status)
        return scene

    before = look(Scene.STATUS_OK)
    assert before.objects
    server.kill()
    failed = look(Scene.STATUS_BACKEND_FAILED)
    assert not failed.objects and server.url in failed.status_message
    assert "BACKEND_FAILED" in node.report("model", lambda s: "BACKEND_FAILED" in s.message).message
    server.start().ready()
    after = look(Scene.STATUS_OK)
    assert [each.label for each in after.objects] == [each.label for each in before.objects]
    assert node.process.poll() is None and node.state() == "active"
