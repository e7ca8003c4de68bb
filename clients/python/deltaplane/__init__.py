"""Exactly-once producer and live feed for deltaplane."""

from .producer import GaveUp, Producer, Refused, Reject, Totals
from .subscription import Subscription

__all__ = ["GaveUp", "Producer", "Refused", "Reject", "Subscription", "Totals"]
