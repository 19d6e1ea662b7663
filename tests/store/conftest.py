"""Asserts in the contract's own modules explain themselves, too."""

import pytest

pytest.register_assert_rewrite("holdfast.testing.conformance")
