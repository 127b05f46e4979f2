"""Subscriptions whose quality of service can be overridden, and that name the publishers they cannot hear for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

_KEPT = 5  # messages


class Listening:
    """One subscription.

    ROS's own parameters qos_overrides.<topic>.subscription.reliability, .history and .depth win over `reliability`
    (best_effort or reliable), which comes from the node's parameter of the name `parameter`.
    """

    def __init__(
        self,
        node: Node,
        kind: type[Any],
        topic: str,
        callback: Callable[[Any], None],
        reliability: str,
        parameter: str,
    ) -> None:
        self._node = node
        self.topic = node.resolve_topic_name(topic)
        wanted = ReliabilityPolicy[reliability.upper()]
        self._profile = QoSProfile(depth=_KEPT, reliability=wanted)
        self._subscription = node.create_subscription(
            kind,
            topic,
            callback,
            self._profile,  # the overrides are written into it
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._incompatible),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        overridden = self._profile.reliability != wanted
        to_set = f"qos_overrides.{self.topic}.subscription.reliability" if overridden else parameter
        self._remedy = f"set {to_set} to best_effort"

    def unheard(self) -> str:
        """The publishers that do not fit, with the remedy; "" = none."""
        misfits = [
            f"{each.node_namespace.rstrip('/')}/{each.node_name}"
            for each in self._node.get_publishers_info_by_topic(self.topic)
            if qos_check_compatible(each.qos_profile, self._profile)[0] == QoSCompatibility.ERROR
        ]
        return self._misfit(", ".join(sorted(misfits))) if misfits else ""

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _misfit(self, publishers: str) -> str:
        # Of what can be overridden, reliability alone decides whether a publisher is heard.
        return (
            f"{self.topic} is published best effort by {publishers}, which a reliable subscription cannot hear: "
            f"{self._remedy}"
        )

    def _incompatible(self, event: Any) -> None:
        """The middleware met a publisher that does not fit."""
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        # The graph may not list it yet.
        told = self.unheard() or self._misfit("a node that is not known yet")
        self._node.get_logger().warning(f"{told} (incompatible {policy})")
