"""The function that writes the mails: each event is told once, whatever comes twice or fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.integration.harness import EMPTY_CONTRACT_KINDS, World
