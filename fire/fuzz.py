"""Hostile input: files, variables, flags, requests, webhooks, responses of registries and whole programs, by hypothesis."""

import os
import tempfile
import time
from contextlib import ExitStack, chdir
from pathlib import Path

import fuzz_files
import fuzz_network
import fuzz_programs
from campaign import Campaign, Table
from feeder import Feeder
from loguru import logger

from imageporter.system import logs

TEXT = """\
hypothesis makes the inputs from the seed. Most of them are almost valid, and some are noise. No input may raise an
undocumented exception, give an undocumented exit code, or make the webhook receiver answer with a status of 500 or more,
except 503. None may take more than a few seconds of processor time, forge a line of the log, or show a password. A digest
may only come from one unambiguous 200."""


def run(campaign: Campaign) -> Table:
    """Feed every target, in memory where the machine has a file system for that."""
    table = Table("Hostile input", TEXT, ("target", "inputs", "per second", "broken promises"))
    feeder = Feeder(campaign, table)
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else campaign.folder
    began = time.monotonic()
    logs.configure()
    logger.remove()
    logger.add(feeder.log, level="DEBUG", format="{message}")
    for module, place in ((fuzz_files, parent), (fuzz_network, parent), (fuzz_programs, campaign.folder)):
        with tempfile.TemporaryDirectory(prefix="fire-fuzz-", dir=place) as folder, chdir(folder), ExitStack() as stack:
            for target in module.targets(stack, Path(folder)):
                feeder.feed(target)
    logger.remove()
    table.add("all", f"{feeder.total:,}", f"{feeder.total / (time.monotonic() - began):,.0f}", len(table.findings))
    return table
