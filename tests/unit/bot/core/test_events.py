"""The event bus: subscribers of a class, in order."""

from __future__ import annotations

from bot.core.events import EventBus, JobChanged, MessagesAdded, PreviewDemand


def test_subscribers_get_the_events_of_their_class_in_the_order_of_subscription() -> None:
    bus, seen = EventBus(), list[tuple[str, object]]()
    bus.subscribe(JobChanged, lambda event: seen.append(("first", event)))
    bus.subscribe(JobChanged, lambda event: seen.append(("second", event)))
    bus.subscribe(PreviewDemand, lambda event: seen.append(("preview", event)))
    bus.publish(JobChanged(7))
    bus.publish(MessagesAdded())
    bus.publish(PreviewDemand(7, wanted=True))
    changed, demand = JobChanged(7), PreviewDemand(7, wanted=True)
    assert seen == [("first", changed), ("second", changed), ("preview", demand)]
