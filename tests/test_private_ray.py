"""A Ray that we start listens on loopback and asks for a token that only its processes have."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobs.runners.cluster_token import keep_private

_CHILD = """
import os
import psutil
from jobs.runners.ray_cluster import RayCluster
cluster = RayCluster(None, workers=1, cpus=1)
tree = {p.pid for p in psutil.Process().children(recursive=True)}
listens = {c.laddr.ip.removeprefix("::ffff:") for c in psutil.net_connections("tcp")
           if c.status == "LISTEN" and c.pid in tree}
from ray._raylet import AuthenticationMode, get_authentication_mode
cluster.close()
print(sorted(listens), get_authentication_mode() == AuthenticationMode.TOKEN, len(os.environ['RAY_AUTH_TOKEN']))
"""


def test_a_token_is_made_unless_there_is_one_or_the_user_wants_none() -> None:
    made: dict[str, str] = {}
    keep_private(made)
    assert made["RAY_AUTH_MODE"] == "token" and len(made["RAY_AUTH_TOKEN"]) == 64
    own = {"RAY_AUTH_TOKEN_PATH": "/run/secrets/ray"}
    keep_private(own)
    assert own["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" not in own
    without = {"RAY_AUTH_MODE": "disabled"}
    keep_private(without)
    assert "RAY_AUTH_TOKEN" not in without


@pytest.mark.ray
def test_a_ray_of_ours_listens_on_loopback_alone_and_asks_for_a_token() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True,
                          text=True, check=False, timeout=240)  # fmt: skip
    assert done.stdout.strip() == "['127.0.0.1'] True 64", done.stdout + done.stderr
