"""What `celery -A` is pointed at: the shop's app, as the environment says."""

from __future__ import annotations

import os

from tests.integrations.celery.programs.shop import shop

app, executor = shop(os.environ)
