"""`cron-suspended`: the cluster has the cron job suspended."""

from __future__ import annotations

from tests.sre.diagnosis.rules.jobs.worlds import cron
from tests.sre.diagnosis.worlds import found


def test_a_cron_job_that_is_suspended_against_its_manifest_is_told_with_certainty() -> None:
    assert found(cron(suspend=True).snapshot(), "cron-suspended")[0].confidence == 0.85
    assert found(cron(suspend=True, wanted=True).snapshot(), "cron-suspended")[0].confidence == 0.4
    assert not found(cron().snapshot(), "cron-suspended")
