"""Buckets on loopback: moto's S3 server, as a real peer of s3fs."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import s3fs
from moto.server import ThreadedMotoServer

_ACCESS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
           "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip


@contextmanager
def s3_server() -> Iterator[None]:
    """An S3 at `AWS_ENDPOINT_URL` of this process and its children."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(_ACCESS, AWS_ENDPOINT_URL=f"http://{host}:{port}")
    try:
        yield
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
        s3fs.S3FileSystem.clear_instance_cache()


def new_bucket() -> str:
    """The URL of an empty bucket of the server."""
    name = f"zoo-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/catalog"
