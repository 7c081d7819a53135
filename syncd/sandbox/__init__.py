"""A simulated eMAG marketplace on a loopback port: the real API's shape, quirks and traps, and faults to order.

It is a separate program that happens to live here: it imports nothing of syncd, so that it can prove syncd
wrong. What it knows of the API comes from the vendor document v4.4.9 (19.09.2025) and from what integrators
report; each module names its source.
"""

from syncd.sandbox.calls import Call
from syncd.sandbox.catalogue import Catalogue
from syncd.sandbox.fault import FOREVER, Fault, Faults
from syncd.sandbox.offer import BIG_DESCRIPTION_ID
from syncd.sandbox.sandbox import Sandbox

__all__ = ["BIG_DESCRIPTION_ID", "FOREVER", "Call", "Catalogue", "Fault", "Faults", "Sandbox"]
