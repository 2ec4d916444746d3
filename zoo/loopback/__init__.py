"""A folder of checkpoints served with the Hub's own protocol (`zoo hub serve`).

For air-gapped sweeps, and as the peer of every test that speaks to a Hub. Standard library only.
"""

from zoo.loopback.faults import KINDS as KINDS
from zoo.loopback.faults import Fault as Fault
from zoo.loopback.faults import parse_fault as parse_fault
from zoo.loopback.origin import Served as Served
from zoo.loopback.quota import RateLimit as RateLimit
from zoo.loopback.server import HubServer as HubServer
from zoo.loopback.server import run as run

__all__ = ["KINDS", "Fault", "HubServer", "RateLimit", "Served", "parse_fault", "run"]
