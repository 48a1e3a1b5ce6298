"""One run, as a sentence: load the data, train the base, search, hand over the front, report. Resumable at any point."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy import get_target
from deploy.data import Dataset, read_dataset
from optimizer.config import RunConfig, parse_config
from optimizer.errors import InputError, Interrupted, RunFailed
from optimizer.evaluation import Evaluation
from optimizer.handover import hand_over, write_front
from optimizer.progress import RunProgress, format_duration
from optimizer.search import STRATEGIES, build_strategy, search
from optimizer.search.base import Proposal, Trial
from optimizer.store.run_store import RunStore

__all__ = ["resume_run", "rewrite_report", "start_run"]
