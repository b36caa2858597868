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

TEXT = (
    "Inputs are made by hypothesis from the seed: mostly almost valid documents, requests and responses with a wild value, a "
    "cut or a repetition somewhere, and some noise. No exception may get out but those that are documented. Exit codes stay "
    "in {0, 1, 2, 75, 130, 143}, and an input takes at most a second of processor time. No message has a line break or "
    "another control character, and none shows the password that is hidden in the input. A digest may only be returned for "
    "one unambiguous 200 that has it, and the hook answers with no status of 500 or more but 503."
)


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
    table.add(
        "all", f"{feeder.total:,}", f"{feeder.total / (time.monotonic() - began):,.0f}", len(table.findings) or "nothing"
    )
    return table
