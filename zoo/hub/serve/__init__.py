"""A folder of checkpoints served with the Hub's own protocol (`zoo hub serve`).

For air-gapped sweeps, and as the peer of every test that speaks to a Hub. Standard library only.
"""

from zoo.hub.serve.faults import KINDS as KINDS
from zoo.hub.serve.faults import Fault as Fault
from zoo.hub.serve.faults import parse_fault as parse_fault
from zoo.hub.serve.origin import Served as Served
from zoo.hub.serve.quota import RateLimit as RateLimit
from zoo.hub.serve.server import HubServer as HubServer
from zoo.hub.serve.server import run as run

__all__ = ["KINDS", "Fault", "HubServer", "RateLimit", "Served", "parse_fault", "run"]
