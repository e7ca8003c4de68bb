"""Exactly-once producer for deltaplane."""

from .producer import GaveUp, Producer, Refused, Reject, Totals

__all__ = ["GaveUp", "Producer", "Refused", "Reject", "Totals"]
