"""Asserts in the contract's own modules explain themselves, too; this is said before anything imports them."""

import pytest

pytest.register_assert_rewrite("holdfast.testing.conformance")
