"""Tests of running workflows on Celery workers."""
